"""Facts about lm-eval's own tasks, apart from the code that scores them: downloads do not depend on that code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


def source_of_task(task: str) -> tuple[str, str | None]:
    """The hub's data set of one of lm-eval's own tasks, and the revision that the task asks for (None: it names none).

    Raises ValueError for a group of tasks, and for a task that lm-eval does not know.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    if task not in manager.all_subtasks:
        raise ValueError(f"lm-eval {lm_eval.__version__} has no task {task}; of a group name each task.")
    config = task_settings(manager, task, functions=False)
    return config["dataset_path"], (config.get("dataset_kwargs") or {}).get("revision")


def task_settings(manager: TaskManager, task: str, *, functions: bool = True) -> dict:
    """The settings in lm-eval's file of a task; its class for tasks would download the data right away."""
    from lm_eval.tasks._yaml_loader import load_yaml

    return load_yaml(manager.task_index[task].yaml_path, resolve_func=functions)
