"""The spec of a job: everything its result depends on besides its inputs, as one canonical string.

It holds the settings of the job, leaving out keys with their default value, and the digest of its code. A new key of
the schema therefore appears in no spec until somebody sets it, and makes nothing run again.

A *changed* default means another result for every entry that does not set the key. So the value left out of a spec is
not today's default but the first one that the key ever had, which ``defaults.json`` keeps. Keys are added to that file
(``make schema``) but never changed, and a default that changes later appears in the specs of all who rely on it.
"""

from __future__ import annotations

import hashlib
import json
from argparse import ArgumentTypeError
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from prh.experiment.schema.brought import Brought

RECORD = Path(__file__).with_name("defaults.json")


def canonical(settings: object) -> str:
    """JSON with sorted keys."""
    return json.dumps(settings, sort_keys=True)


@dataclass(frozen=True)
class Spec:
    """The settings of a job and the digest of its code (prh.experiment.code)."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""

    def __str__(self) -> str:
        """The spec as written in a command; `parse` reads it back."""
        return canonical({"code": self.code, **self.settings})

    @cached_property
    def digest(self) -> str:
        """Digest of the settings, 16 hexadecimal digits."""
        return hashlib.sha256(canonical(self.settings).encode()).hexdigest()[:16]

    @property
    def provenance(self) -> dict[str, object]:
        """What the footer of a table records about the spec that made it."""
        return {"spec": self.digest, "code": self.code, "settings": self.settings}

    def entry(self, key: str, kind: Any) -> Any:
        """The setting ``key`` as a typed entry of ``kind``, a section class or a union of them; see `filled`."""
        if key not in self.settings:
            raise ValueError(f"--spec has no '{key}'; it has {', '.join(self.settings) or 'nothing'}.")
        return filled(kind, self.settings[key])

    def optional(self, key: str, kind: Any) -> Any | None:
        """Like `entry`, but None if the spec has no such setting."""
        return self.entry(key, kind) if key in self.settings else None

    @classmethod
    def parse(cls, text: str) -> Spec:
        """The spec written as ``text``; a type for argparse."""
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ArgumentTypeError(f"is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise ArgumentTypeError("is no JSON object")
        return cls({key: value for key, value in content.items() if key != "code"}, str(content.get("code", "")))


# ---- entries without their defaults, and back -----------------------------------------------------------------


def differences(entry: BaseModel, only: Collection[str] | None = None, without: Collection[str] = ()) -> dict[str, Any]:
    """The keys of ``entry`` whose values differ from the recorded defaults, as JSON values.

    ``only`` and ``without`` restrict the keys. A key that is not recorded yet is compared with its current default.
    """
    recorded, told = _record().get(type(entry).__name__, {}), {}
    dumped = entry.model_dump(mode="json")  # as the section writes its values: addresses without their secrets
    for name, described in type(entry).model_fields.items():
        if name in without or (only is not None and name not in only):
            continue
        value = getattr(entry, name)
        default = recorded[name] if name in recorded else _default_of(described)
        plain = differences(value) if isinstance(value, BaseModel) else dumped[name]
        if plain != default:
            told[name] = plain
    return told


def filled(kind: Any, values: Mapping[str, Any]) -> Any:
    """The entry that `differences` describes by ``values``: keys that are missing get their defaults.

    ``kind`` is a class of prh.experiment.schema, or a union of classes distinguished by a key. An entry may be
    incomplete, because keys that a job does not use are left out of its spec; so rules between keys are not checked.
    Raises ValueError for an unknown key, a missing one without a default, and a wrong value.
    """
    section = _class_of(kind, values)
    if unknown := sorted(set(values) - set(section.model_fields)):
        raise ValueError(f"--spec: {section.__name__} has no key {', '.join(unknown)}.")
    recorded, whole = _record().get(section.__name__, {}), {}
    for name, described in section.model_fields.items():
        if name in values:
            whole[name] = _checked(section, name, values[name])
        elif name in recorded and recorded[name] != _default_of(described):
            whole[name] = _checked(section, name, recorded[name])
    return section.model_construct(**whole)


def _checked(section: type[BaseModel], name: str, value: Any) -> Any:
    described = section.model_fields[name]
    nested = sections_in(described.annotation)
    if nested and isinstance(value, Mapping):
        return filled(nested[0], value)
    try:
        return _adapter(section, name).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"--spec: {section.__name__}, {name}: {error.errors()[0]['msg']} (got {value!r}).") from None


@cache
def _adapter(section: type[BaseModel], name: str) -> TypeAdapter:
    described = section.model_fields[name]
    return TypeAdapter(Annotated[(described.annotation, *described.metadata)] if described.metadata
                       else described.annotation)  # fmt: skip


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The section classes in an annotation: the class itself, or those inside an optional, a list or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, Brought):
        return list(annotation.sections().values())
    return [section for part in get_args(annotation) for section in sections_in(part)]


def _class_of(kind: Any, values: Mapping[str, Any]) -> type[BaseModel]:
    if isinstance(kind, type):
        return kind
    union, told, *others = get_args(kind)
    for brought in others:
        if section := brought.section(values.get(brought.key)):
            return section
    for section in get_args(union):
        described = section.model_fields[told.discriminator]
        if values.get(told.discriminator, described.default) in get_args(described.annotation):
            return section
    known = [value for one in get_args(union) for value in get_args(one.model_fields[told.discriminator].annotation)]
    raise ValueError(f"--spec: {told.discriminator} must be one of {', '.join(map(str, known))}.")


# ---- the record of defaults -----------------------------------------------------------------------------------

MISSING = object()


@cache
def _record() -> dict[str, dict[str, Any]]:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def _default_of(described: Any) -> Any:
    """The default of a field in the form of `differences`; `MISSING` if there is none."""
    if described.is_required():
        return MISSING
    default = described.get_default(call_default_factory=True)
    return differences(default) if isinstance(default, BaseModel) else to_jsonable_python(default)


def recorded(sections: Collection[type[BaseModel]]) -> dict[str, dict[str, Any]]:
    """The recorded defaults plus those of new keys in ``sections``; recorded ones never change."""
    record = {name: dict(defaults) for name, defaults in _record().items()} if RECORD.exists() else {}
    for section in sections:
        known = record.setdefault(section.__name__, {})
        for name, described in section.model_fields.items():
            if name not in known and (default := _default_of(described)) is not MISSING:
                known[name] = default
    return record


def sections() -> list[type[BaseModel]]:
    """Every section class of the schema."""
    from prh.experiment import schema

    classes = [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, schema.Section)]
    return sorted(classes, key=lambda kind: kind.__name__)


if __name__ == "__main__":
    RECORD.write_text(json.dumps(recorded(sections()), indent=1) + "\n", encoding="utf-8")
