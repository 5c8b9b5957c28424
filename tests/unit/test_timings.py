import polars as pl
import pytest

from prh.jobs import command, timings

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def line(seconds, memory="100.0", cpu="1.5"):
    return f"{seconds}\t0:00:01\t{memory}\t1\t1\t1\t0\t0\t0\t{cpu}\n"


@pytest.fixture
def folder(tmp_path):
    files = {
        "features/photos/vit.tsv": HEADER + line(10, "500.5") + line(4, "600.0", "6.0"),
        "features/photos/llama.1.tsv": HEADER + line(3),
        "scores.tsv": HEADER + line(1, "NA", "-"),
        "features/photos/killed.tsv": HEADER,
        "features/photos/empty_header.tsv": "s\n",
        "features/photos/empty.tsv": "",
        "features/photos/blank.tsv": "\n\n",
        "features/photos/other.tsv": "PAR1\x00\x01\n\x00\x00\t\t\t\n\t\n",
        "neighbours/photos/vit.tsv": HEADER + line(2, "10.0", "0.1"),
        "neighbours/photos/vit.log": f"prh 0.1\nit took 9 s\n{command.usage(1.5)}\na warning at the end\n",
        "neighbours/photos/llama.tsv": HEADER + line(2),
        "neighbours/photos/llama.log": "prh 0.1\nTraceback: killed\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_each_job_has_the_numbers_of_its_last_run(folder):
    rows = {(row["stage"], row["job"]): row for row in timings.collect(folder, folder).to_dicts()}
    jobs = {(stage, f"photos/{model}") for stage in ("features", "neighbours") for model in ("vit", "llama")}
    assert {(stage, job.removesuffix(".1")) for stage, job in rows} == {*jobs, ("scores", ".")}
    vit = rows["features", "photos/vit"]
    assert (vit["seconds"], vit["work_seconds"], vit["cpu_seconds"], vit["peak_mb"]) == (
        4,
        None,
        6,
        pytest.approx(629.1456),
    )
    assert rows["scores", "."]["peak_mb"] is None


def test_what_a_job_counted_itself_goes_before_samples_of_it(folder):
    found = timings.collect(folder, folder).filter(pl.col("stage") == "neighbours").sort("job").to_dicts()
    silent, told = found
    assert (silent["seconds"], silent["work_seconds"], silent["cpu_seconds"], silent["peak_mb"]) == (
        2,
        None,
        1.5,
        pytest.approx(104.8576),
    )
    assert (told["seconds"], told["work_seconds"]) == (2, 1.5)
    assert told["cpu_seconds"] > 0.1, "this very process has used more"
    assert 50 < told["peak_mb"] < 50_000


def test_stages_are_summed_the_dearest_first(folder):
    found = timings.by_stage(timings.collect(folder, folder))
    assert found["stage"].to_list() == ["features", "neighbours", "scores"]
    assert found.row(0) == ("features", 2, 7.0, 0.0, 7.5, 4.0, pytest.approx(629.1456))
    assert found.row(1)[:4] == ("neighbours", 2, 4.0, 1.5)


def test_no_timings_are_an_empty_table(tmp_path):
    assert timings.collect(tmp_path, tmp_path).is_empty()
    assert timings.collect(tmp_path, tmp_path).schema == pl.Schema(timings.SCHEMA)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00s\n", b"\x00" * 50, None])
def test_a_damaged_file_does_not_lose_the_table(folder, content):
    whole = timings.collect(folder, folder)
    path = folder / "features/photos/damaged.tsv"
    path.mkdir() if content is None else path.write_bytes(content)
    assert timings.collect(folder, folder).equals(whole)
