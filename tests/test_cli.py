"""The command line from outside: help at once, one clear line for each mistake, the contract's exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from pbsbatch.cli import app
from pbsbatch.cli.prose import joined

HEAVY = ("numpy", "cv2", "numba", "zarr", "dask", "distributed", "pyvips", "openslide", "openvino", "torch", "tifffile")


def pbsbatch(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pbsbatch", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=120,
    )


@pytest.mark.smoke
def test_help_names_the_commands_and_how_to_start() -> None:
    done = pbsbatch("--help")
    assert done.returncode == 0
    for word in ("run", "plan", "inspect", "data", "pbsbatch run --input"):
        assert word in done.stdout
    assert pbsbatch("--version").stdout.startswith("pbsbatch ")


COMMANDS = [["run"], ["plan"], ["inspect"], ["status"], ["verify"], ["doctor"], ["view"], ["data", "synth"]]


@pytest.mark.smoke
@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(command: list[str]) -> None:
    done = pbsbatch(*command, "--help")
    assert done.returncode == 0
    assert f"pbsbatch {' '.join(command)}" in done.stdout


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, each in getattr(command, "commands", {}).items():
        yield from leaves(each, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path), command


def test_all_help_has_an_example_and_paragraphs_that_fit_any_window() -> None:
    """Lines that end where the source's did leave ragged text in a window of another width."""
    found = dict(leaves(get_command(app)))
    assert {"report", "draw", "export", "evaluate", "tune", "data compose", "models train detector"} <= set(found)
    for path, command in found.items():
        text = f"{command.help}\n\n{command.epilog}"
        assert f"pbsbatch {path}" in text, path
        assert all("\n" not in p.strip() or p.startswith(" ") for p in text.split("\n\n")), path
    assert joined("one\ntwo\n\n    a = 1\n    b = 2") == "one two\n\n    a = 1\n    b = 2"


def test_help_shows_defaults() -> None:
    """Typer takes square brackets for markup unless they are escaped."""
    said = " ".join(pbsbatch("run", "--help").stdout.replace("│", " ").split())
    for default in ("[default: pbsbatch-results]", "[default: smear]", "[default: half of its free]"):
        assert default in said


@pytest.mark.smoke
def test_help_starts_nothing_heavy() -> None:
    program = (
        "import sys\nfrom pbsbatch.cli import app\nfrom typer.testing import CliRunner\n"
        f"assert CliRunner().invoke(app, ['--help']).exit_code == 0\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "no input"),
        (["run", "--input", "nowhere"], "nowhere"),
        (["run", "--input", ".", "--engine", "warp"], "auto, opencv, openvino, torch, tensorrt"),
        (["run", "--input", ".", "--model", "yolo99"], "classical"),
        (["run", "--input", ".", "--mpp", "900"], "um per pixel"),
        (["run", "--input", ".", "--memory", "lots"], "not an amount of memory"),
        (["run", "--input", ".", "--config", "none.toml"], "none.toml"),
        (["plan", "--input", "nowhere"], "nowhere"),
        (["inspect", "nowhere.svs"], "nowhere.svs"),
        (["verify", "nowhere"], "no such folder"),
        (["view", "nowhere"], "no folder of results"),
        (["status", "nowhere"], "no such folder"),
        (["status", ".", "--json", "--watch"], "--json tells once"),
        (["run", "--input", ".", "--key-file", "k"], "--deidentify"),
    ],
)
def test_a_mistake_is_one_clear_line_and_touches_nothing(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = pbsbatch(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
