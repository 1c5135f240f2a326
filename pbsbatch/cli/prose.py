"""Groups of commands whose help fits every window."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["Prose", "joined"]


class Prose(TyperGroup):
    """A group that shows its commands' docstrings as paragraphs, wherever their lines end in the source."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for command in self.commands.values():
            command.help = joined(command.help or "") or None


def joined(text: str) -> str:
    """Return text with the lines of each paragraph joined; what is indented stays as it stands."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else " ".join(p.split("\n")) for p in paragraphs)
