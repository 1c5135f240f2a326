"""The command line. One small file per command: arguments -> Config -> call; the only prints.

Heavy imports live inside the commands, so that `pbsbatch --help` answers at once.
"""

from __future__ import annotations

import sys

import typer

from pbsbatch import __version__
from pbsbatch.cli import (
    data,
    doctor,
    draw,
    evaluate,
    export,
    inspect,
    models,
    plan,
    report,
    run,
    status,
    tune,
    verify,
    viewer,
)
from pbsbatch.cli.prose import Prose
from pbsbatch.errors import PbsbatchError

__all__ = ["app", "main"]

app = typer.Typer(
    name="pbsbatch",
    cls=Prose,
    help="Count and outline the blood cells of whole archives of smear slides, overnight.",
    epilog="Start with:  pbsbatch run --input SLIDES/      (running the same command again resumes)",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pbsbatch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Show the version and stop.", callback=_show_version, is_eager=True
    ),
) -> None:
    pass


app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("inspect")(inspect.inspect)
app.command("report")(report.report)
app.command("view")(viewer.view)
app.command("draw")(draw.draw)
app.command("export")(export.export)
app.command("status")(status.status)
app.command("evaluate")(evaluate.evaluate)
app.command("tune")(tune.tune)
app.command("verify")(verify.verify)
app.command("doctor")(doctor.doctor)
app.add_typer(
    data.app, name="data", help="Labelled data: draw, compose, crop, outline, look through, bring corrections back."
)
app.add_typer(models.app, name="models", help="Look at models, check, export and compile them, and train your own.")


def main() -> None:
    """Run the command line; what a person can act on is one line on stderr and exit code 2."""
    try:
        app()
    except PbsbatchError as error:
        print(f"pbsbatch: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away (| head): nothing to say, and nobody to say it to
        sys.exit(141)


if __name__ == "__main__":
    main()
