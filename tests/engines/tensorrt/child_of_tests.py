"""Stands in for the child that compiles: does what its first argument says, then what the real one would print."""

from __future__ import annotations

import json
import os
import signal
import sys

WHAT, WISH = sys.argv[1], json.loads(sys.argv[2])
print("a library says something")
print(json.dumps({"phase": "Building engine", "step": 1, "of": 6}), flush=True)
sys.stderr.write("x" * 200_000 + "\nthe last word\n")
sys.stderr.flush()
if WHAT == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if WHAT == "exit":
    sys.exit(7)
if WHAT == "error":
    print(json.dumps({"error": {"what": "no operator Wobble", "path": WISH["folder"], "cure": "Use fp32"}}))
    sys.exit(1)
found = {"rms": 0.001, "worst": 0.01, "where": ""}
gpu = os.environ["CUDA_VISIBLE_DEVICES"]
told = {"key": "0" * 64, "precision": WISH["precision"], "batches": WISH["batches"], "gpu": gpu, "built": True}
print(json.dumps({"compiled": {**told, "plan_bytes": 7, "verdict": found}}))
