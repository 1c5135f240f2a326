import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.run.binomial import clopper_pearson


@given(st.integers(1, 3000), st.floats(0, 1))
def test_it_equals_scipy(n: int, share: float) -> None:
    from scipy.stats import beta

    k = round(n * share)
    low, high = clopper_pearson(k, n)
    assert low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0.0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1.0, abs=1e-9)


def test_the_table_of_differentials() -> None:
    """5 of 100 means 1.6 to 11.3 %."""
    low, high = clopper_pearson(5, 100)
    assert (round(100 * low, 1), round(100 * high, 1)) == (1.6, 11.3)
    assert clopper_pearson(0, 100)[0] == 0
    assert clopper_pearson(100, 100)[1] == 1


def test_a_million_cells_take_no_time_and_impossible_counts_are_refused() -> None:
    low, high = clopper_pearson(300_000, 1_000_000)
    assert low == pytest.approx(0.2991, abs=1e-4) and high == pytest.approx(0.3009, abs=1e-4)
    for k, n in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="no count"):
            clopper_pearson(k, n)
