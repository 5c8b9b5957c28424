"""Studies: a question each, answered by a table, its statistics and a picture. A study is one folder, or, from outside,
one file (docs/architecture.md).
"""

from prh.io.functions import import_members
from prh.studies.base import STUDIES, Study, StudyTables, Target, register

__all__ = ["STUDIES", "Study", "StudyTables", "Target", "known", "register"]


def known() -> dict[str, Study]:
    """All studies by name: those of this package, and those that were registered from outside."""
    import_members(__name__, folders_only=True)
    return STUDIES
