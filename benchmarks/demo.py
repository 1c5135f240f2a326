"""The demo: draw a few smears with known truth, run on them, and put the counts beside the truth.

    python -m benchmarks.demo                 synthetic slides
    python -m benchmarks.demo --input DIR     your own slides

Exits with 0 when the run did what it should: on the synthetic slides that is 1, since one file is broken on purpose.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

SLIDES, RESULTS = Path("demo-slides"), Path("demo-results")
CLASSES = {"RBC": "n_rbc", "WBC": "n_wbc", "Platelet": "n_platelet"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, help="a folder of your own slides instead of synthetic ones")
    asked = parser.parse_args()
    if asked.input is not None:
        code = pbsbatch("run", "--input", str(asked.input), "--output", str(RESULTS / asked.input.resolve().name))
        if code == 1:
            print("\nThe run's exit code is 1: some slides failed, the others are done.")
        return 0 if code == 1 else code
    if not (SLIDES / "truth.json").exists():
        made = pbsbatch(
            "data", "synth", "--output", str(SLIDES), "--slides", "3", "--size", "4096x4096", "--mpp", "0.25",
            "--seed", "7", "--format", "mixed", "--broken",
        )  # fmt: skip
        if made != 0:
            return made
    # drawn white cells are of no type: the classifier would take some for nucleated red cells, out of n_wbc
    code = pbsbatch("run", "--input", str(SLIDES), "--output", str(RESULTS / "synthetic"), "--no-differential")
    if code != 1:
        print(f"demo: expected exit code 1 for the broken file, got {code}", file=sys.stderr)
        return code or 1
    show_beside_truth(RESULTS / "synthetic" / "summary.csv", SLIDES / "truth.json")
    return 0


def pbsbatch(*arguments: str) -> int:
    """Run the command line as a person would."""
    print(f"\n$ pbsbatch {' '.join(arguments)}", flush=True)
    return subprocess.run([sys.executable, "-m", "pbsbatch", *arguments], check=False).returncode


def show_beside_truth(summary: Path, truth: Path) -> None:
    """Print counted and true cells per slide and class."""
    facts = json.loads(truth.read_text(encoding="utf-8"))
    names = {image["id"]: image["file_name"] for image in facts["images"]}
    kinds = {category["id"]: category["name"] for category in facts["categories"]}
    true = Counter((names[a["image_id"]], kinds[a["category_id"]]) for a in facts["annotations"])
    print(f"\n{'slide':<28}" + "".join(f"{name + ' counted':>18}{'true':>8}" for name in CLASSES))
    with summary.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            if row["status"] == "ok":
                cells = (f"{row[column]:>18}{true[row['slide'], name]:>8}" for name, column in CLASSES.items())
                print(f"{row['slide']:<28}" + "".join(cells))
    print(
        f"\nThe exit code 1 of the run is right: one file is broken on purpose, see {summary.parent / 'failures.csv'}"
    )
    print(f"Counts, masks and stores: {summary.parent}/")


if __name__ == "__main__":
    sys.exit(main())
