"""What a run is: its settings, its data by content, and the tokens of the core that decide its weights.

A comment, a docstring or a line break in the core makes no run stale; an equation does. After a change of the core that
moves no weight (`guard.digests` before and after are equal) the hash of before goes into EARLIER, and the runs trained
with it stay valid."""

import ast
import functools
import hashlib
import io
import tokenize

from data.messages import quoted

from . import ROOT

CORE = ROOT / "mccvae_core.py"
EARLIER = {  # hash of the code before a change that moved no weight: the tasks whose runs it is about; None: all
    # commit 1c90a18, when a run's code was the bytes of the core and of its task's loader
    "701b3062ae19b482e854e4ed6c4b85081e8b591585334fb45b39285b9cd45e45": "celeba",
    "7da0f60d02d8f641693eada5b179767a3879aef105c276889e9922c0ab5e31a2": "mnist",
    "2fcf9b1af98b24e4d36e323b1a1b53400fcb893b3ec1bfd76af22493bf326707": "chest_xray",
    "d4218ab50ca6d74c3eeacfc067a840829f4f6592c4c21af60d4b1e1d62350fa7": "stick_figures",
    "f8677ab933141b9695c8b6de7db490e7ef083bfd16ed709da74f8b26afa94364": "own",
    # before the core's doors looked at what comes in and its lines fitted into 120 columns
    "dbdeb39004e6a094636ef9f20f67ce1b24543786896e6beb154a3d7b6db48d51": None,
    # before labels could be continuous
    "3ddc0b02c7813c5751c3c9c46988f381b0141ed116ca1628b0c942da1d53653f": None,
    # before images stayed on the device where they lie
    "48dce5e5ffeb29aab9ac3f58f92cfffdb345f1d10a743ac88cf5e2437993ff7c": None,
    # before labels could be categorical
    "ca12f1e1d95f782f5fa62d890e3305d0100bd894c9fe549b34187e27e2d7fd97": None,
    # before a model said of which categorical label a column is
    "a42381156feda4bf39bbc3eb9a0033b1b7c24e4a6e9dee178ebec0dd580c19a1": None,
}
BEFORE = {
    "precision": "float32",
    "start": "ones",
    "classes": None,
    "coding": "coins",
}  # for which a record without these settings stands
UNSEEN = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
# Python 3.12 cuts them into pieces
F_STRING = tuple(getattr(tokenize, f"FSTRING_{end}", None) for end in ("START", "END"))


def code_version() -> str:
    """sha256 of the core's tokens without comments and docstrings."""
    return tokens_sha256(CORE.read_text())


@functools.cache
def tokens_sha256(source: str) -> str:
    """sha256 of the tokens of a Python source, the same for every Python that can read it. Comments, docstrings, blank
    lines and line breaks inside brackets don't count; indentation counts by its depth."""
    docstrings, lines = _docstring_places(source), source.splitlines(keepends=True)
    h, inside, start = hashlib.sha256(), 0, None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == F_STRING[0]:
            start = token.start if inside == 0 else start
            inside += 1
        elif token.type == F_STRING[1]:
            inside -= 1
            if inside == 0:
                h.update(_between(lines, start, token.end).encode() + b"\0")
        elif inside == 0 and token.type not in UNSEEN and token.start not in docstrings:
            layout = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            h.update((tokenize.tok_name[token.type] if layout else token.string).encode() + b"\0")
    return h.hexdigest()


def _docstring_places(source: str) -> set[tuple[int, int]]:
    """Where docstrings stand, (line, column) of their first and last character's token."""
    places = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            places.add((body[0].lineno, body[0].col_offset))
            places.add((body[0].end_lineno, body[0].end_col_offset))  # its NEWLINE
    return places


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    rows = lines[start[0] - 1 : end[0]]
    rows[-1] = rows[-1][: end[1]]
    rows[0] = rows[0][start[1] :]
    return "".join(rows)


def differences(record: dict, identity: dict) -> list[str]:
    """In what a run's record differs from the identity of the run that is wanted, a line each; none: it is that run."""
    lines = []
    for key, wanted in identity.items():
        found = record.get(key, BEFORE.get(key))
        if key == "data":
            lines += _data_differences(found, wanted)
        elif key == "code":
            if found != wanted and EARLIER.get(found, "") not in (None, identity["task"]):
                lines.append("code: the core's equations have changed since")
        elif found != wanted:
            lines.append(f"{key}: {quoted(found)} there, {quoted(wanted)} now")
    return lines


def _data_differences(found: dict | None, wanted: dict) -> list[str]:
    """Data are compared by content; in a record of before that was kept, by the checksum of their file."""
    if not isinstance(found, dict):
        return ["data: not recorded"]
    content = "content" if "content" in found else "sha256"
    keys = [key for key in ("source", "stand_in", "labels", "n", content) if found.get(key) != wanted[key]]
    words = {"sha256": "files", "n": "numbers of images"}
    return [f"data: other {', '.join(words.get(key, key) for key in keys)}"] if keys else []
