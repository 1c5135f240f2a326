"""The resume key: what a slide's results depend on. Two equal keys mean equal results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pbsbatch.config import RESULT_FIELDS, UNUSUAL_FIELDS, Config
from pbsbatch.engines.base import Engine
from pbsbatch.engines.processor import place_of
from pbsbatch.models.base import ModelSpec
from pbsbatch.opinion import SecondLook, SecondOpinion

__all__ = ["RESULTS_VERSION", "key_facts", "resume_key", "what_changed"]

RESULTS_VERSION = 6
"""Raised when the code changes what it finds; committed results of an older version are redone."""
WORDS = {
    "content": "the slide changed", "mpp": "its scale changed", "mpp_source": "its scale changed",
    "model": "the model changed", "engine": "the engine changed", "precision": "the precision changed",
    "processor": "the kind of processor or GPU changed", "white_cells": "who names white cells changed",
    "second_opinion": "the second opinion changed", "results_version": "pbsbatch finds other things now",
}  # fmt: skip


def key_facts(
    *, content: str, mpp: float, mpp_source: str, spec: ModelSpec, engine: Engine, config: Config,
    second: SecondLook | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return all that a slide's results depend on, as plain JSON; a store keeps it, to say later what changed."""
    first = second.first if isinstance(second, SecondOpinion) else second
    named = {} if first is None else {**first.identity, "processor": place_of(first.engine)}
    facts = {
        "content": content, "mpp": repr(mpp), "mpp_source": mpp_source, "model": spec.digest, "engine": engine.name,
        "precision": engine.precision, "processor": place_of(engine), "results_version": RESULTS_VERSION,
        "config": {name: _plain(getattr(config, name)) for name in _fields_of(config)}, "white_cells": named,
    }  # fmt: skip
    if isinstance(second, SecondOpinion):  # left out where there is none: results made before there were any stay
        place = place_of(second.opinion.engine)
        facts["second_opinion"] = {**second.identity["second_opinion"], "processor": place}
    return facts


def _fields_of(config: Config) -> tuple[str, ...]:
    return (*RESULT_FIELDS, *(name for name in UNUSUAL_FIELDS if getattr(config, name) not in ((), None, False)))


def resume_key(facts: Mapping[str, Any]) -> str:
    """Return the hex digest that names a slide's results."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def what_changed(before: object, now: Mapping[str, Any]) -> str:
    """Say in words why results with other facts must be made again."""
    if not isinstance(before, dict):
        return "it was made by another version of pbsbatch"
    words = [text for name, text in WORDS.items() if before.get(name) != now.get(name)]
    settings = before.get("config")
    settings = settings if isinstance(settings, dict) else {}
    names = dict.fromkeys([*now["config"], *(name for name in UNUSUAL_FIELDS if name in settings)])
    words += [f"the setting {name} changed" for name in names if settings.get(name) != now["config"].get(name)]
    return ", ".join(dict.fromkeys(words)) or "it was made by another version of pbsbatch"


def _plain(value: object) -> object:
    """Return a value as JSON gives it back."""
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
