"""`pbsbatch data import-labels`: what people corrected in CVAT, back into a run's ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_labels(
    out: Annotated[Path, typer.Argument(help="The folder of a run's results.", metavar="OUT")],
    file: Annotated[Path, typer.Argument(help="What CVAT exported as 'CVAT for images 1.1'.", metavar="FILE.xml")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, in a few words: it stands beside every correction.")],
    user: Annotated[
        str | None, typer.Option("--user", help="Who corrected. \\[default: your name on this machine]")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take a file that changes more than a fifth of a slide.")
    ] = False,
) -> None:
    """Append corrected labels to OUT/corrections.jsonl: cell, old, new, outline, user, time (UTC), reason.

    Nothing is ever overwritten: the run's counts and stores stay as they are, and so does every earlier correction.
    What was changed is what differs from the file that `pbsbatch export --format cvat` wrote: labels, types, outlines,
    cells taken away and added. Bringing a file back twice appends nothing.

    Example:

      pbsbatch export results --format cvat --output cells.xml

      pbsbatch data import-labels results corrected.xml --reason "second reading of white cells"
    """
    import getpass

    from rich.markup import escape

    from pbsbatch.cli.console import console, some
    from pbsbatch.corrections.bring import bring_back
    from pbsbatch.errors import UsageError
    from pbsbatch.ledger import LEDGER

    if user is None:
        try:
            user = getpass.getuser()
        except (KeyError, OSError) as error:
            raise UsageError("nobody is known by this user's number here", cure="Say who by --user") from error
    done = bring_back(out, file, user=user, reason=reason, force=force)
    show = console()
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(done.kinds.items()))
    what = f"{some(done.corrections, 'correction')} ({kinds})" if done.corrections else "nothing was changed"
    show.print(f"{some(done.slides, 'slide')}: {what}", soft_wrap=True)
    if done.new_names:
        names = escape(", ".join(done.new_names))
        show.print(f"[yellow]note:[/] names that no model of this run gives: {names}", soft_wrap=True)
    if done.other:
        show.print(f"[yellow]note:[/] {some(done.other, 'shape')} neither polygon nor box: left out", soft_wrap=True)
    if done.corrections:
        show.print(f"{escape(str(out / LEDGER))}; `pbsbatch report` shows them", soft_wrap=True)
