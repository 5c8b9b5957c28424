"""Puts the workflow into the wheel: what lies around the library in the repository comes to lie in prh/workflow."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PARTS = ("Snakefile", "config.yaml", "config.schema.yaml", "rules", "profiles", "resources", "experiments", "envs")


class WorkflowHook(BuildHookInterface):
    """Adds the files to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel is made."""
        if version == "editable":  # the workflow of the repository is used
            return
        root = Path(self.root)
        programs = [path.relative_to(root).as_posix() for path in root.glob("workflow_scripts/*.py")]
        for part in (*PARTS, "forkserver", *programs):
            build_data["force_include"][str(root / part)] = f"prh/workflow/{part}"
