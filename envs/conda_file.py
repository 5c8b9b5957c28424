"""Print the conda environment with the pins of requirements.txt."""

import sys
from pathlib import Path

import yaml

lines = (Path(__file__).parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
pins = [line for line in lines if line and not line.lstrip().startswith("#")]
environment = {
    "name": "prh",
    "channels": ["conda-forge", "nodefaults"],
    "dependencies": ["python=3.11", "pip", {"pip": pins}],
}
print("# Generated from requirements.txt by `make lock`; do not edit.")
yaml.safe_dump(environment, sys.stdout, sort_keys=False, width=120)
