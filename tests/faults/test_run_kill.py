"""Law 5 on whole runs: driver, workers or both killed with SIGKILL at random moments, resumed until done.

Every store has the bytes of an undisturbed run's, nothing that was committed is made again, and no file stays that
does not belong there. The seed is printed; PBSBATCH_KILL_SEED=N does the same kills again.
"""

from __future__ import annotations

import json
import os
import random
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from pbsbatch import store
from tests.faults.processes import completed, kill_process, running
from tests.oracle import draw_cells, write_oracle_slide

pytestmark = pytest.mark.fault
KILLS = int(os.environ.get("PBSBATCH_KILLS", "30"))
SIZES = ((1500, 1100), (1100, 1500), (500, 400), (400, 600), (300, 300), (640, 480))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("six")
    for number, (width, height) in enumerate(SIZES):
        write_oracle_slide(root / f"{number}.tif", draw_cells(width, height, width * height // 2500, seed=number))
    return root


def stores_of(out: Path) -> dict[str, bytes]:
    """Return every byte below OUT that a slide's results consist of."""
    roots = (out / "slides", out / "seals")
    return {str(p.relative_to(out)): p.read_bytes() for root in roots for p in sorted(root.rglob("*")) if p.is_file()}


def names_of(out: Path) -> set[str]:
    """Return the files of OUT apart from those of the stores."""
    return {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and p.relative_to(out).parts[0] != "slides"}


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, said = completed(archive, out)
    assert code == 0, said
    return out


@pytest.fixture(scope="module")
def span(undisturbed: Path) -> float:
    """Return how many seconds of work an undisturbed run holds, by its log."""
    lines = (undisturbed / "run.log").read_text().splitlines()
    first, last = (datetime.fromisoformat(line.split()[0]) for line in (lines[0], lines[-1]))
    return max(1.0, (last - first).total_seconds())


def test_cells_lie_across_every_strip_border(undisturbed: Path) -> None:
    """Guard of the test itself: without strips and cells on their borders it would prove nothing."""
    borders = 0
    for path in sorted((undisturbed / "slides").glob("*.zarr")):
        slide = store.open(path)
        assert slide.info.cells > 0
        plan = slide.attributes["plan"]
        rows = max(1, 16 // plan["cols"]) * plan["core_px"][1] * plan["scale"]
        for strip in range(1, plan["strips"]):
            y = strip * rows
            assert np.count_nonzero((slide.cells["y0"] < y) & (slide.cells["y1"] > y)) > 0, (path.name, strip)
            borders += 1
    assert borders > 12


@pytest.mark.timeout(900)
def test_runs_killed_at_random_moments_end_as_if_nothing_had_happened(
    archive: Path, undisturbed: Path, span: float, tmp_path: Path
) -> None:
    seed = int(os.environ.get("PBSBATCH_KILL_SEED", str(random.SystemRandom().randrange(10**6))))
    print(f"PBSBATCH_KILL_SEED={seed}")
    rng, kills, night = random.Random(seed), 0, 0
    while kills < KILLS:
        night += 1
        out = tmp_path / str(night)
        seen: dict[str, int] = {}  # published store -> inode: what is committed stays
        for _ in range(rng.randint(2, 5)):
            kills += disturbed(archive, out, rng, span, seen)
            if done(out):
                break
        code, said = completed(archive, out)
        print(f"night {night}: {kills} kills so far, {len(seen)} slides committed before the last run")
        assert code == 0, said
        assert inodes(out) | seen == inodes(out), "a committed slide was made again"
        assert stores_of(out) == stores_of(undisturbed)
        assert names_of(out) == names_of(undisturbed)
        assert not (out / "slides" / ".work").exists()


def disturbed(archive: Path, out: Path, rng: random.Random, span: float, seen: dict[str, int]) -> int:
    """Start a run and kill until its driver is dead or it is done; return how many kills hit."""
    kills = 0
    with running(archive, out) as run:
        if rng.random() < 0.85 and not run.wait_until_started():
            return 0
        while run.process.poll() is None and kills < 4:
            time.sleep(rng.uniform(0, span / 2))
            workers = run.workers()
            seen.update(inodes(out))
            victim = rng.choice(("driver", "worker", "worker", "all"))
            if victim != "driver" and workers:
                chosen = workers if victim == "all" else [rng.choice(workers)]
                kills += max(map(kill_process, chosen))
            if victim != "worker" and run.process.poll() is None:
                run.kill()
                kills += victim == "driver"
                return kills
        if run.process.poll() is None and rng.random() < 0.5:
            run.kill()
            return kills + 1
        run.process.communicate(timeout=200)
    return kills


def inodes(out: Path) -> dict[str, int]:
    """Return the published stores, each with the inode that a second publishing would change."""
    return {p.name: p.stat().st_ino for p in (out / "slides").glob("*.zarr")}


def done(out: Path) -> bool:
    try:
        facts = json.loads((out / "run.json").read_text())
    except FileNotFoundError:
        return False
    return bool(facts["slides"]["ok"] == len(SIZES))
