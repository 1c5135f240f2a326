import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pbsbatch_kernels.warm import WarmUp

pytestmark = pytest.mark.compiled

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import json, sys
from dataclasses import replace
from pathlib import Path
from pbsbatch_kernels.jit import tally
from pbsbatch_kernels.warm import warm_up
ready = warm_up()
before = tally()
from pbsbatch import engines, models
from pbsbatch.config import Config
from tests.run.inline import run_one
model = models.load("classical")
found = []
for k, mpp in enumerate((0.25, 0.19, 0.125)):
    config = Config(core=300, mpp=mpp)
    result = run_one(Path("slide.png"), Path(f"out{k}"), config, model, engines.load(model, "auto"))
    found.append(sum(result.counts.values()))
print(json.dumps([before, tally(), found, str(ready), str(warm_up())]))
"""


def test_a_run_behind_it_loads_and_compiles_nothing(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    rng = np.random.default_rng(1)
    image = np.full((900, 1200, 3), (225, 215, 220), np.uint8)
    for x, y in rng.integers(20, (1180, 880), (220, 2)):
        cv2.circle(image, (int(x), int(y)), 14, (190, 120, 140), -1, cv2.LINE_AA)
    cv2.circle(image, (600, 300), 30, (90, 60, 140), -1, cv2.LINE_AA)
    cv2.imwrite(str(tmp_path / "slide.png"), image[..., ::-1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after, found, first, again = json.loads(done.stdout)
    assert min(found) > 50
    assert before == after
    assert sum(before) > 15
    assert first.startswith("kernels ") and again == "kernels ready in 0.0 s"


def test_it_says_what_it_took() -> None:
    assert str(WarmUp(0.44, 20, 0, True)) == "kernels ready in 0.4 s"
    assert str(WarmUp(12.3, 1, 19, True)) == "kernels compiled in 12.3 s, once per machine"
    assert "in every process" in str(WarmUp(12.3, 0, 20, False))
