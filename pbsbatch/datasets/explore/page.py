"""A data set's findings as one page: figures, charts, a contact sheet with boxes, the suspicious images themselves.

Law: the page needs no other file; names from outside are text, never markup.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

from pbsbatch.colours import CLASS_COLOURS, TYPE_COLOURS, colours_of
from pbsbatch.datasets.explore.findings import PERCENTILES, Findings, Pair
from pbsbatch.datasets.explore.look import Look
from pbsbatch.datasets.explore.text import TROUBLES
from pbsbatch.datasets.pixels import resized
from pbsbatch.datasets.samples import decode
from pbsbatch.pages import shell, svg

__all__ = ["page_of"]

SHEET, SHOWN, MOST_LISTED = 24, 12, 200
SIDE_PX = 300
STYLE = (
    "<style>ul.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:10px;padding:0;"
    "list-style:none}ul.sheet img{width:100%;display:block}ul.sheet li{font-size:12px;overflow-wrap:anywhere}"
    "ul.key{display:flex;flex-wrap:wrap;gap:14px;padding:0;list-style:none}ul.key b{display:inline-block;width:12px;"
    "height:12px;margin-right:5px}div.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));"
    "gap:18px}td,th{font-variant-numeric:tabular-nums}</style>"
)


def page_of(found: Findings) -> str:
    """Return the page."""
    table = found.table()
    colours = dict(zip(found.classes, colours_of(list(found.classes), {**TYPE_COLOURS, **CLASS_COLOURS}), strict=True))
    facts = {
        "format": str(table["format"]), "images": f"{table['images']:,}", "cells": f"{table['cells']:,}",
        "splits": ", ".join(f"{name or '(none)'} {n:,}" for name, n in table["splits"].items()),
        "image sizes": ", ".join(f"{size} ({n:,})" for size, n in table["image_sizes"].items()),
    }  # fmt: skip
    body = [
        STYLE, f"<h1>{shell.text(found.root.name)}</h1>", shell.facts(facts), "<h2>Classes</h2>",
        _classes(table["classes"], table["cells_per_image"]),
        '<div class="charts">', *_charts(found, colours), "</div>",
        "<h2>To look at before training</h2>", _troubles(table), _key(colours), *_suspects(found, colours),
        "<h2>Contact sheet</h2>", _sheet(_spread(found.looks), colours),
    ]  # fmt: skip
    return shell.page(f"{found.root.name}: labelled data", body)


def _classes(rows: Sequence[Mapping[str, object]], per_image: Mapping[str, float]) -> str:
    head = "".join(f'<th class="n">{p} %</th>' for p in PERCENTILES)
    lines = []
    for row in rows:
        side = row["side_px"]
        assert isinstance(side, dict)
        cells = "".join(f'<td class="n">{side[str(p)]:.0f}</td>' if side else "<td></td>" for p in PERCENTILES)
        lines.append(
            f'<tr><td>{shell.text(str(row["class"]))}</td><td class="n">{row["cells"]:,}</td>'
            f'<td class="n">{row["images"]:,}</td>{cells}</tr>'
        )
    each = "".join(f'<td class="n">{v:.0f}</td>' for v in per_image.values())
    lines.append(f"<tr><td>cells per image</td><td></td><td></td>{each}</tr>")
    return (
        '<div class="wide"><table><thead><tr><th>class</th><th class="n">cells</th><th class="n">images</th>'
        f"{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        '<p class="dim">Percentiles of the side of boxes in pixels: the square root of width times height.</p>'
    )


def _charts(found: Findings, colours: Mapping[str, str]) -> Iterator[str]:
    total = max(1, sum(found.classes.values()))
    shares = [(name, 100 * n / total, None, None) for name, n in found.classes.items()]
    if shares:
        yield f"<div><h3>Share of cells in %</h3>{svg.bars(shares, list(colours.values()))}</div>"
    yield f"<div><h3>Cells per image</h3>{svg.histogram(found.cells_per_image, 'cells', '#0072b2', 'images')}</div>"
    for name, colour in colours.items():
        sides = found.sides(name)
        if len(sides):
            chart = svg.histogram(sides, "px", colour, name)
            yield f"<div><h3>Side of {shell.text(name)} boxes in px</h3>{chart}</div>"


def _troubles(table: Mapping[str, Sequence[object]]) -> str:
    out = []
    for key, said in TROUBLES.items():
        found = table[key]
        if not found:
            continue
        items = "".join(f"<li>{shell.text(_said(entry))}</li>" for entry in found[:MOST_LISTED])
        more = f"<li>and {len(found) - MOST_LISTED:,} more</li>" if len(found) > MOST_LISTED else ""
        out.append(f"<details><summary>{shell.text(said)}: {len(found):,}</summary><ul>{items}{more}</ul></details>")
    return "".join(out) or "<p>Nothing suspicious.</p>"


def _said(entry: object) -> str:
    return entry if isinstance(entry, str) else " · ".join(str(part) for part in entry)  # type: ignore[attr-defined]


def _key(colours: Mapping[str, str]) -> str:
    items = (f'<li><b style="background:{c}"></b>{shell.text(n)}</li>' for n, c in colours.items())
    return f'<ul class="key">{"".join(items)}</ul>'


def _suspects(found: Findings, colours: Mapping[str, str]) -> Iterator[str]:
    if found.unlabelled:
        yield "<h3>Images that look unlabelled</h3>" + _sheet(found.unlabelled[:SHOWN], colours)
    leaks = [pair for pair in found.same if pair[0].split != pair[1].split or pair[0].names != pair[1].names]
    for title, pairs in (("One image twice", leaks), ("The same place, shifted", found.overlapping)):
        if pairs:
            yield f"<h3>{title}</h3>" + _sheet(_flat(pairs[: SHOWN // 2]), colours)


def _flat(pairs: Sequence[Pair]) -> list[Look]:
    return [look for pair in pairs for look in pair]


def _spread(looks: Sequence[Look]) -> list[Look]:
    """Return some images, drawn by a fixed seed."""
    chosen = np.random.default_rng(0).permutation(len(looks))[:SHEET]
    return [looks[int(i)] for i in sorted(chosen)]


def _sheet(looks: Sequence[Look], colours: Mapping[str, str]) -> str:
    items = []
    for look in looks:
        where = f"{look.split} / " if look.split else ""
        items.append(
            f'<li><img alt="" src="{_drawn(look, colours)}">{shell.text(where + look.name)}<br>'
            f'<span class="dim">{len(look.names):,} cells</span></li>'
        )
    return f'<ul class="sheet">{"".join(items)}</ul>'


def _drawn(look: Look, colours: Mapping[str, str]) -> str:
    """Return an image with its boxes as a data URI."""
    pixels = decode(look.path.read_bytes()) if look.path.is_file() else None
    if pixels is None:  # it went away since it was looked at: the small picture is still at hand
        pixels = look.thumb
    zoom = SIDE_PX / max(look.size)
    out = resized(pixels, (max(1, round(look.size[0] * zoom)), max(1, round(look.size[1] * zoom)))).copy()
    for name, box in zip(look.names, look.boxes, strict=False):
        colour = [int(colours[name][k : k + 2], 16) for k in (1, 3, 5)]
        x0, y0, x1, y1 = (round(float(v) * zoom) for v in box)
        cv2.rectangle(out, (x0, y0), (x1, y1), colour, 1)
    done, file = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    return f"data:image/jpeg;base64,{base64.b64encode(file.tobytes()).decode()}"
