"""One bundle as a stream: read -> infer -> decode -> own -> refine -> append. No Dask, no file format.

    jobs ──> readers ──> [ring of batches] ──> lanes ──> [strips] ──> writer ──> [done] ──> the caller

A lane carries a batch from the engine to cells; there is one for every core that the engine keeps busy. Between two
stages stands a bounded queue and nothing else. Batches of one shape are filled across tiles, strips and slides.
"""

from pbsbatch.pipeline.base import Failed, Job, Refiner, Sink, StripDone, Timings, bound_by
from pbsbatch.pipeline.stream import process
from pbsbatch.pipeline.tile import keep_owned, to_level0

__all__ = [
    "Failed",
    "Job",
    "Refiner",
    "Sink",
    "StripDone",
    "Timings",
    "bound_by",
    "keep_owned",
    "process",
    "to_level0",
]
