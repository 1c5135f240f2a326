"""Models are found by name; everything else is an error that lists what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbsbatch import models
from pbsbatch.errors import ModelError


def test_classical_loads_and_fits_its_spec() -> None:
    model = models.load("classical")
    assert model.spec.name == "classical" and model.spec.classes == ("RBC", "WBC", "Platelet")
    assert len(model.spec.digest) == 64 and model.spec.engine == "opencv"


def test_unknown_names_and_paths_list_what_exists(tmp_path: Path) -> None:
    for asked in ("no-such-model", str(tmp_path)):
        with pytest.raises(ModelError, match="classical"):
            models.load(asked)
