"""Make a published study again, by one command.

`python -m benchmarks.study NAME [--data DIR] [--model NAME|PATH]` runs benchmarks/studies/NAME.toml, appends its rows
to benchmarks/results/study_NAME.csv and prints what is shown of them, with the published figures beside ours; `--smoke`
runs it in seconds and records nothing. --output DIR keeps pictures, and what was done of a study that takes long, so
that it goes on where it was broken off. Without NAME the studies are listed. `--readme` writes what was recorded last
of each into README.md. Where the data is not at hand a study is skipped with one line.
"""

from __future__ import annotations

import argparse
import csv
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import record

STUDIES = Path(__file__).resolve().parent / "studies"
README = record.ROOT / "README.md"
BEGIN, END = "<!-- studies: python -m benchmarks.study --readme -->", "<!-- /studies -->"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Published:
    """A figure that somebody published, and where ours stands."""

    row: Mapping[str, Any]
    column: str
    value: float | str
    source: str


@dataclass(frozen=True)
class Study:
    """One study as its file has it."""

    name: str
    title: str
    kind: str
    needs: Sequence[str]
    settings: Mapping[str, Any]
    shown: Mapping[str, str]  # columns that a reader sees, with their titles
    published: Sequence[Published]
    brief: Mapping[str, Sequence[str]]  # of the rows, README.md has those with such values alone


def read(name: str, size: str = "") -> Study:
    """Return a study; a smoke run overrides its settings by [smoke], a short one by [short]."""
    path = STUDIES / f"{name}.toml"
    if not path.is_file():
        raise SystemExit(f"no study {name!r}: there are {', '.join(names())}")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    if size and size not in table:
        raise SystemExit(f"the study {name} has no {size} setting")
    settings = table["settings"] | (table[size] if size else {})
    published = [Published(**row) for row in table.get("published", [])]
    needs = settings.get("needs", table["needs"])
    brief = table.get("brief", {})
    return Study(name, table["title"], table["kind"], needs, settings, table["shown"], published, brief)


def names() -> list[str]:
    """Return the names of all studies."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def run(study: Study, data: Path, model: str, output: Path | None = None) -> Rows:
    """Return the rows of a study; what else it leaves goes into a folder, if there is one."""
    from benchmarks.studies import adaptation, classifiers, detection, scales, seams, two_stage, typed

    kinds: dict[str, Callable[[Mapping[str, Any], Path, str], Rows]] = {
        "detection": detection.cbc, "composites": detection.composites, "seams": seams.seams, "typed": typed.typed,
        "two-stage": two_stage.two_stage, "classifiers": classifiers.classifiers,
        "adaptation": adaptation.adaptation,
        "scales": scales.scales, "laboratories": scales.laboratories,
    }  # fmt: skip
    return kinds[study.kind]({**study.settings, "output": output}, data, model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="of the study; none: list them")
    parser.add_argument("--data", type=Path, help="folder of the public data sets (default: PBSBATCH_DATA)")
    parser.add_argument("--model", default="smear")
    parser.add_argument("--output", type=Path, help="folder for pictures, and for what is done so far")
    parser.add_argument("--minutes", type=float, help="stop teaching after so long; with --output the next run goes on")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_true", help="seconds instead of minutes; nothing is recorded")
    size.add_argument("--short", action="store_true", help="minutes instead of hours, for a study that has it")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    parser.add_argument("--readme", action="store_true", help="write recorded results into README.md")
    asked = parser.parse_args()
    if asked.readme:
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
        return
    if asked.name is None:
        print("\n".join(f"{name:<16}{read(name).title}" for name in names()))
        return
    study = read(asked.name, "smoke" if asked.smoke else "short" if asked.short else "")
    study = replace(study, settings={**study.settings, "minutes": asked.minutes})
    data = asked.data or record.data_folder()
    missing = [part for part in study.needs if data is None or not (data / part).is_dir()]
    if data is None or missing:
        print(f"skipped {study.name}: no {' and '.join(missing)} in {data or 'PBSBATCH_DATA'}; give --data DIR")
        return
    rows = run(study, data, asked.model, asked.output)
    if not rows:
        raise SystemExit(f"no row of {study.name} is complete")
    if not (asked.no_record or asked.smoke):
        record.append(f"study_{study.name}", rows)
    if asked.json:
        record.show({"study": study.name, "rows": rows})
        return
    print(markdown(beside(study, rows)))


def beside(study: Study, rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Return what is shown of our rows, by the titles of its columns, with what was published of each row."""
    out = []
    for row in rows:
        fits = [p for p in study.published if all(str(row.get(k)) == str(v) for k, v in p.row.items())]
        said = "; ".join(f"{study.shown[p.column]} {p.value} ({p.source})" for p in fits)
        ours = {title: row.get(column, "") for column, title in study.shown.items()}
        out.append(ours | ({"published": said} if study.published else {}))
    return out


def with_table(text: str) -> str:
    """Return a README with what was recorded last of each study between its marks."""
    head, found, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (found and end):
        raise SystemExit(f"README.md lacks the marks {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{''.join(_recorded(read(name)) for name in names())}{END}{tail}"


def _recorded(study: Study) -> str:
    path = record.RESULTS / f"study_{study.name}.csv"
    if not path.is_file():
        return f"\n**{study.title}** (`{study.name}`): not recorded.\n"
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    last = [row for row in rows if row["date"] == rows[-1]["date"]]
    last = [row for row in last if all(row[column] in values for column, values in study.brief.items())]
    model = f", {last[0]['model']} {last[0]['version']}" if "model" in last[0] else ""
    return f"\n**{study.title}** (`{path.name}`{model})\n\n{markdown(beside(study, last))}"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row.get(c, "")) for c in columns] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
