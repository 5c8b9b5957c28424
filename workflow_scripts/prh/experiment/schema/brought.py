"""Entries of classes from outside: how a union of sections takes those that a registry holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticKnownError, core_schema


class Brought:
    """Beside the classes of a union, those that plugins have brought to ``registry``, told apart by ``key``.

    It stands in the annotation of the union. The registry is asked when an entry is checked; what it holds has
    ``entry``, a class, or, of the workflow's own, where that is: these are in the union itself.
    """

    def __init__(self, key: str, registry: Mapping[str, Any]) -> None:
        self.key, self.registry = key, registry

    def section(self, value: object) -> type[BaseModel] | None:
        """The class from outside of entries whose key has a value."""
        return self.sections().get(value) if isinstance(value, str) else None

    def sections(self) -> dict[str, type[BaseModel]]:
        """All classes from outside, by the value of the key."""
        return {name: kind.entry for name, kind in self.registry.items() if isinstance(kind.entry, type)}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._checked, handler(source))

    def _checked(self, raw: Any, own: Callable[[Any], Any]) -> Any:
        if isinstance(raw, Mapping) and (section := self.section(raw.get(self.key))):
            return section.model_validate(raw)
        try:
            return own(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["type"] != "union_tag_invalid" or not self.sections():
                raise
            known = ", ".join([first["ctx"]["expected_tags"], *map(repr, self.sections())])
            raise PydanticKnownError("union_tag_invalid", {**first["ctx"], "expected_tags": known}) from None
