"""Small charts as SVG text: nothing to install, sharp in print, read out by their titles. Law: all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from pbsbatch.colours import TYPE_COLOURS

__all__ = ["COLOURS", "bars", "histogram", "levey_jennings", "stacked", "strip"]

COLOURS = TYPE_COLOURS
_WIDE = 340


def stacked(shares: Sequence[tuple[str, float]], width: int = 120, height: int = 14) -> str:
    """Draw shares in per cent as one bar."""
    at, parts = 0.0, []
    for name, share in shares:
        wide = width * share / 100
        said = f"{name.replace('_', ' ')} {share:.1f} %"
        parts.append(
            f'<rect x="{at:.2f}" width="{wide:.2f}" height="{height}" fill="{COLOURS.get(name, "#999")}">'
            f"<title>{escape(said)}</title></rect>"
        )
        at += wide
    label = ", ".join(f"{name.replace('_', ' ')} {share:.0f} %" for name, share in shares)
    size = (
        f'viewBox="0 0 {width} {height}" preserveAspectRatio="none" width="{width}" height="{height}"'  # shrinks whole
    )
    return f'<svg role="img" aria-label="{escape(label)}" {size}>{"".join(parts)}</svg>'


def bars(rows: Sequence[tuple[str, float, float | None, float | None]], colours: Sequence[str]) -> str:
    """Draw shares in per cent as bars, each with its interval."""
    tall, left, room = 24, 142, _WIDE - 142 - 46
    most = max([hi if hi is not None else share for _, share, _, hi in rows] + [1.0])
    out = []
    for i, ((name, share, low, high), colour) in enumerate(zip(rows, colours, strict=True)):
        y, wide = i * tall, room * share / most
        out.append(f'<text x="{left - 6}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect x="{left}" y="{y + 4}" width="{wide:.1f}" height="15" fill="{colour}"/>')
        if low is not None and high is not None:
            a, b = left + room * low / most, left + room * high / most
            out.append(
                f'<path d="M{a:.1f} {y + 11.5}H{b:.1f}M{a:.1f} {y + 7}v9M{b:.1f} {y + 7}v9" stroke="currentColor"/>'
            )
        end = left + room * (high if high is not None else share) / most
        out.append(f'<text x="{end + 5:.1f}" y="{y + 16}">{share:.1f}</text>')
    label = "; ".join(f"{name} {share:.1f} %" for name, share, _, _ in rows)
    return _svg(tall * len(rows) + 4, out, label)


def histogram(values: NDArray[np.float64], unit: str, colour: str, label: str) -> str:
    """Draw how often values occur; the outermost two in a thousand lie beyond the picture."""
    if len(values) < 5:
        return f'<p class="dim">too few ({len(values)}) to draw</p>'
    low, high = np.quantile(values, [0.001, 0.999])
    if not high > low:
        high = low + 1.0
    counts, edges = np.histogram(values, bins=40, range=(float(low), float(high)))
    tall, wide = 110, (_WIDE - 20) / len(counts)
    out = [
        f'<rect x="{10 + i * wide:.2f}" y="{tall - tall * n / counts.max():.1f}" width="{max(wide - 1, 1):.2f}" '
        f'height="{tall * n / counts.max():.1f}" fill="{colour}"><title>{edges[i]:.2f} to {edges[i + 1]:.2f} {unit}: '
        f"{n:,}</title></rect>"
        for i, n in enumerate(counts) if n
    ]  # fmt: skip
    middle = float(np.median(values))
    x = 10 + (_WIDE - 20) * (middle - low) / (high - low)
    out.append(f'<path d="M{x:.1f} 0V{tall}" stroke="currentColor" stroke-dasharray="3 3"/>')
    for value in np.linspace(low, high, 5):
        at = 10 + (_WIDE - 20) * (value - low) / (high - low)
        anchor = "start" if value == low else "end" if value == high else "middle"
        out.append(f'<text class="dimtext" x="{at:.1f}" y="{tall + 16}" text-anchor="{anchor}">{value:.3g}</text>')
    return _svg(tall + 22, out, f"{label}: {len(values):,} cells, median {middle:.2f} {unit}")


def strip(points: Sequence[tuple[str, float, str]], limits: tuple[float, float]) -> str:
    """Draw one point for each slide along a line; those outside the limits are marked. Points are name, value, link."""
    values = [v for _, v, _ in points]
    room = 0.05 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 1.0
    low, high = min(values) - room, max(values) + room
    span = high - low
    band = max(low, limits[0]), min(high, limits[1])
    out = [
        f'<rect x="{_along(band[0], low, span):.1f}" y="14" width="{(_WIDE - 20) * (band[1] - band[0]) / span:.1f}" '
        'height="24" fill="currentColor" opacity=".08"/>',
        f'<path class="axis" d="M10 26H{_WIDE - 10}"/>',
    ]
    for i, (name, value, link) in enumerate(points):
        odd = not limits[0] <= value <= limits[1]
        y = 26 + (0 if len(points) == 1 else ((i * 7) % 11 - 5) * 1.6)  # apart, so that equals can be seen
        mark = f'<circle cx="{_along(value, low, span):.1f}" cy="{y:.1f}" r="{5 if odd else 3.5}" '
        mark += 'fill="#d55e00" stroke="currentColor"/>' if odd else 'class="point" fill-opacity=".65"/>'
        out.append(f'<a href="{escape(link)}"><title>{escape(name)}: {_short(value)}</title>{mark}</a>')
    ends = sorted({min(values), max(values)})
    for value, anchor in zip(ends, ("start", "end") if len(ends) > 1 else ("middle",), strict=True):
        x, said = _along(value, low, span), _short(value)
        out.append(f'<text class="dimtext" x="{x:.1f}" y="56" text-anchor="{anchor}">{said}</text>')
    return _svg(62, out, f"{len(points)} slides from {_short(min(values))} to {_short(max(values))}")


def levey_jennings(points: Sequence[tuple[str, float, str]], ends: tuple[str, str] | None = None) -> str:
    """Draw values in their order about their mean, with lines at one, two and three standard deviations.

    ends: what stands below the first and the last.
    """
    values = np.array([v for _, v, _ in points])
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    sd = spread or 1e-9
    reach = max(3.5, float(np.abs(values - mean).max() / sd))
    tall = 150

    def y_of(value: float) -> float:
        return tall / 2 - (value - mean) / sd / reach * (tall / 2 - 4)

    out = []
    for k in range(-3, 4):
        y = y_of(mean + k * sd)
        dash = "" if k == 0 else ' stroke-dasharray="4 4"'
        out.append(f'<path class="axis" d="M44 {y:.1f}H{_WIDE - 6}"{dash}/>')
        out.append(f'<text class="dimtext" x="2" y="{y + 4:.1f}">{"mean" if k == 0 else f"{k:+d} s"}</text>')
    step = (_WIDE - 60) / max(1, len(points) - 1)
    xs = [50 + i * step for i in range(len(points))]
    line = " ".join(f"{x:.1f},{y_of(v):.1f}" for x, v in zip(xs, values, strict=True))
    out.append(f'<polyline points="{line}" class="course" fill="none" opacity=".5"/>')
    for x, (name, value, link) in zip(xs, points, strict=True):
        odd = abs(value - mean) > 3 * sd
        look = 'r="5" fill="#d55e00" stroke="currentColor"' if odd else 'r="3" class="point"'
        out.append(
            f'<a href="{escape(link)}"><title>{escape(name)}: {_short(value)}</title>'
            f'<circle cx="{x:.1f}" cy="{y_of(value):.1f}" {look}/></a>'
        )
    first, last = ends or ("", "")
    said = f"mean {_short(mean)}, s {spread:.2g}"
    below = ((first, 44, "start"), (said, _WIDE // 2, "middle"), (last, _WIDE - 6, "end"))
    for text, x, anchor in below:
        out.append(f'<text class="dimtext" x="{x}" y="{tall + 13}" text-anchor="{anchor}">{escape(text)}</text>')
    return _svg(tall + 18, out, f"{len(points)} slides in order, mean {mean:.4g}, standard deviation {spread:.3g}")


def _short(value: float) -> str:
    """Return a number in few digits, a large one in whole thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _along(value: float, low: float, span: float) -> float:
    return 10 + (_WIDE - 20) * (value - low) / span


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {_WIDE} {math.ceil(height)}" width="100%">'
        f"{''.join(parts)}</svg>"
    )
