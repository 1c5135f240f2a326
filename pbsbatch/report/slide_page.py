"""The page of one slide: its picture with maps over it, sizes, the differential, white cells to look at, failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.colours import CLASS_COLOURS
from pbsbatch.detections import DISAGREE, LOW_MARGIN
from pbsbatch.pages import shell, svg
from pbsbatch.report import pictures
from pbsbatch.report.pictures import Crop, Layer
from pbsbatch.store import StoredSlide

__all__ = ["TYPES", "body", "slide_page"]

TYPES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "immature_granulocyte")
"""In the order in which a haematologist reads them."""
FACTS = {
    "status": "status", "sample": "sample", "qc_status": "quality", "qc_reasons": "reasons", "n_rbc": "red cells",
    "n_wbc": "white cells", "n_platelet": "platelets", "n_nrbc": "nucleated red cells",
    "rbc_per_mm2": "red cells per mm²", "wbc_per_mm2": "white cells per mm²",
    "platelet_per_mm2": "platelets per mm²", "n_wbc_diff": "cells of the differential",
    "diff_status": "differential", "n_second_opinion": "cells of the second opinion",
    "n_disagree": "of these, it differs on", "n_low_margin": "of these, a toss-up",
    "nrbc_per_100_wbc": "nucleated red cells per 100 white",
    "rbc_diameter_um": "red-cell diameter, µm", "rbc_diameter_cv_pct": "its variation, %", "mpp": "µm per pixel",
    "mpp_source": "scale from", "width_px": "width, px", "height_px": "height, px",
    "roi_mm2": "area with cells, mm²", "analysed_mm2": "analysed, mm²", "analysed_fraction": "share analysed",
    "monolayer_mm2": "monolayer, mm²", "model": "model", "engine": "engine", "version": "version",
    "seconds": "seconds of work",
}  # fmt: skip


def body(store: StoredSlide, slide: Path | None, mpp: float | None) -> str:
    """Return what a slide's store and pixels show: the part of its page that its row of the summary does not change."""
    return "".join([
        _smear(store), _sizes(store, mpp), _gallery(pictures.crops(store, slide, mpp), found=slide is not None),
    ])  # fmt: skip


def slide_page(
    row: Mapping[str, str], inner: str, failures: Sequence[Mapping[str, str]], home: str, kinds: Mapping[str, int]
) -> str:
    """Return a slide's page from its row of the summary, its body, its rows of failures.csv, what was corrected."""
    title = row["slide"]
    parts = [
        f'<nav><a href="{shell.text(home)}">← all slides</a></nav><h1>{shell.text(title)}</h1>',
        shell.facts({said: _plain(name, row.get(name, "")) for name, said in FACTS.items()} | _by_hand(kinds)),
        *_differential(row),
        inner,
        *_failures(failures),
    ]
    return shell.page(title, parts)


def _plain(name: str, value: str) -> str:
    """Return a value of the summary as a person reads it."""
    if name == "qc_reasons":
        return value.replace("_", " ").replace(";", ", ")
    if name == "seconds" and not float(value or 0):
        return ""  # kept: this run did no work on it
    counted = name.startswith("n_") or name.endswith("_per_mm2") or name in ("width_px", "height_px")
    return shell.number(value) if counted else value


def _by_hand(kinds: Mapping[str, int]) -> dict[str, str]:
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), reverse=True))
    return {"corrected by hand": said} if said else {}


def _smear(store: StoredSlide) -> str:
    found = pictures.layers(store)
    inputs = [_choice(0, "nothing", checked=True), *(_choice(i, each.name) for i, each in enumerate(found, 1))]
    rules = "".join(f"body:has(#map{i}:checked) .map{i}{{display:block}}" for i in range(1, len(found) + 1))
    overlay = "".join(
        f'<img class="layer map{i}" alt="" style="width:{each.wide:.2f}%;height:{each.tall:.2f}%" src="{each.uri}">'
        for i, each in enumerate(found, 1)
    )
    legends = "".join(_legend(i, each) for i, each in enumerate(found, 1))
    choices = f'<fieldset class="layers"><legend>Lay over it</legend>{"".join(inputs)}</fieldset>' if found else ""
    return (
        f"<h2>The smear</h2><style>{rules}</style>{choices}{legends}"
        f'<div class="smear"><img alt="the slide from afar" src="{pictures.picture(store)}">{overlay}</div>'
    )


def _choice(i: int, name: str, checked: bool = False) -> str:
    mark = " checked" if checked else ""
    return f'<label><input type="radio" name="map" id="map{i}"{mark}> {shell.text(name)}</label>'


def _legend(i: int, layer: Layer) -> str:
    if layer.names:
        inner = " ".join(f'<i class="swatch" style="background:{colour}"></i>{name}' for name, colour in layer.names)
        return f'<p class="legend map{i}">{inner}. Densities are counted in the monolayer.</p>'
    return f'<p class="legend map{i}">{shell.text(layer.name)}: {layer.low}<span class="ramp"></span>{layer.high}</p>'


def _sizes(store: StoredSlide, mpp: float | None) -> str:
    unit = "px" if mpp is None else "µm"
    charts = []
    for name, said in (("RBC", "red cells"), ("Platelet", "platelets")):
        if name in store.classes:
            values = _diameters(store, store.classes.index(name)) * (mpp or 1.0)
            chart = svg.histogram(values, unit, CLASS_COLOURS[name], said)
            charts.append(
                f"<figure><figcaption>Diameter of {said}, {unit}: of a circle of the mask's area; the dashed line is "
                f"the median</figcaption>{chart}</figure>"
            )
    return f'<h2>Sizes</h2><div class="charts">{"".join(charts)}</div>' if charts else ""


def _diameters(store: StoredSlide, kind: int) -> NDArray[np.float64]:
    rows, found = 1 << 18, []
    for first in range(0, store.info.cells, rows):
        table: Mapping[str, NDArray[Any]] = store.rows(first, min(first + rows, store.info.cells))
        found.append(np.sqrt(table["area_px"][table["class"] == kind] * 4 / np.pi).astype(np.float32))
    return np.concatenate(found).astype(np.float64) if found else np.zeros(0)


def _differential(row: Mapping[str, str]) -> Iterator[str]:
    known = [name for name in TYPES if row.get(f"pct_{name}", "") != ""]
    if not known:
        return
    rows = [
        (
            name.replace("_", " "),
            float(row[f"pct_{name}"]),
            _maybe(row, f"pct_{name}_lo"),
            _maybe(row, f"pct_{name}_hi"),
        )
        for name in known
    ]
    if row.get("pct_unsure", "") != "":
        rows.append(("unsure", float(row["pct_unsure"]), None, None))
        known = [*known, "unsure"]
    chart = svg.bars(rows, [svg.COLOURS[name] for name in known])
    cells = shell.text(row.get("n_wbc_diff", ""))
    yield (
        f'<h2>Differential</h2><div class="charts"><figure><figcaption>Per cent of {cells} white cells, with 95 % '
        f"intervals</figcaption>{chart}</figure></div>"
    )


def _maybe(row: Mapping[str, str], name: str) -> float | None:
    return float(row[name]) if row.get(name) else None


def _gallery(crops: Sequence[Crop], *, found: bool) -> str:
    if not crops:
        why = "none was found" if found else "the slide was not at hand when this page was made"
        return f'<h2>White cells</h2><p class="dim">No white cell is shown: {why}.</p>'
    doubted = [crop for crop in crops if crop.doubt]
    order = "those flagged by the second opinion first, then the least sure" if doubted else "the least sure first"
    parts = [f'<h2>White cells</h2><p class="dim">{len(crops)} cells, {order}; their number and score.</p>']
    for flag, said in ((DISAGREE, "The second opinion differs"), (LOW_MARGIN, "A toss-up between two types")):
        items = "".join(_doubted(c) for c in doubted if (DISAGREE if c.doubt & DISAGREE else LOW_MARGIN) == flag)
        parts += [f'<h3>{said}</h3><ul class="cells two">{items}</ul>'] if items else []
    crops = [crop for crop in crops if not crop.doubt]
    for name, group in groupby(sorted(crops, key=lambda c: (c.name, c.score)), key=lambda c: c.name):
        unsure = ' class="unsure"' if name in ("unsure", "abnormal_suspect") else ""
        items = "".join(
            f'<li{unsure}><img alt="{shell.text(name)}, cell {c.id}" src="{c.uri}">{c.id} · {c.score:.2f}</li>'
            for c in group
        )
        parts.append(f'<h3>{shell.text(name.replace("_", " "))}</h3><ul class="cells">{items}</ul>')
    return "".join(parts)


def _doubted(crop: Crop) -> str:
    """Return a cell with the first's word above it and the second's below."""
    name = crop.name.replace("_", " ")
    return (
        f'<li class="unsure"><b>{shell.text(name)} {crop.score:.2f}</b><img alt="{shell.text(name)}, cell {crop.id}" '
        f'src="{crop.uri}"><b>{shell.text(crop.second)}</b>{crop.id}</li>'
    )


def _failures(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if rows:
        items = "".join(
            f"<li>{'tile ' + shell.text(r['tile']) + ': ' if r.get('tile') else ''}{shell.text(r['error'])}</li>"
            for r in rows[:200]
        )
        more = f'<p class="dim">and {len(rows) - 200} more in failures.csv</p>' if len(rows) > 200 else ""
        yield f'<h2>What could not be read</h2><ul class="notes">{items}</ul>{more}'
