"""On a machine with a GPU and TensorRT: the laws of an engine by a plan that was really built there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pbsbatch.engines.base import DenseEngine
from pbsbatch.engines.gpus import find_gpus
from pbsbatch.engines.load import wanted_of
from pbsbatch.engines.tensorrt.cache import PlanCache
from pbsbatch.engines.tensorrt.child import check_every_profile
from pbsbatch.engines.tensorrt.compiled import compile_here, here, open_compiled
from pbsbatch.engines.torch import TorchEngine
from pbsbatch.models.folder import ModelFolder
from pbsbatch.testing.engines import EngineTests

if not find_gpus():
    pytest.skip("this machine has no GPU", allow_module_level=True)


class TestTensorRT(EngineTests):
    tolerance = 0.03

    @pytest.fixture(scope="class")
    def cache(self, folder: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> PlanCache:
        cache = PlanCache(tmp_path_factory.mktemp("plans"))
        reference = TorchEngine(folder, device="cpu")
        compile_here(
            folder, "fp16", (1, 4), place=here(), cache=cache,
            check=lambda engine: check_every_profile(engine, reference, wanted_of(folder)),
        )  # fmt: skip
        return cache

    @pytest.fixture
    def make(self, folder: ModelFolder, cache: PlanCache) -> Callable[[], DenseEngine]:
        return lambda: open_compiled(folder, "fp16", here(), cache)

    @pytest.fixture
    def reference(self, folder: ModelFolder) -> DenseEngine:
        return TorchEngine(folder, device="cpu", threads=1)


class TestTorchOnAGpu(EngineTests):
    tolerance = 0.03

    @pytest.fixture
    def make(self, folder: ModelFolder) -> Callable[[], DenseEngine]:
        return lambda: TorchEngine(folder, "fp16", "cuda")

    @pytest.fixture
    def reference(self, folder: ModelFolder) -> DenseEngine:
        return TorchEngine(folder, device="cpu", threads=1)
