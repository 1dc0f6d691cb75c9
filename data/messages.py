"""The one place that makes what came from outside fit for a message: shortened, and without characters that a terminal
would obey. It needs nothing but Python.

`shown` for names and texts, `quoted` for values of any kind; `plain` for a message whose pieces are not known, which
every error of the project goes through (`PlainError`)."""

import reprlib

LONG = 300  # characters of a text that a message shows
LINE, LINES = 1_000, 100  # characters of a message's line, and lines


def shown(text: object, most: int = LONG) -> str:
    """A text of others (a name, a cell) for a message: characters that a terminal would obey, and bytes of a name that
    are no UTF-8, as escapes; of a long one the beginning."""
    text = str(text)
    cut = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most])
    return cut if len(text) <= most else cut + "…"


def plain(message: object) -> str:
    """A whole message of few, not too long lines."""
    lines = str(message).split("\n")
    more = [f"… and {len(lines) - LINES:,} lines more"] if len(lines) > LINES else []
    return "\n".join([*(shown(line, LINE) for line in lines[:LINES]), *more])


class _Quotes(reprlib.Repr):
    """Of a value a few of its parts and levels: anchors make a value of a hundred characters that would print a
    billion."""

    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxset, self.maxdict = 3, 6, 6, 6, 4
        self.maxstring = self.maxother = self.maxlong = 60

    def repr_int(self, value, level):
        return f"a number of {value.bit_length():,} bits" if abs(value) >= 10**40 else repr(value)


def quoted(value: object) -> str:
    """A value of others for a message, as Python writes it: the beginning of it."""
    return shown(_Quotes().repr(value), 160)


class PlainError(Exception):
    """An error whose message is fit for a terminal, whatever it quotes, and says all that a user needs."""

    def __init__(self, message: object = ""):
        super().__init__(plain(message))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the message, without the forty lines of code on the way to it."""
        return [f"{type(self).__name__}: {self}"]


class DataError(PlainError):
    """Data can't be used; the message names the file and what to do."""
