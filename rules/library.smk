# Imports the workflow's library and checks the experiment files as written, before Snakemake loads the default.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Use this workflow's code, wherever snakemake was started and whichever prh the environment has installed.
WORKFLOW = Path(workflow.current_basedir.get_path_or_uri(secret_free=False)).parent
PROGRAMS = WORKFLOW / "workflow_scripts"
LIBRARY = PROGRAMS
if not (PROGRAMS / "prh").is_dir():  # installed from a wheel, the workflow lies in the package: prh/workflow
    LIBRARY = WORKFLOW.parents[1]
sys.path[:0] = [str(LIBRARY), str(WORKFLOW / "forkserver")]

import prh

if Path(prh.__file__).parents[1].resolve() != LIBRARY.resolve():
    raise WorkflowError(f"prh was already imported from {Path(prh.__file__).parent}, not from {LIBRARY}; start again.")

from prh.experiment.messages import ConfigError
from prh.experiment.registries import read

default_experiment = "config.yaml" if Path("config.yaml").is_file() else str(WORKFLOW / "config.yaml")

# Snakemake would silently use the last of two equal keys, and run the Python in a file that asks for it.
for configuration in workflow.overwrite_configfiles or [default_experiment]:
    try:
        read(configuration)
    except ConfigError as error:
        raise WorkflowError(f"The experiment cannot run:\n{error}") from None
