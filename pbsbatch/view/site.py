"""What each address of the viewer answers, without a socket.

Laws. An address is matched whole against ROUTES; what does not match, and a slide, tile or cell that is not there, is
404. Nothing from an address but the id of a slide of this run, and whole numbers, goes further.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pbsbatch.colours import CLASS_COLOURS, TYPE_COLOURS, colours_of
from pbsbatch.errors import PbsbatchError, UsageError, one_line
from pbsbatch.store import StoredSlide
from pbsbatch.view import overlay
from pbsbatch.view.cache import Cache
from pbsbatch.view.index import BINS
from pbsbatch.view.maps import smear_map
from pbsbatch.view.opened import Opened, Slides
from pbsbatch.view.pixels import thumbnail
from pbsbatch.view.tiles import SIDE, Place

__all__ = ["Answer", "Site", "leaflet"]

TILES_BYTES = 96 << 20
THUMB_PX, THUMB_LEVEL = 160, 2
JSON, JPEG, BYTES = "application/json", "image/jpeg", "application/octet-stream"
TEXTS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
OWN = ("view.html", "view.css", "view.js", "cells.js", "smear.js", "panel.js")
LEAFLET = ("leaflet.js", "leaflet.css")
ID, NUMBER = r"(?P<id>[^/]{1,255})", r"-?\d{1,9}"
TILE = rf"{ID}/(?P<level>-?\d\d?)/(?P<column>{NUMBER})/(?P<row>{NUMBER})"
COLUMNS = ("sample", "status", "qc_status", "n_rbc", "n_wbc", "n_platelet")
"""Of summary.csv, as the list of slides shows them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: int
    kind: str
    body: bytes


NOTHING = Answer(404, JSON, b'{"error":"there is nothing here"}')


class Site:
    """The viewer of one run. Any thread may ask."""

    def __init__(self, out: Path) -> None:
        self._slides = Slides(out)
        self._name = out.resolve().name
        found, own = leaflet(), files("pbsbatch.view").joinpath("assets")
        read = {name: (found / name).read_bytes() for name in LEAFLET}
        read |= {name: own.joinpath(name).read_bytes() for name in OWN}
        self._files = {name: Answer(200, TEXTS[name.rpartition(".")[2]], body) for name, body in read.items()}
        self._files[""] = self._files["view.html"]
        self._tiles: Cache[bytes] = Cache(TILES_BYTES, len)
        self._turn = threading.BoundedSemaphore(max(2, len(os.sched_getaffinity(0))))  # memory follows what is at work
        self._routes: tuple[tuple[re.Pattern[str], Callable[[Opened, Mapping[str, int]], Answer]], ...] = (
            (re.compile(rf"slide/{ID}\.json"), self._slide), (re.compile(rf"index/{ID}\.json"), self._index),
            (re.compile(rf"map/{ID}\.json"), self._map), (re.compile(rf"tile/{TILE}\.jpg"), self._tile),
            (re.compile(rf"near/{TILE}\.json"), self._near), (re.compile(rf"far/{TILE}\.bin"), self._far),
            (re.compile(rf"cell/{ID}/(?P<cell>\d{{1,10}})\.json"), self._cell),
            (re.compile(rf"at/{ID}/(?P<x>{NUMBER})/(?P<y>{NUMBER})\.json"), self._at),
        )  # fmt: skip

    def answer(self, address: str) -> Answer:
        """Return what an address, without the token before it, answers."""
        try:
            return self._files.get(address) or self._made(address)
        except PbsbatchError as error:
            return _failed(str(error))
        except (OSError, ValueError, KeyError, RuntimeError) as error:  # a damaged store, as zarr tells it
            return _failed(f"what the run stored of this cannot be read ({type(error).__name__}: {one_line(error)})")

    def _made(self, address: str) -> Answer:
        if address == "slides.json":
            return self._list()
        thumb = re.fullmatch(rf"thumb/{ID}\.jpg", address)
        if thumb is not None:
            return self._thumb(thumb["id"])
        for pattern, do in self._routes:
            found = pattern.fullmatch(address)
            if found is not None:
                return self._of_slide(found, do)
        return NOTHING

    def _of_slide(self, found: re.Match[str], do: Callable[[Opened, Mapping[str, int]], Answer]) -> Answer:
        groups = found.groupdict()
        opened = self._slides.open(groups.pop("id"))
        if opened is None:
            return NOTHING
        with self._turn:
            return do(opened, {name: int(value) for name, value in groups.items()})

    def _list(self) -> Answer:
        run = self._slides.again()
        slides = [
            {"id": s.id, "name": s.name, **{c: s.row[c] for c in COLUMNS if s.row.get(c)}} for s in run
        ]  # fmt: skip
        return _json({"run": self._name, "finished": run.finished, "slides": slides})

    def _thumb(self, slide_id: str) -> Answer:
        slide = self._slides.find(slide_id)
        if slide is None:
            return NOTHING
        store = slide.store
        level = min(THUMB_LEVEL, store.levels - 1)
        key = "thumb", slide_id, store.info.key
        return Answer(200, JPEG, self._tiles.get(key, lambda: thumbnail(store.preview(level), THUMB_PX)))

    def _slide(self, opened: Opened, _: Mapping[str, int]) -> Answer:
        slide, store = opened.slide, opened.slide.store
        names = dict(zip(store.classes, colours_of(store.classes, CLASS_COLOURS), strict=True))
        return _json({
            "id": slide.id, "name": slide.name, "width": opened.grid.width, "height": opened.grid.height,
            "mpp": slide.mpp, "side": SIDE, "coarsest": opened.grid.coarsest, "cells": store.info.cells,
            "classes": names, "types": _types(store), "preview_because": opened.pixels.problem,
            "analysed": store.info.analysed_fraction, "row": dict(slide.row),
            "asked": bool(store.second_types),
        })  # fmt: skip

    def _index(self, opened: Opened, _: Mapping[str, int]) -> Answer:
        index = opened.index
        return _json({
            "near": index.near, "bins": BINS, "counts": index.counts.tolist(), "reach": index.half,
            "unsure": index.unsure, "unsure_total": index.unsure_total,
        })  # fmt: skip

    def _map(self, opened: Opened, _: Mapping[str, int]) -> Answer:
        store = opened.slide.store
        return _json(smear_map(store.tiles.blocks, opened.index.seen, _types(store)))

    def _tile(self, opened: Opened, asked: Mapping[str, int]) -> Answer:
        place = _place(opened, asked)
        if place is None or place.level < 0:
            return NOTHING
        return Answer(200, JPEG, self._kept("tile", opened, place, lambda: opened.pixels.tile(place)))

    def _near(self, opened: Opened, asked: Mapping[str, int]) -> Answer:
        place, index = _place(opened, asked), opened.index
        if place is None or place.level > index.near:
            return NOTHING
        store = opened.slide.store
        body = self._kept(
            "near", opened, place, lambda: overlay.near(store, index, place, lambda _, n: self._slides.read(opened, n))
        )
        return Answer(200, JSON, body)

    def _far(self, opened: Opened, asked: Mapping[str, int]) -> Answer:
        place, index = _place(opened, asked), opened.index
        if place is None or place.level < 0:
            return NOTHING
        body = self._kept("far", opened, place, lambda: overlay.far(opened.slide.store, index, place))
        return Answer(200, BYTES, body)

    def _cell(self, opened: Opened, asked: Mapping[str, int]) -> Answer:
        found = overlay.cell(opened.slide.store, asked["cell"])
        return NOTHING if found is None else _json(found)

    def _at(self, opened: Opened, asked: Mapping[str, int]) -> Answer:
        return _json(overlay.at(opened.slide.store, asked["x"], asked["y"]))

    def _kept(self, what: str, opened: Opened, place: Place, make: Callable[[], bytes]) -> bytes:
        return self._tiles.get((what, opened.slide.id, opened.slide.store.info.key, place), make)


def leaflet() -> Path:
    """Return the folder of the map library, as its package has it. Raises UsageError where it is not installed."""
    try:
        spec = find_spec("xstatic.pkg.leaflet")
    except ModuleNotFoundError:
        spec = None
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    found = next((Path(f) / "data" for f in folders if (Path(f) / "data" / "leaflet.js").is_file()), None)
    if found is None:
        raise UsageError(
            "the viewer needs a map library that is not installed",
            cure="Install it: pip install 'pbsbatch[view]', or pip install xstatic-leaflet",
        )
    return found


def _types(store: StoredSlide) -> dict[str, str]:
    """Return the names of a slide's types with their colours."""
    return dict(zip(store.types, colours_of(store.types, TYPE_COLOURS, len(store.classes)), strict=True))


def _place(opened: Opened, asked: Mapping[str, int]) -> Place | None:
    return opened.grid.tile(asked["level"], asked["column"], asked["row"])


def _json(value: Any) -> Answer:
    return Answer(200, JSON, json.dumps(value, separators=(",", ":"), allow_nan=False).encode())


def _failed(why: str) -> Answer:
    return Answer(500, JSON, json.dumps({"error": why}).encode())
