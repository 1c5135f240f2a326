"""How long work takes: worker seconds per slide and per byte, learned from what was done. Pure.

A slide costs something whatever its size (opening, surveying, publishing) and something per byte on
disk. Both are fitted by least squares over the bundles that ended, the newest counting most: slides
come by size, so the rate of the last ones is the best guess for the next.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pace"]

SLIDE_SECONDS, BYTE_SECONDS = 0.1, 3e-7
"""What is believed before anything is measured: a 640x480 field and a 1 GB slide on one core, slowly."""
FORGET = 0.8
"""Weight of all that was known, with every new measurement."""
BELIEF = 0.005
"""Weight, against one measurement, of the believed proportion of the two rates: slides all alike do not tell it."""
LEAST_SECONDS = 1e-4
"""Less is no measurement."""
COMMIT_SHARE = 0.2
"""Seconds to settle and publish a slide, per second of computing it, before anything is measured."""


@dataclass(slots=True)
class Pace:
    """Seconds of one worker per slide and per byte. Law: both stay positive, whatever was measured."""

    slide_seconds: float = SLIDE_SECONDS
    byte_seconds: float = BYTE_SECONDS
    commit_share: float = COMMIT_SHARE
    measured: bool = False
    # sums over measurements of u = slides * SLIDE_SECONDS and v = bytes * BYTE_SECONDS, both over the predicted seconds
    _uu: float = 0.0
    _uv: float = 0.0
    _vv: float = 0.0
    _u: float = 0.0
    _v: float = 0.0

    def slides(self, count: int, size: int) -> float:
        """Return the worker seconds of so many slides of so many bytes in all."""
        return count * self.slide_seconds + size * self.byte_seconds

    def learn(self, count: int, size: int, seconds: float) -> None:
        """Take note of what a number of slides took."""
        if count == 0 or seconds < LEAST_SECONDS:
            return
        self.measured = True
        # divided by the prediction: the misfit that counts is relative, a field's tenth is as bad as a slide's
        predicted = self.slides(count, size)
        u, v, took = count * SLIDE_SECONDS / predicted, size * BYTE_SECONDS / predicted, seconds / predicted
        self._uu = FORGET * self._uu + u * u
        self._uv = FORGET * self._uv + u * v
        self._vv = FORGET * self._vv + v * v
        self._u = FORGET * self._u + u * took
        self._v = FORGET * self._v + v * took
        self._fit()

    def learn_commit(self, computing: float, committing: float) -> None:
        """Take note of how long a slide took to compute, and to settle and publish."""
        if computing > 0:
            self.commit_share += (1 - FORGET) * (committing / computing - self.commit_share)

    def _fit(self) -> None:
        """Find by what factors the believed rates must be multiplied: one factor for both, then each its own."""
        both = (self._u + self._v) / (self._uu + 2 * self._uv + self._vv)
        uu, vv, uv = self._uu * (1 + BELIEF), self._vv * (1 + BELIEF), self._uv
        u, v = self._u + BELIEF * both * self._uu, self._v + BELIEF * both * self._vv
        det = uu * vv - uv * uv
        per_slide = per_byte = both
        if det > 0:
            per_slide, per_byte = (u * vv - v * uv) / det, (v * uu - u * uv) / det
            if min(per_slide, per_byte) <= 0:
                per_slide = per_byte = both
        self.slide_seconds, self.byte_seconds = per_slide * SLIDE_SECONDS, per_byte * BYTE_SECONDS
