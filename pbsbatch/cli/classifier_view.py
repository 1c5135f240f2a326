"""What a person sees of a classifier's training, and the table that it ends with."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pbsbatch.cli.train_view import View, figure
from pbsbatch.models.taxonomy import TYPES
from pbsbatch.train.classifier.finish import Finished, Sureness
from pbsbatch.train.classifier.judge import Report

__all__ = ["ClassifierView"]


class ClassifierView(View):
    """Follow a classifier's training."""

    unit = "crops"

    def scores(self, report: Report) -> str:
        return (
            f"accuracy {report.accuracy:.4f}, balanced {report.balanced_accuracy:.4f} · log loss {report.log_loss:.4f}"
        )

    def show_end(self, done: Finished, folder: Path, output: Path) -> None:
        """Print what the hold-out says, and where the model is."""
        report = done.report
        self.out.print(_types_table(report))
        self.say(
            f"{report.cells:,} cells held out: accuracy {report.accuracy:.4f}, calibration error "
            f"{report.calibration_error:.4f}, {report.wrong_per_100:.2f} wrong of 100 white cells of a usual smear"
        )
        self.say(f"[bold]unsure[/] of held-out cells {_sureness(done.sureness)}")
        for name, seen in done.noticed.items():
            self.say(f"[bold]unsure[/] of {escape(name)} {_sureness(seen)}")
        self.say(f"[bold]model[/] {escape(str(folder))}")
        self.say(f"[dim]metrics, plot, checkpoints in[/] {escape(str(output))}")


def _sureness(seen: Sureness) -> str:
    right = "" if seen.right_of_sure is None else f"; of the sure ones {100 * seen.right_of_sure:.1f} % are right"
    return f"{100 * seen.unsure:.1f} % ({100 * seen.abnormal:.1f} % unlike any type){right}"


def _types_table(report: Report) -> Table:
    """Return precision, recall and confusions of every type as rows."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("held-out cells")
    for title in ("cells", "precision", "recall", "false calls in 100"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("called otherwise")
    for (name, row), calls in zip(report.types.items(), report.confusion, strict=True):
        other = [(n, TYPES[t]) for t, n in enumerate(calls) if n and TYPES[t] != name]
        named = ", ".join(f"{kind} {n}" for n, kind in sorted(other, reverse=True)[:3])
        table.add_row(
            name, f"{row.cells:,}", figure(row.precision), figure(row.recall), f"{row.false_calls_per_100:.2f}", named
        )
    return table
