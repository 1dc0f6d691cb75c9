"""Dots in rows, as HTML that is read at any width: one row per model or test, a ring per seed, a filled dot for the
mean, its number at the right. No script and no picture; a screen reader gets one sentence per panel."""

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from .markup import escaped

ROOM = 0.06  # of the range of what is drawn, at both ends of an axis


@dataclasses.dataclass(frozen=True)
class Row:
    """name: what it is about. values: one per seed. colour: a CSS colour. low, high: ends of an interval, if there is
    one. text: stands at the right in the mean's place; kind: a class of style.css for it."""

    name: str
    values: tuple[float, ...]
    colour: str
    low: float = math.nan
    high: float = math.nan
    text: str = ""
    kind: str = ""

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan


@dataclasses.dataclass(frozen=True)
class Panel:
    """Rows over one axis. title: what is measured, of which data, with its unit. digits: of numbers. line: a value to
    compare with, and its name; band: where differences are too small to matter. limits: of the axis; None: as far as
    what is drawn. wide: names stand above their dots. moves: what a reader may move, "margin" or "bound"; words: the
    verdicts' words as they are shown (page.js decides anew).
    """

    title: str
    rows: Sequence[Row]
    digits: int = 3
    line: tuple[float, str] | None = None
    band: tuple[float, float] | None = None
    limits: tuple[float, float] | None = None
    wide: bool = False
    moves: str = ""
    words: dict[str, str] = dataclasses.field(default_factory=dict)


def panels_html(panels: Sequence[Panel]) -> str:
    """Panels side by side, under each other where the page is narrow."""
    return f'<div class="strips">{"".join(map(_panel, panels))}</div>'


def number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def alt(panel: Panel) -> str:
    """What is seen in a panel, in words."""
    said = []
    for row in panel.rows:
        seeds = f"{len(row.values)} seed{'s' if len(row.values) != 1 else ''}" if row.values else "no seeds"
        mean = number(row.mean, panel.digits)
        low, high = (number(end, panel.digits) for end in (row.low, row.high))
        interval = "" if math.isnan(row.low) else f" ({low} to {high})"
        said.append(f"{row.name}: {f'{row.text}, ' if row.text else ''}{mean}{interval}, {seeds}")
    line = f" {panel.line[1]}: {number(panel.line[0], panel.digits)}." if panel.line else ""
    return f"{panel.title}. {'; '.join(said)}.{line}"


def limits_of(panel: Panel) -> tuple[float, float]:
    """The ends of the axis."""
    if panel.limits:
        return panel.limits
    drawn = [value for row in panel.rows for value in (*row.values, row.low, row.high)]
    drawn += [*(panel.line or ())[:1], *(panel.band or ())]
    drawn = [value for value in drawn if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(drawn), max(drawn)
    room = ROOM * (high - low) or 0.5
    return low - room, high + room


def _panel(panel: Panel) -> str:
    low, high = limits_of(panel)
    rows = "".join(_row(row, panel, (low, high)) for row in panel.rows)
    line = f"<span>line: {escaped(panel.line[1])}</span>" if panel.line else ""
    wide = " wide" if panel.wide else ""
    moved = {"moves": panel.moves, "low": repr(low), "high": repr(high), "words": json.dumps(panel.words)}
    return (
        f'<figure class="strip-panel{wide}"{_data(moved if panel.moves else {})}>'
        f"<figcaption>{escaped(panel.title)}</figcaption>"
        f'<div role="img" aria-label="{escaped(alt(panel))}">{rows}'
        f'<div class="strip-axis">{_axis(low, high)}</div></div>{line}</figure>'
    )


def ticks(low: float, high: float) -> tuple[list[float], int]:
    """Round numbers along an axis, two or more, few enough for a phone, and how many digits they need."""
    inside: list[float] = []
    for most in (3, 4, 5):
        found = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
        inside = inside if len(inside) > 1 else [float(value) for value in found if low <= value <= high]
    return inside, next(d for d in range(9) if np.allclose(np.round(inside, d), inside, rtol=0, atol=1e-9) or d == 8)


def _axis(low: float, high: float) -> str:
    """The axis under a panel's rows: its ticks with their numbers."""
    inside, digits = ticks(low, high)
    parts = []
    for value in inside:
        x = f"{100 * (value - low) / (high - low):.1f}%"
        parts.append(f'<line x1="{x}" x2="{x}" y1="0" y2="4"/>')
        parts.append(f'<text x="{x}" y="1.2em" text-anchor="middle">{number(value, digits)}</text>')
    return f'<svg aria-hidden="true">{"".join(parts)}</svg>'


def _row(row: Row, panel: Panel, limits: tuple[float, float]) -> str:
    text = row.text or number(row.mean, panel.digits)
    kind = f" {row.kind}" if row.kind else ""
    drawn = _drawn(row, panel, limits) if row.values else "<i></i>"
    interval = _data({"low": repr(row.low), "high": repr(row.high)} if panel.moves else {})
    return (
        f'<div class="strip-row"{interval}><span class="strip-name">{escaped(row.name)}</span>{drawn}'
        f'<span class="strip-value{kind}">{escaped(text)}</span></div>'
    )


def _data(values: dict[str, str]) -> str:
    """Attributes for a script."""
    return "".join(f' data-{name}="{escaped(value)}"' for name, value in values.items())


def _drawn(row: Row, panel: Panel, limits: tuple[float, float]) -> str:
    """A row's band, line, interval and dots; per cent of its width, so that nothing is stretched with it."""
    low, high = limits

    def at(value: float) -> str:
        return f"{100 * min(max((value - low) / (high - low), 0), 1):.1f}%"

    parts = []
    if panel.band:
        left, right = (float(at(end)[:-1]) for end in panel.band)
        parts.append(f'<rect class="strip-band" x="{left:.1f}%" width="{right - left:.1f}%" height="100%"/>')
    if panel.line:
        x = at(panel.line[0])
        parts.append(f'<line class="strip-line" x1="{x}" x2="{x}" y1="0" y2="100%"/>')
    colour = escaped(row.colour)
    if not math.isnan(row.low):
        ends = f'x1="{at(row.low)}" x2="{at(row.high)}" y1="50%" y2="50%"'
        parts.append(f'<line {ends} stroke="{colour}" stroke-width="2"/>')
        for end, arrow, inside in ((row.low, "‹", row.low >= low), (row.high, "›", row.high <= high)):
            if not inside:  # beyond the axis
                anchor = "start" if arrow == "‹" else "end"
                parts.append(f'<text x="{at(end)}" y="75%" text-anchor="{anchor}" fill="{colour}">{arrow}</text>')
    ring = f'cy="50%" r="3.5" fill="none" stroke="{colour}" stroke-width="1.3"'
    parts += [f'<circle cx="{at(value)}" {ring}/>' for value in row.values]
    parts.append(f'<circle cx="{at(row.mean)}" cy="50%" r="4.5" fill="{colour}"/>')
    return f'<svg class="strip" aria-hidden="true">{"".join(parts)}</svg>'
