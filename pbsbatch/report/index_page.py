"""The first page: what the night came to, every slide in a table, the archive as a whole, the samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pbsbatch.pages import shell, svg
from pbsbatch.report.slide_page import TYPES
from pbsbatch.run.events import STAGES_SAID

__all__ = ["Entry", "index_page"]

Row = Mapping[str, str]
METRICS = {
    "rbc_diameter_um": "red-cell diameter, µm", "rbc_diameter_cv_pct": "its variation, %",
    "rbc_per_mm2": "red cells per mm²", "wbc_per_mm2": "white cells per mm²", "platelet_per_mm2": "platelets per mm²",
    "analysed_fraction": "share analysed", "rbc_od": "stain: density of red cells",
    "edge_px": "focus: width of an edge, working px",
}  # fmt: skip
COURSES = ("rbc_diameter_um", "rbc_od", "edge_px")
"""What drifts with a scanner, a stain, a smear maker."""
DRAWN = (*TYPES, "unsure")
"""The parts of a slide's bar."""
LEAST_POINTS = 5
"""Fewer slides make no distribution."""
OUTLIER = 3.5
"""A slide stands out beyond so many scaled median deviations (Iglewicz and Hoaglin, 1993)."""
DIFFERENTIAL, DISAGREE = "differential", "disagree"
"""Columns that are left out where no slide has anything to say in them."""
HEADS = (
    ("slide", False), ("state", False), ("quality", False), ("red", True), ("white", True), ("platelets", True),
    ("red /mm²", True), ("white /mm²", True), ("platelets /mm²", True), (DIFFERENTIAL, False), (DISAGREE, True),
    ("analysed", True),
    ("µm/px", True), ("s", True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One slide in the table."""

    row: Row
    link: str = ""  # to its page
    thumbnail: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)  # beside what stands in the row
    scanner: str = ""
    scanned: str = ""  # when


def index_page(facts: Mapping[str, Any], entries: Sequence[Entry], samples: Sequence[Row], corrected: int = 0) -> str:
    """Return the first page; so many corrections of cells came in by hand."""
    return shell.page(
        "Blood smears: the report", [
            "<h1>Blood smears: the report</h1>", _when(facts), _cards(facts, entries),
            _notes(facts, entries, corrected), _table(entries), *_archive(entries), *_samples(samples),
        ], script=True,
    )  # fmt: skip


def _when(facts: Mapping[str, Any]) -> str:
    model, engine = facts.get("model", {}), facts.get("engine", {})
    said = [
        f"finished {_minute(str(facts['finished_utc']))}" if "finished_utc" in facts else "not finished yet",
        f"model {model.get('name', '?')} {model.get('version', '')}" if model else "",
        f"on {engine.get('name', '?')} in {engine.get('precision', '?')}" if engine else "",
    ]
    return f'<p class="dim">{shell.text(" · ".join(s for s in said if s))}</p>'


def _cards(facts: Mapping[str, Any], entries: Sequence[Entry]) -> str:
    count = [e.row.get("status", "") for e in entries].count
    to_review = sum(e.row.get("qc_status") in ("review", "fail") for e in entries)
    cells = sum(int(e.row[n]) for e in entries for n in ("n_rbc", "n_wbc", "n_platelet", "n_nrbc") if e.row.get(n))
    bound = str(facts.get("bound_by", ""))
    area = sum(float(e.row["analysed_mm2"]) for e in entries if e.row.get("analysed_mm2"))
    cards = [
        ("slides", f"{len(entries):,}", ""), ("done", f"{count('ok'):,}", "good"),
        ("failed", f"{count('failed'):,}", "bad" if count("failed") else ""),
        ("pending", f"{count('pending'):,}", "warn" if count("pending") else ""),
        ("to review", f"{to_review:,}", "warn" if to_review else ""),
        ("cells", f"{cells:,}", ""), ("mm² analysed", f"{area:,.1f}" if area else "", ""),
        ("took", _duration(facts.get("seconds")), ""), ("bound by", STAGES_SAID.get(bound, bound), ""),
    ]  # fmt: skip
    items = (f'<li><b class="{look}">{shell.text(value)}</b>{name}</li>' for name, value, look in cards if value)
    return f'<ul class="cards">{"".join(items)}</ul>'


def _notes(facts: Mapping[str, Any], entries: Sequence[Entry], corrected: int) -> str:
    notes = [f"{e.row['slide']}: {e.row['error']}" for e in entries if e.row.get("error")]
    if facts.get("stopped"):
        notes.insert(0, f"The run stopped early: {facts['stopped']}. Running the same command again goes on.")
    estimated = sum(e.row.get("mpp_source") == "estimated" for e in entries)
    if estimated:
        notes.append(
            f"{estimated} slides say no scale: it was estimated from the red cells, and their µm and mm² stay blank."
        )
    part = [e for e in entries if e.row.get("analysed_fraction") not in (None, "", "1")]
    if part:
        notes.append(
            f"Of {len(part)} slides a part could not be read: counts stand beside the share that was analysed."
        )
    doubted = [sum(int(e.row[n]) for e in entries if e.row.get(n)) for n in ("n_disagree", "n_low_margin")]
    if any(e.row.get("n_second_opinion") for e in entries):
        notes.append(
            f"The second opinion differs on {doubted[0]:,} white cells, and {doubted[1]:,} are a toss-up between two "
            "types: the pages of the slides show them first. Counts are the first's."
        )
    if corrected:
        notes.append(
            f"{corrected} cells were corrected by hand: corrections.jsonl says how. Counts are as they were found."
        )
    if not notes:
        return ""
    shown = "".join(f"<li>{shell.text(note)}</li>" for note in notes[:50])
    more = f"<li>and {len(notes) - 50} more</li>" if len(notes) > 50 else ""
    return f'<h2>To know</h2><ul class="notes">{shown}{more}</ul>'


def _table(entries: Sequence[Entry]) -> str:
    states = sorted({_state(e.row) for e in entries})
    has = {
        DIFFERENTIAL: any(map(_shares, (e.row for e in entries))),
        DISAGREE: any(e.row.get("n_disagree") for e in entries),
    }
    shown = [has.get(name, True) for name, _ in HEADS]
    options = "".join(f'<option value="{shell.text(s)}">{shell.text(s)}</option>' for s in states)
    heads = "".join(
        f'<th scope="col"{" class=n" if numeric else ""}><button type="button">{name}</button></th>'
        for (name, numeric), is_shown in zip(HEADS, shown, strict=True)
        if is_shown
    )
    return (
        '<h2>Slides</h2><div class="controls" hidden><label>Find<input id="find" type="search" '
        'placeholder="name, sample, reason"></label><label>Show<select id="state"><option value="">all</option>'
        f"{options}</select></label></div>"
        f'<div class="wide"><table id="slides"><thead><tr>{heads}</tr></thead><tbody>'
        f'{"".join(_line(e, shown) for e in entries)}</tbody></table></div><p id="none-left" hidden>No slide fits.</p>'
        f"{_key(entries)}"
    )


def _state(row: Row) -> str:
    return row.get("qc_status") or row.get("status", "") if row.get("status") == "ok" else row.get("status", "")


def _line(entry: Entry, shown: Sequence[bool]) -> str:
    row = entry.row
    name = shell.text(row["slide"])
    linked = f'<a href="{shell.text(entry.link)}">{name}</a>' if entry.link else name
    small = f'<img class="thumb" alt="" src="{entry.thumbnail}">' if entry.thumbnail else ""
    look = {"ok": "good", "failed": "bad", "pass": "good", "review": "warn", "fail": "bad"}
    reasons = _reasons(row)
    find = " ".join([row["slide"], row.get("sample", ""), reasons, row.get("error", "")]).lower()
    cells = [
        f'<td class="name" data-v="{name}">{small}{linked}</td>',
        f'<td class="{look.get(row.get("status", ""), "warn")}">{shell.text(row.get("status", ""))}</td>',
        f"<td>{_judged(row, look)}</td>",
        *(_number(row, n) for n in ("n_rbc", "n_wbc", "n_platelet", "rbc_per_mm2", "wbc_per_mm2", "platelet_per_mm2")),
        f"<td>{_bar(row)}</td>",
        _number(row, "n_disagree"),
        _number(row, "analysed_fraction", 3),
        f'<td class="n" data-v="{shell.text(row.get("mpp", ""))}">{shell.number(row.get("mpp", ""), 4)}'
        f'<br><span class="dim">{shell.text(row.get("mpp_source", ""))}</span></td>',
        _number(row, "seconds", 1) if row.get("mpix_per_s") else f'<td class="n dim" data-v="">{_kept(row)}</td>',
    ]
    kept = "".join(cell for cell, is_shown in zip(cells, shown, strict=True) if is_shown)
    return f'<tr data-text="{shell.text(find)}" data-state="{shell.text(_state(row))}">{kept}</tr>'


def _reasons(row: Row) -> str:
    return row.get("qc_reasons", "").replace("_", " ").replace(";", ", ")


def _judged(row: Row, look: Mapping[str, str]) -> str:
    """Return a slide's verdict and why; why there is none, where it failed."""
    status, why = row.get("qc_status", ""), shell.text(_reasons(row) or row.get("error", ""))
    judged = f'<span class="{look.get(status, "")}">{shell.text(status)}</span>' if status else ""
    return "<br>".join(part for part in (judged, f'<span class="dim">{why}</span>' if why else "") if part)


def _kept(row: Row) -> str:
    """Return what stands for the seconds of a slide on which this run did no work."""
    return "kept" if row.get("status") == "ok" else ""


def _minute(stamp: str) -> str:
    """Return a time of run.json as a person reads it."""
    return f"{stamp[:10]} {stamp[11:16]} UTC"


def _number(row: Row, name: str, digits: int = 0) -> str:
    value = row.get(name, "")
    return f'<td class="n" data-v="{shell.text(value)}">{shell.number(value, digits)}</td>'


def _shares(row: Row) -> list[tuple[str, float]]:
    return [(name, float(row[f"pct_{name}"])) for name in DRAWN if row.get(f"pct_{name}")]


def _bar(row: Row) -> str:
    shares = _shares(row)
    return svg.stacked(shares) if shares else ""


def _key(entries: Sequence[Entry]) -> str:
    """Return what the colours of the bars mean, where there are any."""
    if not any(e.row.get(f"pct_{name}") for e in entries for name in DRAWN):
        return ""
    said = (
        f'<span><i class="swatch" style="background:{svg.COLOURS[n]}"></i>{n.replace("_", " ")}</span>' for n in DRAWN
    )
    return f'<p class="key dim">Differential: {" ".join(said)}</p>'


def _archive(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the distributions over all slides and the courses of what drifts."""
    strips = []
    for metric, said in METRICS.items():
        points = _points(entries, metric)
        if len(points) < LEAST_POINTS:
            continue
        chart = svg.strip(points, _limits([value for _, value, _ in points]))
        strips.append(f"<figure><figcaption>{said}</figcaption>{chart}</figure>")
    if strips:
        yield (
            '<h2>The archive</h2><p class="dim">A point is a slide; the band is the median ± 3.5 scaled median '
            f'deviations, and slides outside it are marked.</p><div class="charts">{"".join(strips)}</div>'
        )
    courses = [chart for metric in COURSES for chart in _courses(entries, metric)]
    if courses:
        yield (
            '<h2>Course</h2><p class="dim">Each scanner by itself, about its own mean: slides beyond three standard '
            f'deviations are marked.</p><div class="charts">{"".join(courses)}</div>'
        )


def _courses(entries: Sequence[Entry], metric: str) -> Iterator[str]:
    """Yield a chart of each scanner's slides in the order of their times; without times, in that of the table."""
    scanners = sorted({e.scanner for e in entries})
    for scanner in scanners:
        own = [e for e in entries if e.scanner == scanner]
        timed = [e for e in own if e.scanned]
        if len(_points(timed, metric)) >= LEAST_POINTS:
            own = sorted(timed, key=lambda e: e.scanned)
        points = _points(own, metric)
        if len(points) < LEAST_POINTS:
            continue
        whose = f"scanner {scanner}" if scanner else "scanner not told" if len(scanners) > 1 else ""
        ends = (own[0].scanned[:10], own[-1].scanned[:10]) if own[0].scanned else None
        order = "by the time of the scan" if ends else "in the order of the table"
        caption = shell.text(", ".join(part for part in (METRICS[metric], whose, order) if part))
        yield f"<figure><figcaption>{caption}</figcaption>{svg.levey_jennings(points, ends)}</figure>"


def _points(entries: Sequence[Entry], metric: str) -> list[tuple[str, float, str]]:
    found = []
    for e in entries:
        value = e.measured.get(metric, math.nan) if metric in e.measured else float(e.row.get(metric) or "nan")
        if math.isfinite(value):
            found.append((e.row["slide"], value, e.link))
    return found


def _limits(values: Sequence[float]) -> tuple[float, float]:
    middle = float(np.median(values))
    spread = OUTLIER * 1.4826 * float(np.median(np.abs(np.array(values) - middle)))
    return middle - spread, middle + spread


def _samples(samples: Sequence[Row]) -> Iterator[str]:
    """Yield each sample's differential with what a manual count of 100 cells would have read."""
    known = [s for s in samples if any(s.get(f"pct_{name}") for name in TYPES)]
    if not known:
        return
    heads = "".join(f'<th scope="col" class="n">{name.replace("_", " ")}</th>' for name in TYPES)
    lines = "".join(
        f'<tr><td class="name">{shell.text(s.get("sample", ""))}</td>'
        f'<td class="n">{shell.number(s.get("n_wbc_diff", ""))}</td>'
        f"<td>{shell.text(s.get('diff_status', ''))}</td>{''.join(_share(s, name) for name in TYPES)}"
        f'<td class="n">{shell.number(s.get("pct_unsure", ""), 1)}</td></tr>'
        for s in known
    )
    yield (
        '<h2>Samples</h2><p class="dim">Per cent with its 95 % interval. Below it: between which numbers a manual '
        "count of 100 cells would have read, in 95 of 100 counts.</p>"
        '<div class="wide"><table><thead><tr><th scope="col">sample</th>'
        f'<th scope="col" class="n">cells</th><th scope="col">status</th>{heads}<th scope="col" class="n">unsure</th>'
        f"</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _share(row: Row, name: str) -> str:
    value = row.get(f"pct_{name}", "")
    if not value:
        return "<td></td>"
    low, high = counted_of_100(float(value) / 100)
    return (
        f'<td class="n">{float(value):.1f} <span class="dim">({shell.number(row.get(f"pct_{name}_lo", ""), 1)}–'
        f"{shell.number(row.get(f'pct_{name}_hi', ''), 1)})<br>{low}–{high}</span></td>"
    )


def counted_of_100(share: float, cells: int = 100) -> tuple[int, int]:
    """Return between which numbers 95 of 100 manual counts of so many cells lie."""
    chances = [math.comb(cells, k) * share**k * (1 - share) ** (cells - k) for k in range(cells + 1)]
    up = np.cumsum(chances)
    return int(np.searchsorted(up, 0.025)), int(np.searchsorted(up, 0.975))


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
