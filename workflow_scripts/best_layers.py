"""The table of models, and the table of the best layer pair of every two models."""

import argparse
import json
from pathlib import Path

import polars as pl

from prh import comparisons, tables
from prh.command import failing_in_one_sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="what tables tell of each model, as JSON")
    parser.add_argument(
        "--rows", nargs="+", type=Path, required=True, help=".../{dataset}/{metric}/{model}.best.parquet"
    )
    parser.add_argument("--features", nargs="+", type=Path, required=True, help="features tables, for what they say")
    parser.add_argument("--models", type=Path, required=True, help="table of models to write")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs to write")
    arguments = parser.parse_args()

    facts = {}
    for path in arguments.features:
        footer = tables.made_by(path)
        facts[footer["model"]] = {"parameters": footer["parameters"], "layers": len(footer["layer_names"])}
    # an entry's own number of parameters goes before the counted one
    told = [{key: value for key, value in model.items() if value is not None} for model in arguments.spec]
    models = pl.DataFrame([{**facts.get(model["model"], {}), **model} for model in told], schema=comparisons.MODELS)
    rows = [(path.parent.parent.name, path.parent.name, pl.from_arrow(tables.read(path))) for path in arguments.rows]
    best = comparisons.collect(rows, models)
    made_by = tables.provenance(rows=[str(path) for path in arguments.rows])
    tables.write(models.to_arrow(), arguments.models, made_by)
    tables.write(best.to_arrow(), arguments.best, made_by)
    print(best.filter(pl.col("modality_x") != pl.col("modality_y")).sort("score", descending=True))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
