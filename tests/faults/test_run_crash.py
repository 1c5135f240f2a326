"""One bad slide costs one slide, whatever it does to its process; a full disk costs nothing that was done."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbsbatch.testing.faults import MARKS
from tests.faults.processes import ROOT, completed
from tests.oracle import draw_cells, write_oracle_slide

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
GOOD = 10


def write_marked(path: Path, fault: str) -> None:
    """Write an oracle slide with one cell whose number makes the fake engine break."""
    labels = draw_cells(300, 260, 20, seed=99)
    labels[100:120, 100:120] = MARKS[fault]
    write_oracle_slide(path, labels)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good")
    for number in range(GOOD):
        write_oracle_slide(root / f"good{number}.tif", draw_cells(300, 260, 20, seed=number))
    write_oracle_slide(root / "good-large.tif", draw_cells(1300, 1100, 500, seed=77))
    return root


def archive_with(good: Path, tmp_path: Path, *faults: str) -> Path:
    """Return a folder with the good slides among marked ones."""
    root = tmp_path / "in"
    root.mkdir()
    for path in good.iterdir():
        os.link(path, root / path.name)
    for fault in faults:
        write_marked(root / f"bad-{fault}.tif", fault)
    return root


def test_slides_that_break_their_worker_fail_alone_and_say_how(good: Path, tmp_path: Path) -> None:
    slides = archive_with(good, tmp_path, "segfault", "hang", "raise", "memory-error")
    code, said = completed(slides, tmp_path / "out", engine="load_faulty_engine", patience=30.0)
    results = said["results"]
    assert {name: status for name, (status, _) in results.items() if name.startswith("good")} == dict.fromkeys(
        [f"good{n}.tif" for n in range(GOOD)] + ["good-large.tif"], "ok"
    )
    expected = {
        "bad-segfault.tif": "its worker died, at last with nothing else at work: segmentation fault in _meet (",
        "bad-hang.tif": "its worker died, at last with nothing else at work: no progress for 30 s",
        "bad-raise.tif": "unexpected RuntimeError: nobody foresaw this",
        "bad-memory-error.tif": "out of memory while it was computed",
    }
    for name, text in expected.items():
        status, error = results[name]
        assert status == "failed"
        assert text in error
    assert code == 1
    failures = (tmp_path / "out" / "failures.csv").read_text()
    assert all(name in failures for name in expected)
    log = (tmp_path / "out" / "run.log").read_text()
    assert "a worker died, what it held runs again: segmentation fault" in log
    assert not (tmp_path / "out" / ".pbsbatch" / "workers").exists()


class MemoryGroup:
    """A control group with little memory, of either version of the kernel's interface."""

    def __init__(self, limit: int) -> None:
        old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        base, file = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
        self.path = base / f"pbsbatch-test-{os.getpid()}"
        self.path.mkdir()
        try:
            (self.path / file).write_text(str(limit))
        except OSError:
            self.path.rmdir()
            raise

    def close(self) -> None:
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)


@pytest.fixture
def memory_group() -> Iterator[MemoryGroup]:
    try:
        group = MemoryGroup(1500 << 20)
    except OSError as error:
        pytest.skip(f"no control group with a memory limit can be made here ({error.strerror})")
    yield group
    group.close()


def test_a_slide_that_eats_all_memory_is_killed_by_the_kernel_and_fails_alone(
    good: Path, tmp_path: Path, memory_group: MemoryGroup
) -> None:
    slides = archive_with(good, tmp_path, "memory")
    code, said = completed(slides, tmp_path / "out", engine="load_faulty_engine", group=str(memory_group.path))
    status, error = said["results"]["bad-memory.tif"]
    assert (code, status) == (1, "failed")
    assert "out of memory: the system killed it" in error
    assert sorted(s for s, _ in said["results"].values()).count("ok") == GOOD + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of our own, with room for bytes and for few files.

    A shell waits for the end of its input, which comes also when this process is killed, and unmounts.
    """
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=90", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    unmounts = ["sh", "-c", 'cat; umount --lazy "$0"', str(place)]
    with subprocess.Popen(unmounts, stdin=subprocess.PIPE, start_new_session=True):
        yield place


def pbsbatch(slides: Path, out: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pbsbatch", "run", "--input", str(slides), "--output", str(out)]
    return subprocess.run(
        [*command, "--model", "classical", "--workers", "1"], capture_output=True, text=True, check=False, timeout=400,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip


def test_a_full_disk_stops_the_run_and_room_resumes_it(good: Path, tmp_path: Path, small_disk: Path) -> None:
    slides, out = archive_with(good, tmp_path), small_disk / "out"
    stopped = pbsbatch(slides, out)
    assert stopped.returncode == 3, stopped.stdout + stopped.stderr
    assert "The disk is full" in stopped.stdout + stopped.stderr
    assert "Traceback" not in stopped.stdout + stopped.stderr
    published = {p.name: p.stat().st_ino for p in (out / "slides").glob("*.zarr")}
    assert published, "nothing was done before the disk was full"
    assert len(published) <= GOOD

    subprocess.run(["mount", "-o", "remount,size=200m,nr_inodes=0", str(small_disk)], check=True)
    resumed = pbsbatch(slides, out)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = {p.name: p.stat().st_ino for p in (out / "slides").glob("*.zarr")}
    assert len(after) == GOOD + 1
    assert published.items() <= after.items()
    assert not list(out.rglob(".tmp-*"))


def test_a_disk_too_small_for_a_slide_stops_the_run_before_the_work_and_says_what_is_needed(
    good: Path, tmp_path: Path, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,size=2m,nr_inodes=0", str(small_disk)], check=True)
    refused = pbsbatch(good / "good-large.tif", small_disk / "out")
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "a slide needs about 0.0" in refused.stdout + refused.stderr
    assert not list((small_disk / "out").rglob("strip-*"))


def test_a_folder_that_may_not_be_written_stops_the_run(good: Path, tmp_path: Path) -> None:
    """Root may write anywhere: a file stands where the folder of stores must be."""
    out = tmp_path / "out"
    (out / ".pbsbatch").mkdir(parents=True)
    (out / "slides").write_text("in the way")
    done = pbsbatch(good, out)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "A file stands where a folder must be" in done.stdout + done.stderr
    assert (out / "slides").read_text() == "in the way"
