"""Every name and signature of TensorRT that the engine uses is there as it is used."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pbsbatch.engines import tensorrt
from pbsbatch.engines.tensorrt.library import Library
from tests.engines.tensorrt.bindings import CALLS, NAMES, misfits, signatures


def test_the_installed_library_has_all_of_it(library: Library) -> None:
    assert misfits(library.trt) == []


def test_what_is_missing_or_otherwise_is_named(library: Library) -> None:
    trt: Any = library.trt
    assert len(misfits(cast("Any", SimpleNamespace()))) == len(CALLS) + len(NAMES)
    assert signatures(trt.Builder.create_network, "create_network") == [CALLS["Builder.create_network"]]
    other = SimpleNamespace(**{name: getattr(trt, name) for name in dir(trt)} | {"ILogger": trt.IProgressMonitor})
    assert [line.split(" ")[0] for line in misfits(cast("Any", other))] == [
        "ILogger.Severity.ERROR", "ILogger.Severity.INTERNAL_ERROR", "ILogger.log",
    ]  # fmt: skip


def test_the_list_holds_every_call_of_the_engine() -> None:
    """What follows a library's object in the engine's source is on the list, or one of ours."""
    folder = Path(tensorrt.__file__).parent
    source = "".join((folder / f"{name}.py").read_text() for name in ("build", "execute", "library"))
    objects = "builder|network|parser|config|made|error|engine|context|runtime|kept|monitor"
    used = set(re.findall(rf"\b(?:{objects})\.([a-z]\w+)", source))
    known = {name.rpartition(".")[2] for name in (*CALLS, *NAMES)}
    assert used - known == set()
    assert {"deserialize_cuda_engine", "execute_async_v3", "build_serialized_network"} <= used
