"""Compare drawn smears with real fields: colours, cell size and density, measured the same way on both.

Run `python -m benchmarks.synth_realism --json`. Real fields are looked for in $PBSBATCH_DATA or in
../shared/data beside the checkout; without them there is nothing to compare and the run says so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks import record
from pbsbatch.synth import Scene

FAMILIES = {"cream": "pbc_", "grey": "bccd_", "rose": "raabin_"}
RED_UM = 7.2


@dataclass(frozen=True)
class Field:
    """One picture with boxes (N, 5): class (0 RBC, 1 WBC, 2 platelet), x0, y0, x1, y1 in pixels."""

    pixels: np.ndarray
    boxes: np.ndarray
    mpp: float


def real_fields(data: Path, prefix: str, most: int) -> Iterator[Field]:
    """Yield labelled fields of one laboratory; their scale follows from their red cells."""
    names = (data / "txl" / "classes.txt").read_text().split()
    to_class = [("RBC", "WBC", "Platelet").index(n.rstrip("s")) for n in names]
    for path in sorted((data / "txl" / "images" / "val").glob(f"{prefix}*"))[:most]:
        pixels = cv2.imread(str(path))[..., ::-1]
        h, w = pixels.shape[:2]
        rows = np.loadtxt(data / "txl" / "labels" / "val" / f"{path.stem}.txt", ndmin=2)
        x, y, bw, bh = rows[:, 1] * w, rows[:, 2] * h, rows[:, 3] * w, rows[:, 4] * h
        classes = [to_class[int(c)] for c in rows[:, 0]]
        boxes = np.stack([classes, x - bw / 2, y - bh / 2, x + bw / 2, y + bh / 2], axis=1)
        sides = _whole_sides(boxes, w, h)
        if len(sides) >= 3:
            yield Field(pixels, boxes, RED_UM / float(np.median(sides)))


def drawn_fields(stain: str, like: list[Field]) -> Iterator[Field]:
    """Yield drawn fields of the same sizes and scale as the real ones."""
    mpp = float(np.median([f.mpp for f in like]))
    for seed, field in enumerate(like):
        h, w = field.pixels.shape[:2]
        scene = Scene(w, h, mpp=mpp, seed=seed, stain=stain, white_per_1000=60.0)
        cells = scene.cells(0, 0, w, h)
        boxes = np.concatenate([cells.classes[:, None], cells.boxes], axis=1).astype(float)
        encoded = cv2.imencode(".jpg", scene.render(0, 0, w, h)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        yield Field(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1], boxes, mpp)


def _whole_sides(boxes: np.ndarray, w: int, h: int) -> np.ndarray:
    """Return sqrt(width * height) of the red cells that no border cuts."""
    red = boxes[boxes[:, 0] == 0, 1:]
    whole = (red[:, 0] > 1) & (red[:, 1] > 1) & (red[:, 2] < w - 1) & (red[:, 3] < h - 1)
    red = red[whole]
    return np.sqrt((red[:, 2] - red[:, 0]) * (red[:, 3] - red[:, 1]))


def _ellipses(shape: tuple[int, ...], boxes: np.ndarray, factor: float) -> np.ndarray:
    mask = np.zeros(shape[:2], np.uint8)
    for x0, y0, x1, y1 in boxes:
        centre = (round((x0 + x1) / 2), round((y0 + y1) / 2))
        axes = (max(1, round((x1 - x0) / 2 * factor)), max(1, round((y1 - y0) / 2 * factor)))
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
    return mask.astype(bool)


def _nucleus(field: Field, white: np.ndarray) -> np.ndarray:
    """Return where white cells are dark in green: below Otsu's threshold within their boxes."""
    inside = _ellipses(field.pixels.shape, white, 1.0)
    if inside.sum() < 50:
        return np.zeros_like(inside)
    green = field.pixels[..., 1]
    level, _ = cv2.threshold(green[inside].reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return inside & (green <= level)


def measure(fields: list[Field]) -> dict[str, list[float] | float]:
    """Return colours (mean and sd per channel), red-cell diameter and density over all fields."""
    parts: dict[str, list[np.ndarray]] = {"background": [], "red": [], "nucleus": []}
    diameters, counts, area, red_share = [], 0, 0.0, []
    for f in fields:
        h, w = f.pixels.shape[:2]
        by = [f.boxes[f.boxes[:, 0] == k, 1:] for k in range(3)]
        cells = [_ellipses(f.pixels.shape, b, 1.15) for b in by]
        parts["background"].append(f.pixels[~(cells[0] | cells[1] | cells[2])])
        parts["red"].append(f.pixels[_ellipses(f.pixels.shape, by[0], 0.9) & ~cells[1] & ~cells[2]])
        parts["nucleus"].append(f.pixels[_nucleus(f, by[1])])
        diameters.append(_whole_sides(f.boxes, w, h) * f.mpp)
        counts += int(((by[0][:, 2] < w - 1) & (by[0][:, 3] < h - 1)).sum())  # counting frame
        area += w * h * (f.mpp / 1000) ** 2
        red_share.append(_ellipses(f.pixels.shape, by[0], 1.0).mean())
    out: dict[str, list[float] | float] = {}
    for name, pixels in parts.items():
        stack = np.concatenate(pixels).astype(float)
        out[f"{name}_mean"] = [round(float(v), 1) for v in stack.mean(0)]
        out[f"{name}_sd"] = [round(float(v), 1) for v in stack.std(0)]
    sizes = np.concatenate(diameters)
    out["red_diameter_um"] = round(float(sizes.mean()), 2)
    out["red_diameter_cv_pct"] = round(float(100 * sizes.std() / sizes.mean()), 1)
    out["red_per_mm2"] = round(counts / area)
    out["red_area_share"] = round(float(np.mean(red_share)), 3)
    return out


def compare(data: Path, most: int) -> dict[str, object]:
    """Return, per stain family, the figures of real and of drawn fields and the largest gap of a mean colour."""
    families: dict[str, object] = {}
    gaps = []
    for stain, prefix in FAMILIES.items():
        like = list(real_fields(data, prefix, most))
        real, drawn = measure(like), measure(list(drawn_fields(stain, like)))
        means = ("background_mean", "red_mean", "nucleus_mean")
        gap = max(float(np.abs(np.subtract(real[k], drawn[k])).max()) for k in means)
        gaps.append(gap)
        families[stain] = {"fields": len(like), "real": real, "drawn": drawn, "largest_colour_gap": round(gap, 1)}
    return {"benchmark": "synth_realism", "families": families, "largest_colour_gap": round(max(gaps), 1)}


def rows(result: dict[str, object]) -> Iterator[dict[str, object]]:
    """Yield one row per family and source."""
    for stain, both in result["families"].items():  # type: ignore[attr-defined]
        for source in ("real", "drawn"):
            figures = {name: json.dumps(value) for name, value in both[source].items()}
            yield {"family": stain, "source": source, "fields": both["fields"], **figures}


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--most", type=int, default=30, help="fields per family")
    parser.add_argument("--no-append", action="store_true", help="leave the results file alone")
    args = parser.parse_args()
    data = record.data_folder()
    if data is None or not (data / "txl").is_dir():
        print(json.dumps({"benchmark": "synth_realism", "skipped": "no real fields: set PBSBATCH_DATA"}))
        return
    result = compare(data, args.most)
    if not args.no_append:
        record.append("synth_realism", rows(result))
    record.show(result)


if __name__ == "__main__":
    main()
