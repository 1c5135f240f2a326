"""Who is asked of white cells: what cannot be a second opinion is refused in a line that says the cure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pbsbatch import store
from pbsbatch.config import Config
from pbsbatch.detections import DISAGREE
from pbsbatch.differential import Differential
from pbsbatch.engines.rcnn import RcnnEngine
from pbsbatch.errors import ModelError, UsageError
from pbsbatch.models.folder import write_classifier
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.opinion import SecondOpinion
from pbsbatch.run.second_look import room, second_look
from pbsbatch.testing.oracle import FakeOracleModel, FakeTypesEngine, fake_second_look
from tests.engines.tiny_classifier import FACTS, tiny_classifier, tiny_files
from tests.oracle import draw_cells, write_oracle_slide
from tests.rcnn.fake_parts import FACTS as RCNN_FACTS
from tests.rcnn.fake_parts import FakeParts
from tests.run.inline import run_one

ORACLE = FakeOracleModel()
TYPED = replace(
    RCNN_FACTS, network_classes=("Teardrop", "Neutros", "PLT"), count_as={"Teardrop": "RBC", "Neutros": "WBC"}
)
MEANT = (("Neutros", "neutrophil"), ("Teardrop", "-"))


def typed_detector(facts: object = TYPED) -> RcnnModel:
    return RcnnModel(RcnnFolder(Path(), "fake", {}, facts))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_classifier(tmp_path_factory.mktemp("tiny") / "types").path)


def asked(tiny: str, **said: object) -> Config:
    return replace(Config(), **{"second_opinion": tiny} | said)  # type: ignore[arg-type]


@pytest.mark.parametrize(("config", "why"), [
    ({"second_opinion": "smear"}, r"smear is a detector, not a classifier of cells.*models train classifier"),
    ({"second_opinion": "nowhere"}, r"there is no classifier 'nowhere'. Classifiers that exist: differential"),
    ({"differential": False}, r"no first one to be held against: --no-differential.*name them with --classifier"),
    ({"second_opinion": "differential"}, r"--second-opinion and --classifier are the same classifier. Give another"),
    ({"second_opinion_map": MEANT}, r"--second-opinion-map says what a detector's types mean"),
])  # fmt: skip
def test_what_cannot_be_a_second_opinion_is_refused(tiny: str, config: dict[str, object], why: str) -> None:
    settings = asked(tiny, **config)
    for ask in (lambda: room(settings, ORACLE), lambda: second_look(settings, ORACLE)):
        with pytest.raises((UsageError, ModelError), match=why) as caught:
            ask()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mapping", "why"), [
    ((), r"no type of cell is called 'Teardrop'. Say which it is in the --second-opinion-map file.*closest"),
    ((("Teardrop", "-"), ("Neutros", "neutrofil")), r"'neutrofil', which is no type of cell.*closest: neutrophil"),
    ((("Teardrop", "-"), ("Neutros", "-")), r"no type that tiny gives is one of the second opinion's"),
    ((("Blast", "-"),), r"--second-opinion-map names 'Blast', which tiny does not give. It gives Teardrop, Neutros"),
])  # fmt: skip
def test_words_of_a_detector_that_do_not_meet_the_types_are_refused_with_the_closest(
    tiny: str, mapping: tuple[tuple[str, str], ...], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        second_look(asked(tiny, second_opinion_map=mapping), typed_detector())


def test_a_detector_that_finds_no_white_cells_has_none_to_ask_of(tiny: str) -> None:
    spec = replace(ORACLE.spec, classes=("RBC", "Platelet"))
    with pytest.raises(UsageError, match="finds none"):
        second_look(asked(tiny), FakeOracleModel(spec))


def test_beside_the_first_it_takes_room_of_its_own_and_is_known_by_its_digest(tiny: str, tmp_path: Path) -> None:
    plain, with_it = room(Config(), ORACLE), room(asked(tiny), ORACLE)
    onnx, weights = tiny_files()
    assert plain[1] == 0 and with_it[1] > len(onnx) and with_it[0] == max(plain[0], FACTS.crop_px * FACTS.crop_mpp)
    other = write_classifier(tmp_path / "other", replace(FACTS, version="2"), onnx=onnx, weights=weights).path
    looks = [second_look(asked(path), ORACLE) for path in (tiny, str(other))]
    assert all(isinstance(look, SecondOpinion) for look in looks)
    one, two = (look.identity for look in looks if look is not None)
    assert one["second_opinion"]["digest"] != two["second_opinion"]["digest"]
    assert {k: v for k, v in one.items() if k != "second_opinion"} == {
        k: v for k, v in two.items() if k != "second_opinion"
    }
    for look in looks:
        assert look is not None
        look.close()


def test_of_a_detector_that_names_types_the_opinion_stands_beside_its_own_words(tiny: str, tmp_path: Path) -> None:
    slide = tmp_path / "s.tif"
    write_oracle_slide(slide, draw_cells(330, 300, 30, seed=7))
    model = typed_detector()
    look = second_look(asked(tiny, second_opinion_map=MEANT), model)
    assert isinstance(look, SecondOpinion) and look.first is None
    assert look.identity["second_opinion"]["means"] == "Teardrop=-,Neutros=neutrophil"
    look.close()
    fake = Differential(fake_second_look().classifier, FakeTypesEngine(), model.spec.classes.index("WBC"))
    result = run_one(
        slide, tmp_path / "out", Config(), model=model, engine=RcnnEngine(FakeParts(), TYPED),
        second=replace(look, opinion=fake),
    )  # fmt: skip
    assert result.store is not None
    cells, stored = result.store, store.open(result.store)
    white = stored.cells["class"] == stored.classes.index("WBC")
    assert cells.exists() and stored.types == ("Teardrop", "Neutros") and white.any()
    said = stored.cells["second_type"][white]
    differs = (stored.cells["second_flags"][white] & DISAGREE) != 0
    assert (differs == (said != stored.second_types.index("neutrophil"))).all() and differs.any()
    assert (stored.cells["second_type"][~white] == store.UNTYPED).all()
