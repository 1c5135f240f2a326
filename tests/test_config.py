from __future__ import annotations

from pathlib import Path

import pytest

from pbsbatch.config import Config, parse_bytes, resolve
from pbsbatch.errors import UsageError


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "night.toml"
    file.write_text(
        'input = "slides"\nworkers = 3\nmpp = 0.1\nscore-threshold = 0.4\nmemory = "2GB"\norigin = [3, 4]\n'
    )
    config = resolve({"workers": 5, "mpp": None}, file)
    assert config.workers == 5
    assert config.mpp == 0.1
    assert config.score_threshold == 0.4
    assert config.memory == 2 * 10**9
    assert config.origin == (3, 4)
    assert config.inputs == (tmp_path / "slides",)
    assert config.model == Config().model


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workrs = 3", "Did you mean 'workers'"),
        ('workers = "many"', "workers must be a whole number"),
        ("workers = true", "workers must be a whole number"),
        ("fresh = 1", "fresh must be true or false"),
        ("input = 3", "inputs must be a list of paths"),
        ("origin = [1]", "origin must be two whole numbers"),
        ("workers = ", "not valid TOML"),
        ("mpp = 99.0", "0.01 to 10"),
        ("engine = 'warp'", "auto, opencv, openvino, torch, tensorrt"),
        ("core = 7", "between 32 and 8192"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "night.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        resolve({}, file)


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the config file"):
        resolve({}, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "value"), [("8GB", 8 * 10**9), ("500 MB", 5 * 10**8), ("2.5GiB", 2684354560), ("1000", 1000)]
)
def test_amounts_of_memory(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "8 potatoes", "1e999", "nan", "0"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_bytes(text)
