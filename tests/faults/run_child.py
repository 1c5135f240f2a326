"""What a killed run was doing: a run over oracle slides as `pbsbatch run` does it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pbsbatch.cli.view import exit_code
from pbsbatch.config import Config
from pbsbatch.errors import OutputLockedError
from pbsbatch.run.events import Event, RunStarted
from pbsbatch.run.execute import execute
from pbsbatch.run.worker import Loaders
from pbsbatch.testing import faults
from pbsbatch.testing.oracle import load_fake_oracle

LOCKED = 4


def main(settings: str) -> int:
    """Run, say on a line of its own when work begins, and return the exit code of a run."""
    given = json.loads(settings)
    engine = getattr(faults, given.pop("engine", "load_plain_engine"))
    config = Config(
        inputs=(Path(given.pop("input")),), output=Path(given.pop("output")), model="oracle", **given
    )  # fmt: skip

    def tell(event: Event) -> None:
        if isinstance(event, RunStarted):
            print("started", flush=True)

    try:
        finished = execute(config, tell, loaders=Loaders(load_fake_oracle, engine))
    except OutputLockedError:  # workers of the last driver are dying still, and hold what it held
        return LOCKED
    print(json.dumps({
        "stopped": finished.stopped, "results": {r.name: [r.status, r.error] for r in finished.results},
        "kept": sorted(r.name for r in finished.results if r.resumed),
    }))  # fmt: skip
    return exit_code(finished)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
