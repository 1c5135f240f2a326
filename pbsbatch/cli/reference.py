"""`pbsbatch evaluate OUT --reference manual.csv`: a run held against manual counts."""

from __future__ import annotations

from pathlib import Path


def against_manual(
    out: Path, reference: Path, form: str, output: Path | None, plots: Path | None, plot_format: str
) -> None:
    """Print or write how a run agrees with manual counts, and draw it."""
    from rich.markup import escape

    from pbsbatch.cli.console import console
    from pbsbatch.cli.evaluate import rich_table, write
    from pbsbatch.evaluate.reference import agreements
    from pbsbatch.evaluate.reference_views import agreement_table, drawn_agreement
    from pbsbatch.evaluate.render import table_text

    found, notes = agreements(out, reference)
    show = console()
    table = agreement_table(found)
    if form == "rich" and output is None:
        show.print(f"[bold]{escape(table.title)}[/]")
        show.print(rich_table(table, {}))
        for note in notes:
            show.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    else:
        text = table_text(table, "json" if form == "rich" else form)
        if output is None:
            print(text, end="")
        else:
            write(output, text)
    if plots is not None:
        for name, data in drawn_agreement(found, plot_format).items():
            write(plots / f"{name}.{plot_format}", data)
