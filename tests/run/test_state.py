"""The driver's decisions, without I/O: random nights always end, nothing is lost, nothing is asked for twice."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.run.choice import IN_FLIGHT_PER_WORKER, LEAST_SECONDS, start_next
from pbsbatch.run.instructions import Commit, Instruction, Look, Prepare, Process
from pbsbatch.run.state import RunState
from pbsbatch.run.waiting import BUNDLE_SECONDS

SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 10**9), max_size=12)


def slides_of(instruction: Instruction) -> tuple[str, ...]:
    return instruction.slides if isinstance(instruction, Look | Prepare) else (instruction.slide_id,)


class Night:
    """Workers that do what they are told; a slide has as many strips as its size has digits, none if it is small."""

    def __init__(self, sizes: dict[str, int], state: RunState, poison: frozenset[str] = frozenset()) -> None:
        self.sizes, self.state, self.poison = sizes, state, poison
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.seconds = 0.0

    def strips(self, slide: str) -> dict[int, int]:
        return dict.fromkeys(range(len(str(self.sizes[slide]))), 16) if self.sizes[slide] > 1000 else {}

    def work(self, instruction: Instruction, seconds: float = 1.0) -> None:
        """Do an instruction; a poisonous slide kills its worker."""
        state = self.state
        if self.poison & set(slides_of(instruction)) - self.failed:
            for slide in slides_of(instruction):  # slides before the fault are done, and reported at once
                if slide in self.poison or self.strips(slide) or isinstance(instruction, Look):
                    break
                if state.slide_ended(slide):
                    self.done.add(slide)
            guilty = state.lost(instruction)
            if guilty is not None:
                assert state.slide_ended(guilty)
                self.failed.add(guilty)
            return
        match instruction:
            case Look(slides):
                state.looked(instruction, slides[::2])
                for slide in slides[1::2]:
                    assert state.slide_ended(slide)
                    self.done.add(slide)
            case Prepare(slides):
                count = size = 0
                for slide in slides:
                    if strips := self.strips(slide):
                        state.planned(slide, strips)
                    elif state.slide_ended(slide):
                        self.done.add(slide)
                        count, size = count + 1, size + self.sizes[slide]
                state.prepared(instruction, count=count, size=size, seconds=seconds)
            case Process():
                state.processed(instruction, seconds)
            case Commit(slide):
                assert slide not in self.done
                self.done.add(slide)
                state.committed(instruction, seconds)


@given(SIZES, st.integers(1, 4), st.booleans(), st.data())
def test_every_night_ends_with_every_slide_done_and_the_poisonous_ones_failed(
    sizes: dict[str, int], workers: int, in_order: bool, data: st.DataObject
) -> None:
    names = sorted(sizes)
    poison = frozenset(data.draw(st.sets(st.sampled_from(names), max_size=3))) if names else frozenset()
    stored = data.draw(st.sets(st.sampled_from(names))) if names else set()
    state = RunState.of(sizes, stored=stored, in_order=in_order)
    night, flying, asked, steps = Night(sizes, state, poison), [], [], 0
    while not state.finished:
        flying += (new := list(start_next(state, workers)))
        asked += new
        assert len(flying) == len(state.in_flight) <= workers * IN_FLIGHT_PER_WORKER
        assert flying, "nothing is in flight and the run does not end"
        night.work(flying.pop(data.draw(st.integers(0, len(flying) - 1))), data.draw(st.floats(0.01, 100)))
        steps += 1
        assert steps < 100 * (len(sizes) + 1)
    assert night.done | night.failed == set(sizes)
    assert not night.done & night.failed
    assert night.failed <= poison
    if not poison:
        assert len(asked) == len(set(asked))
        strips = [(a.slide_id, s) for a in asked if isinstance(a, Process) for s in a.strips]
        assert len(strips) == len(set(strips))


@given(SIZES, st.integers(1, 4), st.floats(0, 10_000), st.data())
def test_what_is_left_at_the_deadline_is_named_and_nothing_starts_that_is_predicted_to_miss_it(
    sizes: dict[str, int], workers: int, seconds: float, data: st.DataObject
) -> None:
    state = RunState.of(sizes, in_order=True)
    night, flying, left = Night(sizes, state), [], seconds
    while not state.finished:
        for new in start_next(state, workers, left):
            assert state.in_flight[new] <= left
            flying.append(new)
        if not flying:
            assert state.finished
            break
        one = flying.pop(0)
        left -= state.in_flight[one] / workers
        night.work(one, max(0.01, state.in_flight[one]))
    assert state.left == (night.done != set(sizes))
    if state.left:
        assert state.out_of_time


def test_small_slides_share_a_bundle_and_large_ones_are_cut_into_strips() -> None:
    sizes = {"giant": 10**9} | {f"field-{n:04}": 30_000 for n in range(2000)}
    state = RunState.of(sizes)
    first, *others = start_next(state, 2)
    assert first == Prepare(("giant",))
    assert all(len(o.slides) > 20 for o in others if isinstance(o, Prepare))
    for other in others:
        assert isinstance(other, Prepare)
        count = len(other.slides)
        for slide in other.slides:
            state.slide_ended(slide)
        state.prepared(other, count=count, size=30_000 * count, seconds=0.02 * count)
    assert isinstance(first, Prepare)
    state.planned("giant", dict.fromkeys(range(60), 60))
    state.prepared(first, count=0, size=0, seconds=0.0)
    flying = list(start_next(state, 2))
    assert {type(one) for one in flying} == {Process}  # what was started is finished first
    rounds = 0
    while not state.finished:
        rounds += 1
        one = flying.pop(0)
        match one:
            case Process():
                assert one.tiles * 0.08 < 1.5 * BUNDLE_SECONDS
                state.processed(one, one.tiles * 0.08)
            case Commit():
                state.committed(one, 20.0)
            case Prepare(slides):
                for slide in slides:
                    state.slide_ended(slide)
                state.prepared(one, count=len(slides), size=30_000 * len(slides), seconds=0.02 * len(slides))
            case Look():
                raise AssertionError("nothing was published before")
        flying += start_next(state, 2)
    assert rounds < 60, "an archive of 2,000 fields must not be 2,000 round trips"


def test_bundles_shrink_near_the_end_so_that_all_workers_end_together() -> None:
    state = RunState.of({f"{n:03}": 10**7 for n in range(100)})
    state.pace.learn(10, 10**8, 10.0)
    counts = []
    while not state.finished:
        (one, *more) = list(start_next(state, 2))
        for each in (one, *more):
            assert isinstance(each, Prepare)
            counts.append(len(each.slides))
            for slide in each.slides:
                state.slide_ended(slide)
            state.prepared(each, count=len(each.slides), size=10**7 * len(each.slides), seconds=1.0 * len(each.slides))
    assert counts[0] > 5 > counts[-1]


@given(st.integers(8, 40), st.integers(1, 20), st.floats(LEAST_SECONDS, 300), st.data())
def test_a_worker_that_joins_a_cluster_before_half_is_done_finds_work(
    strips: int, tiles: int, strip_seconds: float, data: st.DataObject
) -> None:
    """Also on a single slide of few bytes that takes long: what is believed of it says nothing."""
    state = RunState.of({"slide": 50_000}, may_grow=True)
    (prepare,) = start_next(state, 1)
    assert isinstance(prepare, Prepare)
    state.planned("slide", dict.fromkeys(range(strips), tiles))
    state.prepared(prepare, count=0, size=0, seconds=0.0)
    flying, done = list(start_next(state, 1)), 0
    joins = data.draw(st.integers(0, strips // 2))
    while done < joins:
        one = flying.pop(0)
        assert isinstance(one, Process)
        done += len(one.strips)
        state.processed(one, strip_seconds * len(one.strips))
        flying += start_next(state, 1)
    if done <= strips // 2:
        assert list(start_next(state, 2)), f"{done} of {strips} strips are done and all others are given away"


def test_a_worker_that_joins_a_cluster_finds_small_slides_to_do() -> None:
    sizes = {f"{n:03}": 30_000 for n in range(40)}
    given = {grows: list(start_next(RunState.of(sizes, may_grow=grows), 1)) for grows in (False, True)}
    assert [one.slides for one in given[False] if isinstance(one, Prepare)] == [tuple(sizes)]
    taken = sum(len(one.slides) for one in given[True] if isinstance(one, Prepare))
    assert 0 < taken <= 20


def test_with_a_deadline_begun_slides_come_first_then_the_users_order() -> None:
    sizes = {"c": 10, "a": 10**9, "b": 20, "d": 5}
    assert RunState.of(sizes, begun={"d"}, in_order=True).waiting.names == ["d", "c", "a", "b"]
    assert RunState.of(sizes, begun={"d"}).waiting.names == ["a", "b", "c", "d"]


def test_before_the_deadline_slides_that_can_be_complete_go_before_one_that_cannot() -> None:
    state = RunState.of({"giant": 10**9, "small": 10**6}, in_order=True)
    state.pace.learn(1, 10**7, 10.0)  # the giant takes a thousand seconds
    small, giant = start_next(state, 1, 120.0)
    assert (small, giant) == (Prepare(("small",)), Prepare(("giant",)))  # strips of the giant are kept for another run
    state.planned("giant", dict.fromkeys(range(100), 16))
    assert isinstance(giant, Prepare)
    assert isinstance(small, Prepare)
    state.prepared(giant, count=0, size=0, seconds=0.0)
    state.slide_ended("small")
    state.prepared(small, count=1, size=10**6, seconds=1.0)
    strips = list(start_next(state, 1, 60.0))
    assert strips
    assert all(isinstance(one, Process) for one in strips)
    for one in strips:
        assert isinstance(one, Process)
        state.processed(one, one.tiles * 0.625)
    assert list(start_next(state, 1, 5.0)) == []  # a strip takes ten seconds
    assert state.finished
    assert state.left


def test_kept_slides_are_looked_at_first_and_changed_ones_take_their_turn() -> None:
    state = RunState.of({"a": 1, "b": 2, "c": 3}, stored={"a", "b"})
    look, prepare = start_next(state, 1)
    assert look == Look(("b", "a"))
    assert prepare == Prepare(("c",))
    assert isinstance(look, Look)
    state.slide_ended("a")
    state.looked(look, ["b"])
    assert list(start_next(state, 1)) == [Prepare(("b",))]


def test_a_lost_bundle_runs_again_then_is_split_until_the_poisonous_slide_is_alone() -> None:
    names = [f"{n:02}" for n in range(64)]
    sizes = dict.fromkeys(names, 1000)
    night = Night(sizes, RunState.of(sizes), frozenset({"37"}))
    deaths = 0
    while not night.state.finished:
        for one in list(start_next(night.state, 1)):
            before = len(night.state.in_flight)
            night.work(one)
            deaths += len(night.state.again) > 0 and before > 0
    assert night.failed == {"37"}
    assert night.done == set(names) - {"37"}
    assert night.state.blame.deaths <= 8


def test_a_bundle_that_lost_its_worker_runs_again_carefully() -> None:
    """Each slide is published at once then, so that the next death costs none of those before it."""
    state = RunState.of(dict.fromkeys("abcdefgh", 1))
    (bundle,) = start_next(state, 1)
    assert isinstance(bundle, Prepare) and not bundle.careful
    for count in (1, 2):
        assert state.lost(bundle) is None
        again = list(start_next(state, 1))
        assert len(again) == count and all(isinstance(one, Prepare) and one.careful for one in again)


def test_two_innocents_beside_a_poisonous_slide_are_never_given_up() -> None:
    state = RunState.of({"guilty": 3, "innocent": 2})
    state.pace.byte_seconds = 30.0  # so that each is a bundle
    guilty, innocent = start_next(state, 1)
    for _ in range(2):  # both were at the worker that died
        assert state.lost(guilty) is None
        assert state.lost(innocent) is None
        flying = list(start_next(state, 1))
        assert set(flying) <= {guilty, innocent}
        if len(flying) == 1:
            break
    assert list(start_next(state, 1)) == []  # alone
    assert state.lost(flying[0]) == "guilty"
    state.slide_ended("guilty")
    assert list(start_next(state, 1)) == [innocent]
    assert isinstance(innocent, Prepare)
    state.slide_ended("innocent")
    state.prepared(innocent, count=1, size=2, seconds=1.0)
    assert state.finished


def test_an_error_that_no_slide_owns_splits_its_bundle_at_once() -> None:
    state = RunState.of({"a": 1, "b": 1})
    (bundle,) = start_next(state, 1)
    assert bundle == Prepare(("a", "b"))
    assert state.raised(bundle) is None
    assert list(start_next(state, 1)) == [Prepare(("a",)), Prepare(("b",))]
    assert state.raised(Prepare(("a",))) == "a"


def test_workers_that_die_whatever_they_are_given_are_at_fault_themselves() -> None:
    state = RunState.of({str(n): 1 for n in range(100)})
    while not state.blame.hopeless:
        for one in list(start_next(state, 2)):
            if (guilty := state.lost(one)) is not None:
                state.slide_ended(guilty)
    assert len(state.ended) < 20


def test_a_failed_slides_other_bundles_are_not_started() -> None:
    state = RunState.of({"a": 1})
    (prepare,) = start_next(state, 1)
    assert isinstance(prepare, Prepare)
    state.planned("a", {0: 20, 1: 20, 2: 20})
    state.prepared(prepare, count=0, size=0, seconds=0.0)
    first = next(start_next(state, 1))
    assert state.raised(first) == "a"
    assert state.slide_ended("a")
    assert list(start_next(state, 1)) == []
    assert not state.slide_ended("a")


def test_a_stop_starts_nothing_more_and_waits_for_what_is_in_flight() -> None:
    state = RunState.of({"a": 1, "b": 1})
    (bundle,) = start_next(state, 1)
    assert isinstance(bundle, Prepare)
    state.stop()
    assert list(start_next(state, 5)) == []
    assert not state.finished
    state.prepared(bundle, count=2, size=2, seconds=1.0)
    assert state.finished


def test_a_cluster_without_workers_is_given_nothing() -> None:
    state = RunState.of({"a": 1})
    assert list(start_next(state, 0, inf)) == []
    assert not state.finished


def test_a_held_slide_waits_for_its_copy_and_the_run_for_it() -> None:
    state = RunState.of({"a": 3, "b": 2, "c": 1})
    state.waiting.held = {"a", "c"}
    (first,) = start_next(state, 2)
    assert slides_of(first) == ("b",)
    assert not list(start_next(state, 2))
    state.slide_ended("b")
    state.prepared(first, count=1, size=2, seconds=1.0)  # type: ignore[arg-type]
    assert not list(start_next(state, 2))
    assert not state.finished
    state.waiting.held.clear()
    started = [slide for instruction in start_next(state, 2) for slide in slides_of(instruction)]
    assert started == ["a", "c"]


def test_a_held_slide_is_waited_for_only_as_long_as_it_could_end_in_time() -> None:
    state = RunState.of({"a": 10**6}, in_order=True)
    state.waiting.held = {"a"}
    assert not list(start_next(state, 1, time_left=3600.0))
    assert not state.finished
    assert not list(start_next(state, 1, time_left=0.0))
    assert state.finished
    assert state.left
