"""Labelled fields drawn for tests: each cell a rectangle of its class's colour upon glass, its box exact."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

GLASS = 225
COLOURS = {"RBC": (200, 40, 40), "WBC": (40, 40, 200), "Platelet": (40, 160, 40)}


def field(seed: int, width: int = 200, height: int = 150) -> tuple[np.ndarray, list[tuple[str, tuple[int, ...]]]]:
    """Return the pixels of a field and its cells: many red ones, a white one, some platelets."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), GLASS, np.uint8)
    cells = []
    places = [(x, y) for y in range(4, height - 30, 36) for x in range(4, width - 30, 38)]
    for n, (x, y) in enumerate(places):
        name = "WBC" if n == seed % 5 else "Platelet" if n % 7 == 6 else "RBC"
        w, h = (9, 9) if name == "Platelet" else rng.integers((18, 18), (26, 24)).tolist()
        image[y : y + h, x : x + w] = COLOURS[name]
        cells.append((name, (x, y, x + w, y + h)))
    return image, cells


def yolo(root: Path, count: int = 4, split: str = "train") -> Path:
    """Write fields as a YOLO data set."""
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    names = list(COLOURS)
    (root / "classes.txt").write_text("\n".join(names))
    for seed in range(count):
        image, cells = field(seed + 100 * (split != "train"))
        h, w = image.shape[:2]
        cv2.imwrite(str(root / "images" / split / f"lab_{split}{seed}.png"), image[..., ::-1])
        lines = [
            f"{names.index(n)} {(x0 + x1) / 2 / w} {(y0 + y1) / 2 / h} {(x1 - x0) / w} {(y1 - y0) / h}"
            for n, (x0, y0, x1, y1) in cells
        ]
        (root / "labels" / split / f"lab_{split}{seed}.txt").write_text("\n".join(lines))
    return root
