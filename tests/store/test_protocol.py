"""What may go wrong around a store: disks, other processes, other versions, too many cells."""

import errno
import fcntl
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pbsbatch.errors import OutputError, StoreError
from pbsbatch.store import Preview, Store, StoreHeader, TileRows, open_store
from pbsbatch.store import build as build_module
from pbsbatch.store import tables as tables_module
from pbsbatch.testing.stores import KEY, digest, draw_smear, preview_of

SMEAR = draw_smear(41, 700, 600, 300)
HEADER = SMEAR.header


def filled(out: Path) -> Store:
    store = Store.begin(out, HEADER, KEY)
    for k, strip in enumerate(SMEAR.strips):
        store.append(k, *strip)
    return store


def test_held_strips_give_the_same_bytes_as_strips_on_disk_and_leave_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path / "disk").commit(preview_of(HEADER))
    held = Store.begin(tmp_path / "held", HEADER, KEY, held=True)
    for k in (2, 0, 1):
        assert held.finished == {2, 0, 1} - set((2, 0, 1)[(2, 0, 1).index(k) :])
        held.append(k, *SMEAR.strips[k])
    assert not (tmp_path / "held").exists(), "nothing is written before the commit"
    held.commit(preview_of(HEADER))
    assert digest(tmp_path / "held" / "slides") == digest(tmp_path / "disk" / "slides")
    assert [p.name for p in (tmp_path / "held" / "slides").iterdir()] == [f"{HEADER.slide_id}.zarr"]


def test_a_held_store_goes_on_with_strips_of_an_earlier_attempt(tmp_path: Path) -> None:
    store = Store.begin(tmp_path, HEADER, KEY)
    store.append(1, *SMEAR.strips[1])
    held = Store.begin(tmp_path, HEADER, KEY, held=True)
    assert held.finished == {1}
    held.append(0, *SMEAR.strips[0])
    held.append(2, *SMEAR.strips[2])
    assert store.finished == {1}
    assert len(held.tiles()) == sum(len(tiles) for _, tiles in SMEAR.strips)
    assert held.commit(preview_of(HEADER)).cells == len(SMEAR.truth)
    assert not (tmp_path / "slides" / ".work").exists()


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EACCES", "EROFS"])
@pytest.mark.parametrize("call", ["replace", "rename", "mkdir"])
def test_a_disk_that_takes_no_more_is_said_and_the_strips_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, call: str
) -> None:
    store = filled(tmp_path)

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OutputError) as caught:
        if call == "replace":
            Store.begin(tmp_path, replace(HEADER, slide_id="other"), KEY).append(0, *SMEAR.strips[0])
        else:
            store.commit(preview_of(HEADER))
    assert str(tmp_path) in str(caught.value)
    assert caught.value.cure is not None
    assert "run again" in caught.value.cure
    monkeypatch.undo()
    assert not list((tmp_path / "slides" / ".work").rglob("settle-*"))
    assert not list((tmp_path / "slides" / ".work").rglob(".tmp-*"))
    assert store.finished == {0, 1, 2}
    assert store.commit(preview_of(HEADER)).cells == len(SMEAR.truth)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a real disk of 600 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting needs more rights than this user has")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    store = filled(small_disk)
    used = sum(p.stat().st_size for p in small_disk.rglob("*") if p.is_file())
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000 - used - 40_000))
    with pytest.raises(OutputError, match="The disk is full"):
        store.commit(preview_of(HEADER))
    assert store.finished == {0, 1, 2}
    ballast.unlink()
    assert store.commit(preview_of(HEADER)).cells == len(SMEAR.truth)


def test_a_file_where_the_folder_must_be(tmp_path: Path) -> None:
    (tmp_path / "slides").write_text("")
    with pytest.raises(OutputError, match="A file stands where a folder must be"):
        Store.begin(tmp_path, HEADER, KEY)


def test_the_first_publisher_wins(tmp_path: Path) -> None:
    """Many threads commit at once: one store appears, and all are told of it."""
    stores = [filled(tmp_path) for _ in range(4)]
    told: list[tuple[int, Path]] = []

    def commit(store: Store) -> None:
        done = store.commit(preview_of(HEADER))
        told.append((done.cells, done.path))

    threads = [threading.Thread(target=commit, args=(s,)) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [(len(SMEAR.truth), stores[0].path)] * 4
    alone = filled(tmp_path / "alone").commit(preview_of(HEADER)).path
    assert digest(stores[0].path) == digest(alone)
    assert list((tmp_path / "slides").iterdir()) == [stores[0].path]


def test_a_loser_does_not_publish_over_the_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process publishes while this one settles: what it published stays, untouched."""
    store, real = filled(tmp_path), build_module.build
    inode = []

    def build_late(path: Path, *args: object, **kwargs: object) -> None:
        real(path, *args, **kwargs)  # type: ignore[arg-type]
        monkeypatch.setattr("pbsbatch.store.protocol.build", real)
        inode.append(filled(tmp_path).commit(preview_of(HEADER)).path.stat().st_ino)

    monkeypatch.setattr("pbsbatch.store.protocol.build", build_late)
    done = store.commit(preview_of(HEADER))
    assert done.path.stat().st_ino == inode[0]
    assert list((tmp_path / "slides").iterdir()) == [done.path]


def test_attempts_that_died_are_cleared_and_live_ones_are_left(tmp_path: Path) -> None:
    store = filled(tmp_path)
    work = tmp_path / "slides" / ".work" / HEADER.slide_id
    (work / "settle-dead" / "x.zarr").mkdir(parents=True)
    (work / "settle-dead" / "lock").touch()
    (work / "settle-live").mkdir()
    fd = os.open(work / "settle-live" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    seen: list[list[str]] = []

    def fence() -> AbstractContextManager[None]:
        seen.append(sorted(p.name[:11] for p in work.glob("settle-*")))
        raise StoreError("stop here")

    with pytest.raises(StoreError, match="stop here"):
        store.commit(preview_of(HEADER), fence=fence)
    os.close(fd)
    assert "settle-live" in seen[0]
    assert "settle-dead" not in seen[0]
    assert len(seen[0]) == 2


def test_what_a_crash_behind_the_rename_left_is_cleared(tmp_path: Path) -> None:
    path = filled(tmp_path).commit(preview_of(HEADER)).path
    left = tmp_path / "slides" / ".work" / HEADER.slide_id / KEY[:16]
    left.mkdir(parents=True)
    (left / "strip-00000.cells").write_bytes(b"x")
    Store.clean(tmp_path, HEADER.slide_id)
    assert list((tmp_path / "slides").iterdir()) == [path]
    left.mkdir(parents=True)
    assert Store.begin(tmp_path, HEADER, KEY).finished == {0, 1, 2}
    assert list((tmp_path / "slides").iterdir()) == [path]


def test_the_work_of_other_slides_stays(tmp_path: Path) -> None:
    other = Store.begin(tmp_path, replace(HEADER, slide_id="other"), KEY)
    other.append(0, *SMEAR.strips[0])
    filled(tmp_path).commit(preview_of(HEADER))
    assert other.finished == {0}


def test_strips_of_another_header_do_not_count(tmp_path: Path) -> None:
    filled(tmp_path)
    store = Store.begin(tmp_path, replace(HEADER, band_px=4.0), KEY)
    assert store.finished == frozenset()
    assert len(store.damaged) == 3
    assert "another run" in store.damaged[0]


def test_a_removed_work_folder_is_said(tmp_path: Path) -> None:
    store = filled(tmp_path)
    Store.clean(tmp_path, HEADER.slide_id)
    for act in (lambda: store.append(0, *SMEAR.strips[0]), lambda: store.commit(preview_of(HEADER))):
        with pytest.raises(StoreError, match="Run again"):
            act()


def test_a_store_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = filled(tmp_path).commit(preview_of(HEADER)).path
    (path / "zarr.json").write_text('{"attributes": {"pbsbatch": 3}}')
    assert Store.committed(tmp_path, HEADER.slide_id) is None
    with pytest.raises(StoreError, match="Run the slide again"):
        open_store(path)
    assert filled(tmp_path).commit(preview_of(HEADER)).cells == len(SMEAR.truth)


def test_values_are_checked_and_survive_pickling(tmp_path: Path) -> None:
    for bad in ({"width": 0}, {"slide_id": "a/b"}, {"slide_id": ".."}, {"attributes": {"store": 1}}, {"band_px": -1.0}):
        with pytest.raises(ValueError):
            replace(HEADER, **bad)
    with pytest.raises(ValueError, match="hex digest"):
        Store.begin(tmp_path, HEADER, "../../etc/passwd")
    with pytest.raises(ValueError, match="preview"):
        Preview(np.zeros((4, 4), np.uint8), 1.0)
    with pytest.raises(ValueError, match=r"TileRows\.status"):
        replace(TileRows.empty(), status=np.zeros(0, np.int64))
    store = pickle.loads(pickle.dumps(filled(tmp_path)))
    done = store.commit(preview_of(HEADER))
    assert pickle.loads(pickle.dumps(done)) == done
    assert isinstance(pickle.loads(pickle.dumps(HEADER)), StoreHeader)


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from pbsbatch.detections import OWNED, Detections, untyped
from pbsbatch.store import Preview, Store, StoreHeader, TileRows
out, height, strip = Path(sys.argv[1]), int(sys.argv[2]), 1024
width, pitch, side = 8192, 16, 14
header = StoreHeader("s", width, height, None, ("cell",), height // strip, 3.0)
store = Store.begin(out, header, "a" * 64)
preview = Preview(np.zeros((64, 64, 3), np.uint8), 128.0)
size = (side * side + 7) // 8
for k in range(header.strips):
    y, x = np.mgrid[k * strip : (k + 1) * strip : pitch, 0:width:pitch].reshape(2, -1)
    n = len(x)
    boxes = np.stack([x, y, x + side, y + side], 1).astype(np.float32)
    windows = np.stack([x, y, np.full(n, side), np.full(n, side)], 1).astype(np.int32)
    cells = Detections(boxes, np.ones(n, np.float32), np.zeros(n, np.uint8), np.zeros(n, np.int32),
        np.full(n, OWNED, np.uint8), windows, np.arange(n + 1) * size, np.full(n * size, 255, np.uint8), **untyped(n))
    store.append(k, cells, TileRows.empty())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = store.commit(preview)
assert done.cells == height // pitch * (width // pitch)
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_slide(tmp_path: Path) -> None:
    """Settle N / 4 and N cells, N = 500 000: 60 MB if they were held."""
    peaks = []
    for height in (4096, 16384):
        command = [sys.executable, "-c", PEAK, str(tmp_path / str(height)), str(height)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        peaks.append(int(run.stdout.split()[1]) / 1024)
    assert peaks[1] - peaks[0] < 25, peaks


def test_a_small_table_is_measured_as_it_would_be_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[dict[str, np.ndarray]]] = []

    def measure(cells: Iterator[dict[str, np.ndarray]], tiles: TileRows) -> dict[str, float]:
        seen.append(list(cells))
        return {}

    filled(tmp_path / "held").commit(preview_of(HEADER), measure=measure)
    monkeypatch.setattr(tables_module, "HELD_ROWS", 0)
    filled(tmp_path / "read").commit(preview_of(HEADER), measure=measure)
    (held,), (read,) = seen
    assert list(held) == list(read)
    for name, column in read.items():
        np.testing.assert_array_equal(held[name], column)
        assert held[name].dtype == column.dtype
