"""The output folder: ours or refused, one run at a time, and the cure in every message."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.errors import OutputError, OutputLockedError, UsageError
from pbsbatch.run.output import MARKER, check_ours, claim, locked, start_over


def test_a_new_and_an_own_folder_are_taken(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    check_ours(out, [tmp_path], fresh=False)
    assert not out.exists()
    with locked(out):
        claim(out, [tmp_path])
    check_ours(out, [tmp_path], fresh=False)
    assert (out / MARKER).is_dir()


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(UsageError, match="not pbsbatch's"):
        check_ours(tmp_path, [tmp_path], fresh=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_folder_of_another_run_is_refused_unless_fresh(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(out):
        claim(out, [tmp_path / "a"])
    with pytest.raises(UsageError, match=r"belongs to a run over .*/a"):
        check_ours(out, [tmp_path / "b"], fresh=False)
    check_ours(out, [tmp_path / "b"], fresh=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="a file, not a folder"):
        check_ours(tmp_path / "out", [tmp_path], fresh=False)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "No permission"),
    ],
)
def test_what_the_system_refuses_is_explained(number: int, said: str) -> None:
    with pytest.raises(OutputError, match=said), output_errors(Path("out")):
        raise OSError(number, os.strerror(number), "out/x")


def test_other_system_errors_pass_through() -> None:
    with pytest.raises(OSError, match="busy"), output_errors(Path("out")):
        raise OSError(errno.EBUSY, "busy")


def test_two_runs_exclude_each_other_and_a_dead_owner_keeps_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom pbsbatch.run.output import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputLockedError, match=rf"process {other.pid} on"), locked(tmp_path / "out"):
            pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with locked(tmp_path / "out") as token:
        assert token in (tmp_path / "out" / MARKER / "lock").read_text()


def test_starting_over_leaves_what_is_not_ours(tmp_path: Path) -> None:
    stores = tmp_path / "slides"
    for name, attributes in (("ours.zarr", '{"pbsbatch": {}}'), ("theirs.zarr", "{}")):
        (stores / name).mkdir(parents=True)
        (stores / name / "zarr.json").write_text(f'{{"attributes": {attributes}}}')
    (stores / "notes.txt").write_text("mine")
    (stores / ".work" / "a").mkdir(parents=True)
    (tmp_path / "summary.csv").write_text("")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".pbsbatch").mkdir()
    for name in ("lock", "turnstile", "inputs.json", "progress.json"):
        (tmp_path / ".pbsbatch" / name).write_text("")
    assert start_over(tmp_path) == ["summary.csv", ".pbsbatch/progress.json", "slides/.work", "slides/ours.zarr"]
    for name in ("lock", "turnstile", "inputs.json"):
        (tmp_path / ".pbsbatch" / name).unlink()
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"notes.txt", "slides/notes.txt", "slides/theirs.zarr/zarr.json"}
    assert start_over(tmp_path) == []


def test_an_atomic_write_leaves_no_other_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", (b"one\n",))
    write_atomic(tmp_path / "a.txt", (b"two", b"\n"))
    assert (tmp_path / "a.txt").read_text() == "two\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_synced_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "a", [b"one"], sync=True)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "a", [b"two"], sync=True)
    assert (tmp_path / "a").read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_sync_means_the_file_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)))
    write_atomic(tmp_path / "a", [b"one"])
    assert synced == []
    write_atomic(tmp_path / "a", [b"one"], sync=True)
    assert synced == [False, True]
