"""The results of a run as Python values: `open_run(OUT)` gives its slides, their rows of summary.csv and their stores.

Law: reading changes nothing, and what is not there is said: a run that is not finished gives the slides it has.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pbsbatch.errors import StoreError, UsageError
from pbsbatch.ledger import Correction, Ledger
from pbsbatch.run.csv_text import plain_cell
from pbsbatch.run.discovery import discover
from pbsbatch.store import StoredSlide, open_store

__all__ = ["Run", "RunSlide", "frame_of", "open_run", "originals"]

SUMMARY = "summary.csv"


@dataclass(frozen=True)
class RunSlide:
    """One slide of a run."""

    id: str
    name: str  # as summary.csv has it: the path below the input
    row: Mapping[str, str]  # of summary.csv; empty while the run is not finished
    path: Path  # of the store, which may not be there
    ledger: Ledger | None = field(default=None, repr=False, compare=False)  # of the run

    @cached_property
    def store(self) -> StoredSlide:
        """Return the slide's store. Raises StoreError where there is none that can be read."""
        return open_store(self.path)

    @property
    def cells(self) -> Mapping[str, Any]:
        """Return the table of cells, one array for each column, rows in the order of the ids."""
        return self.store.cells

    @property
    def scanner(self) -> str:
        """Return which scanner made the slide, as far as its file says and the run may tell."""
        return str(self.store.attributes.get("scanner") or "")

    @property
    def scanned(self) -> str:
        """Return when, by the scanner's own clock: YYYY-MM-DDTHH:MM:SS, or nothing."""
        return str(self.store.attributes.get("scanned") or "")

    @cached_property
    def corrections(self) -> tuple[Correction, ...]:
        """Return what people said of its cells, in order. Raises StoreError where the ledger is damaged."""
        said = () if self.ledger is None else self.ledger.of(self.id)
        return tuple(one for one in said if one.store == self.store.info.key)

    def frame(self) -> Any:
        """Return the cells as a pandas DataFrame by id, classes and types by name. Raises UsageError without pandas."""
        return frame_of(self.cells, self.store.classes, self.store.types, self.store.second_types)

    @property
    def mpp(self) -> float | None:
        """Return um per pixel; None where nothing but the red cells told it."""
        mpp = self.store.attributes["store"]["mpp"]
        return None if mpp is None else float(mpp)


@dataclass(frozen=True)
class Run(Sequence[RunSlide]):
    """A run's slides, in the order of summary.csv; those that have a store."""

    path: Path
    slides: tuple[RunSlide, ...]
    facts: Mapping[str, Any]  # run.json; empty while the run is not finished
    ledger: Ledger = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.slides)

    def __getitem__(self, which: Any) -> Any:
        """Return a slide by its place, or by its id or name."""
        if isinstance(which, str):
            return self.slide(which)
        return self.slides[which]

    def __iter__(self) -> Iterator[RunSlide]:
        return iter(self.slides)

    @property
    def corrections(self) -> tuple[Correction, ...]:
        """Return all that people said of cells, also of slides that were computed again since."""
        return self.ledger.corrections

    @property
    def finished(self) -> bool:
        """Say whether the run came to its end, well or not."""
        return bool(self.facts)

    def slide(self, which: str) -> RunSlide:
        """Return a slide by its id or its name."""
        found = [s for s in self.slides if which in (s.id, s.name)]
        if not found:
            known = ", ".join(s.id for s in self.slides[:5]) + (", ..." if len(self.slides) > 5 else "")
            raise UsageError(f"there is no slide {which!r}", path=self.path, cure=f"There are {known or 'none'}")
        return found[0]

    def table(self) -> dict[str, list[str]]:
        """Return summary.csv by column."""
        names = list(self.slides[0].row) if self.slides else []
        return {name: [slide.row.get(name, "") for slide in self.slides] for name in names}


def open_run(out: str | Path) -> Run:
    """Open a folder of results. Raises UsageError where there are none."""
    path = Path(out)
    if not (path / "slides").is_dir() and not (path / SUMMARY).is_file():  # a run whose slides all failed has no stores
        raise UsageError("this is no folder of results: it has no slides/", path=path, cure="Give a run's --output")
    rows = _rows(path / SUMMARY)
    by_store = {Path(row["store"]).stem: row for row in rows if row.get("store")}
    stores = {p.stem: p for p in sorted((path / "slides").glob("*.zarr"))}
    order = [*(i for i in by_store if i in stores), *(i for i in stores if i not in by_store)]
    slides, ledger = [], Ledger(path)
    for slide_id in order:
        row = by_store.get(slide_id, {})
        slides.append(RunSlide(slide_id, row.get("slide", slide_id), row, stores[slide_id], ledger))
    return Run(path, tuple(slides), _facts(path / "run.json"), ledger)


def frame_of(
    cells: Mapping[str, Any], classes: Sequence[str], types: Sequence[str], second_types: Sequence[str] = ()
) -> Any:  # fmt: skip
    """Return a table of cells as a pandas DataFrame by id. Raises UsageError without pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        cure = "Run: pip install pandas; the columns of `cells` need none"
        raise UsageError("a DataFrame needs pandas", cure=cure) from error
    frame = pd.DataFrame(dict(cells))
    frame["class"] = pd.Categorical.from_codes(frame["class"].astype(int), categories=list(classes))
    for column, names in (("type", types), *((("second_type", second_types),) if second_types else ())):
        kinds = frame[column].astype(int)
        frame[column] = pd.Categorical.from_codes(kinds.where(kinds < len(names), -1), categories=list(names))
    return frame.set_index("id")


def originals(run: Run) -> Mapping[str, Path]:
    """Return where the slides of a run lie, by id, as far as they are still there."""
    inputs = [Path(p) for p in run.facts.get("config", {}).get("inputs", [])]
    there = [p for p in inputs if p.exists()]
    if not there:
        raise UsageError(
            "the slides of this run are not where they were, or the run has not finished", path=run.path,
            cure="Crops are cut from the slides: put them back, or run again",
        )  # fmt: skip
    return {
        ref.id: ref.path
        for ref in discover(inputs if len(there) == len(inputs) else there, output=None, mpp=None).slides
    }


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return [{k: plain_cell(v) for k, v in row.items()} for row in csv.DictReader(handle)]
    except FileNotFoundError:
        return []


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StoreError("it is not valid JSON", path=path, cure="Run again: it is written anew") from error
    return facts if isinstance(facts, dict) else {}
