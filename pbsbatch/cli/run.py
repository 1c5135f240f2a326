"""`pbsbatch run`: the night."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pbsbatch.cli.options import ConfigFile, Inputs, Memory, ModelName, Mpp, Scales, SecondOpinion, Workers


def run(
    *,
    input: Inputs = [],  # noqa: B006 - typer never writes to the default
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results. \\[default: pbsbatch-results]")
    ] = None,
    model: ModelName = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="auto, openvino, torch, tensorrt, opencv, or with a precision, as openvino:fp32. \\[default: auto]",
        ),
    ] = None,
    differential: Annotated[
        bool | None,
        typer.Option("--differential/--no-differential", help="Name each white cell's type. \\[default: yes]"),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", help="What names white cells: a shipped classifier or the folder of your own."),
    ] = None,
    second_opinion: SecondOpinion = None,
    second_opinion_map: Annotated[
        Path | None,
        typer.Option(
            "--second-opinion-map",
            dir_okay=False,
            help="A CSV of NAME,TYPE: what the words of a detector that names types itself mean; - for none.",
        ),
    ] = None,
    mpp: Mpp = None,
    scales: Scales = None,
    score_threshold: Annotated[
        float | None, typer.Option("--score-threshold", help="Leave out cells with a lower score, 0 to 1.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", help="Take thresholds and suppression of a study: cbc-2023, cbc-2023-frozen or smear-2021."
        ),
    ] = None,
    keep_candidates: Annotated[
        bool | None,
        typer.Option("--keep-candidates", help="Keep what cells were chosen from, for `pbsbatch tune`: 1 kB a cell."),
    ] = None,
    workers: Workers = None,
    memory: Memory = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a running Dask scheduler, as tcp://host:8786.")
    ] = None,
    stage: Annotated[
        Path | None,
        typer.Option(
            "--stage",
            file_okay=False,
            help="Copy the next slides to this fast folder while others are computed; the copies are removed. "
            "With --scheduler all workers must see it.",
        ),
    ] = None,
    stage_bytes: Annotated[
        str | None,
        typer.Option(
            "--stage-bytes", help="Most that lies in --stage at a time, as 200GB. \\[default: half of its free]"
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            help="Be over by then: a time of day, as 06:00, or a duration, as 8h. The rest resumes later.",
        ),
    ] = None,
    deidentify: Annotated[
        bool | None,
        typer.Option("--deidentify", help="Write no name, path or text of a file; ids become keyed hashes."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            dir_okay=False,
            help="The key of --deidentify, made once. \\[default: ~/.config/pbsbatch/deidentify.key]",
        ),
    ] = None,
    fresh: Annotated[
        bool | None, typer.Option("--fresh", help="Start over: remove this folder's earlier results first.")
    ] = None,
    config: ConfigFile = None,
    quiet: Annotated[bool | None, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = None,
) -> None:
    """Count and outline the cells of every slide found, and write counts, masks and stores.

    Running the same command again resumes: finished slides and strips are kept.

    Exit codes: 0 every slide done; 1 some slides failed; 2 wrong usage, nothing touched; 3 stopped
    early (deadline, disk), run again to resume; 130 interrupted, run again to resume.

    Examples:

      pbsbatch run --input archive/

      pbsbatch run --input archive/ --input more/a.svs --output results --workers 8

      pbsbatch run --input archive/ --until 06:00

      pbsbatch run --input fields/ --mpp 0.1

      pbsbatch run --input archive/ --second-opinion my-types
    """
    from pbsbatch.cli.view import View, exit_code
    from pbsbatch.config import parse_bytes, resolve
    from pbsbatch.errors import OutputError
    from pbsbatch.report.reporter import Reporter
    from pbsbatch.run.events import Event
    from pbsbatch.run.execute import execute

    settings = resolve(
        {
            "inputs": tuple(input) or None, "output": output, "model": model, "engine": engine, "mpp": mpp,
            "differential": differential, "classifier": classifier, "second_opinion": second_opinion,
            "second_opinion_map": None if second_opinion_map is None else _meanings(second_opinion_map),
            "scales": scales,
            "score_threshold": score_threshold, "workers": workers, "scheduler": scheduler, "fresh": fresh,
            "until": until, "keep_candidates": keep_candidates, "preset": preset,
            "deidentify": deidentify, "key_file": key_file, "stage": stage,
            "stage_bytes": None if stage_bytes is None else parse_bytes(stage_bytes),
            "quiet": quiet, "memory": None if memory is None else parse_bytes(memory),
        },
        config,
    )  # fmt: skip
    with View(settings) as view, Reporter(settings.output) as reporter:

        def on_event(event: Event) -> None:
            view.on_event(event)
            reporter.on_event(event)

        try:
            finished = execute(settings, on_event)
        except OutputError as error:
            if not view.started:
                raise
            print(f"pbsbatch: {error}", file=sys.stderr)
            raise typer.Exit(3) from error
    view.show_summary(finished)
    if reporter.report is None:
        print(f"pbsbatch: no report was written: {reporter.problem}", file=sys.stderr)
    elif not settings.quiet:
        print(f"report:  {reporter.report}")
    if settings.deidentify and not settings.quiet:
        from pbsbatch.run.keyfile import default_key_file, names_file

        print(f"names behind the ids: {names_file(settings.key_file or default_key_file())}")
    raise typer.Exit(exit_code(finished))


def _meanings(path: Path) -> tuple[tuple[str, str], ...]:
    from pbsbatch.models.mapping import read_mapping

    return tuple(sorted(read_mapping(path, "--second-opinion-map").mapping.items()))
