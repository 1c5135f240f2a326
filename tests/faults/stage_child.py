"""A whole run over a stage with a fake model, in a process of its own that a test may kill."""

import sys
from pathlib import Path

from pbsbatch.config import Config
from pbsbatch.run.execute import execute
from pbsbatch.run.worker import Loaders
from pbsbatch.testing.oracle import load_fake_engine, load_fake_oracle

if __name__ == "__main__":
    slides, out, stage = map(Path, sys.argv[1:4])
    config = Config(inputs=(slides,), output=out, core=256, workers=1, stage=stage, stage_bytes=1 << 30)
    finished = execute(config, lambda _: None, loaders=Loaders(load_fake_oracle, load_fake_engine))
    print(",".join(result.status for result in finished.results))
