"""Studies: each answers one question with a table, statistics and a figure.

A study is one folder of this package, or one file of a plugin (docs/architecture.md).
"""

from prh.io.functions import import_members
from prh.studies.base import STUDIES, Study, StudyTables, Target, register

__all__ = ["STUDIES", "Study", "StudyTables", "Target", "known", "register"]


def known() -> dict[str, Study]:
    """All studies by name: those of this package and those registered by plugins."""
    import_members(__name__, folders_only=True)
    return STUDIES
