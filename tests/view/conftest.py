"""One folder of results whose every cell is known: a slide that is there, one that is gone, one that is crowded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.run.discovery import discover
from pbsbatch.store import Preview, Store
from pbsbatch.testing.stores import KEY, Smear, draw_smear, truth_labels

NAMES = {"here": "a<b>&'c.png", "gone": "gone.png", "crowded": "crowded.png"}


@dataclass(frozen=True)
class Drawn:
    """A slide of the results."""

    id: str
    smear: Smear
    labels: NDArray[np.int32]

    def pixels(self) -> NDArray[np.uint8]:
        """Return the slide's RGB: smooth, so that JPEG keeps it."""
        tall, wide = self.labels.shape
        y, x = np.mgrid[:tall, :wide]
        red = np.where(self.labels > 0, 200, 250)
        return np.stack([red, 255 * x // wide, 255 * y // tall], axis=2).astype(np.uint8)


@dataclass(frozen=True)
class Results:
    """The folder, and what lies in it."""

    out: Path
    slides: dict[str, Drawn]


@pytest.fixture(scope="package")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    pytest.importorskip("xstatic.pkg.leaflet", reason="the map library of pbsbatch[view] is not installed")
    folder: Path = tmp_path_factory.mktemp("view")
    smears = {
        "here": draw_smear(1, 1700, 1100, 1500), "gone": draw_smear(2, 1100, 700, 300),
        "crowded": draw_smear(3, 600, 560, 14_000),
    }  # fmt: skip
    (folder / "slides").mkdir()
    for which, name in NAMES.items():
        (folder / "slides" / name).write_bytes(b"")
        labels = truth_labels(smears[which].truth, smears[which].header.width, smears[which].header.height)
        pixels = Drawn("", smears[which], labels).pixels()
        cv2.imwrite(str(folder / "slides" / name), pixels[..., ::-1])
    refs = {ref.name: ref.id for ref in discover([folder / "slides"], output=None, mpp=0.25).slides}
    slides = {}
    for which, smear in smears.items():
        header = replace(smear.header, slide_id=refs[NAMES[which]], types=("lobed", "round", "unsure"))
        slides[which] = Drawn(header.slide_id, smear, truth_labels(smear.truth, header.width, header.height))
        store = Store.begin(folder / "out", header, KEY)
        for k, strip in enumerate(smear.strips):
            store.append(k, *strip)
        pixels = slides[which].pixels()
        small = cv2.resize(pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        store.commit(Preview(np.asarray(small, np.uint8), header.width / small.shape[1]))
    (folder / "slides" / NAMES["gone"]).unlink()
    rows = [f'"{NAMES[w]}",ok,{d.id},slides/{d.id}.zarr,0.42,5123.4,777' for w, d in slides.items()]
    head = "slide,status,sample,store,monolayer_mm2,rbc_per_mm2,n_rbc"
    (folder / "out" / "summary.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "out" / "run.json").write_text(json.dumps({"config": {"inputs": [str(folder / "slides")]}}))
    yield Results(folder / "out", slides)
