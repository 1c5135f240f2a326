"""Test-wide settings: hypothesis profiles, and single-threaded libraries as in a worker."""

from __future__ import annotations

import os

import cv2
from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", parent=settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
cv2.setNumThreads(1)
