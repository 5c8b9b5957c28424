import polars as pl
import pytest

from prh import timings

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
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_each_job_has_the_numbers_of_its_last_run(folder):
    rows = {(row["stage"], row["job"]): row for row in timings.collect(folder).to_dicts()}
    assert set(rows) == {("features", "photos/vit"), ("features", "photos/llama.1"), ("scores", ".")}
    vit = rows["features", "photos/vit"]
    assert (vit["seconds"], vit["cpu_seconds"], vit["peak_mb"]) == (4, 6, 600)
    assert rows["scores", "."]["peak_mb"] is None


def test_stages_are_summed_the_dearest_first(folder):
    found = timings.by_stage(timings.collect(folder))
    assert found["stage"].to_list() == ["features", "scores"]
    assert found.row(0) == ("features", 2, 7.0, 7.5, 4.0, 600.0)


def test_no_timings_are_an_empty_table(tmp_path):
    assert timings.collect(tmp_path).is_empty()
    assert timings.collect(tmp_path).schema == pl.Schema(timings.SCHEMA)
