"""What the README says of figures stands in the recorded rows; commands that it and docs/ name are there."""

from __future__ import annotations

import csv
import json
import re
from typing import Any

from typer.main import get_command

from benchmarks import record
from pbsbatch.cli import app

PAGES = [record.ROOT / "README.md", *sorted((record.ROOT / "docs").glob("*.md"))]
FIELDS = {
    "TXL-PBC validation, all": "txl-val", "– BCCD": "txl-val-bccd", "– PBC": "txl-val-pbc",
    "– Raabin": "txl-val-raabin", "CBC, never trained on": "cbc-unseen", "drawn": "drawn",
}  # fmt: skip
COLUMNS = ("ap50", "ap", "RBC_f1", "WBC_f1", "Platelet_f1")


def recorded(stem: str) -> list[dict[str, str]]:
    with (record.RESULTS / f"{stem}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def table(head: str) -> list[list[str]]:
    """Return the rows of the README's table that begins so."""
    lines = PAGES[0].read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(head)) + 2
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end]]


def shown(cell: str) -> float:
    found = re.match(r"[\d.]+", cell)
    assert found, cell
    return float(found[0])


def is_of(line: list[str], row: dict[str, str]) -> bool:
    """Say whether a line of the README rounds a recorded row."""
    said = [shown(cell) for cell in line[1:]]
    true = [*(float(row[column]) for column in COLUMNS), 100 * float(row["rbc_mape"])]
    near = [abs(a - b) <= within for a, b, within in zip(said, true, [5.1e-4] * 5 + [0.051], strict=True)]
    return f"({row['fields']})" in line[0] and all(near)


def test_the_accuracy_in_the_readme_was_recorded_of_the_model_that_is_shipped() -> None:
    version = json.loads((record.ROOT / "pbsbatch/models/shipped/smear/model.json").read_text())["version"]
    rows = [r for r in recorded("accuracy") if (r["model"], r["version"], r["scale"]) == ("smear", version, "labels")]
    lines = table("| fields | mAP50 |")
    assert len(lines) == len(FIELDS)
    for line in lines:
        own = next(name for said, name in FIELDS.items() if line[0].startswith(said))
        assert any(is_of(line, row) for row in rows if row["set"] == own), line


def test_the_speed_in_the_readme_is_of_one_recorded_run() -> None:
    slide, fields, free, tiles = (" ".join(line[1:]) for line in table("| | here | beside it |"))
    beside = [r for r in recorded("end_to_end") if r["sahi_mpix_per_s"]]
    row = next(r for r in recorded("end_to_end") if slide.startswith(f"{float(r['run_s']):.1f} s"))
    assert f"{float(row['run_s']):.1f} s, {row['mpix_per_s']} MP/s, {row['mm2_per_s']} mm²/s" in slide
    of_limit = f"{float(row['of_limit']):.2f}".lstrip("0")
    assert f"limit {float(row['limit_s']):.1f} s: {of_limit} of it" in slide
    assert f"{float(row['fields_run_s']):.0f} s, {row['fields_mpix_per_s']} MP/s" in fields
    assert f"{float(row['free_engine_mpix_per_s']):.0f} MP/s" in free
    peers = ("ours", "sahi", "supervision")  # beside each other in one run, which may be another than the slide's
    assert any(all(f"{r[f'{who}_mpix_per_s']} MP/s" in tiles for who in peers) for r in beside)


def spoken() -> list[tuple[str, str]]:
    """Return each command line that a page names, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`(pbsbatch [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        found += [(page.name, line.split("#")[0]) for line in lines if line.startswith("pbsbatch ")]
    return found


def test_every_command_and_option_that_a_page_names_is_there() -> None:
    lines = spoken()
    assert len(lines) > 40
    for page, line in lines:
        command: Any = get_command(app)
        words = line.split()[1:]
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{page}: {line}"
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        asked = {word.split("=")[0] for word in words if word.startswith("--")}
        assert asked <= known | {"--help"}, f"{page}: {line}: {asked - known}"
