"""An evaluation as one HTML page: tables, plots and the worst images. Law: it needs no network and no other file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.evaluate.figures import Figures
from pbsbatch.evaluate.intervals import Intervals
from pbsbatch.evaluate.plots import Drawn
from pbsbatch.evaluate.render import lines_of
from pbsbatch.evaluate.tables import Table, tables
from pbsbatch.evaluate.worst import COLOURS, Worst
from pbsbatch.pages import shell

__all__ = ["html_page", "html_plots", "html_table"]


def html_page(
    found: Figures, ranges: Intervals, plots: Drawn, fields: Iterable[Worst], about: Mapping[str, str]
) -> str:
    """Return the whole page."""
    return shell.page("Evaluation", _body(found, ranges, plots, list(fields), about))


def _body(
    found: Figures, ranges: Intervals, plots: Drawn, fields: list[Worst], about: Mapping[str, str]
) -> Iterator[str]:
    yield "<h1>Evaluation</h1>"
    rule = "each truth once, best score first" if found.matching == "coco" else "each prediction to its best truth"
    which = f"an IoU of {found.iou:g}" if found.measure == "boxes" else f"{found.iou:g} px"
    yield shell.facts({**about, "images": str(found.images), "a hit is": which, "matching": rule})
    for note in found.notes:
        yield f'<p class="dim">{shell.text(note)}</p>'
    for table in tables(found):
        yield html_table(table, ranges)
    if ranges:
        yield '<p class="dim">Small: 95 % intervals, by drawing images anew.</p>'
    yield html_plots(plots)
    if fields:
        yield "<h2>The worst images</h2>"
        marks = " ".join(
            f'<span style="color:rgb{colour}">&#9632;</span> {shell.text(what)}' for what, colour in COLOURS.items()
        )
        yield f"<p>{marks}</p>"
    for one in fields:
        yield _field(one)


def html_table(table: Table, ranges: Intervals) -> str:
    """Return a table under its title."""
    kinds = ("", *[' class="n"'] * (len(table.heads) - 1))
    heads = "".join(f"<th{k}>{shell.text(head)}</th>" for k, head in zip(kinds, table.heads, strict=True))
    known = ranges if table.is_of_classes else {}
    rows = "".join(
        "<tr>" + "".join(_cell(text, i, known.get(line[0], {}).get(key)) for i, (text, key) in
                         enumerate(zip(line, table.keys, strict=True))) + "</tr>"
        for line in lines_of(table)
    )  # fmt: skip
    inner = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>{shell.text(table.title)}</h2><div class="wide">{inner}</div>'


def _cell(text: str, place: int, interval: tuple[float, float] | None) -> str:
    small = ""
    if interval is not None and np.isfinite(interval).all():
        small = f' <small class="dim">{interval[0]:.3f} to {interval[1]:.3f}</small>'
    kind = "" if place == 0 else ' class="n"'
    return f"<td{kind}>{shell.text(text)}{small}</td>"


def html_plots(plots: Drawn) -> str:
    """Return the plots, as pictures that run no code."""
    shown = (
        f'<img style="max-width:100%" alt="{shell.text(name)}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(data).decode()}">'
        for name, data in plots.items()
    )
    return "".join(shown)


def _field(one: Worst) -> str:
    x, y, w, h = one.region
    said = f"{one.wrong} wrong, {one.missed} missed, {one.right} right; drawn: {w} x {h} px from {x}, {y}"
    picture = "<p>The picture is not at hand.</p>" if one.pixels is None else _jpeg(one.pixels)
    return f"<h3>{shell.text(Path(one.name).name)}</h3><p>{said}</p>{picture}"


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    done, file = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    return (
        f'<img style="max-width:100%" alt="mistakes" src="data:image/jpeg;base64,'
        f'{base64.b64encode(file.tobytes()).decode()}">'
    )
