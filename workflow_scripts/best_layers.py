"""The table of models, and the table of the best layer pair of every two models."""

from pathlib import Path

import polars as pl

from prh.alignment import comparisons
from prh.experiment.arguments import ProgramParser, matched
from prh.io import tables
from prh.jobs.about import about
from prh.jobs.command import failing_in_one_sentence

PRELOAD = ["scipy.stats"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="what tables tell of each model")
    parser.add_argument(
        "--rows", nargs="+", type=Path, required=True, help=".../{dataset}/{metric}/{model}.best.parquet"
    )
    parser.add_argument("--rows-specs", nargs="*", default=[], help="digests of their settings")
    parser.add_argument(
        "--features", nargs="+", type=Path, required=True, help=".../{dataset}/{model}.parquet, for what they say"
    )
    parser.add_argument("--features-specs", nargs="*", default=[], help="digests of their settings")
    parser.add_argument("--models", type=Path, required=True, help="table of models to write")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs to write")
    arguments = parser.parse_args()

    facts, samples = {}, {}
    for path, spec in matched(arguments.features, arguments.features_specs):
        model, dataset = path.stem, path.parent.name
        with about(str(path)):
            footer = tables.require(path, model=model, dataset=dataset, samples=samples.get(dataset), spec=spec)
        samples.setdefault(dataset, footer.get("samples"))
        facts[model] = {"parameters": footer["parameters"], "layers": len(footer["layer_names"])}
    # an entry's own number of parameters goes before the counted one
    told = arguments.spec.settings["models"]
    models = pl.DataFrame([{**facts.get(model["model"], {}), **model} for model in told], schema=comparisons.MODELS)
    rows = []
    for path, spec in matched(arguments.rows, arguments.rows_specs):
        dataset, metric, model = path.parent.parent.name, path.parent.name, path.with_suffix("").stem
        with about(str(path)):
            tables.require(path, model=model, dataset=dataset, metric=metric, samples=samples.get(dataset), spec=spec)
            rows.append((dataset, metric, pl.from_arrow(tables.read(path))))
    best = comparisons.collect(rows, models)
    made_by = tables.provenance(**arguments.spec.provenance)
    tables.write(models.to_arrow(), arguments.models, made_by)
    tables.write(best.to_arrow(), arguments.best, made_by)
    print(best.filter(pl.col("modality_x") != pl.col("modality_y")).sort("score", descending=True))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
