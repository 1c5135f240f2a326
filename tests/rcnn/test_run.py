"""A two-stage model in a run: tiles of one size on the coarsest grid's steps, seams settled, each cell once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pbsbatch.config import Config
from pbsbatch.engines.rcnn import RcnnEngine
from pbsbatch.engines.rcnn_openvino import OpenVINOParts
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.store import open as open_store
from tests.rcnn.tiny import folder_of
from tests.run.inline import run_one
