"""A data set's findings as text: what is there, then what is wrong, each with the first names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pbsbatch.datasets.explore.findings import PERCENTILES, Findings
from pbsbatch.errors import one_line

__all__ = ["TROUBLES", "text_of"]

SHOWN = 6

TROUBLES = {
    "problems": "records that cannot be used, or were put right",
    "zero_area": "images with boxes of no area",
    "outside": "images with boxes outside of them",
    "over_edge": "images with boxes that hang over their edge",
    "duplicate_boxes": "images with cells marked twice",
    "twice_named": "images with one cell under two classes",
    "without_labels": "images without any label",
    "unlabelled": "images that look unlabelled: most of what is stained is in no box",
    "same_across_splits": "pairs of one image in two splits",
    "overlapping": "pairs of images that show the same place, shifted",
    "same_other_label": "pairs of one image under two labels",
    "same_within_split": "pairs of one image within a split",
}
"""What may be wrong, and how it is told; the order is that of the page too."""


def text_of(found: Findings) -> str:
    """Return the findings as lines."""
    return "\n".join(_lines(found.table())) + "\n"


def _lines(table: dict[str, Any]) -> Iterator[str]:
    splits = ", ".join(f"{name or 'no split'} {n:,}" for name, n in table["splits"].items())
    sizes = ", ".join(f"{size} ({n:,})" for size, n in table["image_sizes"].items())
    yield f"{one_line(table['root'])}: {table['format']}, {table['images']:,} images ({one_line(splits)})"
    yield f"image sizes: {sizes}"
    if table["crowds"]:
        yield f"places where cells were not told apart (crowds): {table['crowds']:,}"
    yield ""
    yield f"{'class':<24}{'cells':>9}{'images':>8}   side of boxes in px, percentiles"
    yield f"{'':<41}   " + "".join(f"{p:>7}" for p in PERCENTILES)
    for row in table["classes"]:
        sides = "".join(f"{row['side_px'][str(p)]:>7.0f}" for p in PERCENTILES) if row["side_px"] else ""
        yield f"{one_line(row['class'])[:23]:<24}{row['cells']:>9,}{row['images']:>8,}   {sides}".rstrip()
    each = "".join(f"{v:>7.0f}" for v in table["cells_per_image"].values())
    yield f"{'cells per image':<24}{table['cells']:>9,}{'':>8}   {each}"
    yield ""
    clean = True
    for key, said in TROUBLES.items():
        if table[key]:
            clean = False
            yield f"{said} - {len(table[key]):,}: {_first(table[key])}"
    if clean:
        yield "nothing suspicious"


def _first(found: Sequence[Any]) -> str:
    shown = [one_line(_one(x)) for x in found[:SHOWN]]
    return ", ".join(shown) + (f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else "")


def _one(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    first, second = entry
    if isinstance(second, str):
        return f"{first} = {second}"
    return f"{first} ({second:.0%})" if isinstance(second, float) else f"{first} ({second})"
