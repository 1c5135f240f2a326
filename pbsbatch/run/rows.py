"""The rows of summary.csv and samples.csv as text, blank where nothing is known. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pbsbatch import __version__
from pbsbatch.run.columns import COLUMNS, SAMPLE_COLUMNS, measured, text
from pbsbatch.run.events import SlideResult
from pbsbatch.run.judge import Verdict, verdict_of_sample, verdicts
from pbsbatch.run.tally import pooled, tally_of

__all__ = ["sample_rows", "slide_rows"]

Row = dict[str, str]


def slide_rows(results: Sequence[SlideResult], output: Path, model: str, engine: str) -> list[Row]:
    """Return a row for each slide, in their order."""
    judged = verdicts(results)
    return [_slide_row(r, judged[r.slide_id], output) | {"model": model, "engine": engine} for r in results]


def sample_rows(results: Sequence[SlideResult], model: str, engine: str) -> list[Row]:
    """Return a row for each sample, in the order of their first slides: the counts of its slides together."""
    judged = verdicts(results)
    samples: dict[str, list[SlideResult]] = {}
    for r in results:
        samples.setdefault(r.sample, []).append(r)
    return [_sample_row(name, slides, judged) | {"model": model, "engine": engine} for name, slides in samples.items()]


def _slide_row(result: SlideResult, verdict: Verdict, output: Path) -> Row:
    row = dict.fromkeys(COLUMNS, "") | {
        "slide": result.name, "sample": result.sample, "status": result.status, "error": result.error or "",
        "qc_status": verdict.status, "qc_reasons": ";".join(verdict.reasons), "width_px": text(result.width_px),
        "height_px": text(result.height_px), "mpp": "" if result.mpp_source == "estimated" else text(result.mpp, 6),
        "mpp_source": result.mpp_source or "", "version": __version__,
    }  # fmt: skip
    tally = tally_of(result)
    if tally is not None:
        row |= measured(tally, alone=True)
    return row | _speed([result]) | {"store": "" if result.store is None else os.path.relpath(result.store, output)}


def _sample_row(name: str, slides: Sequence[SlideResult], judged: Mapping[str, Verdict]) -> Row:
    """Return the row of slides put together; what they do not have in common is blank."""
    done = [r for r in slides if r.status == "ok"]
    row = dict.fromkeys(SAMPLE_COLUMNS, "") | {
        "slides": str(len(slides)), "sample": name, "status": _status(slides), "version": __version__,
        "error": "" if len(done) == len(slides) else f"{len(slides) - len(done)} of {len(slides)} slides are not done",
        "mpp_source": _common([r.mpp_source or "" for r in done]),
    }  # fmt: skip
    tallies = [tally for tally in map(tally_of, done) if tally is not None]
    if not tallies:
        return row
    together = pooled(tallies)
    alone = len(slides) == 1 and slides[0].sample == slides[0].slide_id  # nobody put it together
    verdict = verdict_of_sample(together, [judged[r.slide_id] for r in done], alone=alone)
    row |= {"qc_status": verdict.status, "qc_reasons": ";".join(verdict.reasons)}
    return row | measured(together, alone=alone) | _speed(done)


def _status(slides: Sequence[SlideResult]) -> str:
    """Return ok where any slide is done and none is still to do."""
    states = [r.status for r in slides]
    return next((s for s in ("pending", "ok", "failed") if s in states), states[0])


def _common(values: Sequence[str]) -> str:
    found = set(values)
    return "" if not found else found.pop() if len(found) == 1 else "mixed"


def _speed(results: Sequence[SlideResult]) -> Row:
    seconds = [r.seconds for r in results if r.seconds is not None]
    total = sum(seconds)
    mpix = sum(r.computed_mpix or 0.0 for r in results)
    return {"seconds": text(total if seconds else None, 3), "mpix_per_s": text(mpix / total, 3) if total else ""}
