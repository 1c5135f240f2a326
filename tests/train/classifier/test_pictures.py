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
from pbsbatch.errors import UsageError
from pbsbatch.models.taxonomy import KINDS, TYPES
from pbsbatch.train.classifier.pictures import SPLITS, Split, load, some_cells, split_of
from pbsbatch.train.classifier.report import protocol_of
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
        (
            lambda r: (r / "cells/platelet").rename(r / "cells/blast"),
            "no type or kind of cell is called 'blast'; there",
        ),
        (lambda r: (r / "cells/platelet").rename(r / "cells/Platelets"), "called 'Platelets' (is it platelet?)"),
        (
            lambda r: [(r / f"cells/{n}").rename(r / f"cells/ig{n}") for n in ("lymphocyte", "platelet")],
            "'iglymphocyte'",
        ),
        (
            lambda r: [shutil.rmtree(r / f"cells/{n}") for n in ("lymphocyte", "platelet", "ig")],
            "one type alone, neutrophil",
        ),
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


def test_pictures_that_cannot_be_read_are_told_and_left_out(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "cells", tmp_path / "cells")
    (tmp_path / "cells/platelet/x_1.png").write_bytes(b"no")
    (tmp_path / "cells/lymphocyte/x_2.png").write_bytes(b"")
    told: list[tuple[str, str]] = []
    splits, groups = load(tiny_settings(tmp_path), tmp_path, lambda path, why: told.append((path.name, why)))
    assert sorted(told) == [("x_1.png", "it cannot be decoded"), ("x_2.png", "it cannot be decoded")]
    assert len(groups.of) == 94 == sum(len(split.cells) for split in splits.values())


def test_one_type_alone_is_refused(root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(root / "cells/lymphocyte", tmp_path / "cells" / name)
    (tmp_path / "cells/a").rename(tmp_path / "cells/neutrophil")
    (tmp_path / "cells/b").rename(tmp_path / "cells/segmented_neutrophil")
    renames = [{"begins": "segmented_neutrophil", "is_a": "band_neutrophil"}]
    table = [{"path": "cells", "mpp": 0.4, "rename": renames}]
    with pytest.raises(DataError, match="one type alone, neutrophil"):
        load(tiny_settings(tmp_path, pictures=table), tmp_path)
    for file in (tmp_path / "cells").glob("*/*"):
        file.write_bytes(b"no")
    with pytest.raises(DataError, match="no picture that can be read"):
        load(tiny_settings(tmp_path, pictures=table), tmp_path)


def test_another_seed_deals_groups_out_otherwise_by_the_shares_asked_for() -> None:
    names = [f"cell {i}" for i in range(2000)]
    shares = (0.64, 0.16, 0.2)
    dealt = [[split_of(name, shares, seed) for name in names] for seed in (0, 42)]
    assert dealt[0] != dealt[1]
    for each in dealt:
        np.testing.assert_allclose([each.count(s) / len(names) for s in SPLITS], shares, atol=0.04)


def test_augmenting_before_the_split_leaks_and_says_so(root: Path, tmp_path: Path) -> None:
    leaky = tiny_settings(tmp_path, split="augmented", copies=3, augment=["small"], shares=[0.6, 0.2, 0.2], seed=4)
    splits, _ = load(leaky, root)
    sizes = {name: len(split.cells) for name, split in splits.items()}
    assert sum(sizes.values()) == 4 * 96 and sizes["train"] == pytest.approx(0.6 * 384, abs=1)
    pictures = {name: {cell.name.partition("#")[0] for cell in split.cells} for name, split in splits.items()}
    assert len(pictures["train"] & pictures["hold-out"]) > 40  # the leak
    assert "LEAKS" in protocol_of(leaky) and "LEAKS" not in protocol_of(tiny_settings(tmp_path))
    again, _ = load(leaky, root)
    for name, split in splits.items():
        for a, b in zip(split.cells, again[name].cells, strict=True):
            assert a.name == b.name and np.array_equal(a.pixels, b.pixels)
    with pytest.raises(UsageError, match="copies before the split leak"):
        tiny_settings(tmp_path, copies=3)


def test_whole_pictures_may_be_dealt_out_as_studies_do(root: Path, tmp_path: Path) -> None:
    splits, _ = load(tiny_settings(tmp_path, split="pictures", split_seed=42, shares=[0.64, 0.16, 0.2]), root)
    names = [cell.name for split in splits.values() for cell in split.cells]
    assert len(names) == len(set(names)) == 96 and len(splits["hold-out"].cells) == pytest.approx(19, abs=1)


def test_cells_to_look_at_are_of_many_types(root: Path, tmp_path: Path) -> None:
    shown = some_cells(tiny_settings(tmp_path), root, 6)
    assert len(shown) == 6 and len({cell.label for cell in shown}) == 5
