"""Results elsewhere: in an S3 bucket (moto's server on loopback), or on another file system."""

import shutil

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from tests.workflow.conftest import lay_out, small_world

pytestmark = [pytest.mark.slow, pytest.mark.whole]

BUCKET = "prh-results"
COMPUTED = {"features", "neighbours", "alignment", "benchmarks", "tables", "figures", "logs", "timings"}
IN_PLACE = {"datasets", "models", "texts", "tasks"}


@pytest.fixture(scope="module")
def bucket():
    """A bucket of a server on loopback, and the environment that leads there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    resource = boto3.resource("s3", endpoint_url=url, region_name="us-east-1",
                              aws_access_key_id="test", aws_secret_access_key="test")  # fmt: skip
    yield (
        resource.create_bucket(Bucket=BUCKET),
        {
            "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": url,
            "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "test",
            "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "test",
        },
    )
    server.stop()


S3 = ["--profile", "profiles/s3", "--default-storage-prefix", f"s3://{BUCKET}/prh"]


@pytest.fixture(scope="module")
def stored(bucket, repository, tmp_path_factory):
    """The small world, run with its results in the bucket; local copies of them are thrown away."""
    workflow = lay_out(repository, tmp_path_factory.mktemp("stored"), small_world(repository))
    workflow.environment |= bucket[1]
    workflow.snakemake("--cores", "2", *S3)
    shutil.rmtree(workflow.folder / ".snakemake/storage", ignore_errors=True)
    return workflow


def keys(bucket) -> set[str]:
    return {entry.key.removeprefix("prh/results/") for entry in bucket[0].objects.all()}


def test_what_is_computed_is_in_the_bucket_and_folders_are_in_place(stored, bucket):
    assert {key.split("/")[0] for key in keys(bucket)} == COMPUTED
    assert {path.name for path in (stored.folder / "results").iterdir()} == IN_PLACE
    assert {"tables/alignment.parquet", "figures/world/mutual_knn_k5/alignment_matrix.svg"} <= keys(bucket)


def test_the_stored_table_is_whole(stored, bucket, tmp_path):
    bucket[0].download_file("prh/results/tables/alignment.parquet", tmp_path / "alignment.parquet")
    best = pl.read_parquet(tmp_path / "alignment.parquet")
    assert best.height == 15  # pairs of six models
    assert best["score"].is_between(0, 1).all()


def test_a_second_run_finds_everything_in_the_bucket(stored):
    assert stored.would_run(*S3) == {}


def test_what_is_lost_in_the_bucket_is_made_again_alone(stored, bucket):
    figure = "figures/world/mutual_knn_k5/alignment_matrix"
    for ending in ("svg", "png"):
        bucket[0].Object(f"prh/results/{figure}.{ending}").delete()
    assert stored.would_run(*S3) == {"draw": 1}
    stored.snakemake("--cores", "1", *S3)
    assert f"{figure}.svg" in keys(bucket)


def test_the_files_of_a_local_task_are_not_looked_for_in_the_bucket(bucket, repository, tmp_path):
    settings = small_world(repository)
    settings["harness"] = [{"name": "mine", "source": "local", "path": "tasks/mine", "metric": "acc"}]
    workflow = lay_out(repository, tmp_path / "prh", settings)
    (workflow.folder / "tasks/mine").mkdir(parents=True)
    (workflow.folder / "tasks/mine/mine.yaml").write_text("task: mine\n")
    workflow.environment |= bucket[1]
    assert workflow.would_run(*S3)["download_task"] == 1


def test_results_on_another_file_system(workflow, tmp_path):
    """An absolute `results` folder, with everything in it."""
    elsewhere = tmp_path / "elsewhere"
    workflow.experiment["results"] = str(elsewhere)
    shutil.rmtree(workflow.folder / "results")
    workflow.run(str(elsewhere / "neighbours/colours/words.parquet"))
    assert {path.name for path in elsewhere.iterdir()} == {
        "datasets",
        "models",
        "features",
        "neighbours",
        "logs",
        "timings",
        "tables",
    }
    assert not (workflow.folder / "results").exists()
    assert "features" not in workflow.would_run(str(elsewhere / "neighbours/colours/words.parquet"))


def test_no_code_is_an_input(repository):
    """Code is no result: it would be looked for in the bucket. It enters the spec of a job as a digest instead."""
    for path in sorted((repository / "rules").glob("*.smk")):
        for rule in path.read_text().split("\nrule ")[1:]:
            inputs = rule.split("    output:")[0]
            assert "PROGRAMS" not in inputs, f"{path.name}: {rule.splitlines()[0]}"
            assert "workflow_scripts" not in inputs, f"{path.name}: {rule.splitlines()[0]}"
