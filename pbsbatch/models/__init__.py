"""Models: what an engine runs, and how raw output becomes cells."""

from pbsbatch.models.base import Calibration, Found, Model, ModelSpec, Raw
from pbsbatch.models.load import anywhere, load, load_classifier

__all__ = ["Calibration", "Found", "Model", "ModelSpec", "Raw", "anywhere", "load", "load_classifier"]
