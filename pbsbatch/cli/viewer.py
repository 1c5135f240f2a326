"""`pbsbatch view`: look at a run's slides and their cells in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    out: Annotated[Path, typer.Argument(help="The folder of a run's results.", metavar="OUT")],
    *,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port on this machine; without it, the first free one from 8765."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser, or only say where.")] = True,
) -> None:
    """Look at a run's slides in a browser: zoom from the whole slide to a cell, with what was found drawn over it.

    It serves this machine alone, at an address that nobody can guess, and writes nothing.

    Ctrl-C ends it. While a run goes on, reload the page for the slides that are done since.

    Examples:

      pbsbatch view results

      pbsbatch view results --port 9000 --no-browser

    From a desk, on a server's results:  ssh -L 9000:127.0.0.1:9000 SERVER  with the port as given there.
    """
    import os
    import signal
    import webbrowser

    from pbsbatch.cli.console import console
    from pbsbatch.view.server import listen
    from pbsbatch.view.site import Site

    show = console()
    with listen(Site(out), port) as server:
        show.print(f"{server.url}\nCtrl-C ends it.", soft_wrap=True, markup=False)
        if browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(server.url)
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            show.print("ended")
        finally:
            signal.signal(signal.SIGTERM, previous)
