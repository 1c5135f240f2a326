"""Choose, among a TIFF's pages, those that are the pyramid. Pure.

Law: a page is a level only if it is a smaller copy of the base by a whole factor, stored like the base, and nothing
calls it otherwise. Label and macro pages carry patients' names: in doubt a page is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pbsbatch.slides import ome
from pbsbatch.slides.origin import NOBODY, Origin, from_aperio
from pbsbatch.slides.scale import ScaleFacts
from pbsbatch.slides.tiff import Ifd

__all__ = ["Pyramid", "choose"]

NAMES = {1: "label", 9: "macro"}  # what Aperio's SubfileType says also where descriptions are empty (GT450)


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Levels, finest first; each is one directory, or one for each of R, G and B."""

    levels: tuple[tuple[Ifd, ...], ...]
    format: str
    scale: ScaleFacts
    associated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    origin: Origin = NOBODY

    @property
    def base(self) -> Ifd:
        return self.levels[0][0]


def choose(pages: tuple[Ifd, ...]) -> Pyramid:
    """Return the pyramid of a TIFF's pages. Raises ome.OmeRefusal."""
    first = pages[0].description
    if ome.is_ome(first):
        try:
            return _ome(pages, ome.parse(first))
        except ValueError as error:
            return _plain(pages, (f"{error}: it is read as a plain TIFF",))
    return _aperio(pages) if first.startswith("Aperio") else _plain(pages)


def _ome(pages: tuple[Ifd, ...], image: ome.OmeImage) -> Pyramid:
    if max(image.pages) >= len(pages):
        raise ValueError(f"its OME-XML names page {max(image.pages) + 1} of {len(pages)}")
    planes = tuple(pages[k] for k in image.pages)
    levels = [planes]
    if planes[0].subs:
        for k, sub in enumerate(planes[0].subs):
            row = tuple(p.subs[k] for p in planes if k < len(p.subs))
            if len(row) == len(planes) and _smaller(sub, levels[-1][0], planes[0]):
                levels.append(row)
    elif len(planes) == 1 and not image.notes:
        levels += [(p,) for p in _reduced(pages, planes[0], (1,))]
    return Pyramid(tuple(levels), "OME-TIFF", image.scale, image.associated, image.notes, planes[0].origin)


def _aperio(pages: tuple[Ifd, ...]) -> Pyramid:
    base = pages[0]
    levels = [base, *_reduced(pages, base, (0,))]
    rest = [p for p in pages if not any(p is v for v in levels)]
    names = tuple(NAMES.get(p.number(254), "") or _said(p) or "thumbnail" for p in rest)
    mpp, power = (_field(base.description, key) for key in ("MPP", "AppMag"))
    scale = ScaleFacts(scanner=None if mpp is None else (mpp, mpp), objective=power)
    origin = from_aperio(base.description)
    return Pyramid(tuple((v,) for v in levels), "SVS (Aperio)", scale, names, origin=origin)


def _plain(pages: tuple[Ifd, ...], notes: tuple[str, ...] = ()) -> Pyramid:
    whole = [p for p in pages if not p.number(254) & 1 and not _said(p)] or list(pages)
    base = max(whole, key=lambda p: p.width * p.height)
    levels = [base]
    for sub in base.subs:
        if _smaller(sub, levels[-1], base):
            levels.append(sub)
    if len(levels) == 1:
        levels += _reduced(pages, base, (0, 1))
    alike = sum((p.width, p.height) == (base.width, base.height) for p in pages)
    if alike > 1:
        notes = (*notes, f"{alike} pages of one size: page {base.page + 1} is read")
    rest = [p for p in pages if not any(p is v for v in levels)]
    names = tuple(_said(p) or f"page {p.page + 1}" for p in rest)
    scale = ScaleFacts(tag=base.um_per_px)
    kind = "TIFF pyramid" if len(levels) > 1 else "TIFF"
    return Pyramid(tuple((v,) for v in levels), kind, scale, names, notes, base.origin)


def _reduced(pages: tuple[Ifd, ...], base: Ifd, kinds: tuple[int, ...]) -> list[Ifd]:
    """Return the pages that are smaller copies of base, largest first."""
    last, found = base, []
    for page in sorted(pages, key=lambda p: -p.width * p.height):
        if page is not base and page.number(254) in kinds and _smaller(page, last, base) and not _said(page):
            found.append(page)
            last = page
    return found


def _smaller(page: Ifd, last: Ifd, base: Ifd) -> bool:
    """Say whether page is base shrunk by a whole factor, smaller than last, and stored alike."""
    w, h = page.width, page.height
    if not (0 < w < last.width and 0 < h <= last.height):
        return False
    factor = round((base.width + base.height) / (w + h))
    alike = page.tiled == base.tiled and page.number(277, 1) == base.number(277, 1)
    reduced = page.tiled or page.sub >= 0 or page.number(254) == 1  # strips alone could be anything
    return alike and reduced and abs(w - base.width / factor) <= 1 and abs(h - base.height / factor) <= 1


def _said(page: Ifd) -> str:
    """Return the name that a page's description gives it, if it is one of the associated images."""
    words = page.description[:4096].lower()
    return next((name for name in ("label", "macro", "thumbnail", "overview") if name in words), "")


def _field(description: str, key: str) -> float | None:
    """Return a number from Aperio's "key = value|key = value"."""
    for part in description.split("|")[1:]:
        name, _, value = part.partition("=")
        if name.strip() == key:
            try:
                number = float(value)
            except ValueError:
                return None
            return number if number > 0 else None
    return None
