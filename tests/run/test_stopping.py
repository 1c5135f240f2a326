"""When a run stops early, as decisions: no cluster and no waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf

from pbsbatch.run.stopping import SECONDS_OVER_DEADLINE, SECONDS_WITHOUT_WORKERS, Stopping


def test_a_first_request_lets_what_is_in_flight_end_and_a_second_does_not() -> None:
    stopping = Stopping()
    assert stopping.may_wait(workers=1, in_flight=2)
    assert stopping.reason is None and not stopping.interrupted
    stopping.requests.put("interrupted by SIGTERM")
    assert stopping.may_wait(workers=1, in_flight=2)
    assert stopping.reason == "interrupted by SIGTERM" and stopping.interrupted
    stopping.requests.put("interrupted by SIGINT")
    assert not stopping.may_wait(workers=1, in_flight=2)
    assert stopping.reason == "interrupted by SIGTERM", "the first reason is the one that is told"


def test_a_full_disk_before_a_signal_stays_the_reason() -> None:
    stopping = Stopping()
    stopping.stop("the disk is full")
    stopping.requests.put("interrupted by SIGHUP")
    assert stopping.may_wait(workers=1, in_flight=1)
    assert (stopping.reason, stopping.interrupted) == ("the disk is full", True)


def test_what_overruns_the_deadline_is_left_behind_after_a_while() -> None:
    stopping = Stopping(datetime.now(UTC) - timedelta(seconds=SECONDS_OVER_DEADLINE / 2))
    assert stopping.may_wait(workers=1, in_flight=1)
    stopping.deadline = datetime.now(UTC) - timedelta(seconds=2 * SECONDS_OVER_DEADLINE)
    assert stopping.may_wait(workers=1, in_flight=0) and stopping.reason is None
    assert not stopping.may_wait(workers=1, in_flight=1)
    assert stopping.reason == "the deadline: what was in flight took longer than predicted"
    assert Stopping().time_left() == inf


def test_a_cluster_without_workers_is_waited_for_but_not_for_ever() -> None:
    stopping = Stopping()
    assert stopping.may_wait(workers=0, in_flight=1)
    stopping.worked -= SECONDS_WITHOUT_WORKERS + 1
    assert not stopping.may_wait(workers=0, in_flight=1)
    assert stopping.reason == "the cluster has no workers any more" and not stopping.interrupted
