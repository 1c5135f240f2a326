"""Every engine that runs here keeps the laws of an engine, in each of its precisions."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import pytest

from pbsbatch.engines.base import DenseEngine
from pbsbatch.engines.openvino import OpenVINOEngine
from pbsbatch.engines.plain import LEAST_OPENCV, PlainNetwork
from pbsbatch.engines.processor import has_bf16, has_int8
from pbsbatch.engines.torch import TorchEngine
from pbsbatch.models.folder import ModelFolder
from pbsbatch.testing.engines import EngineTests, FakeEngine


class _AgainstTorch(EngineTests):
    @pytest.fixture
    def reference(self, folder: ModelFolder) -> DenseEngine:
        return TorchEngine(folder, device="cpu", threads=1)


class TestTorch(_AgainstTorch):
    @pytest.fixture
    def make(self, folder: ModelFolder) -> Callable[[], DenseEngine]:
        return lambda: TorchEngine(folder, device="cpu", threads=1)


class TestOpenVINO(_AgainstTorch):
    tolerance = 1e-5

    @pytest.fixture(params=[1, 2])
    def make(self, folder: ModelFolder, request: pytest.FixtureRequest) -> Callable[[], DenseEngine]:
        return lambda: OpenVINOEngine(folder, "fp32", threads=request.param)


@pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16")
class TestOpenVINOBf16(_AgainstTorch):
    tolerance = 0.02

    @pytest.fixture
    def make(self, folder: ModelFolder) -> Callable[[], DenseEngine]:
        return lambda: OpenVINOEngine(folder, "bf16", threads=2)


@pytest.mark.skipif(not has_int8(), reason="this processor has no dot products of bytes")
class TestOpenVINOInt8(_AgainstTorch):
    tolerance = 0.12  # of random weights, the worst of 20,000 numbers

    @pytest.fixture
    def make(self, int8_folder: ModelFolder) -> Callable[[], DenseEngine]:
        return lambda: OpenVINOEngine(int8_folder, "int8", threads=2)


@pytest.mark.skipif(int(cv2.__version__.split(".")[0]) < LEAST_OPENCV, reason="this OpenCV is not believed")
class TestPlain(_AgainstTorch):
    """What the gate holds engines against: an engine's laws are its own too."""

    tolerance = 1e-5

    @pytest.fixture
    def make(self, folder: ModelFolder) -> Callable[[], DenseEngine]:
        return lambda: PlainNetwork(folder, (64, 96))


class TestFake(EngineTests):
    @pytest.fixture
    def make(self) -> Callable[[], DenseEngine]:
        return FakeEngine

    @pytest.fixture
    def reference(self) -> DenseEngine:
        return FakeEngine()
