"""Entries whose classes come from plugins: how a union of sections accepts those that a registry holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticKnownError, core_schema


class Brought:
    """Annotation of a union: also accept the classes that plugins have registered in ``registry``, selected by ``key``.

    The registry is read each time an entry is checked. Its members have an ``entry``: a class if a plugin brought them,
    or the place of a class if they are built in, since those classes are in the union itself.
    """

    def __init__(self, key: str, registry: Mapping[str, Any]) -> None:
        self.key, self.registry = key, registry

    def section(self, value: object) -> type[BaseModel] | None:
        """The plugin's class for entries whose key has this value; None if no plugin has one."""
        return self.sections().get(value) if isinstance(value, str) else None

    def sections(self) -> dict[str, type[BaseModel]]:
        """All classes from plugins, by the value of the key."""
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
            about_key = first["type"] == "union_tag_invalid" and first["ctx"]["discriminator"] == repr(self.key)
            if not about_key or not self.sections():
                raise
            known = ", ".join([first["ctx"]["expected_tags"], *map(repr, self.sections())])
            raise PydanticKnownError("union_tag_invalid", {**first["ctx"], "expected_tags": known}) from None
