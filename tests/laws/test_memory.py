"""Law 7: memory is bounded by the plan, not by the cells; a process that does a slide stays below its projection."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pbsbatch.engines.gpus import Gpu, Gpus
from pbsbatch.engines.memory import memory_of
from pbsbatch.plan import EngineMemory
from pbsbatch.synth import Scene, write_slide

SIDE = 3072
GPU = Gpu(0, "Fake GPU 9000", "GPU-0", (9, 0), 1, 1, 1)
CHILD = """
import json, os, sys
from contextlib import nullcontext
from pathlib import Path
from pbsbatch import engines, models
from pbsbatch.config import Config
from pbsbatch.engines.memory import memory_of
from pbsbatch.run.prepare import Workbench, prepare_slide
from pbsbatch.run.tasks import commit_slide, process_strips
from pbsbatch.slides.base import SlideRef
from pbsbatch_kernels.warm import warm_up

slide, out, lanes, asked = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
warm_up()
model = models.load("smear")
bench = Workbench(Config(output=out, core=1024), model, engines.load(model, asked, threads=lanes), None, nullcontext)
prepared, handle = prepare_slide(bench, SlideRef("a-00000000", slide, slide.name, "a", 0.25))
handle.close()
process_strips(bench, prepared, tuple(prepared.missing), lambda _: None)
result, _ = commit_slide(bench, prepared, {}, 0.0)
status = Path("/proc/self/status").read_text()
peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
print(json.dumps([peak, prepared.plan.projected_memory(lanes, memory_of(asked)), sum(result.counts.values())]))
"""


def peak_of(slide: Path, out: Path, lanes: int = 2, asked: str = "auto") -> tuple[int, int, int]:
    """Return peak and projected memory, and how many cells were found."""
    command = [sys.executable, "-c", CHILD, str(slide), str(out), str(lanes), asked]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, projected, cells = json.loads(told.stdout)
    return peak, projected, cells


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile the kernels, which takes memory once per machine, before any peak is taken."""
    subprocess.run([sys.executable, "-c", "from pbsbatch_kernels.warm import warm_up; warm_up()"], check=True)


def test_a_worker_stays_below_its_projection_and_does_not_grow_with_the_cells(warm: None, tmp_path: Path) -> None:
    peaks, cells = [], []
    for density in (10_500.0, 2_600.0):
        slide = tmp_path / f"{density:.0f}.tif"
        write_slide(Scene(SIDE, SIDE, seed=3, density_per_mm2=density), slide, workers=2)
        peak, projected, found = peak_of(slide, tmp_path / f"out-{density:.0f}")
        assert 0.5 * projected < peak <= projected, f"{peak / 1e6:.0f} MB of {projected / 1e6:.0f} MB projected"
        peaks.append(peak)
        cells.append(found)
    assert cells[0] > 3 * cells[1] > 1000
    assert peaks[0] < 1.1 * peaks[1], f"{cells} cells took {peaks} bytes"


def test_an_engine_that_takes_more_is_reckoned_with(warm: None, tmp_path: Path) -> None:
    """PyTorch alone takes more than all else in a worker."""
    pytest.importorskip("torch")
    slide = tmp_path / "one.tif"
    write_slide(Scene(1200, 1200, seed=3), slide, workers=2)
    peak, projected, _ = peak_of(slide, tmp_path / "out", 1, "torch")
    assert 0.5 * projected < peak <= projected, f"{peak / 1e6:.0f} MB of {projected / 1e6:.0f} MB projected"
    assert memory_of("auto", Gpus((GPU,), "13.0")) == memory_of("tensorrt:fp16") == memory_of("torch")
    assert memory_of("auto", Gpus(why="none")) == EngineMemory()
    assert memory_of("openvino:int8").times < memory_of("openvino:fp32").times < memory_of("torch").times
