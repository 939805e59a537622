"""YAML files and settings: every problem becomes a sentence."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ValidationError,
)

from boostnerv.config.base import Closed
from boostnerv.errors import UserError, nearest

Settings = TypeVar("Settings", bound="Closed")

# That of libyaml is ten times as fast; a PyYAML built without it has none.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_Loader):  # type: ignore[misc, valid-type]
    """Plain YAML in which a key of a mapping stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """Read a YAML mapping; raises `UserError` where there is none."""
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{what} file {path} does not exist; check the path") from error
    except OSError as error:
        raise UserError(f"{what} file {path} cannot be read: {error.strerror}; check the path") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        at, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = (f" at line {at.line + 1}" if at else "") + (f" ({problem})" if problem else "")
        raise UserError(f"{what} file {path} is not valid YAML{where}; correct it there") from error
    if not isinstance(value, dict):
        raise UserError(f"{what} file {path} must hold keys and values; see config/README.md")
    return value


def parse(kind: type[Settings], value: Any, what: str) -> Settings:
    """Validate `value` as `kind`; every problem becomes a sentence of one `UserError`."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems = [problem_sentence(kind, problem) for problem in error.errors()]
        raise UserError(f"{what}: " + "; ".join(dict.fromkeys(problems))) from error


def problem_sentence(kind: type[BaseModel], problem: Mapping[str, Any], above: str = "") -> str:
    """What a user reads of one of pydantic's problems with `kind`; `above` is where `kind` stands."""
    place = [str(part) for part in problem["loc"]]
    where = above + ".".join(place)
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}': {nearest(place[-1], _keys_at(kind, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"'{where}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = problem.get("input")
    value = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    return f"'{where}': {message}{value}" if where else message


def _keys_at(kind: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """Valid keys of the settings class found at `place`; all keys of `kind` where that is unclear."""
    classes = [kind]
    for part in place:
        if isinstance(part, int):
            continue
        inner_classes = [
            inner
            for outer in classes
            if part in outer.model_fields
            for inner in _classes_in(outer.model_fields[part].annotation)
        ]
        classes = inner_classes or classes
    return sorted({name for settings in classes for name in settings.model_fields})


def _classes_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [settings for part in typing.get_args(annotation) for settings in _classes_in(part)]
