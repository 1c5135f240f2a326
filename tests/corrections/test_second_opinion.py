"""The circle: a run asks twice, a person settles where the two differ, and adapting learns from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pbsbatch.config import Config
from pbsbatch.corrections.bring import bring_back
from pbsbatch.detections import DISAGREE
from pbsbatch.export import export
from pbsbatch.geometry import Box
from pbsbatch.report import write_report
from pbsbatch.report.drawing import draw
from pbsbatch.results import open_run, originals
from pbsbatch.run import cluster
from pbsbatch.run.events import Event, SlidesChanged
from pbsbatch.run.execute import execute
from pbsbatch.testing.oracle import fake_second_look, load_fake_engine, load_fake_oracle, load_fake_second_look
from pbsbatch.train.adapt.labels import Names
from pbsbatch.train.adapt.target import read_target
from pbsbatch.view import overlay
from tests.oracle import draw_cells, write_oracle_slide

FACTS = fake_second_look().classifier.folder.facts
LOADERS = cluster.Loaders(load_fake_oracle, load_fake_engine, load_fake_second_look)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run without a second opinion, then with one: what was there is done again, and said."""
    folder: Path = tmp_path_factory.mktemp("circle")
    (folder / "slides").mkdir()
    write_oracle_slide(folder / "slides" / "a.tif", draw_cells(900, 800, 90, seed=3))
    config = Config(inputs=(folder / "slides",), output=folder / "out", workers=1)
    execute(config, lambda event: None, loaders=LOADERS)
    assert "n_disagree" not in (folder / "out" / "summary.csv").read_text()
    events: list[Event] = []
    again = execute(replace(config, second_opinion="other"), events.append, loaders=LOADERS)
    assert [e.why for e in events if isinstance(e, SlidesChanged)] == ["the second opinion changed"]
    assert [r.status for r in again.results] == ["ok"] and not again.results[0].resumed
    return folder / "out"


def test_where_two_differ_a_person_settles_it_and_adapting_takes_the_label(out: Path, tmp_path: Path) -> None:
    (slide,) = open_run(out)
    cells, names = slide.store.cells, slide.store.second_types
    doubted = cells["id"][(cells["second_flags"] & DISAGREE) != 0].tolist()
    assert slide.row["n_disagree"] == str(len(doubted)) and len(doubted) > 3
    export(open_run(out), "cvat", tmp_path / "cells.xml")
    tree = ElementTree.parse(tmp_path / "cells.xml")
    shown = {}
    for shape in tree.iter("polygon"):
        said = {a.get("name"): a for a in shape.findall("attribute")}
        if "disagree" in str(said["doubt"].text):
            shown[int(str(said["cell"].text))] = said
    assert sorted(shown) == sorted(doubted), "those that differ can be filtered by `doubt`"
    settled = doubted[:2]
    for number in settled:
        shown[number]["type"].text = shown[number]["second"].text
    tree.write(tmp_path / "cells.xml")
    done = bring_back(out, tmp_path / "cells.xml", user="ada", reason="settled")
    assert done.kinds == {"renamed": 2} and done.new_names == ()
    found = read_target(out, FACTS, Names(), {}, mpp=None)
    labels = {cell.name: cell.label for cell in found.cells if cell.label}
    second = {n: names[int(cells["second_type"][n - 1])] for n in settled}
    assert labels == {f"{slide.id}:{n}": second[n] for n in settled}


def test_what_people_read_shows_both_words_and_the_flagged_first(out: Path, tmp_path: Path) -> None:
    (slide,) = open_run(out)
    page = write_report(out, originals(open_run(out))).read_text()
    own = (out / "report" / f"{slide.id}.html").read_text()
    assert ">disagree<" in page and f"differs on {slide.row['n_disagree']} white cells" in page
    first = own.index("The second opinion differs")
    assert first < own.index("A toss-up between two types") < own.index("<h3>neutrophil</h3>")
    number = int(slide.cells["id"][(slide.cells["second_flags"] & DISAGREE) != 0][0])
    cell = overlay.cell(slide.store, number)
    assert cell is not None and cell["doubt"].startswith("disagree") and cell["second_type"] != cell["type"]
    red = overlay.cell(slide.store, int(slide.cells["id"][slide.cells["class"] == 0][0]))
    assert red is not None and "second_type" not in red
    box = draw(slide, Box(0, 0, 400, 400), None)
    assert box.pixels.shape == (400, 400, 3)
    export(open_run(out), "csv", tmp_path / "cells.csv")
    head, *rows = (tmp_path / "cells.csv").read_text().splitlines()
    assert head.endswith(",corrected,second_type,second_score,doubt") and len(rows) == slide.store.info.cells
    assert sum("disagree" in row for row in rows) == int(slide.row["n_disagree"])
    export(open_run(out), "coco", tmp_path / "cells.json")
    told = [a["attributes"] for a in json.loads((tmp_path / "cells.json").read_text())["annotations"]]
    assert sum("second_type" in a for a in told) == int((slide.cells["second_type"] != 255).sum())
    assert np.isin([a["doubt"] for a in told if "doubt" in a], ["disagree", "low margin", "disagree, low margin"]).all()
