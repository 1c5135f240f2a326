"""Plans on disk: found by all that decides them, whole, under a lock; what is damaged is put aside and built once."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from pbsbatch.engines.tensorrt.build import build, profiles_for
from pbsbatch.engines.tensorrt.cache import ASIDE, KEPT_ASIDE, META, PLAN, PlanCache, key_of
from pbsbatch.engines.tensorrt.graph import baked
from pbsbatch.engines.tensorrt.library import Library
from pbsbatch.errors import EngineError, OutputError
from pbsbatch.models.folder import ModelFolder

FACTS = {"graph": "a", "driver": "13.0", "profiles": [[1, 4096]]}


class Maker:
    """Builds plans and counts."""

    def __init__(self, plan: bytes = b"plan") -> None:
        self.plan, self.made = plan, 0

    def __call__(self) -> bytes:
        self.made += 1
        return self.plan


def test_a_plan_is_built_once_and_found_again(tmp_path: Path) -> None:
    cache, make = PlanCache(tmp_path), Maker()
    kept, taken, built = cache.open(FACTS, make, lambda plan: plan.decode())
    assert (kept.plan, taken, built) == (b"plan", "plan", True)
    assert cache.open(FACTS, make, bytes)[2] is False
    assert make.made == 1
    assert [k.key for k in cache.find({"graph": "a"})] == [key_of(FACTS)]
    assert cache.find({"graph": "b"}) == []


@pytest.mark.parametrize("name", FACTS)
def test_any_other_fact_is_another_plan(name: str, tmp_path: Path) -> None:
    cache, make = PlanCache(tmp_path), Maker()
    cache.open(FACTS, make, bytes)
    cache.open({**FACTS, name: "other"}, make, bytes)
    assert make.made == 2 and len(cache.find({})) == 2


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        (PLAN, b"plam"), (PLAN, b""), (PLAN, None), (META, b"{"), (META, b"[]"), (META, b'{"facts": 1}'),
        (META, json.dumps({"facts": {"graph": "z"}, "plan_sha256": "0", "stamp": None}).encode()),
    ],
)  # fmt: skip
def test_a_damaged_plan_is_put_aside_and_built_anew(name: str, bad: bytes | None, tmp_path: Path) -> None:
    cache, make = PlanCache(tmp_path), Maker()
    kept = cache.put(FACTS, b"plan")
    file = tmp_path / kept.key / name
    file.unlink() if bad is None else file.write_bytes(bad)
    assert cache.open(FACTS, make, bytes)[2] is True
    assert make.made == 1 and len(list(tmp_path.glob(f"*{ASIDE}"))) == 1
    assert cache.get(kept.key) is not None


def test_a_plan_that_is_not_taken_back_is_built_anew_once(tmp_path: Path) -> None:
    cache, make = PlanCache(tmp_path), Maker(b"new")
    cache.put(FACTS, b"old")
    kept, _, built = cache.open(FACTS, make, lambda plan: None if plan == b"old" else plan)
    assert built and kept.plan == b"new"
    with pytest.raises(EngineError, match="just built cannot be loaded: an old GPU"):
        cache.open({**FACTS, "graph": "b"}, make, lambda _: None, lambda: "an old GPU")
    assert make.made == 2 and cache.find({"graph": "b"}) == []
    for _ in range(KEPT_ASIDE + 2):
        cache.put_aside(cache.put(FACTS, b"x").key)
    assert len(list(tmp_path.glob(f"*{ASIDE}"))) == KEPT_ASIDE


def test_a_stamp_is_added_and_a_new_plan_has_none(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    kept = cache.put(FACTS, b"plan")
    assert kept.stamp is None
    cache.admit(kept, {"rms": 0.1})
    found = cache.get(kept.key)
    assert found is not None and found.stamp == {"rms": 0.1}
    again = cache.get(cache.put(FACTS, b"plan 2").key)
    assert again is not None and again.stamp is None


def test_times_are_kept_by_what_they_were_measured_on(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    assert cache.times({"gpu": "a"}) == b""
    cache.keep_times({"gpu": "a"}, b"times")
    assert cache.times({"gpu": "a"}) == b"times" and cache.times({"gpu": "b"}) == b""


def test_a_full_disk_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        PlanCache(tmp_path).put(FACTS, b"plan")
    assert PlanCache(tmp_path).find({}) == []


def _slowly(root: Path, log: Path) -> None:
    def make() -> bytes:
        with log.open("a") as handle:
            handle.write("built\n")
        time.sleep(0.5)
        return b"plan"

    PlanCache(root).open(FACTS, make, bytes)


def test_two_processes_build_one_plan(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    (tmp_path / "plans").mkdir()
    both = [spawn.Process(target=_slowly, args=(tmp_path / "plans", log)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert [one.exitcode for one in both] == [0, 0]
    assert log.read_text() == "built\n"


def test_a_real_plan_hits_misses_and_is_not_taken_back_without_a_driver(
    folder: ModelFolder, library: Library, tmp_path: Path
) -> None:
    cache, graph, made = PlanCache(tmp_path), baked(folder, "fp16"), list[Any]()

    def make() -> bytes:
        made.append(1)
        return build(library, graph, profiles_for((1,))).plan

    facts = {"library": library.name, "version": library.version, "graph": graph.hex()[:64]}
    first = cache.open(facts, make, bytes)
    second = cache.open(facts, make, bytes)
    assert first[1] == second[1] and len(made) == 1
    cache.open({**facts, "version": "1.7.2"}, make, bytes)
    assert len(made) == 2
    damaged = bytearray(first[1])
    damaged[len(damaged) // 2] ^= 255
    (tmp_path / first[0].key / PLAN).write_bytes(damaged)
    assert cache.open(facts, make, bytes)[2] and len(made) == 3
