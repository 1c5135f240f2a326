"""Hold every name and signature of TensorRT that the engine uses against real bindings.

    python -m tests.engines.tensorrt.bindings WHEEL [WHEEL ...]

takes wheels of tensorrt-cu12-bindings or tensorrt-cu13-bindings. They import without TensorRT itself once three empty
libraries stand beside them (a C compiler makes them): enough to read signatures, too little to call anything.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

__all__ = ["CALLS", "NAMES", "misfits"]

CALLS = {
    "Builder.create_network": "(self: Builder, flags: int = 0) -> INetworkDefinition",
    "Builder.create_builder_config": "(self: Builder) -> IBuilderConfig",
    "Builder.create_optimization_profile": "(self: Builder) -> IOptimizationProfile",
    "Builder.build_serialized_network":
        "(self: Builder, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory",
    "OnnxParser.parse": "(self: OnnxParser, model: buffer, path: str = None) -> bool",
    "OnnxParser.get_error": "(self: OnnxParser, index: int) -> nvonnxparser::IParserError",
    "ParserError.desc": "(self: ParserError) -> str",
    "ParserError.node_name": "(self: ParserError) -> str",
    "ParserError.node_operator": "(self: ParserError) -> str",
    "IOptimizationProfile.set_shape":
        "(self: IOptimizationProfile, input: str, min: Dims, opt: Dims, max: Dims) -> None",
    "IBuilderConfig.add_optimization_profile": "(self: IBuilderConfig, profile: IOptimizationProfile) -> int",
    "IBuilderConfig.clear_flag": "(self: IBuilderConfig, flag: BuilderFlag) -> None",
    "IBuilderConfig.create_timing_cache":
        "(self: IBuilderConfig, serialized_timing_cache: buffer) -> ITimingCache",
    "IBuilderConfig.set_timing_cache":
        "(self: IBuilderConfig, cache: ITimingCache, ignore_mismatch: bool) -> bool",
    "ITimingCache.serialize": "(self: ITimingCache) -> IHostMemory",
    "Runtime.deserialize_cuda_engine": "(self: Runtime, serialized_engine: buffer) -> ICudaEngine",
    "ICudaEngine.get_tensor_name": "(self: ICudaEngine, index: int) -> str",
    "ICudaEngine.get_tensor_mode": "(self: ICudaEngine, name: str) -> TensorIOMode",
    "ICudaEngine.get_tensor_dtype": "(self: ICudaEngine, name: str) -> DataType",
    "ICudaEngine.create_execution_context":
        "(self: ICudaEngine, strategy: ExecutionContextAllocationStrategy = "
        "<ExecutionContextAllocationStrategy.STATIC: 0>) -> IExecutionContext",
    "IExecutionContext.set_optimization_profile_async":
        "(self: IExecutionContext, profile_index: int, stream_handle: int) -> bool",
    "IExecutionContext.set_input_shape": "(self: IExecutionContext, name: str, shape: tuple) -> bool",
    "IExecutionContext.infer_shapes": "(self: IExecutionContext) -> list[str]",
    "IExecutionContext.update_device_memory_size_for_shapes": "(self: IExecutionContext) -> int",
    "IExecutionContext.set_device_memory": "(self: IExecutionContext, memory: int, size: int) -> None",
    "IExecutionContext.get_tensor_shape": "(self: IExecutionContext, name: str) -> Dims",
    "IExecutionContext.set_tensor_address": "(self: IExecutionContext, name: str, memory: int) -> bool",
    "IExecutionContext.execute_async_v3": "(self: IExecutionContext, stream_handle: int) -> bool",
    "ILogger.log": "(self: ILogger, severity: ILogger.Severity, msg: str) -> None",
    "IProgressMonitor.phase_start":
        "(self: IProgressMonitor, phase_name: str, parent_phase: str, num_steps: int) -> None",
    "IProgressMonitor.step_complete": "(self: IProgressMonitor, phase_name: str, step: int) -> bool",
    "IProgressMonitor.phase_finish": "(self: IProgressMonitor, phase_name: str) -> None",
}  # fmt: skip
NAMES = (
    "OnnxParser.num_errors", "IBuilderConfig.progress_monitor", "ICudaEngine.num_io_tensors",
    "ICudaEngine.device_memory_size_v2", "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "BuilderFlag.TF32",
    "TensorIOMode.INPUT", "TensorIOMode.OUTPUT", "DataType.UINT8", "DataType.FLOAT",
    "ExecutionContextAllocationStrategy.USER_MANAGED", "ILogger.Severity.ERROR", "ILogger.Severity.INTERNAL_ERROR",
)  # fmt: skip
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")
SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry",
    "getPluginRegistry", "getNvOnnxParserVersion", "initLibNvInferPlugins",
)  # fmt: skip


def misfits(trt: ModuleType) -> list[str]:
    """Return what the bindings lack, or have otherwise."""
    wrong = [f"{name} is missing" for name in (*NAMES, *CALLS) if _get(trt, name) is None]
    for name, signature in CALLS.items():
        found = signatures(_get(trt, name), name.rpartition(".")[2])
        if found and signature not in found:
            wrong.append(f"{name} is {' or '.join(found)}")
    return wrong


def signatures(function: object, name: str) -> list[str]:
    """Return the signatures that a bound function's docstring tells, in one spelling for all versions."""
    text = re.sub(r"\b[a-z_]+_bindings\.[a-z_]+\.", "", getattr(function, "__doc__", "") or "")
    for old, new in (("typing.SupportsInt", "int"), ("typing_extensions.Buffer", "buffer"), ("List[", "list[")):
        text = text.replace(old, new)
    text = text.replace("tensorrt.", "").replace("tensorrt_rtx.", "")
    return [m.group(1) for m in re.finditer(rf"^\s*(?:\d+\. )?{name}(\(self.*\) -> .*?)$", text, re.MULTILINE)]


def _get(trt: ModuleType, path: str) -> object:
    found: object = trt
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def check_wheel(wheel: Path) -> int:
    """Unpack a wheel, put empty libraries beside it, and check it in a process of its own."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        major = re.findall(r"-(\d+)\.", wheel.name)[0]
        (folder / "empty.c").write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
        for name in LIBRARIES:
            file = f"{name}.so.{major}"
            command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", f"tensorrt_bindings/{file}", "empty.c"]
            subprocess.run(command, cwd=folder, check=True)
        program = (
            f"import sys; sys.path[:0] = {[str(folder), str(Path.cwd())]!r}\nimport tensorrt_bindings as trt\n"
            "from tests.engines.tensorrt.bindings import CALLS, NAMES, misfits\nwrong = misfits(trt)\n"
            "print(trt.__version__, len(CALLS), 'signatures,', len(NAMES), 'names:', '; '.join(wrong) or 'all fit')\n"
            "sys.exit(bool(wrong))"
        )
        paths = {"LD_LIBRARY_PATH": str(folder / "tensorrt_bindings"), "PATH": "/usr/bin:/bin"}
        return subprocess.run([sys.executable, "-c", program], env=paths, check=False).returncode


if __name__ == "__main__":
    sys.exit(max(check_wheel(Path(argument).absolute()) for argument in sys.argv[1:]))
