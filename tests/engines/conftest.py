"""One tiny model folder for all tests of engines."""

from __future__ import annotations

import pytest

from pbsbatch.models.folder import ModelFolder
from tests.engines.tiny import tiny_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return tiny_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def int8_folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return tiny_folder(tmp_path_factory.mktemp("models") / "tiny-int8", int8=True)
