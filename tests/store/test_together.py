"""Small stores published together: each has the laws of a store that is published alone, and one sync serves all."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pbsbatch.errors import OutputError, StoreError
from pbsbatch.run.output import sweep
from pbsbatch.store import Store, Together
from pbsbatch.store import build as build_module
from pbsbatch.store.attempt import shared_place
from pbsbatch.store.seal import read_seal, seal_path
from pbsbatch.testing.stores import KEY, Smear, digest, draw_smear, preview_of

SMEARS = tuple(draw_smear(seed, 400, 300, 60) for seed in (1, 2, 3))


def held(out: Path, smear: Smear, key: str = KEY) -> Store:
    store = Store.begin(out, smear.header, key, held=True)
    for strip, content in enumerate(smear.strips):
        store.append(strip, *content)
    return store


def add(together: Together, store: Store) -> None:
    together.add(store, preview_of(store.header))


def stores(out: Path) -> list[str]:
    return sorted(p.name for p in (out / "slides").iterdir())


def names(*smears: Smear) -> list[str]:
    return sorted(f"{smear.header.slide_id}.zarr" for smear in smears)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an output whose stores were published one by one."""
    out = tmp_path_factory.mktemp("alone")
    for smear in SMEARS:
        held(out, smear).commit(preview_of(smear.header))
    return out


def test_stores_published_together_have_the_bytes_of_those_published_alone(tmp_path: Path, alone: Path) -> None:
    together = Together(tmp_path)
    for count, smear in enumerate(SMEARS, 1):
        add(together, held(tmp_path, smear))
        assert len(together) == count
        assert stores(tmp_path) == [".work"], "visible before it was published"
    assert together.publish() == {}
    assert stores(tmp_path) == names(*SMEARS), "something else was left"
    assert digest(tmp_path / "slides") == digest(alone / "slides")
    for smear in SMEARS:
        path = seal_path(tmp_path, smear.header.slide_id)
        assert read_seal(path) and path.read_bytes() == seal_path(alone, smear.header.slide_id).read_bytes()
    add(together, held(tmp_path, SMEARS[0]))  # what is published already stays, and it goes on after a publishing
    assert together.publish() == {} and len(together) == 0


def calls_in_order(monkeypatch: pytest.MonkeyPatch, out: Path) -> list[str]:
    """Record syncs and renames that publish, each sync with a digest of what it makes safe."""
    seen: list[str] = []
    real = os.rename

    def sync(folder: Path) -> None:
        seen.append(f"sync {' '.join(digest(p) for p in sorted((folder, *folder.iterdir())) if p.suffix == '.zarr')}")

    def rename(source: Path, target: Path) -> None:
        real(source, target)
        if Path(target).parent == out / "slides":
            seen.append(f"publish {digest(Path(target))}")

    for module in ("together", "protocol"):
        monkeypatch.setattr(f"pbsbatch.store.{module}.sync_files", sync)
    monkeypatch.setattr(os, "rename", rename)
    return seen


def test_every_byte_is_synced_before_the_first_store_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves no torn store: one sync, after the last byte was written and before the first rename."""
    seen = calls_in_order(monkeypatch, tmp_path)
    together = Together(tmp_path)
    for smear in SMEARS:
        add(together, held(tmp_path, smear))
    assert seen == []
    together.publish()
    sync, *published = seen
    assert sorted(sync.split()[1:]) == sorted(line.removeprefix("publish ") for line in published)
    assert sync.startswith("sync ") and len(published) == 3


def test_one_alone_is_synced_before_it_is_visible_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls_in_order(monkeypatch, tmp_path)
    held(tmp_path, SMEARS[0]).commit(preview_of(SMEARS[0].header))
    sync, published = seen
    assert sync.removeprefix("sync ") == published.removeprefix("publish ")


def test_a_store_that_cannot_be_built_leaves_nothing_and_the_others_are_published(tmp_path: Path) -> None:
    with Together(tmp_path) as together:
        add(together, held(tmp_path, SMEARS[0]))
        torn = Store.begin(tmp_path, SMEARS[1].header, KEY, held=True)
        with pytest.raises(StoreError, match="strips are missing"):
            add(together, torn)
        add(together, held(tmp_path, SMEARS[2]))
        assert together.publish() == {}
    assert stores(tmp_path) == names(SMEARS[0], SMEARS[2])


def test_a_disk_that_fills_up_while_one_is_built_still_takes_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together(tmp_path)
    add(together, held(tmp_path, SMEARS[0]))
    real = build_module.build

    def full(path: Path, *args: object, **kwargs: object) -> None:
        real(path, *args, **kwargs)  # type: ignore[arg-type]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pbsbatch.store.protocol.build", full)
    with pytest.raises(OutputError, match="The disk is full"):
        add(together, held(tmp_path, SMEARS[1]))
    (folder,) = shared_place(tmp_path).iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["lock", *names(SMEARS[0])], "it holds the room that they want"
    assert together.publish() == {}
    assert stores(tmp_path) == names(SMEARS[0])


def test_a_fence_that_refuses_lets_none_through(tmp_path: Path) -> None:
    entered = []

    @contextmanager
    def fence() -> Iterator[None]:
        entered.append(stores(tmp_path))
        raise OutputError("the run has ended", path=tmp_path)
        yield

    with pytest.raises(OutputError, match="the run has ended"), Together(tmp_path, fence) as together:
        for smear in SMEARS:
            add(together, held(tmp_path, smear))
        together.publish()
    assert entered == [[".work"]]
    assert stores(tmp_path) == []


def test_who_published_first_stays_and_an_older_result_is_replaced(tmp_path: Path, alone: Path) -> None:
    held(tmp_path, SMEARS[1], key="f" * 64).commit(preview_of(SMEARS[1].header))
    together = Together(tmp_path)
    for smear in SMEARS:
        add(together, held(tmp_path, smear))
    held(tmp_path, SMEARS[0]).commit(preview_of(SMEARS[0].header))  # another process, meanwhile
    first = (tmp_path / "slides" / names(SMEARS[0])[0]).stat().st_ino
    assert together.publish() == {}
    assert (tmp_path / "slides" / names(SMEARS[0])[0]).stat().st_ino == first
    assert stores(tmp_path) == names(*SMEARS)
    assert digest(tmp_path / "slides") == digest(alone / "slides")


def test_what_a_dead_process_built_goes_and_what_a_live_one_builds_stays(tmp_path: Path) -> None:
    place = shared_place(tmp_path)
    for name in ("settle-dead", "settle-live", ".settle-unnamed"):
        (place / name / "x.zarr").mkdir(parents=True)
    strips = place.parent / "settle-is-a-slide-1234abcd" / KEY[:16]  # of a slide that happens to be called so
    strips.mkdir(parents=True)
    for name in ("settle-dead", "settle-live"):
        (place / name / "lock").touch()
    with (place / "settle-live" / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Together(tmp_path) as together:
            add(together, held(tmp_path, SMEARS[0]))
            there = {p.name[:16] for p in place.iterdir()}
            assert {"settle-live", ".settle-unnamed"} < there and "settle-dead" not in there and len(there) == 3
        sweep(tmp_path)
        assert [p.name for p in place.iterdir()] == ["settle-live"]
    sweep(tmp_path)
    assert not place.exists()
    assert strips.is_dir()


def test_a_work_folder_that_is_removed_costs_its_slide_alone(tmp_path: Path) -> None:
    together = Together(tmp_path)
    for smear in SMEARS[:2]:
        add(together, held(tmp_path, smear))
    (folder,) = shared_place(tmp_path).iterdir()
    (folder / names(SMEARS[0])[0]).rename(tmp_path / "away")
    failed = together.publish()
    assert list(failed) == [SMEARS[0].header.slide_id]
    assert "Run again" in str(failed[SMEARS[0].header.slide_id])
    assert stores(tmp_path) == names(SMEARS[1])


def test_ids_that_would_be_taken_for_our_own_folders_are_refused() -> None:
    with pytest.raises(ValueError, match="plain file name"):
        replace(SMEARS[0].header, slide_id=shared_place(Path("out")).name)
