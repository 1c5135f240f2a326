"""Which classifiers name the white cells of a run, if any: from settings to what the pipeline calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pbsbatch import models
from pbsbatch.config import Config
from pbsbatch.detections import UNTYPED
from pbsbatch.differential import WHITE, Differential
from pbsbatch.engines.load import load_classifier as load_engine
from pbsbatch.errors import UsageError
from pbsbatch.models.base import Model
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.folder import kind_of
from pbsbatch.models.load import built_in, classifiers
from pbsbatch.models.mapping import LEFT_OUT, Names
from pbsbatch.models.taxonomy import CALLED
from pbsbatch.models.words import type_of_word
from pbsbatch.opinion import SecondLook, SecondOpinion

__all__ = ["nobody", "room", "second_look"]

OPTION = "--second-opinion"


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Who is asked, before any engine runs."""

    first: CellClassifier | None
    other: CellClassifier | None
    means: tuple[int, ...] = ()  # of the first's types, in CALLED


def second_look(config: Config, model: Model, asked: str = "") -> SecondLook | None:
    """Return the second look at white cells, with engines of this process; None where none is wanted.

    asked: the engine as NAME:PRECISION; "" is PyTorch where the detector's engine was asked to be that, else the
    fastest on this processor. A detector that knows no white cells gives nothing to look at again, one that gives cells
    types has said its own, and only a second opinion is asked then.
    """
    chosen = _chosen(config, model)
    usual = "torch" if config.engine.partition(":")[0] == "torch" else "auto"
    name, _, precision = (asked or usual).partition(":")

    def looking(classifier: CellClassifier | None) -> Differential | None:
        if classifier is None:
            return None
        engine = load_engine(classifier, name, precision=precision or "auto")
        return Differential(classifier, engine, model.spec.classes.index(WHITE))

    first, other = looking(chosen.first), looking(chosen.other)
    if other is None:
        return first
    return SecondOpinion(first, other, model.spec.types if first is None else first.types, chosen.means)


def nobody(config: Config, model: Model, asked: str = "") -> SecondLook | None:
    """Leave white cells without a type."""
    return None


def room(config: Config, model: Model) -> tuple[float, int]:
    """Return the side of the crops that a run will cut in um, 0 where it cuts none, and the bytes that a second opinion
    takes; no engine is started.
    """
    chosen = _chosen(config, model)
    facts = [one.folder.facts for one in (chosen.first, chosen.other) if one is not None]
    reach = max((f.crop_px * f.crop_mpp for f in facts), default=0.0)
    return reach, 0 if chosen.other is None else chosen.other.memory_bytes


def _chosen(config: Config, model: Model) -> _Chosen:
    """Return who is asked. Raises UsageError and ModelError where a second opinion cannot be one."""
    spec = model.spec
    wanted = config.differential and WHITE in spec.classes and not spec.types
    first = models.load_classifier(config.classifier) if wanted else None
    if config.second_opinion is None:
        return _Chosen(first, None)
    if not _is_classifier(config.second_opinion):
        raise UsageError(f"{OPTION}: {config.second_opinion} is a detector, not a classifier of cells", cure=_CURE)
    other = models.load_classifier(config.second_opinion)
    if WHITE not in spec.classes:
        raise UsageError(f"{OPTION} is asked of white cells, and the model {spec.name} finds none", cure="Leave it out")
    if first is None and not spec.types:
        raise UsageError(
            f"{OPTION} has no first one to be held against: --no-differential leaves white cells unnamed",
            cure=f"Leave out --no-differential, or name them with --classifier {config.second_opinion}",
        )
    if first is None:
        return _Chosen(None, other, _meanings(spec.name, spec.types, dict(config.second_opinion_map)))
    if first.digest == other.digest:
        raise UsageError(f"{OPTION} and --classifier are the same classifier", cure="Give another one as the second")
    if config.second_opinion_map:
        raise UsageError(
            "--second-opinion-map says what a detector's types mean, and these are a classifier's", cure="Leave it out"
        )
    return _Chosen(first, other, tuple(range(len(CALLED))))


def _is_classifier(name_or_path: str) -> bool:
    """Say whether a model may be one; what is none at all is refused where it is loaded."""
    if name_or_path in built_in():
        return False
    folder = Path(name_or_path)
    return name_or_path in classifiers() or not (folder / "model.json").exists() or kind_of(folder) == "classifier"


_CURE = "Give a classifier, as `pbsbatch models train classifier` writes it; a detector is given with --model"


def _meanings(model: str, types: tuple[str, ...], mapping: dict[str, str]) -> tuple[int, ...]:
    """Return what a detector's types are in CALLED. Raises UsageError where a word is none, or none is a type."""
    for word in mapping:
        if word not in types:
            cure = f"It gives {', '.join(types)}"
            raise UsageError(f"--second-opinion-map names {word!r}, which {model} does not give", cure=cure)
    names = Names(mapping, option="--second-opinion-map")
    found = [type_of_word(names.of(word)) for word in types]
    if not any(found):
        raise UsageError(
            f"no type that {model} gives is one of the second opinion's: {', '.join(types)}",
            cure=f"Say in --second-opinion-map what they are, as {types[0]},neutrophil; {LEFT_OUT} stands for none",
        )
    return tuple(UNTYPED if name is None else CALLED.index(name) for name in found)
