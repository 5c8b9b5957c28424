import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prh.io import tables


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(5, width)).astype(np.float32) for width in (3, 7)]
    return tables.layers_table([f"s{i}" for i in range(5)], layers), layers


def test_layers_come_back_as_they_were(tmp_path, table):
    written, layers = table
    tables.write(written, tmp_path / "deep" / "t.parquet", {"model": "m"})
    read = tables.read(tmp_path / "deep" / "t.parquet")
    assert tables.layer_columns(read.schema) == ["layer_00", "layer_01"]
    for name, layer in zip(tables.layer_columns(read.schema), layers, strict=True):
        assert tables.layer_array(read, name).dtype == np.float32
        np.testing.assert_array_equal(tables.layer_array(read, name), layer)
    assert tables.made_by(tmp_path / "deep" / "t.parquet") == {"model": "m"}


def test_several_row_groups_read_as_one_layer(tmp_path, table):
    written, layers = table
    with tables.writer(tmp_path / "t.parquet", written.schema, {}) as sink:
        sink.write_table(written.slice(0, 2))
        sink.write_table(written.slice(2))
    np.testing.assert_array_equal(tables.layer_array(tables.read(tmp_path / "t.parquet"), "layer_01"), layers[1])


def test_floats_are_byte_stream_split(tmp_path, table):
    tables.write(table[0], tmp_path / "t.parquet", {})
    columns = pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0)
    assert "BYTE_STREAM_SPLIT" in columns.column(1).encodings


def test_polars_sees_fixed_width_arrays(tmp_path, table):
    import polars as pl

    tables.write(table[0], tmp_path / "t.parquet", {})
    assert pl.from_arrow(tables.read(tmp_path / "t.parquet")).schema["layer_01"] == pl.Array(pl.Float32, 7)


def test_a_failed_write_leaves_nothing(tmp_path, table):
    with pytest.raises(RuntimeError), tables.writer(tmp_path / "t.parquet", table[0].schema, {}) as sink:
        sink.write_table(table[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_table(tmp_path, table):
    tables.write(table[0], tmp_path / "t.parquet", {"run": 1})
    with pytest.raises(RuntimeError), tables.writer(tmp_path / "t.parquet", table[0].schema, {}):
        raise RuntimeError
    assert tables.made_by(tmp_path / "t.parquet") == {"run": 1}


@pytest.mark.parametrize("keep", [0, 100, 0.5, -1])
def test_a_truncated_table_is_named(tmp_path, table, keep):
    path = tmp_path / "t.parquet"
    tables.write(table[0], path, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(tables.TableError, match=r"t\.parquet is not a complete Parquet file.*delete it and run again"):
        tables.read(path)


def test_damaged_bytes_are_noticed(tmp_path, table):
    path = tmp_path / "t.parquet"
    tables.write(table[0], path, {})
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(2).data_page_offset
    content[start + 60] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(tables.TableError, match=r"t\.parquet is not a complete"):
        tables.read(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(tables.TableError, match=r"t\.parquet does not exist"):
        tables.read(tmp_path / "t.parquet")


def test_a_missing_column_is_named(tmp_path, table):
    tables.write(table[0], tmp_path / "t.parquet", {})
    with pytest.raises(tables.TableError, match=r"has no column layer_09; it has sample_id, layer_00, layer_01"):
        tables.read(tmp_path / "t.parquet", ["layer_09"])


@pytest.mark.parametrize(("right", "said"), [(["a", "c"], "2 samples are in only one, such as 'b'"),
                                             (["b", "a"], "the order differs")])  # fmt: skip
def test_tables_of_other_samples_are_refused(right, said):
    tables.require_same_samples(["a", "b"], ["a", "b"], ("x", "y"))
    with pytest.raises(tables.TableError, match=said):
        tables.require_same_samples(["a", "b"], right, ("x", "y"))


def test_an_empty_table_has_layers_of_no_rows():
    schema = pa.schema([("sample_id", pa.string()), ("layer_00", pa.list_(pa.float32(), 4))])
    assert tables.layer_array(schema.empty_table(), "layer_00").shape == (0, 4)


def test_a_table_that_was_made_for_something_else_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    tables.write(pa.table({"a": [1]}), path, {"model": "vit", "dataset": "photos", "spec": "ab"})
    assert tables.require(path, model="vit", dataset="photos", spec="ab", samples=None)["model"] == "vit"
    for wanted, said in [
        ({"model": "bert"}, "made for model 'vit', not model 'bert'"),
        ({"dataset": "wit"}, "data set 'photos', not data set 'wit'"),
        ({"spec": "cd"}, "settings of digest 'ab', not settings of digest 'cd'"),
        ({"samples": "01"}, "made for no samples of digest, not samples of digest '01'"),
    ]:
        with pytest.raises(tables.TableError, match=said) as error:
            tables.require(path, **wanted)
        assert str(path) in str(error.value)
        assert "delete it and run snakemake again" in str(error.value)


def test_samples_are_told_apart_by_name_and_order():
    assert tables.digest_of_samples(["a", "b"]) == tables.digest_of_samples(("a", "b"))
    assert len({tables.digest_of_samples(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], ["a,b"], [])}) == 5


@pytest.mark.parametrize("footer", [b'{"model": "vjt"}', b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_footer_is_named(tmp_path, footer):
    path, sound = tmp_path / "t.parquet", tmp_path / "sound.parquet"
    tables.write(pa.table({"a": [1]}), sound, {"model": "vit"})
    table = tables.read(sound)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, tables.FOOTER_KEY: footer}), path)
    with pytest.raises(tables.TableError, match=r"t\.parquet has a damaged footer; delete the file and run again"):
        tables.require(path, model="vit")


def test_a_footer_without_a_hash_is_read(tmp_path):
    """Tables of before it had one, and those that others write."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({tables.FOOTER_KEY: b'{"model": "vit"}'}), path)
    assert tables.require(path, model="vit") == {"model": "vit"}
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({b"pandas": b"{", b"huggingface": b"\xff"}), path)
    with pytest.raises(tables.TableError, match="made for no model, not model 'vit'"):
        tables.require(path, model="vit")
