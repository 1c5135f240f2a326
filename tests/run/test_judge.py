from __future__ import annotations

from dataclasses import replace

import pytest

from pbsbatch import rules
from pbsbatch.run.judge import REASONS, verdicts
from tests.run.results import ZONES, field_of, result_of


def verdict(result, *others):
    return verdicts([result, *others])[result.slide_id]


WHITE = {"lymphocyte": 60, "neutrophil": 100}


@pytest.mark.parametrize(
    ("reason", "status", "changes"),
    [
        ("no_monolayer", "fail", {"measures": {"zones_px": ZONES | {"monolayer": 0.0, "thick": 1e7, "feather": 5e7}}}),
        ("no_monolayer", "review", {"measures": {"zones_px": ZONES | {"monolayer": 3e6, "thick": 1e6}}}),
        ("out_of_focus", "fail", {"measures": {"zones_px": ZONES | {"blurred": 2e8}}}),
        ("out_of_focus", "review", {"measures": {"zones_px": ZONES | {"blurred": 5e7}}}),
        ("too_few_wbc", "review", {"measures": {"seen": {"WBC": {"lymphocyte": 99}}}}),
        ("unsure_high", "review", {"measures": {"seen": {"WBC": WHITE | {"unsure": 30}}}}),
        ("plt_clumps", "review", {"measures": {"clumped": 2000}}),
        ("scale_estimated", "review", {"mpp_source": "estimated"}),
        ("scale_conflict", "review", {"measures": {"red_sum": 1000 * 9.0 / 0.25, "red_sum2": 1000 * 36.0**2}}),
        ("resolution_low", "review", {"mpp": 0.55, "measures": {"red_sum": 13_000.0, "red_sum2": 1.7e5}}),
        ("tiles_failed", "review", {"failed_tiles": ((3, "damaged"),)}),
    ],
)  # fmt: skip
def test_each_reason(reason: str, status: str, changes: dict) -> None:
    found = verdict(result_of(**changes))
    assert (found.status, found.reasons) == (status, (reason,))


def test_nothing_wrong_passes_and_nothing_done_is_not_judged() -> None:
    assert verdict(result_of()).status == "pass"
    assert verdict(replace(result_of(), measures=None, status="failed")).status == ""


def test_a_thick_smear_says_why_there_is_no_monolayer() -> None:
    found = verdict(result_of(measures={"zones_px": ZONES | {"monolayer": 0.0}}))
    assert (found.status, found.reasons) == ("fail", ("no_monolayer", "too_thick"))
    assert (
        verdict(result_of(measures={"zones_px": ZONES | {"thick": 9e8}})).status == "pass"
    )  # there is enough beside it


def test_a_field_is_not_asked_for_what_only_a_smear_has() -> None:
    assert verdict(field_of("a")).reasons == ("scale_estimated",)
    known = field_of("a", mpp_source="given")
    assert verdict(known).status == "pass"


def test_limits_are_where_the_rules_say() -> None:
    n = rules.DIFF_LIMITED
    enough, few = ({"seen": {"WBC": {"lymphocyte": k}}} for k in (n, n - 1))
    assert verdict(result_of(measures=enough)).status == "pass"
    assert verdict(result_of(measures=few)).reasons == ("too_few_wbc",)
    at = {"seen": {"WBC": {"lymphocyte": 180, "unsure": 20}}}
    assert verdict(result_of(measures=at)).status == "pass"


def of_size(name: str, um: float, folder: str = "archive"):
    px = um / 0.25
    slide = result_of(name, measures={"red_sum": 1000 * px, "red_sum2": 1000 * px * px})
    return replace(slide, path=slide.path.parent.parent / folder / name)


def test_a_scale_unlike_its_folders_is_a_conflict() -> None:
    usual = [of_size(f"{k}", 7.2 + 0.1 * (k % 3)) for k in range(6)]
    odd = of_size("odd", 6.0)  # a size that people have, but none here
    assert verdict(odd, *usual).reasons == ("scale_conflict",)
    assert all(v.status == "pass" for i, v in verdicts([*usual, odd]).items() if i != "odd")
    assert verdict(odd, *usual[:3]).status == "pass"  # four slides are no archive
    assert verdict(replace(odd, path=odd.path.parent / "other" / "odd"), *usual).status == "pass"


def test_a_stain_unlike_its_folders_is_an_outlier() -> None:
    usual = [result_of(f"{k}", measures={"red_od": (25.0 + k % 3, 40.0, 42.0)}) for k in range(7)]
    odd = result_of("odd", measures={"glass_od": (8.0, 10.0, 40.0)})
    assert verdict(odd, *usual).reasons == ("stain_outlier",)
    assert {v.status for i, v in verdicts([odd, *usual]).items() if i != "odd"} == {"pass"}
    assert verdict(odd, *usual[:2]).status == "pass"
    none = result_of("none", measures={"glass_od": None, "red_od": None})
    assert verdict(none, *usual).status == "pass"


def test_the_order_of_slides_does_not_matter() -> None:
    slides = [of_size(str(k), 6.0 + 0.4 * k) for k in range(7)]
    assert verdicts(slides) == verdicts(slides[::-1])


def test_the_reasons_are_those_of_the_contract() -> None:
    assert len(set(REASONS)) == 11
