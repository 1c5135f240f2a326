"""The table that closes a run."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from pbsbatch.cli.view import _table
from pbsbatch.run.events import SlideResult
from tests.run.results import ZONES, result_of


def test_the_table_says_what_needs_a_look() -> None:
    good = result_of("good.svs")
    few = result_of("few.svs", measures={"seen": {"RBC": {"": 90_000}, "WBC": {"lymphocyte": 12, "erythroblast": 3}}})
    failed = SlideResult("f", "broken.svs", Path("f"), "f", "failed", error="why")
    console = Console(width=100, file=io.StringIO())
    console.print(_table((good, replace(few, counts={"RBC": 90_000, "WBC": 15}), failed)))
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert lines[1].endswith("pass") and lines[2].endswith("review: too few wbc") and "broken.svs failed" in lines[3]
    assert "90,000 12 " in lines[2]  # a nucleated red cell is no white one


def test_of_many_slides_those_that_need_a_look_come_first() -> None:
    many = [result_of(f"{k}.svs") for k in range(60)]
    many[55] = result_of("thick.svs", measures={"zones_px": ZONES | {"monolayer": 0.0}})
    console = Console(width=120, file=io.StringIO())
    console.print(_table(tuple(many)))
    lines = console.file.getvalue().splitlines()
    assert "thick.svs" in lines[1] and "fail: no monolayer, too thick" in lines[1]
    assert lines[-1].startswith("... and 20 more")
