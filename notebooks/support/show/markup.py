"""The one place where text that is not the project's own becomes Markdown or HTML: labels, names of files, records,
values of profiles.

Whoever shows such text calls `markdown` or `escaped`; links are made by `link`. The page's Content-Security-Policy is
the second wall: only the project's own scripts run, whatever a text holds."""

import base64
import hashlib
import html
import re
import unicodedata


class Markup(str):
    """HTML that goes into a table's cell as it is."""


def one_line(text: object) -> str:
    """Text without line breaks and other control characters, at which blocks of Markdown begin."""
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else " " for c in str(text))


def markdown(text: object) -> str:
    """Text that shows as it is wherever Markdown is: all of its punctuation as entities, so nothing in it is a link, a
    picture, a formula or HTML; it stays in one line."""
    return re.sub(r"[!-/:-@\[-`{-~]", lambda match: f"&#{ord(match[0])};", one_line(text))


def escaped(text: object) -> str:
    """Text that shows as it is in HTML and in its attributes."""
    return html.escape(one_line(text))


def link(target: str, text: str) -> str:
    """A link of a page to a place in it, to a file beside it or to https. Raises ValueError for another target: one may
    run code."""
    scheme = re.match(r"\s*([a-zA-Z][\w+.-]*):", target)
    elsewhere = target.lstrip().startswith(("//", "\\")) or not target.isprintable()  # browsers leave out line breaks
    if elsewhere or (scheme and scheme[1].lower() != "https"):
        raise ValueError(f"a page links to files beside it or to https, not to {target!r}")
    return f'<a href="{escaped(target)}">{escaped(text)}</a>'


def policy(scripts: list[str]) -> str:
    """The Content-Security-Policy of a page whose inline scripts are these, and which loads nothing from anywhere."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{code}'" for code in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
