"""The table of models, and the table of the best layer pair of any two models."""

from pathlib import Path

import polars as pl

from prh.alignment import best_layers
from prh.experiment.arguments import ProgramParser, matched
from prh.io import tables
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

    models, samples = best_layers.table_of_models(
        arguments.spec.settings["models"], matched(arguments.features, arguments.features_specs)
    )
    modalities = dict(models.select("model", "modality").iter_rows())
    rows = best_layers.read_rows(matched(arguments.rows, arguments.rows_specs), samples, modalities)
    best = best_layers.collect(rows, models)
    made_by = tables.provenance(**arguments.spec.provenance)
    tables.write(models.to_arrow(), arguments.models, made_by)
    tables.write(best.to_arrow(), arguments.best, made_by)
    print(best.filter(pl.col("modality_x") != pl.col("modality_y")).sort("score", descending=True))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
