"""Test-wide settings: hypothesis profiles, single-threaded libraries as in a worker, a folder for what engines keep."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import cv2
from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", parent=settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
cv2.setNumThreads(1)
if "PBSBATCH_CACHE" not in os.environ:  # stamps of gates must not come from, or go to, the user's own folder
    os.environ["PBSBATCH_CACHE"] = tempfile.mkdtemp(prefix="pbsbatch-test-")
    atexit.register(shutil.rmtree, os.environ["PBSBATCH_CACHE"], ignore_errors=True)
