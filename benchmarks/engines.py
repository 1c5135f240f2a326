"""Tiles per second, latency and memory of every engine that runs here, beside onnxruntime and plain loops of torch.

`python -m benchmarks.engines --json` measures each in a process of its own, one after the other, several rounds
long, so that a machine that slows down slows all of them. A call is one batch; memory is what the process holds at its
peak beyond what it held before the engine was made. GPUs are measured where there are any.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from pbsbatch import models
from pbsbatch.engines.gate import probe_tiles
from pbsbatch.engines.gpus import find_gpus
from pbsbatch.engines.openvino import precisions_here
from pbsbatch.errors import PbsbatchError
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.folder import INT8, ONNX, ModelFolder

OURS, PEERS = ("openvino", "torch", "torch-gpu", "tensorrt"), ("plain-torch", "onnxruntime", "plain-torch-gpu")
Run = Callable[[NDArray[np.uint8]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smear")
    parser.add_argument("--tile", type=int, default=512, help="side of a tile in px, a multiple of 16")
    parser.add_argument("--batch", type=int, action="append", help="tiles per call; repeat for several [1, 8]")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round of each engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        record.show(measure(asked.model, json.loads(asked.one), asked.tile, asked.seconds))
        return
    wanted = [(*each, batch) for batch in asked.batch or (1, 8) for each in contenders(folder_of(asked.model))]
    rounds: dict[tuple[str, str, int], list[dict[str, Any]]] = {each: [] for each in wanted}
    for _ in range(asked.rounds):
        for each in wanted:
            rounds[each].append(alone(asked.model, each, asked.tile, asked.seconds))
    rows = [row(each, found, asked.tile) for each, found in rounds.items() if all("error" not in f for f in found)]
    failed = {" ".join(map(str, each)): f[0]["error"] for each, f in rounds.items() if "error" in f[0]}
    if not asked.no_record:
        record.append("engines", rows)
    record.show(
        {
            "rows": rows, "times_the_best_peer": against(rows, {"fp32", "bf16", "int8"}),
            "times_the_best_float_peer": against(rows, {"fp32", "bf16"}), "failed": failed,
        }
    )  # fmt: skip


def folder_of(name: str) -> ModelFolder:
    model = models.load(name)
    if not isinstance(model, DenseModel):
        sys.exit(f"{name} is no network")
    return model.folder


def contenders(folder: ModelFolder) -> list[tuple[str, str]]:
    """Return every engine and peer, with each precision that it may be able to compute here."""
    found = [("openvino", p) for p in precisions_here(folder)] + [("torch", "fp32")]
    found += [("plain-torch", "fp32"), ("plain-torch", "bf16")]
    if find_spec("onnxruntime") is not None:
        found += [("onnxruntime", "fp32")] + ([("onnxruntime", "int8")] if INT8 in folder.files else [])
    if find_gpus():
        found += [("torch-gpu", "fp16"), ("plain-torch-gpu", "fp16")]
        found += [("tensorrt", p) for p in ("fp16", "fp32", "int8")]
    return found


def alone(model: str, each: tuple[str, str, int], tile: int, seconds: float) -> dict[str, Any]:
    """Measure one contender in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.engines", "--model", model, "--one", json.dumps(each)]
    command += ["--tile", str(tile), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=record.ROOT)
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(model: str, each: tuple[str, str, int], tile: int, seconds: float) -> dict[str, Any]:
    """Run batches for some seconds and return how long each took."""
    kind, precision, batch = each
    folder = folder_of(model)
    tiles = probe_tiles(batch, (tile, tile), folder.facts.work_mpp)
    before = held()
    try:
        run, device = maker(kind)(folder, precision)
    except PbsbatchError as error:
        return {"error": str(error)}
    for _ in range(3):
        run(tiles)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        start = time.perf_counter()
        run(tiles)
        times.append(time.perf_counter() - start)
    return {"times": times, "memory_mb": (peak() - before) / 1e6, "device": device}


def maker(kind: str) -> Callable[[ModelFolder, str], tuple[Run, str]]:
    peers = {"plain-torch": plain_torch, "plain-torch-gpu": plain_torch_gpu, "onnxruntime": onnxruntime}
    return peers[kind] if kind in peers else lambda folder, precision: ours(folder, precision, kind)


def ours(folder: ModelFolder, precision: str, kind: str) -> tuple[Run, str]:
    """Return one of the project's engines, past the gate as in a run."""
    from pbsbatch import engines

    if kind.startswith("torch"):  # imported here alone: PyTorch's own memory is no other engine's
        from pbsbatch.engines.torch import TorchEngine

        engine: Any = TorchEngine(folder, precision, "cuda" if kind == "torch-gpu" else "cpu")
    else:
        engine = engines.load(DenseModel(folder), f"{kind}:{precision}")
    return engine, engine.device


def plain_torch(folder: ModelFolder, precision: str, device: str = "cpu") -> tuple[Run, str]:
    """Return what one writes without an engine: the network on whole batches, channels last, autocast if narrow."""
    import torch

    from pbsbatch.engines.torch import served

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    net = served(folder).to(device=device, memory_format=torch.channels_last)

    def run(tiles: NDArray[np.uint8]) -> object:
        with torch.inference_mode(), torch.autocast(device, kinds[precision], enabled=precision != "fp32"):
            return [values.float().cpu().numpy() for values in net(torch.from_numpy(tiles).to(device))]

    return run, "cpu" if device == "cpu" else torch.cuda.get_device_name()


def plain_torch_gpu(folder: ModelFolder, precision: str) -> tuple[Run, str]:
    return plain_torch(folder, precision, "cuda")


def onnxruntime(folder: ModelFolder, precision: str) -> tuple[Run, str]:
    """Return onnxruntime as its documentation starts one, with a thread per core."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    data = folder.read(INT8 if precision == "int8" else ONNX)
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda tiles: session.run(None, {"pixels": tiles}), "cpu"


def row(each: tuple[str, str, int], rounds: list[dict[str, Any]], tile: int) -> dict[str, Any]:
    """Return one line of the table: the median round, and latencies of all rounds."""
    kind, precision, batch = each
    times = np.concatenate([found["times"] for found in rounds])
    rates = sorted(batch * len(found["times"]) / sum(found["times"]) for found in rounds)
    return {
        "engine": kind, "precision": precision, "device": rounds[0]["device"], "batch": batch, "tile_px": tile,
        "tiles_per_s": round(rates[len(rates) // 2], 2), "slowest_round": round(rates[0], 2),
        "fastest_round": round(rates[-1], 2), "p50_ms": round(1e3 * float(np.percentile(times, 50)), 2),
        "p99_ms": round(1e3 * float(np.percentile(times, 99)), 2),
        "memory_mb": round(max(found["memory_mb"] for found in rounds), 1),
    }  # fmt: skip


def against(rows: list[dict[str, Any]], precisions: set[str]) -> dict[str, float]:
    """Return how many times as fast as the best peer each of the project's engines is, on the CPU."""
    theirs = [r for r in rows if r["engine"] in PEERS and r["device"] == "cpu" and r["precision"] in precisions]
    peers = [r["tiles_per_s"] for r in theirs]
    mine = [r for r in rows if r["engine"] in OURS and r["device"] == "cpu"]
    names = {f"{r['engine']} {r['precision']}" for r in mine}
    best = {n: max(r["tiles_per_s"] for r in mine if f"{r['engine']} {r['precision']}" == n) for n in names}
    return {name: round(best[name] / max(peers), 3) for name in sorted(names)} if peers else {}


def held() -> int:
    """Return the bytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Return the most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
