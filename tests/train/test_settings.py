"""Settings: every key known, every value typed and bounded, and said so when not."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from pbsbatch.errors import UsageError
from pbsbatch.train.settings import Settings, read_settings

ENOUGH = '[[data]]\npath = "a"\n[[validation]]\npath = "b"\n'


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return read_settings(path)


def test_the_file_wins_over_the_defaults_and_flags_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"steps = 7\nseed = 3\nlearning_rate = 1\n[network]\nblocks = [0, 1, 2]\n{ENOUGH}")
    settings = read_settings(path, {"steps": 9})
    assert (settings.steps, settings.seed, settings.batch) == (9, 3, Settings.__dataclass_fields__["batch"].default)
    assert settings.network.blocks == (0, 1, 2)
    assert settings.learning_rate == 1.0
    assert (settings.data[0].path, settings.data[0].complete, settings.validation[0].path) == ("a", True, "b")
    assert settings.red_cell_px == pytest.approx(7.2 / settings.work_mpp)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz = 1\n" + ENOUGH, "unknown setting 'stepz'. Did you mean 'steps'?"),
        ("[network]\nwidth = 2\n" + ENOUGH, "unknown setting 'network.width'. Known settings: blocks, channels"),
        ('[[data]]\npth = "a"\n' + ENOUGH, "unknown setting 'data[0].pth'. Did you mean 'path'?"),
        ('[[data]]\nformat = "voc"\n' + ENOUGH, "data[0].path is missing"),
        ('[[data]]\npath = "a"\nformat = "xml"\n' + ENOUGH, "data[0].format must be one of voc, yolo, coco"),
        ('steps = "ten"\n' + ENOUGH, "steps must be a whole number, not 'ten'"),
        ("steps = 1.5\n" + ENOUGH, "steps must be a whole number, not 1.5"),
        ("steps = true\n" + ENOUGH, "steps must be a whole number, not True"),
        ("steps = 0\n" + ENOUGH, "steps must lie between 1 and 1e+08, not 0"),
        ("work_mpp = nan\n" + ENOUGH, "work_mpp must lie between 0.05 and 1, not nan"),
        ("canvas_px = 100\n" + ENOUGH, "canvas_px must be a multiple of 32, not 100"),
        ('precision = "int8"\n' + ENOUGH, "precision must be one of bf16, fp32"),
        ("network = 3\n" + ENOUGH, "network must be a table"),
        ("[network]\nstride = 5\n" + ENOUGH, "network.stride must be 4 or 8, not 5"),
        ("[network]\nblocks = [1, 2]\n" + ENOUGH, "network.blocks must be a list of 3"),
        ("[network]\nblocks = [1, 2, -1]\n" + ENOUGH, "network.blocks[2] must lie between 0 and 64, not -1"),
        ('data = "a"\n', "data must be a list"),
        ('[[validation]]\npath = "b"\n', "no data: give [[data]] tables"),
        ('[[data]]\npath = "a"\n', "no validation sets"),
        ('[[data]]\npath = "a"\nonly = ["@none.txt"]\n' + ENOUGH, "data[0].only: cannot read"),
        ("steps = \n", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert str(tmp_path / "run.toml") in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot read the settings"):
        read_settings(tmp_path / "none.toml")


def test_lists_of_fields_may_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "held.txt").write_text("# held out\nbccd_1\n\n  pbc_2 \n")
    settings = read(
        tmp_path, '[[data]]\npath = "a"\nwithout = ["raabin_*", "@held.txt"]\n' + ENOUGH[ENOUGH.index("[[v") :]
    )
    assert settings.data[0].without == ("raabin_*", "bccd_1", "pbc_2")


def test_settings_are_plain_values_for_json(tmp_path: Path) -> None:
    settings = read(tmp_path, ENOUGH)
    assert json.loads(json.dumps(settings.table()))["network"]["stride"] == 4


@pytest.mark.parametrize("part", ["detector.toml", "tune.toml", "whole.toml"])
def test_the_shipped_run_can_be_read(part: str) -> None:
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as folder:
        settings = read_settings(folder / part)
    assert settings.data and settings.validation
