"""A TOML file's tables as frozen values: each key known, each value typed and bounded as its field declares."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pbsbatch.errors import UsageError

__all__ = ["make", "one_of", "read_table", "within"]


def within(low: float, high: float, default: Any = MISSING) -> Any:
    """Declare a number, or a list of numbers, with its bounds."""
    bounds = {"low": low, "high": high}
    return field(metadata=bounds) if default is MISSING else field(default=default, metadata=bounds)


def one_of(choices: tuple[str, ...], default: str) -> Any:
    """Declare a text that is one of a few."""
    return field(default=default, metadata={"choices": choices})


def read_table(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds, or say why it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the settings ({error.strerror})", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not valid TOML: {error}", path=path) from error


def make(kind: Any, table: Mapping[str, Any], path: Path) -> Any:
    """Return a dataclass made from a table as TOML gives it; path is where it stands."""
    try:
        return _made(kind, table, "", path)
    except UsageError as error:
        raise UsageError(error.what, path=path, cure=error.cure) from error


def _made(kind: Any, table: object, where: str, path: Path) -> Any:
    """Return a dataclass made from a table: every key known, every value typed and in its bounds."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where or 'the settings'} must be a table")
    known = {f.name: f for f in fields(kind)}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known settings: {', '.join(sorted(known))}"
            raise UsageError(f"unknown setting {_dotted(where, str(key))!r}", cure=hint)
    hints = get_type_hints(kind)
    values = {key: _value(known[key], hints[key], value, _dotted(where, key), path) for key, value in table.items()}
    missing = [
        f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING and f.name not in values
    ]
    if missing:
        raise UsageError(f"{_dotted(where, missing[0])} is missing")
    return kind(**values)


def _value(of: Field[Any], kind: Any, value: object, where: str, path: Path) -> Any:
    """Return one value as its type, or say what is wrong with it."""
    if hasattr(kind, "__dataclass_fields__"):
        return _made(kind, value, where, path)
    if get_origin(kind) is tuple:
        return _list(of, kind, value, where, path)
    if get_origin(kind) is Mapping:
        return _texts(value, where)
    said = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}[kind]
    wanted = (int, float) if kind is float else (kind,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{where} must be {said}, not {value!r}")
    choices, low, high = of.metadata.get("choices"), of.metadata.get("low"), of.metadata.get("high")
    if choices is not None and value not in choices:
        raise UsageError(f"{where} must be one of {', '.join(choices)}, not {value!r}")
    if low is not None and high is not None and not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{where} must lie between {low:g} and {high:g}, not {value}")
    return kind(value)


def _list(of: Field[Any], kind: Any, value: object, where: str, path: Path) -> tuple[Any, ...]:
    """Return a list as a tuple, each entry checked; names of fields may stand in files."""
    inner = get_args(kind)
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where} must be a list")
    if inner[-1] is not Ellipsis and len(value) != len(inner):
        raise UsageError(f"{where} must be a list of {len(inner)}")
    entries = tuple(_value(of, inner[0], v, f"{where}[{i}]", path) for i, v in enumerate(value))
    return _patterns(entries, where, path) if inner[0] is str else entries


def _texts(value: object, where: str) -> dict[str, str]:
    """Return a table of texts by name."""
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise UsageError(f"{where} must be a table of texts")
    return {str(name): str(text) for name, text in value.items()}


def _patterns(entries: tuple[str, ...], where: str, path: Path) -> tuple[str, ...]:
    """Return patterns with every @FILE replaced by the lines of the file."""
    out: list[str] = []
    for entry in entries:
        if not entry.startswith("@"):
            out.append(entry)
            continue
        listed = path.parent / entry[1:]
        try:
            lines = listed.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: cannot read {listed}", cure="Write one field name on each line") from error
        out += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return tuple(out)


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
