"""What is read, how it is labelled, and that no split sees another's cells."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.datasets.readers import DataError
from pbsbatch.models.taxonomy import KINDS, TYPES
from pbsbatch.train.classifier.pictures import SPLITS, Split, load, split_of
from pbsbatch.train.classifier.settings import read_settings
from tests.data import data
from tests.train.classifier.tiny import picture, tiny_settings, write_cells

CONFIG = Path(__file__).parents[3] / "pbsbatch/train/configs/classifier.toml"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells"))


def test_labels_are_kinds_or_types_and_weights_even_them_out(root: Path) -> None:
    splits, groups = load(tiny_settings(root), root)
    assert sum(len(s.cells) for s in splits.values()) == 96 == groups.summary()["groups"]
    train = splits["train"]
    for cell, kinds, t in zip(train.cells, train.kinds, train.types, strict=True):
        named = {KINDS[k] for k in np.flatnonzero(kinds)}
        if cell.name.startswith("cells/neutrophil/BNE"):
            assert named == {"band_neutrophil"}
        elif cell.name.startswith("cells/neutrophil"):
            assert named == {"band_neutrophil", "segmented_neutrophil"}
        elif cell.name.startswith("cells/ig"):
            assert named == {"promyelocyte", "myelocyte", "metamyelocyte"}
        assert TYPES[t] == {"ig": "immature_granulocyte"}.get(cell.name.split("/")[1], cell.name.split("/")[1])
    weights = Split(train.cells[5:]).weights(1.0)
    sums = np.bincount(train.types[5:], weights)
    np.testing.assert_allclose(sums[sums > 0], 1 / 4)
    np.testing.assert_allclose(train.weights(0.0), 1 / len(train.cells))


def test_a_split_follows_from_the_name_alone(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "cells", tmp_path / "cells")
    (tmp_path / "cells/platelet/x_0.png").unlink()
    whole, fewer = (load(tiny_settings(r), r)[0] for r in (root, tmp_path))
    for name in SPLITS:
        assert {c.name for c in whole[name].cells} - {"cells/platelet/x_0.png"} == {c.name for c in fewer[name].cells}


def test_a_copy_goes_where_its_original_is(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "cells", tmp_path / "cells")
    for i in range(24):
        turned = cv2.rotate(picture("lymphocyte", i), cv2.ROTATE_90_CLOCKWISE)
        cv2.imwrite(str(tmp_path / f"cells/neutrophil/copy_{i}.png"), turned[..., ::-1])
    splits, groups = load(tiny_settings(tmp_path), tmp_path)
    assert groups.summary()["same"] == 24
    where = {cell.name: part for part, split in splits.items() for cell in split.cells}
    for i in range(24):
        assert where[f"cells/neutrophil/copy_{i}.png"] == where[f"cells/lymphocyte/x_{i}.png"]


@given(st.lists(st.text(min_size=1), min_size=200, max_size=200, unique=True))
def test_shares_of_splits_are_about_as_said(names: list[str]) -> None:
    counts = [sum(split_of(n) == part for n in names) / len(names) for part in SPLITS]
    np.testing.assert_allclose(counts, list(SPLITS.values()), atol=0.18)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda r: (r / "cells/platelet/x_1.png").write_bytes(b"no"), "x_1.png: it cannot be decoded"),
        (lambda r: (r / "cells/platelet/x_1.png").write_bytes(b""), "x_1.png: it cannot be decoded"),
        (lambda r: (r / "cells/platelet").rename(r / "cells/blast"), "no type or kind of cell is called 'blast'"),
        (lambda r: [p.unlink() for p in (r / "cells/ig").glob("*_1*")], "no immature_granulocyte in"),
    ],
)
def test_what_cannot_be_taught_is_named(root: Path, tmp_path: Path, change: object, what: str) -> None:
    shutil.copytree(root / "cells", tmp_path / "cells")
    assert callable(change)
    change(tmp_path)
    if "immature" in what:
        for file in sorted((tmp_path / "cells/ig").iterdir())[2:]:
            file.unlink()
    with pytest.raises(DataError, match=re.escape(what)):
        load(tiny_settings(tmp_path), tmp_path)


def test_the_shipped_settings_fit_the_public_pictures() -> None:
    table = read_settings(CONFIG).pictures[0]
    names = [f"{p.parent.name}/{p.name}" for p in sorted(data("pbc").glob("*/*.jpg"))]
    fits = {r.begins: [n for n in names if n.startswith(r.begins)] for r in table.rename}
    assert len(names) == 4000
    assert {k: len(v) for k, v in fits.items()} == {
        "ig": 500, "ig/PMY": 97, "ig/MY": 205, "ig/MMY": 176, "neutrophil/BNE": 250, "neutrophil/SNE": 243,
    }  # fmt: skip
