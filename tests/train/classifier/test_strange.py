"""Distances against their definition, and that what lies apart is stranger."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.train.classifier.strange import SHRINK, learn


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 8))
def test_it_is_the_distance_from_the_nearest_mean(seed: int, size: int, types: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % types
    features = rng.normal(0, 1, (60, size)) @ rng.normal(0, 1, (size, size)) + 5 * labels[:, None]
    new = rng.normal(0, 9, (20, size))
    means = np.stack([features[labels == t].mean(0) for t in range(types)])
    covariance = np.cov((features - means[labels]).T, bias=True).reshape(size, size)
    covariance += SHRINK * np.trace(covariance) / size * np.eye(size)
    off = new[:, None] - means
    wanted = np.sqrt(np.einsum("ntf,fg,ntg->nt", off, np.linalg.inv(covariance), off).min(1))
    np.testing.assert_allclose(learn(features, labels).of(new), wanted, rtol=1e-4, atol=1e-5)


def test_what_never_varied_is_strange_when_it_does() -> None:
    rng = np.random.default_rng(1)
    features = np.column_stack([rng.normal(0, 1, 200), np.zeros(200)])
    strange = learn(features, np.zeros(200, np.int64))
    near, far = strange.of(np.array([[0.0, 0.0], [0.0, 2.0]]))
    assert near < 0.2 and far > 15 and np.isfinite(far)


def test_a_type_that_was_not_taught_is_no_home() -> None:
    features = np.array([[0.0, 0], [0, 1], [9, 0], [9, 1]])
    strange = learn(features, np.array([2, 2, 7, 7]))
    a, b, between = strange.of(np.array([[0.0, 0.5], [9.0, 0.5], [4.5, 0.5]]))
    assert max(a, b) < 1e-3 < between


def test_it_refuses_what_teaches_nothing() -> None:
    for features, types in ((np.zeros((1, 2)), [0]), (np.full((3, 2), np.nan), [0, 0, 0]), (np.zeros((3, 2)), [0])):
        with pytest.raises(ValueError, match="learning needs finite features"):
            learn(features, np.array(types))
