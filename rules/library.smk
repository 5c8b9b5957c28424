# The library of the workflow, and the experiment files as they are written: looked at before Snakemake loads the default.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The code of the workflow, wherever it was started from and whatever prh the environment holds.
WORKFLOW = Path(workflow.current_basedir.get_path_or_uri(secret_free=False)).parent
PROGRAMS = WORKFLOW / "workflow_scripts"
sys.path.insert(0, str(PROGRAMS))

import prh

if Path(prh.__file__).parents[1].resolve() != PROGRAMS.resolve():
    raise WorkflowError(f"prh was imported from {Path(prh.__file__).parent} before {PROGRAMS} could be; start anew.")

from prh.experiment.messages import ConfigError
from prh.experiment.registries import read

default_experiment = "config.yaml" if Path("config.yaml").is_file() else str(WORKFLOW / "config.yaml")

# Snakemake would take the last of two equal keys, and run the Python of a file that asks for that.
for configuration in workflow.overwrite_configfiles or [default_experiment]:
    try:
        read(configuration)
    except ConfigError as error:
        raise WorkflowError(f"The experiment cannot run:\n{error}") from None
