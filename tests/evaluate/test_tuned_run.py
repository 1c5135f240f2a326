"""From drawn smears to a tuned config and back, by the commands themselves: real Dask workers, the shipped network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.config import resolve
from pbsbatch.evaluate.figures import figures
from pbsbatch.evaluate.hold import hold
from pbsbatch.results import open_run


def command(*words: object) -> str:
    said = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return said.output


def test_a_tuned_config_reaches_the_workers_and_gives_what_was_promised(tmp_path: Path) -> None:
    smears, first, again = tmp_path / "smears", tmp_path / "first", tmp_path / "again"
    command("data", "synth", "--output", smears, "--slides", 2, "--size", "800x640", "--seed", 11, "--workers", 1)
    often = ["--engine", "openvino", "--workers", 1, "--quiet"]
    loose = tmp_path / "loose.toml"  # far from the best: the network's own thresholds leave little to tune here
    loose.write_text("differential = false\nnms_iou = 0.95\n[thresholds]\nRBC = 0.05\nWBC = 0.05\nPlatelet = 0.05\n")
    command("run", "--input", smears, "--output", first, "--config", loose, "--keep-candidates", *often)
    config = tmp_path / "tuned.toml"
    command("tune", first, "--truth", smears / "truth.json", "--output", config)
    tuned = resolve({}, config)
    assert tuned.nms_iou is not None and dict(tuned.thresholds).keys() == {"RBC", "WBC", "Platelet"}

    config.write_text("differential = false\n" + config.read_text())
    command("run", "--input", smears, "--output", again, "--config", config, *often)
    before, after = (figures(hold(out, smears / "truth.json")).rows for out in (first, again))
    assert f"F1 {before[-1].f1:.4f} before, F1 {after[-1].f1:.4f} after" in config.read_text()
    assert after[-1].f1 > before[-1].f1 + 0.01 and after[-1].f1 > 0.9

    for slide, looser in zip(open_run(again), open_run(first), strict=True):
        least = np.array([dict(tuned.thresholds)[name] for name in slide.store.classes])
        assert (slide.cells["score"] >= np.float32(least)[slide.cells["class"]] - 1e-6).all()
        assert 10 < len(slide.cells["score"]) < len(looser.cells["score"])
    facts = json.loads((again / "run.json").read_text())["config"]
    assert facts["nms_iou"] == tuned.nms_iou and dict(facts["thresholds"]) == dict(tuned.thresholds)
