"""Kinds add up to types; a cell is named where it is sure and ordinary, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pbsbatch.models.taxonomy import (
    ABNORMAL,
    IN_DIFFERENTIAL,
    KINDS,
    KINDS_OF,
    TYPES,
    UNSURE,
    kinds_of,
    labels,
    name_cells,
    of_types,
)

CHANCES = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 20), st.just(len(KINDS))), elements=st.floats(0.001, 1, allow_nan=False)
).map(lambda a: a / a.sum(1, keepdims=True))


def one(**of: float) -> np.ndarray:
    """Return the chances of one cell."""
    return np.array([[of.get(kind, 0.0) for kind in KINDS]])


def test_the_levels_are_a_partition() -> None:
    assert sorted(k for kind in TYPES for k in kinds_of(kind)) == list(range(len(KINDS)))
    assert len(KINDS) == 11 and len(TYPES) == 8 and len(set(KINDS)) == 11
    assert set(TYPES) - set(IN_DIFFERENTIAL) == {"erythroblast", "platelet"}
    assert all(kinds_of(kind) == (i,) for i, kind in enumerate(KINDS) if kind not in KINDS_OF)


@given(CHANCES)
def test_a_type_is_the_sum_of_its_kinds(chances: np.ndarray) -> None:
    types = of_types(chances)
    for t, kind in enumerate(TYPES):
        np.testing.assert_allclose(types[:, t], chances[:, list(kinds_of(kind))].sum(1))
    np.testing.assert_allclose(types.sum(1), 1)


@given(CHANCES, st.floats(0, 1), st.floats(-1, 1), st.integers(0, 2**31))
def test_names_follow_the_thresholds(chances: np.ndarray, sure: float, strange: float, seed: int) -> None:
    strangeness = np.random.default_rng(seed).uniform(-1, 1, len(chances))
    named = name_cells(chances, strangeness, sure_from=sure, strange_from=strange)
    types = of_types(chances)
    np.testing.assert_array_equal(named.chances, types.max(1))
    np.testing.assert_array_equal(named.abnormal, strangeness > strange)
    np.testing.assert_array_equal(named.unsure, named.abnormal | (named.chances < sure))
    for i in range(len(chances)):
        own = list(kinds_of(TYPES[named.types[i]]))
        assert named.kinds[i] in own and chances[i, named.kinds[i]] == chances[i, own].max()
    for word, t, unsure, abnormal in zip(labels(named), named.types, named.unsure, named.abnormal, strict=True):
        assert word == (ABNORMAL if abnormal else UNSURE if unsure else TYPES[t])


def test_doubt_between_bands_and_segmented_cells_is_no_doubt() -> None:
    chances = one(segmented_neutrophil=0.46, band_neutrophil=0.48, monocyte=0.06)
    named = name_cells(chances, np.zeros(1), sure_from=0.9, strange_from=1.0)
    assert labels(named) == ["neutrophil"] and KINDS[named.kinds[0]] == "band_neutrophil"


def test_the_likeliest_kind_of_another_type_does_not_decide() -> None:
    chances = one(monocyte=0.4, promyelocyte=0.3, myelocyte=0.3)
    named = name_cells(chances, np.zeros(1), sure_from=0.5, strange_from=1.0)
    assert labels(named) == ["immature_granulocyte"] and KINDS[named.kinds[0]] == "promyelocyte"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no type or kind of cell is called 'blast'"):
        kinds_of("blast")
    with pytest.raises(ValueError, match=r"finite, \(N, 11\)"):
        of_types(np.zeros((3, 8)))
    with pytest.raises(ValueError, match=r"finite, \(N, 11\)"):
        of_types(np.full((3, 11), np.nan))
    with pytest.raises(ValueError, match="one finite number for each cell"):
        name_cells(one(monocyte=1.0), np.zeros(2), sure_from=0.5, strange_from=1.0)
