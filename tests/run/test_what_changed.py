"""A slide that would come out otherwise today is done again, and each reason is said in words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pbsbatch.config import RESULT_FIELDS, UNUSUAL_FIELDS, Config
from pbsbatch.run import key
from pbsbatch.run.bundle import prepare_slides
from pbsbatch.run.events import Event, SlideFinished
from pbsbatch.run.prepare import Workbench
from pbsbatch.run.tasks import Looked, look_at_slides
from pbsbatch.slides.base import SlideRef
from pbsbatch.testing.oracle import FakeOracleEngine, FakeOracleModel, fake_second_look, fake_second_opinion
from tests.oracle import draw_cells, write_oracle_slide

OTHER_SETTINGS = {
    "scales": "single", "score_threshold": 0.6, "core": 300, "halo": 130, "origin": (16, 16), "max_failed_tiles": 0.5,
    "thresholds": (("WBC", 0.7),), "nms_iou": 0.4, "preset": "cbc-2023", "keep_candidates": True,
}  # fmt: skip
Change = Callable[[Workbench, SlideRef], tuple[Workbench, SlideRef]]


class OtherEngine(FakeOracleEngine):
    """A fake of another name, precision or device."""

    def __init__(self, **facts: str) -> None:
        super().__init__()
        self.__dict__.update(facts)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(Config(output=tmp_path / "out"), FakeOracleModel(), FakeOracleEngine(), None, fence=nullcontext)


@pytest.fixture
def ref(tmp_path: Path) -> SlideRef:
    path = tmp_path / "a.tif"
    write_oracle_slide(path, draw_cells(300, 260, 20, seed=1))
    return SlideRef("a-00000000", path, "a.tif", "a")


def look(bench: Workbench, ref: SlideRef) -> Looked:
    told: list[Event] = []
    looked = look_at_slides(bench, [ref], told.append)
    assert [e.result for e in told if isinstance(e, SlideFinished)] == list(looked.kept)
    return looked


def draw_again(bench: Workbench, ref: SlideRef) -> tuple[Workbench, SlideRef]:
    labels = draw_cells(300, 260, 20, seed=1)
    labels[:9, :9] = 999
    write_oracle_slide(ref.path, labels)
    return bench, ref


def with_setting(name: str) -> Change:
    def change(bench: Workbench, ref: SlideRef) -> tuple[Workbench, SlideRef]:
        return replace(bench, config=replace(bench.config, **{name: OTHER_SETTINGS[name]})), ref

    return change


def with_engine(**facts: str) -> Change:
    return lambda bench, ref: (replace(bench, engine=OtherEngine(**facts)), ref)


CHANGES: list[tuple[str, Change]] = [
    ("the slide changed", draw_again),
    ("its scale changed", lambda bench, ref: (bench, replace(ref, mpp=0.3))),
    ("the model changed", lambda bench, ref: (
        replace(bench, model=FakeOracleModel(replace(FakeOracleModel().spec, digest="another"))), ref)),
    ("the engine changed", with_engine(name="another")),
    ("the precision changed", with_engine(precision="fp16")),
    ("the kind of processor or GPU changed", with_engine(device="cuda:sm_90")),
    ("who names white cells changed", lambda bench, ref: (replace(bench, second=fake_second_look()), ref)),
    ("who names white cells changed, the second opinion changed",
     lambda bench, ref: (replace(bench, second=fake_second_opinion()), ref)),
    *((f"the setting {name} changed", with_setting(name)) for name in OTHER_SETTINGS),
]  # fmt: skip


def test_every_setting_that_changes_results_has_its_case() -> None:
    assert set(OTHER_SETTINGS) == {*RESULT_FIELDS, *UNUSUAL_FIELDS}


@pytest.mark.parametrize(("why", "change"), CHANGES, ids=[why for why, _ in CHANGES])
def test_what_changed_is_said_and_changed_back_it_is_kept(
    bench: Workbench, ref: SlideRef, why: str, change: Change
) -> None:
    before = ref.path.read_bytes()
    prepare_slides(bench, [ref], lambda _: None)
    assert look(bench, ref).changed == {}
    assert look(*change(bench, ref)).changed == {ref.id: why}
    ref.path.write_bytes(before)
    (kept,) = look(bench, ref).kept
    assert kept.resumed


@pytest.mark.parametrize("why", ["the slide changed", "the precision changed", "the setting score_threshold changed"])
def test_what_changed_is_done_again_and_then_kept(bench: Workbench, ref: SlideRef, why: str) -> None:
    prepare_slides(bench, [ref], lambda _: None)
    bench, ref = dict(CHANGES)[why](bench, ref)
    (again,) = prepare_slides(bench, [ref], lambda _: None).results
    assert again.status == "ok" and not again.resumed
    assert look(bench, ref).changed == {}
    assert len(list((bench.config.output / "slides").iterdir())) == 1


def test_other_results_of_pbsbatch_itself_are_said(
    bench: Workbench, ref: SlideRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_slides(bench, [ref], lambda _: None)
    monkeypatch.setattr(key, "RESULTS_VERSION", key.RESULTS_VERSION + 1)
    assert look(bench, ref).changed == {ref.id: "pbsbatch finds other things now"}


def test_several_reasons_are_said_at_once(bench: Workbench, ref: SlideRef) -> None:
    prepare_slides(bench, [ref], lambda _: None)
    bench = replace(bench, engine=OtherEngine(precision="fp16"), config=replace(bench.config, halo=130, core=300))
    why = "the precision changed, the setting core changed, the setting halo changed"
    assert look(bench, ref).changed == {ref.id: why}


def test_a_slide_that_went_away_is_no_kept_one(bench: Workbench, ref: SlideRef) -> None:
    prepare_slides(bench, [ref], lambda _: None)
    ref.path.unlink()
    (why,) = look(bench, ref).changed.values()
    assert why.startswith("the slide cannot be read")
