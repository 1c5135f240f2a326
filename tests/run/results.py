"""Made results of slides, as a run gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pbsbatch.models.taxonomy import IN_DIFFERENTIAL
from pbsbatch.quality import Measures
from pbsbatch.run.events import SlideResult

SIZES = {"lymphocyte": 30, "neutrophil": 60, "monocyte": 5, "eosinophil": 2, "basophil": 1, "immature_granulocyte": 2}
ZONES = {"empty": 0.0, "thick": 8e7, "monolayer": 4e7, "feather": 1e7, "blurred": 0.0, "unseen": 0.0}


def measures_of(**changes: Any) -> Measures:
    """Return the measures of a smear that nothing is wrong with; 0.25 um per px makes its monolayer 2.5 mm2."""
    white = {name: SIZES[name] * 2 for name in IN_DIFFERENTIAL} | {"unsure": 4, "erythroblast": 6, "platelet": 3}
    diameters = [28.0, 30.0] * 500
    given: dict[str, Any] = {
        "zones_px": ZONES, "frame_px": 4e7, "typed": True, "clumped": 2, "edge_px": 3.0,
        "seen": {"RBC": {"": 90_000}, "WBC": white, "Platelet": {"": 4_000}},
        "framed": {"RBC": {"": 26_000}, "WBC": {"lymphocyte": 20, "erythroblast": 2}, "Platelet": {"": 1_000}},
        "red_n": 1000, "red_sum": sum(diameters), "red_sum2": sum(d * d for d in diameters),
        "glass_od": (8.0, 10.0, 12.0), "red_od": (25.0, 40.0, 42.0),
    }  # fmt: skip
    return Measures(**given | changes)


def result_of(name: str = "a.svs", **changes: Any) -> SlideResult:
    """Return the result of a whole slide; `measures` may be a mapping of what is different."""
    told = changes.pop("measures", {})
    given: dict[str, Any] = {
        "slide_id": name, "name": name, "path": Path("archive") / name, "sample": name, "status": "ok",
        "width_px": 16_000, "height_px": 16_000, "mpp": 0.25, "mpp_source": "metadata", "roi_px": 1.6e8,
        "analysed_px": 1.6e8, "counts": {"RBC": 90_000}, "seconds": 10.0, "computed_mpix": 200.0,
        "measures": measures_of(**told) if told is not None else None, "store": Path("out/slides/a.zarr"),
    }  # fmt: skip
    return SlideResult(**given | changes)


def field_of(name: str, **changes: Any) -> SlideResult:
    """Return the result of one camera field without a scale of its own."""
    given: dict[str, Any] = {
        "width_px": 640, "height_px": 480, "mpp": 0.1, "mpp_source": "estimated", "roi_px": 307_200.0,
        "analysed_px": 307_200.0, "measures": {
            "zones_px": ZONES | {"thick": 0.0, "feather": 0.0, "monolayer": 307_200.0}, "frame_px": 280_000.0,
            "seen": {"RBC": {"": 26}, "WBC": {"lymphocyte": 1}, "Platelet": {"": 2}},
            "framed": {"RBC": {"": 17}, "WBC": {"lymphocyte": 1}, "Platelet": {"": 1}}, "red_n": 3, "red_sum": 210.0,
            "red_sum2": 14_700.0, "clumped": 0,
        },
    }  # fmt: skip
    return result_of(name, **given | changes)
