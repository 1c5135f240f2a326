"""From slides to stores: what each stage costs alone, what the whole run takes, and what is lost between the two.

`python -m benchmarks.end_to_end --json` draws a pyramidal JPEG slide and a folder of small fields (some minutes for the
default sizes), and measures in one run:

- the core-seconds of each stage on the slide, all cores at one stage at a time; their sum over the cores is the
  additive limit: on a CPU nothing hides behind the network;
- `pbsbatch run` on the slide, from ready workers to the written tables, and as a whole process; limit / time is the
  ratio;
- `pbsbatch run` on the fields, and its rate per pixel against the slide's. Both are drawn with as many white cells
  (per 1000 red ones), for each is looked at again, which costs 1.2 ms: with the twenty times as many that fields are
  drawn with otherwise, a fifth of their time was that, and the ratio compared smears;
- the stream with an engine that costs nothing and finds nothing;
- SAHI's and supervision's sliced inference with the same network, decoding and tile size, on a slide of --peer-side
  pixels already in memory, beside our stream on the same file (`pip install sahi supervision`; absent ones are said).

Core-seconds are processor time, so that a busy machine disturbs them less than the times, which want a quiet one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks import end_to_end_peers as peers
from benchmarks import record
from pbsbatch import engines, models
from pbsbatch.config import Config, cores
from pbsbatch.detections import Detections
from pbsbatch.engines.base import Engine
from pbsbatch.models.base import Model, Raw
from pbsbatch.models.operating import least_scores
from pbsbatch.pipeline import Job, process
from pbsbatch.pipeline.tile import look_at, refine, with_crops
from pbsbatch.plan import PREVIEW_PX
from pbsbatch.run.events import Event, RunFinished, RunStarted
from pbsbatch.run.execute import execute
from pbsbatch.run.prepare import Prepared, Workbench, prepare_slide, store_of
from pbsbatch.run.second_look import second_look
from pbsbatch.slides.base import Slide, SlideRef
from pbsbatch.store import Preview, TileRows
from pbsbatch_kernels.warm import warm_up

T, R = TypeVar("T"), TypeVar("R")
FIELD = (640, 480)
MPP = 0.25
WHITE_PER_1000 = 2.0
CHILD = "--child"


def main() -> None:
    if sys.argv[1:2] == [CHILD]:
        print(json.dumps(timed_run(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=16_384, help="side of the slide in pixels of 0.25 um")
    parser.add_argument("--fields", type=int, default=2_000, help="how many fields of 640 x 480")
    parser.add_argument("--peer-side", type=int, default=8_192, help="side of the slide for the peers; 0: no peers")
    parser.add_argument("--model", default="smear")
    parser.add_argument("--work", type=Path, help="a folder for slides, which are drawn once and kept there")
    parser.add_argument("--no-record", action="store_true", help="append nothing to benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(cores())
    with TemporaryDirectory() as temporary:
        row = measure(asked, asked.work or Path(temporary), Path(temporary))
    if not asked.no_record:
        record.append("end_to_end", [row])
    record.show(row)


def measure(asked: argparse.Namespace, work: Path, out: Path) -> dict[str, Any]:
    """Return the row of one run."""
    side, width, height = asked.side, *FIELD
    slide = drawn(work / f"slide-{side}", f"{side}x{side}", 1, "tiff")
    fields = drawn(work / f"fields-{asked.fields}-alike", f"{width}x{height}", asked.fields, "jpeg")
    warm_up()
    model = models.load(asked.model)
    engine = engines.load(model)
    config = Config(output=out / "alone", model=asked.model)
    bench = Workbench(config, model, engine, second_look(config, model, ""), nullcontext)
    alone = stages_alone(bench, slide)
    limit = sum(alone.values()) / cores()
    on_slide = run(slide, out / "slide", asked.model)
    on_fields = run(fields, out / "fields", asked.model)
    rate, field_rate = side**2 / 1e6 / on_slide["seconds"], asked.fields * width * height / 1e6 / on_fields["seconds"]
    row = {
        "model": model.spec.name, "precision": engine.precision, "side_px": side, "fields": asked.fields,
        **{f"{name}_core_s": round(seconds, 2) for name, seconds in alone.items()},
        "limit_s": round(limit, 2), "run_s": round(on_slide["seconds"], 2),
        "process_s": round(on_slide["process_seconds"], 2), "of_limit": round(limit / on_slide["seconds"], 3),
        "mpix_per_s": round(rate, 1), "mm2_per_s": round(rate * MPP**2, 2), "bound_by": on_slide["bound_by"],
        "fields_run_s": round(on_fields["seconds"], 2), "fields_mpix_per_s": round(field_rate, 1),
        "fields_to_slide": round(field_rate / rate, 3),
        "busy_s": json.dumps(on_slide["stages"]), "fields_busy_s": json.dumps(on_fields["stages"]),
        "free_engine_mpix_per_s": round(side**2 / 1e6 / free_engine_seconds(bench, slide), 1),
    }  # fmt: skip
    side = asked.peer_side
    peer_slide = drawn(work / f"slide-{side}", f"{side}x{side}", 1, "tiff") if side else None
    found = peers.figures(bench, None if peer_slide is None else reference_of(peer_slide))
    return row | found | {"white_per_1000": WHITE_PER_1000}


def drawn(folder: Path, size: str, count: int, kind: str) -> Path:
    """Draw slides unless they are there."""
    if not (folder / "truth.json").exists():
        arguments = [
            "--output", folder, "--slides", count, "--size", size, "--format", kind, "--no-outlines",
            "--white-per-1000", WHITE_PER_1000,
        ]  # fmt: skip
        subprocess.run([sys.executable, "-m", "pbsbatch", "data", "synth", *map(str, arguments)], check=True,
                       stdout=sys.stderr)  # fmt: skip
    return folder


def run(slides: Path, out: Path, model: str) -> dict[str, Any]:
    """Run over a folder in a process of its own."""
    start = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.end_to_end", CHILD, str(slides), str(out), model], check=True,
        stdout=subprocess.PIPE, env={k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"},
    )  # fmt: skip
    return json.loads(told.stdout) | {"process_seconds": time.perf_counter() - start}


def timed_run(slides: str, out: str, model: str) -> dict[str, Any]:
    """Do what `pbsbatch run` does, and tell how long it took from ready workers to the last table."""
    at: dict[str, float] = {}

    def hear(event: Event) -> None:
        if isinstance(event, RunStarted):
            at["start"] = time.perf_counter()

    config = Config(inputs=(Path(slides),), output=Path(out), model=model, mpp=MPP, quiet=True)
    finished: RunFinished = execute(config, hear)
    if any(result.status != "ok" for result in finished.results):
        raise SystemExit(f"the run failed: {[r.error for r in finished.results if r.error][:3]}")
    seconds = time.perf_counter() - at["start"]
    return {"seconds": seconds, "stages": dict(finished.stages), "bound_by": finished.bound_by}


def reference_of(folder: Path) -> SlideRef:
    path = next(p for p in sorted(folder.iterdir()) if p.suffix == ".tif")
    return SlideRef("bench-00000000", path, path.name, "bench", MPP)


def stages_alone(bench: Workbench, folder: Path) -> dict[str, float]:
    """Return the core-seconds of each stage: all cores do one stage on a few tiles, then the next."""
    spent = dict.fromkeys(("prepare", "read", "infer", "decode", "refine", "write", "settle"), 0.0)
    with burned(spent, "prepare"):
        prepared, slide = prepare_slide(bench, reference_of(folder))
    plan, store = prepared.plan, store_of(bench, prepared)
    bench.engine(np.zeros((cores(), *plan.tile_shape, 3), np.uint8))  # compiled before it is timed
    red, least = bench.model.spec.classes.index("RBC"), least_scores(bench.model, bench.config)
    with ThreadPoolExecutor(cores()) as pool:
        for strip in range(plan.strips):
            seen = []
            for tiles in in_groups(list(plan.strip_tiles(strip)), 2 * cores()):
                boxes = [tile.read for tile in tiles]
                with burned(spent, "read"):
                    pixels = each(pool, lambda b: slide.read_scaled(plan.scale, b.x, b.y, b.w, b.h), boxes)
                with burned(spent, "infer"):
                    raws = each(pool, lambda p: bench.engine(p[None]), pixels)
                with burned(spent, "decode"):
                    founds = each(pool, lambda raw: bench.model.decode(raw, 0, prepared.calibration), raws)
                    looks = list(zip(founds, tiles, pixels, strict=True))
                    group = each(pool, lambda one: look_at(one[0], red, one[1], plan, one[2], least), looks)
                    if bench.second is not None:
                        pairs = zip(group, pixels, strict=True)
                        group = [with_crops(one, bench.second, plan, own) for one, own in pairs]
                    seen += group
            with burned(spent, "refine"):
                seen = seen if bench.second is None else refine(seen, bench.second)
            with burned(spent, "write"):
                cells = Detections.concat([one.cells for one in seen])
                store.append(strip, cells, TileRows.concat([one.row for one in seen]))
    with burned(spent, "settle"):
        store.commit(Preview(*slide.thumbnail(PREVIEW_PX)), workers=cores())
    slide.close()
    return spent


@contextmanager
def burned(spent: dict[str, float], stage: str) -> Iterator[None]:
    """Add the processor time of this process to a stage."""
    start = time.process_time()
    yield
    spent[stage] += time.process_time() - start


def each(pool: ThreadPoolExecutor, do: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return list(pool.map(do, items))


def in_groups(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class FreeEngine:
    """An engine that costs nothing and finds nothing: its output was made before."""

    name, precision, device = "free", "nothing", "none"
    lanes = cores()

    def __init__(self, engine: Engine, shape: tuple[int, int]) -> None:
        raw = engine(np.zeros((1, *shape, 3), np.uint8))
        self.raw = {name: np.full_like(values, -100.0 if name == "scores" else 0.0) for name, values in raw.items()}

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        return {k: np.broadcast_to(v, (len(pixels), *v.shape[1:])) for k, v in self.raw.items()}

    def close(self) -> None:
        """Hold nothing."""


def free_engine_seconds(bench: Workbench, folder: Path) -> float:
    """Return how long the stream takes on a slide, from its first read to its last strip, with a free engine."""
    prepared, slide = prepare_slide(bench, reference_of(folder))
    engine = FreeEngine(bench.engine, prepared.plan.tile_shape)
    seconds = streamed(prepared, slide, bench.model, engine)
    slide.close()
    return seconds


class Nowhere:
    """A sink that keeps nothing."""

    def append(self, strip: int, cells: Detections, tiles: TileRows) -> None: ...


def streamed(prepared: Prepared, slide: Slide, model: Model, engine: Engine) -> float:
    job = Job(slide, prepared.plan, prepared.calibration, tuple(range(prepared.plan.strips)), Nowhere())
    start = time.perf_counter()
    for _ in process([job], model, engine):
        pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
