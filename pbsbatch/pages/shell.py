"""What every page of a report has: its head, its style, its foot. Law: a page needs no network and no other file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from importlib.resources import files

from pbsbatch import __version__

__all__ = ["facts", "number", "page", "text"]


def page(title: str, body: Iterable[str], *, script: bool = False) -> str:
    """Return a whole page. The body is HTML already; the title is not."""
    code = f"<script>{_resource('page.js')}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_resource('page.css')}</style>\n</head>\n<body>\n"
        f"{''.join(body)}\n<footer>Made by pbsbatch {escape(__version__)}. Not a medical device: for research; no "
        f"result of it may decide about a patient.</footer>\n{code}\n</body>\n</html>\n"
    )


def text(value: str) -> str:
    """Return text from outside as it may stand in a page, also within quotes."""
    return escape(value, quote=True)


def number(value: str, digits: int = 0) -> str:
    """Return a number of summary.csv as a person reads it; blank stays blank."""
    if value == "":
        return ""
    try:
        return f"{float(value):,.{digits}f}"
    except ValueError:
        return text(value)


def facts(pairs: Mapping[str, str]) -> str:
    """Return named values as a list; blank ones are left out. Names and values are escaped here."""
    inner = "".join(f"<div><dt>{text(n)}</dt><dd>{text(v)}</dd></div>" for n, v in pairs.items() if v != "")
    return f'<dl class="facts">{inner}</dl>'


@cache
def _resource(name: str) -> str:
    return files("pbsbatch.pages").joinpath(name).read_text(encoding="utf-8")
