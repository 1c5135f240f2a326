"""--until: the next time that the clock shows it, or so long from now."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from pbsbatch.deadline import parse_until
from pbsbatch.errors import UsageError

NOW = datetime(2026, 3, 4, 22, 15, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("06:00", NOW.replace(day=5, hour=6, minute=0, second=0)),
        ("6:00", NOW.replace(day=5, hour=6, minute=0, second=0)),
        ("22:16", NOW.replace(minute=16, second=0)),
        ("22:15", NOW.replace(day=5, minute=15, second=0)),  # just over: tomorrow's
        ("8h", NOW + timedelta(hours=8)),
        ("1h30m", NOW + timedelta(hours=1, minutes=30)),
        ("90 min", NOW + timedelta(minutes=90)),
        ("45s", NOW + timedelta(seconds=45)),
        ("0.5h", NOW + timedelta(minutes=30)),
    ],
)
def test_times_of_day_and_durations(text: str, expected: datetime) -> None:
    assert parse_until(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "24:00", "6", "06:60", "-1h", "0h", "h", "1000h", "8h later", "06:00:00"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        parse_until(text, NOW)
