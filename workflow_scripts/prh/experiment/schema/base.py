"""What all sections of an experiment share: their base class, and the types of names, paths, addresses and seeds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from prh.io.addresses import is_complete, redacted

LONGEST_NAME = 100
"""Most characters of a name: a figure's file name can contain two names, and file systems allow 255 characters."""


class Section(BaseModel):
    """A part of the configuration. Unknown keys are refused, and values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, raw: object) -> object:
        """``seed: yes`` is true in YAML, and would be the number 1."""
        for key, value in raw.items() if isinstance(raw, Mapping) else ():
            field = cls.model_fields.get(key) if isinstance(key, str) else None
            if isinstance(value, bool) and field is not None and not _allows(field.annotation, bool):
                raise ValueError(f"'{key}' is {str(value).lower()}, and wants another kind of value")
        return raw


def _allows(annotation: object, kind: type) -> bool:
    """Whether the type of a field is ``kind``, or contains it, as a union does."""
    return annotation in (kind, object) or any(_allows(part, kind) for part in get_args(annotation))


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


def _is_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+\S*", text) or not is_complete(text):
        raise ValueError("it is not a web address: these begin with https:// or http://, followed by the host")
    return text


def unusable_path(path: str) -> str | None:
    """Why a path cannot be used in Snakemake's patterns and in messages; None if it can. (Commands quote it.)"""
    if not path.isprintable():
        return "has a character that cannot be printed, such as a line break"
    return next((f"has a {sign}, which has a meaning for Snakemake" for sign in "{}<>" if sign in path), None)


def safe_folder(path: str) -> str:
    """``path`` as the folder of results, without redundant parts (``./``, ``//``, a trailing slash).

    Raises ValueError, with a sentence, for a path that Snakemake, the shell or a program would read differently.
    """
    tidy = re.sub("(?<!^)/+$", "", re.sub("//+", "/", re.sub(r"^(\./+)+", "", path)))
    reasons = {
        "is no folder of its own": os.path.normpath(tidy) in (".", "/", "//") or tidy.endswith(".."),
        "belongs to Snakemake": tidy.split("/")[-1] == ".snakemake",
        "has a space at an end": path != path.strip(),
        "begins with ~, which is not expanded here": tidy.startswith("~"),
        "begins with -, like an option": tidy.startswith("-"),
        "has a $, and variables are not expanded here": "$" in tidy,
        "is an address (for a bucket see profiles/s3)": "://" in path,
    }
    reason = unusable_path(path) or next((reason for reason, holds in reasons.items() if holds), None)
    if reason:
        raise ValueError(f"results is {path!r}, which {reason}; name another folder, such as results")
    return tidy


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=LONGEST_NAME)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(@[0-9]+)?$", max_length=LONGEST_NAME)]
"""As `Name`, or that of a checkpoint (prh/io/names.py), which only the workflow gives."""
Pattern = Annotated[str, AfterValidator(_is_pattern)]
# Only the download may see the secrets of an address: specs and logs contain it redacted.
Url = Annotated[str, AfterValidator(_is_address), PlainSerializer(redacted, return_type=str, when_used="json")]
Seed = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Folder = Annotated[str, AfterValidator(safe_folder)]
