"""What is copied to the stage, in which order, and when there is room: pure decisions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.run.shelf import Shelf


def shelf(bound: int, **sizes: int) -> Shelf:
    return Shelf(bound, sizes, {name: rank for rank, name in enumerate(sizes)})


def test_slides_are_copied_in_the_order_in_which_they_begin() -> None:
    one = shelf(100, a=30, b=20, c=10)
    assert one.offer(["c", "b"]) == []
    assert one.offer(["a"]) == []
    order = []
    while one.next() is not None:
        assert one.next() is None  # one at a time
        order.append(one.copied(whole=True))
    assert order == ["a", "b", "c"]
    assert one.used == 60


def test_room_is_waited_for_and_nothing_small_overtakes() -> None:
    one = shelf(100, a=60, b=50, c=1)
    one.offer("abc")
    assert one.next() == "a"
    one.copied(whole=True)
    assert one.next() is None
    one.done("a")
    assert one.next() is None  # it still takes room
    one.left("a")
    assert one.next() == "b"
    one.copied(whole=True)
    assert one.next() == "c"


def test_a_slide_larger_than_the_stage_is_told_at_once() -> None:
    one = shelf(100, a=101, b=100)
    assert one.offer("ab") == ["a"]
    assert one.next() == "b"


def test_what_could_not_be_copied_is_taken_off() -> None:
    one = shelf(100, a=100, b=100)
    one.offer("ab")
    one.next()
    assert one.copied(whole=False) == "a"
    assert one.leaving == {"a"}
    assert one.next() is None
    one.left("a")
    assert one.next() == "b"


def test_what_is_done_before_its_turn_is_not_copied() -> None:
    one = shelf(100, a=50, b=50)
    one.offer("ab")
    one.done("a")
    assert one.next() == "b"
    one.done("b")
    one.copied(whole=True)
    assert one.leaving == {"b"}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(10, 120), st.data())
def test_the_bound_holds_and_every_slide_arrives(sizes: list[int], bound: int, data: st.DataObject) -> None:
    """Whatever happens in whatever order: never more than the bound, and in the end every slide was let begin."""
    names = [f"s{i:02d}" for i in range(len(sizes))]
    one = shelf(bound, **dict(zip(names, sizes, strict=True)))
    begun = set(one.offer(names))
    assert begun == {n for n, size in zip(names, sizes, strict=True) if size > bound}
    for _ in range(20 * len(sizes)):
        assert one.used <= bound
        can = ["next"] * (one.copying is None) + ["copied"] * (one.copying is not None)
        can += ["done"] * bool(one.staged) + ["left"] * bool(one.leaving)
        match data.draw(st.sampled_from(can)):
            case "next":
                one.next()
            case "copied":
                begun.add(one.copied(whole=data.draw(st.booleans())))
            case "done":
                one.done(min(one.staged))
            case "left":
                one.left(min(one.leaving))
    while len(begun) < len(names):  # the rest without chance: what is staged ends, what ended is taken off
        for slide in sorted(one.staged):
            one.done(slide)
        for slide in sorted(one.leaving):
            one.left(slide)
        assert one.copying is not None or one.next() is not None
        begun.add(one.copied(whole=True))
