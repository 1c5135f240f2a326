"""The driver's decisions, without I/O: random nights always end, and nothing is asked for twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.run.state import Commit, Prepare, Process, RunState, bundles


@given(st.dictionaries(st.integers(0, 200), st.integers(0, 40), max_size=60), st.integers(1, 50))
def test_bundles_hold_every_strip_once_in_order(strips: dict[int, int], least: int) -> None:
    groups = bundles(strips, least)
    assert [s for group in groups for s in group] == sorted(strips)
    assert all(sum(strips[s] for s in group) >= least for group in groups[:-1])
    assert all(groups)


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 9), max_size=12),
    st.integers(1, 5),
    st.data(),
)
def test_every_night_ends_with_every_slide_done_or_failed(
    sizes: dict[str, int], capacity: int, data: st.DataObject
) -> None:
    state, asked, in_flight = RunState.of(sizes), [], []
    done: set[str] = set()
    failed: set[str] = set()
    while not state.finished:
        new = list(state.next(capacity))
        asked += new
        in_flight += new
        assert len(in_flight) == state.in_flight <= capacity
        if not in_flight:  # all that was ready belonged to slides that failed meanwhile
            assert state.finished
            break
        instruction = in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))
        fate = data.draw(st.integers(0, 9))
        if fate == 1 and state.worker_died(instruction):
            asked.remove(instruction)
            continue
        if fate <= 1:
            if state.failed(instruction.slide_id):
                failed.add(instruction.slide_id)
            continue
        match instruction:
            case Prepare(slide_id):
                n = data.draw(st.integers(0, 3))
                if n == 3:
                    state.done(slide_id)
                    done.add(slide_id)
                else:
                    state.prepared(slide_id, [(i,) for i in range(n)])
            case Process(slide_id, _):
                state.processed(slide_id)
            case Commit(slide_id):
                state.done(slide_id)
                done.add(slide_id)
    assert len(asked) == len(set(asked))
    assert done | failed == set(sizes)
    assert not done & failed


def test_the_largest_goes_first_and_started_slides_before_new_ones() -> None:
    state = RunState.of({"small": 1, "big": 9, "mid": 5})
    assert list(state.next(1)) == [Prepare("big")]
    state.prepared("big", [(0,), (1,)])
    assert list(state.next(2)) == [Process("big", (0,)), Process("big", (1,))]
    state.processed("big")
    assert list(state.next(2)) == [Prepare("mid")]
    state.processed("big")
    assert list(state.next(2)) == [Commit("big")]


def test_a_failed_slides_other_bundles_are_not_started() -> None:
    state = RunState.of({"a": 1})
    assert list(state.next(1)) == [Prepare("a")]
    state.prepared("a", [(0,), (1,), (2,)])
    assert list(state.next(1)) == [Process("a", (0,))]
    assert state.failed("a")
    assert list(state.next(1)) == []
    assert state.finished


def test_a_stop_starts_nothing_more_and_waits_for_what_is_in_flight() -> None:
    state = RunState.of({"a": 1, "b": 1})
    assert list(state.next(1)) == [Prepare("a")]
    state.stop()
    assert list(state.next(5)) == []
    assert not state.finished
    state.done("a")
    assert state.finished


def test_after_a_workers_death_its_instructions_run_one_by_one_and_the_guilty_one_is_given_up() -> None:
    state = RunState.of({"guilty": 3, "innocent": 2, "later": 1})
    guilty, innocent = state.next(2)
    assert state.worker_died(guilty)
    assert state.worker_died(innocent)
    assert list(state.next(9)) == [guilty]
    assert list(state.next(9)) == []
    assert not state.worker_died(guilty)
    assert state.failed("guilty")
    assert list(state.next(9)) == [innocent]
    state.done("innocent")
    assert list(state.next(9)) == [Prepare("later")]
