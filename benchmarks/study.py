"""Make a published study again, by one command.

`python -m benchmarks.study NAME [--data DIR] [--model NAME|PATH]` runs benchmarks/studies/NAME.toml, appends its rows
to benchmarks/results/study_NAME.csv and prints them with the published figures beside ours; `--smoke` runs it in
seconds and records nothing. Without NAME the studies are listed. `--readme` writes the table of recorded results into
README.md. Where the data is not at hand a study is skipped with one line.
"""

from __future__ import annotations

import argparse
import csv
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    published: Sequence[Published]


def read(name: str, *, smoke: bool = False) -> Study:
    """Return a study; a smoke run overrides its settings by [smoke]."""
    path = STUDIES / f"{name}.toml"
    if not path.is_file():
        raise SystemExit(f"no study {name!r}: there are {', '.join(names())}")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    settings = table["settings"] | (table["smoke"] if smoke else {})
    published = [Published(**row) for row in table.get("published", [])]
    return Study(name, table["title"], table["kind"], table["needs"], settings, published)


def names() -> list[str]:
    """Return the names of all studies."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def run(study: Study, data: Path, model: str) -> Rows:
    """Return the rows of a study."""
    from benchmarks.studies import detection, seams, typed

    kinds: dict[str, Callable[[Mapping[str, Any], Path, str], Rows]] = {
        "detection": detection.cbc, "composites": detection.composites, "seams": seams.seams, "typed": typed.typed,
    }  # fmt: skip
    return kinds[study.kind](study.settings, data, model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="of the study; none: list them")
    parser.add_argument("--data", type=Path, help="folder of the public data sets (default: PBSBATCH_DATA)")
    parser.add_argument("--model", default="smear")
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes; nothing is recorded")
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
    study = read(asked.name, smoke=asked.smoke)
    data = asked.data or record.data_folder()
    missing = [part for part in study.needs if data is None or not (data / part).is_dir()]
    if data is None or missing:
        print(f"skipped {study.name}: no {' and '.join(missing)} in {data or 'PBSBATCH_DATA'}; give --data DIR")
        return
    rows = run(study, data, asked.model)
    if not (asked.no_record or asked.smoke):
        record.append(f"study_{study.name}", rows)
    if asked.json:
        record.show({"study": study.name, "rows": rows})
        return
    print(markdown(rows))
    if study.published:
        print(markdown(beside(study, rows)))


def beside(study: Study, rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Return published figures with ours; the last row that fits counts."""
    out = []
    for p in study.published:
        fits = [r for r in rows if all(str(r.get(k)) == str(v) for k, v in p.row.items())]
        ours = fits[-1].get(p.column, "") if fits else ""
        what = ", ".join([*map(str, p.row.values()), p.column])
        out.append({"study": study.title, "what": what, "published": p.value, "by": p.source, "ours": ours})
    return out


def with_table(text: str) -> str:
    """Return a README with the table of recorded results between its marks; studies without any are left out."""
    rows: Rows = []
    for name in names():
        path = record.RESULTS / f"study_{name}.csv"
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as handle:
                rows += beside(read(name), list(csv.DictReader(handle)))
    head, found, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (found and end):
        raise SystemExit(f"README.md lacks the marks {BEGIN} and {END}")
    table = markdown(rows) if rows else ""
    return f"{head}{BEGIN}\n{table}{END}{tail}"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row.get(c, "")) for c in columns] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
