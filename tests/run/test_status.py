"""How a run stands, as seen from outside: alive by its lock, and by its last words."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pbsbatch.errors import UsageError
from pbsbatch.run.events import RunFinished, RunProgress, RunStarted
from pbsbatch.run.progress import kept_in_file
from pbsbatch.run.status import SILENT_S, judge, read_status

AT = RunProgress(
    total=10, done=4, failed=1, kept=2, running=3, names=(("big.svs", 7, 40),), tiles=90, mpix=900.0, cells=5000,
    seconds=30.0, share=0.5, eta_s=600.0,
)  # fmt: skip
STARTED = RunStarted({f"s{i}": 10 for i in range(10)}, 0, 2, "opencv", "classical")


def told(out: Path, *, finished: bool = False, stopped: str | None = None) -> Path:
    """A folder as a run leaves it that told its progress and then ended, or did not."""
    (out / ".pbsbatch").mkdir(parents=True)
    listen = kept_in_file(out / ".pbsbatch", lambda _: None)
    listen(STARTED)
    if finished:
        listen(AT)
        listen(RunFinished((), 30.0, stopped, False, {}, "nothing"))
    return out


@pytest.mark.parametrize(
    ("alive", "finished", "stopped", "since_s", "state"),
    [
        (True, False, None, 1.0, "running"),
        (True, False, None, SILENT_S + 1, "silent"),
        (True, True, None, 1.0, "starting"),
        (False, True, None, 1.0, "finished"),
        (False, True, "the disk is full", 1.0, "stopped"),
        (False, False, None, 1.0, "crashed"),
    ],
)
def test_the_state_is_judged(alive: bool, finished: bool, stopped: str | None, since_s: float, state: str) -> None:
    words = {"finished": finished, "stopped": stopped}
    assert judge(alive=alive, told=words, since_s=since_s, ended=False) == state


def test_a_version_that_told_nothing_is_judged_by_what_lies_there() -> None:
    assert judge(alive=True, told=None, since_s=None, ended=True) == "running"
    assert judge(alive=False, told=None, since_s=None, ended=True) == "finished"
    assert judge(alive=False, told=None, since_s=None, ended=False) == "unknown"


def test_a_crashed_run_says_when_and_what_lies_on_the_disk(tmp_path: Path) -> None:
    out = told(tmp_path / "out")
    for name in ("slides/a.zarr", "slides/.work/b/key", "slides/.work/c/key"):
        (out / name).mkdir(parents=True)
    for strip in ("00000", "00004"):
        (out / f"slides/.work/b/key/strip-{strip}.cells").write_bytes(b"")
    now = read_status(out, datetime.now(UTC) + timedelta(minutes=9))
    assert now.state == "crashed"
    assert now.owner is None
    assert now.since_s == pytest.approx(540, abs=30)
    assert (now.stores, now.strips, now.slides_begun) == (1, 2, 1)
    assert now.pending == 10


def test_a_finished_and_a_stopped_run(tmp_path: Path) -> None:
    now = read_status(told(tmp_path / "a", finished=True))
    assert (now.state, now.pending) == ("finished", 5)
    assert now.eta_s == pytest.approx(600, abs=5)
    assert read_status(told(tmp_path / "b", finished=True, stopped="interrupted by SIGINT")).state == "stopped"


def test_a_live_run_is_known_by_its_lock_and_looking_leaves_it_alone(tmp_path: Path) -> None:
    out = told(tmp_path / "out")
    program = (
        "import sys\nfrom pathlib import Path\nfrom pbsbatch.run.output import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for _ in range(2):
            now = read_status(out)
            assert now.state == "running"
            assert now.owner is not None
            assert now.owner.startswith(f"process {other.pid} on ")
        assert read_status(out, datetime.now(UTC) + timedelta(minutes=5)).state == "silent"
        other.kill()
    assert read_status(out).state == "crashed"


def test_no_folder_of_results_and_damaged_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        read_status(tmp_path / "gone")
    with pytest.raises(UsageError, match="not a folder of results"):
        read_status(tmp_path)
    out = told(tmp_path / "out", finished=True)
    path = out / ".pbsbatch" / "progress.json"
    good = json.loads(path.read_text())
    for change in ({"slides": 3}, {"running": [1]}, {"updated_utc": "now"}, {"eta_s": "soon"}, {"format": 99}):
        path.write_text(json.dumps(good | change))
        with pytest.raises(UsageError, match=r"damaged|format 99"):
            read_status(out)
    path.unlink()
    assert read_status(out).state == "unknown"
