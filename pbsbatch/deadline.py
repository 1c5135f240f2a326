"""When a run must be over: a time of day, or so long from now. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from pbsbatch.errors import UsageError

__all__ = ["parse_until"]

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")
LONGEST = timedelta(days=30)


def parse_until(text: str, now: datetime) -> datetime:
    """Return the moment that "06:00" (the next time that the clock shows it), "8h" or "1h30m" means."""
    plain = text.strip().lower().replace(" ", "")
    clock = _CLOCK.fullmatch(plain)
    if clock:
        at = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return at if at > now else at + timedelta(days=1)
    parts = _DURATION.fullmatch(plain)
    if not parts or not any(parts.groups()):
        raise UsageError(
            f"--until must be a time of day or a duration, not {text!r}", cure="Write for example 06:00, 8h or 1h30m"
        )
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    span = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta() < span <= LONGEST:
        raise UsageError(f"--until must lie ahead, at most {LONGEST.days} days, not {text!r}")
    return now + span
