"""The JSON schema of an experiment file (``config.schema.yaml``), which lets editors complete and check it."""

from __future__ import annotations

import yaml

from prh.experiment.schema.experiment import Experiment
from prh.experiment.schema.given import FeaturesModel, KernelModel
from prh.experiment.schema.registry import LISTS, From


def json_schema() -> str:
    """Return the JSON schema of an experiment file, as YAML with a heading."""
    heading = "# Generated from workflow_scripts/prh/experiment/schema by `make schema`; do not edit.\n"
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
    body["$defs"]["From"] = From.model_json_schema()
    for section in (FeaturesModel, KernelModel):
        body["$defs"][section.__name__] = section.model_json_schema()
    for kind in LISTS:
        entries = body["properties"][kind]
        others = ["FeaturesModel", "KernelModel", "From"] if kind == "models" else ["From"]
        entries["items"] = {"anyOf": [entries["items"], *({"$ref": f"#/$defs/{name}"} for name in others)]}
    return heading + yaml.safe_dump(body, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    print(json_schema(), end="")
