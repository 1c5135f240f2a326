"""Settings: every key known, every value typed and bounded, and said so when not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pbsbatch.errors import UsageError
from pbsbatch.nets.classifier import ClassifierSize
from pbsbatch.train.classifier.settings import read_settings

ENOUGH = '[[pictures]]\npath = "a"\nmpp = 0.1\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no data: give at least one [[pictures]] table"),
        ("stepz = 1\n" + ENOUGH, "unknown setting 'stepz'. Did you mean 'steps'?"),
        ('[[pictures]]\npath = "a"\n', "pictures[0].mpp is missing"),
        ('[[pictures]]\npath = "a"\nmpp = 9\n', "pictures[0].mpp must lie between 0.02 and 2, not 9"),
        (ENOUGH + 'rename = [{ begins = "x" }]', "pictures[0].rename[0].is_a is missing"),
        ("crop_px = 100\n" + ENOUGH, "crop_px must be a multiple of 16, not 100"),
        ("smoothing = 0.9\n" + ENOUGH, "smoothing must lie between 0 and 0.5, not 0.9"),
        ('precision = "int8"\n' + ENOUGH, "precision must be one of bf16, fp32"),
        ("steps = [\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_settings(path)
    assert said in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the settings"):
        read_settings(tmp_path / "no.toml")


def test_flags_win_and_all_can_be_kept_as_json(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"steps = 7\ncrop_px = 96\n[network]\nblocks = [0, 1, 2]\n{ENOUGH}")
    settings = read_settings(path, {"steps": 9})
    assert settings.steps == 9 and settings.size == ClassifierSize(96, blocks=(0, 1, 2))
    assert json.loads(json.dumps(settings.table()))["pictures"][0]["mpp"] == 0.1
