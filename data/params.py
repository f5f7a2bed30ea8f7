"""Reads YAML strictly, turns one section into a frozen dataclass, explains what is wrong."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
MAX_VALUES = 100_000  # in all of params.yaml; aliases of aliases have billions


class ParamsError(ValueError):
    """A setting is unknown, missing or of the wrong type."""


class _Once(yaml.SafeLoader):
    """Reads plain YAML in which every key stands once.

    Of two settings of one name nobody could say which counts.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Returns a mapping as it is written.

        Raises ParamsError naming the second of two equal keys and its line.
        """
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise ParamsError(
                    f"{key.value} stands in it twice, again in line {key.start_mark.line + 1}"
                )
            seen.add((key.tag, str(key.value)))
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping that a YAML file holds, {} where it is empty.

    Raises ParamsError naming the file and what is wrong: absent, not YAML, a key that stands twice.
    """
    if not path.is_file():
        raise ParamsError(f"{path}: no such file. Set KEEPLINE_PARAMS, or run from the checkout.")
    try:
        sections = yaml.load(path.read_text(encoding="utf-8"), _Once) or {}
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}. Take one out.") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML ({str(error).replace(chr(10), ' ')}).") from error
    except RecursionError as error:
        raise ParamsError(f"{path}: nested too deeply.") from error
    refuse_bomb(sections, str(path))
    if not isinstance(sections, dict):
        raise ParamsError(f"{path}: must hold sections, not {type(sections).__name__}.")
    return sections


def section(cls: type[T], values: Mapping[str, Any] | None, name: str) -> T:
    """Builds `cls` from `values`; nested dataclasses and lists are checked too.

    Keys that `cls.RENAMED` lists (old name → new name) are still read; of both the new name counts.
    Raises ParamsError naming the section, the key and what was expected.
    """
    values = dict(values or {})
    for old, new in getattr(cls, "RENAMED", {}).items():
        if old in values:
            renamed = values.pop(old)
            values.setdefault(new, renamed)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ParamsError(
            f"params.yaml: {name}.{unknown[0]} is not a setting. Known: {', '.join(fields)}."
        )
    hints = typing.get_type_hints(cls)
    built = {key: _convert(hints[key], value, f"{name}.{key}") for key, value in values.items()}
    missing = [
        key
        for key, field in fields.items()
        if key not in built
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ParamsError(f"params.yaml: {name}.{missing[0]} is missing.")
    return cls(**built)


def refuse_bomb(document: Any, where: str) -> None:
    """Raises ParamsError when `document` unfolds to more than MAX_VALUES values.

    YAML aliases are copied as a reader would copy them.
    """
    stack, seen = [document], 0
    while stack:
        value = stack.pop()
        seen += 1
        if seen > MAX_VALUES:
            raise ParamsError(
                f"{where}: unfolds to more than {MAX_VALUES} values. Take its aliases out."
            )
        if isinstance(value, Mapping):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (inner,) = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        return _convert(inner, value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ParamsError(f"params.yaml: {where} must be a mapping, not {value!r}.")
        return section(hint, value, where)
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise ParamsError(f"params.yaml: {where} must be a list, not {value!r}.")
        inner = typing.get_args(hint)[0]
        return origin(_convert(inner, item, where) for item in value)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise ParamsError(f"params.yaml: {where} must be a mapping, not {value!r}.")
        args = typing.get_args(hint)
        if not args:
            return dict(value)
        bad = next((key for key in value if not isinstance(key, args[0])), None)
        if bad is not None:  # `off: 1` has the key false
            raise ParamsError(f"params.yaml: {where} has the key {bad!r}; put it in quotes.")
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ParamsError(f"params.yaml: {where} must be {hint.__name__}, not {value!r}.")
    if value != value:  # a limit that is no number would be kept by whatever it is held against
        raise ParamsError(f"params.yaml: {where} is not a number.")
    return value
