"""Words for cells: each class by many names, types with the class they belong to, nothing assumed of others."""

from __future__ import annotations

import pytest

from pbsbatch.errors import UsageError
from pbsbatch.models.presets import point_of
from pbsbatch.models.words import class_of_word, counted_as, type_of_word


@pytest.mark.parametrize(
    ("word", "named", "counted", "kind"),
    [
        ("RBCs", "RBC", "RBC", None), ("White_Blood-Cells", "WBC", "WBC", None), ("PLT", "Platelet", "Platelet", None),
        ("nRBC", "NRBC", "NRBC", None), ("Neutrophils", None, "WBC", "neutrophil"),
        ("band neutrophil", None, "WBC", "neutrophil"), ("Metamyelocyte", None, "WBC", "immature_granulocyte"),
        ("Erythroblast", None, "NRBC", "erythroblast"), ("platelets", "Platelet", "Platelet", "platelet"),
        ("Schistocyte", None, None, None), ("", None, None, None), ("s", None, None, None),
    ],
)  # fmt: skip
def test_what_a_word_means(word: str, named: str | None, counted: str | None, kind: str | None) -> None:
    assert (class_of_word(word), counted_as(word), type_of_word(word)) == (named, counted, kind)


def test_presets_by_any_word_for_a_class() -> None:
    """Law: a study's own numbers; what it does not say is left to the model."""
    whole, frozen, smear = (point_of(name) for name in ("cbc-2023", "cbc-2023-frozen", "smear-2021"))
    words = ("Platelets", "rbc", "WBC", "lymphocyte", "Schistocyte")
    assert whole.thresholds(words) == {"Platelets": 0.55, "rbc": 0.70, "WBC": 0.80, "lymphocyte": 0.80}
    assert frozen.thresholds(words)["WBC"] == 0.75 and whole.nms_iou == frozen.nms_iou == 0.45
    assert smear.thresholds(words) == dict.fromkeys(words, 0.7) and smear.nms_iou is None
    with pytest.raises(UsageError, match=r"no preset 'cbc'. Presets: cbc-2023, cbc-2023-frozen, smear-2021"):
        point_of("cbc")
