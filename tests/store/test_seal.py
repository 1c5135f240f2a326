"""The seal of a store: written once it is published, by whoever finds it without one, and read by sha256sum."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pbsbatch.store import Store
from pbsbatch.store.seal import files_below, read_seal, seal, seal_path
from pbsbatch.testing.stores import KEY, Smear, draw_smear, preview_of

SLIDE = "s-1"


@pytest.fixture(scope="module")
def smear() -> Smear:
    return draw_smear(1, 700, 500, 200)


def publish(out: Path, smear: Smear, key: str = KEY) -> Path:
    store = Store.begin(out, smear.header, key)
    for strip in range(smear.header.strips):
        store.append(strip, *smear.strips[strip])
    return store.commit(preview_of(smear.header)).path


def test_a_published_store_is_sealed_as_sha256sum_reads_it(tmp_path: Path, smear: Smear) -> None:
    store = publish(tmp_path, smear)
    path = seal_path(tmp_path, smear.header.slide_id)
    assert sorted(read_seal(path)) == files_below(store)
    check = ["sha256sum", "--check", "--quiet", "--strict", str(path)]
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True, text=True).returncode == 0
    (store / "zarr.json").write_bytes(b"{}")
    done = subprocess.run(check, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "zarr.json: FAILED" in done.stdout


@pytest.mark.parametrize("left", ["", "torn\n", "\xff"])
def test_a_crash_before_sealing_is_made_good_by_who_keeps_the_store(tmp_path: Path, smear: Smear, left: str) -> None:
    publish(tmp_path, smear)
    path = seal_path(tmp_path, smear.header.slide_id)
    before = path.read_bytes()
    path.unlink()
    if left:
        path.write_bytes(left.encode("latin-1"))
    Store.begin(tmp_path, smear.header, KEY)
    assert path.read_bytes() == before


def test_a_seal_that_fits_is_left_alone_and_one_of_another_store_replaced(tmp_path: Path, smear: Smear) -> None:
    publish(tmp_path, smear)
    path = seal_path(tmp_path, smear.header.slide_id)
    before, at = path.read_bytes(), path.stat().st_mtime_ns
    Store.begin(tmp_path, smear.header, KEY)
    assert path.stat().st_mtime_ns == at
    publish(tmp_path, smear, key="f" * 64)
    assert path.read_bytes() != before
    assert path.read_bytes().count(b"\n") == before.count(b"\n")


def test_nothing_published_is_not_sealed(tmp_path: Path) -> None:
    seal(tmp_path, SLIDE)
    assert list(tmp_path.iterdir()) == []


def test_links_are_files_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("x")
    (tmp_path / "store" / "a").mkdir(parents=True)
    (tmp_path / "store" / "a" / "0").write_text("x")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "elsewhere")
    assert files_below(tmp_path / "store") == ["a/0", "link"]
