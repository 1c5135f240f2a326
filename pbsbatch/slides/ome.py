"""Read what OME-XML says about a TIFF: which pages hold the plane to read, and its scale. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from xml.etree import ElementTree

from pbsbatch.slides.scale import ScaleFacts, from_length

__all__ = ["OmeImage", "OmeRefusal", "is_ome", "parse"]


class OmeRefusal(Exception):
    """The OME-XML is sound and describes what is not read here."""


@dataclass(frozen=True, slots=True)
class OmeImage:
    """The plane that is read. pages holds one page with samples in it, or one page for each of R, G, B."""

    pages: tuple[int, ...]
    scale: ScaleFacts
    notes: tuple[str, ...]
    associated: tuple[str, ...]


def is_ome(description: str) -> bool:
    """Say whether a TIFF description is OME-XML."""
    return "<OME" in description[:4096] and description.rstrip().endswith("</OME>")


def parse(xml: str) -> OmeImage:
    """Return the largest image's middle plane. Raises ValueError on damage, OmeRefusal on what is not read."""
    # every XML attack needs a DOCTYPE; with those refused the standard parser is safe
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("its OME-XML declares entities")
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", xml))  # noqa: S314
    except ElementTree.ParseError as error:
        raise ValueError(f"its OME-XML is damaged: {error}") from error
    images = [(image, pixels) for image in _all(root, "Image") for pixels in _all(image, "Pixels")]
    if not images:
        raise ValueError("its OME-XML has no image")
    if len({u.get("FileName") for _, pixels in images for u in _all(pixels, "UUID")}) > 1:
        raise OmeRefusal("an OME-TIFF spread over several files")
    starts, start = [], 0
    for _, pixels in images:
        starts.append(start)
        start += _planes(pixels)
    chosen = max(range(len(images)), key=lambda k: _int(images[k][1], "SizeX") * _int(images[k][1], "SizeY"))
    pixels = images[chosen][1]
    pages, notes = _plane(pixels, starts[chosen])
    others = tuple(i.get("Name") or f"image {k + 1}" for k, (i, _) in enumerate(images) if k != chosen)
    return OmeImage(pages, _scale(root, pixels), notes, others)


def _plane(pixels: ElementTree.Element, start: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the pages of the middle z plane at the first time, with notes."""
    sizes = {axis: _int(pixels, f"Size{axis}") for axis in "ZT"} | {"C": _channels(pixels)}
    samples = _int(pixels, "SizeC")
    if samples not in (1, 3, 4) or (sizes["C"] > 1 and samples == 4):
        raise OmeRefusal(f"an OME-TIFF with {samples} channels, which is no brightfield image")
    z = sizes["Z"] // 2
    order = (pixels.get("DimensionOrder") or "XYCZT")[2:]
    if sorted(order) != ["C", "T", "Z"]:
        raise ValueError(f"its OME-XML has the dimension order {order!r}")
    ifds = _ifds(pixels, order, sizes, start)
    pages = []
    for c in range(sizes["C"]):
        index = _index(order, sizes, {"Z": z, "C": c, "T": 0})
        pages.append(ifds.get(index, start + index))
    notes = []
    if sizes["Z"] > 1:
        notes.append(f"z-stack of {sizes['Z']} planes: plane {z + 1} is read")
    if sizes["T"] > 1:
        notes.append(f"time series of {sizes['T']} images: the first is read")
    return tuple(pages), tuple(notes)


def _ifds(pixels: ElementTree.Element, order: str, sizes: dict[str, int], start: int) -> dict[int, int]:
    """Return the page of each plane that TiffData elements name one by one."""
    found: dict[int, int] = {}
    for data in _all(pixels, "TiffData"):
        if data.get("IFD") is None:
            continue
        first = _index(order, sizes, {axis: _int(data, f"First{axis}", 0) for axis in "ZCT"})
        for k in range(min(_int(data, "PlaneCount", 1), prod(sizes.values()))):
            found[first + k] = _int(data, "IFD", start) + k
    return found


def _index(order: str, sizes: dict[str, int], at: dict[str, int]) -> int:
    index, stride = 0, 1
    for axis in order:
        index += at[axis] * stride
        stride *= sizes[axis]
    return index


def _planes(pixels: ElementTree.Element) -> int:
    return _int(pixels, "SizeZ") * _int(pixels, "SizeT") * _channels(pixels)


def _channels(pixels: ElementTree.Element) -> int:
    """Return how many pages hold the channels of one plane: samples of one page count once."""
    channels = list(_all(pixels, "Channel"))
    per_page = _int(channels[0], "SamplesPerPixel", 1) if channels else 1
    return max(1, _int(pixels, "SizeC") // max(1, per_page))


def _scale(root: ElementTree.Element, pixels: ElementTree.Element) -> ScaleFacts:
    x, y = (from_length(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm")) for a in "XY")
    pair = (x, y if y is not None else x)
    powers = [from_length(o.get("NominalMagnification"), "µm") for o in _all(root, "Objective")]
    scanner = None if pair[0] is None or pair[1] is None else (pair[0], pair[1])
    return ScaleFacts(scanner=scanner, objective=powers[0] if len(powers) == 1 else None)


def _all(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (e for e in element.iter() if e.tag.rsplit("}", 1)[-1] == name)


def _int(element: ElementTree.Element, name: str, default: int = 1) -> int:
    value = int(element.get(name, default))
    if not 0 <= value <= 1 << 31:
        raise ValueError(f"its OME-XML has {name}={value}")
    return value
