"""Studies: a question each, answered by a table, its statistics and a picture. A study is one folder, or, from outside,
one file (docs/architecture.md).
"""

import pkgutil
from importlib import import_module

from prh.studies.base import STUDIES, Study, StudyTables, Target, register

__all__ = ["STUDIES", "Study", "StudyTables", "Target", "known", "register"]


def known() -> dict[str, Study]:
    """All studies by name: those of this package, and those that were registered from outside."""
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            import_module(f"{__name__}.{module.name}")
    return STUDIES
