"""The paper's claims with our answers, as a table in HTML: a row opens to the numbers and the forest of its tests."""

import math
from collections.abc import Iterable

import pandas as pd

from data import TASKS

from ..claims import verdicts
from ..claims.decided import Decided
from ..claims.preregistration import Claim, Preregistration
from ..claims.verdicts import INCONCLUSIVE, NO_DIFFERENCE, NOT_TESTED, REPRODUCED, REVERSED
from ..show import strips
from ..show.markup import escaped
from ..show.strips import Panel, Row
from . import forest
from .answers import SHORT, answer, word_of
from .claim_numbers import numbers

MARKS = {  # of a verdict: sign, word
    REPRODUCED: ("✓", "reproduced"),
    REVERSED: ("✗", "reversed"),
    SHORT: ("✗", "falls short"),
    NO_DIFFERENCE: ("≈", "no difference"),
    INCONCLUSIVE: ("?", "inconclusive"),
    NOT_TESTED: ("–", "not tested"),
    "no test": ("", "no test"),
    "exploratory": ("–", "exploratory"),
}


def claims_tables(claims: Preregistration, found: list[Decided], csv: str, beside: pd.DataFrame | None = None) -> str:
    """The claims with a primary test as an HTML table, a row each, whose numbers open; the others, exploratory, folded
    below it. csv: the address of all numbers. beside: `baselines.read`."""
    tested = {one.claim.id for one in found}
    ours, rest = ([c for c in claims.claims if (c.id in tested) == whether] for whether in (True, False))
    caption = f'The paper\'s claims and our answers <a class="csv" href="{escaped(csv)}">verdicts.csv</a>'
    table = _table(claims, ours, found, caption, beside)
    if dots := forest_html(found, len(found), movable=True):
        summary = "All tests in one picture. What if another margin mattered?"
        table += f'<details class="fold"><summary>{summary}</summary>{dots}</details>'
    if not rest:
        return table
    summary = f"{len(rest)} more sentences of the paper, exploratory: without a test of their own"
    folded = _table(claims, rest, found, "Exploratory", beside)
    return f'{table}<details class="fold"><summary>{summary}</summary>{folded}</details>'


def _table(claims: Preregistration, shown: list[Claim], found: list[Decided], caption: str, beside) -> str:
    tasks = list(claims.tasks)
    heads = "".join(f'<th scope="col">{escaped(TASKS[task].title)}</th>' for task in tasks)
    rows = []
    for claim in shown:
        mine = [one for one in found if one.claim.id == claim.id]
        dots, told = forest_html(mine, len(found)), numbers(claim, mine, len(found), beside)
        rows.append(_claim_row(claim, mine, tasks, dots, told))
    head = f'<thead><tr><th scope="col">the paper says</th><th scope="col">our answer</th>{heads}</tr></thead>'
    return f'<table class="claims"><caption>{caption}</caption>{head}<tbody>{"".join(rows)}</tbody></table>'


def _claim_row(claim: Claim, found: list[Decided], tasks: Iterable[str], dots: str, told: list[str]) -> str:
    words = {task: claim.status or NOT_TESTED for task in claim.about} | dict.fromkeys(claim.untested, "no test")
    words |= {one.test.task: word_of(one) for one in found}
    cells = "".join(_mark(task, words.get(task)) for task in tasks)
    if found:
        inside = "".join(f"<li>{escaped(text)}</li>" for text in told)
        more = f'<details class="numbers"><summary>Numbers</summary>{dots}<ul>{inside}</ul></details>'
    else:  # stands in a fold itself
        more = f" {escaped(' '.join(told))}"
    quote = f"<q>{escaped(claim.quote)}</q> <small>§{escaped(claim.section)}</small>"
    answered = f"<td>{escaped(answer(claim, found))}{more}</td>"
    return f'<tr id="claim-{claim.id}"><th scope="row">{quote}</th>{answered}{cells}</tr>'


def _mark(task: str, word: str | None) -> str:
    """A cell; None: the paper does not say it of these data."""
    about = f'data-task="{escaped(TASKS[task].title)}"'
    if word is None:
        return f"<td {about}></td>"
    sign, said = MARKS[word]
    kind = said.replace(" ", "-")
    return f'<td {about}><span class="verdict {kind}">{f"{sign} {said}".strip()}</span></td>'


def forest_html(found: list[Decided], tests: int, *, movable: bool = False) -> str:
    """`forest_panels` with what they show; nothing where no test was made. tests: how many there are in all."""
    panels = forest_panels(found, movable=movable)
    return f"<p>{forest_text(tests)}</p>{strips.panels_html(panels)}" if panels else ""


def forest_text(tests: int) -> str:
    """What dots, bars and band are."""
    level = 100 * (1 - verdicts.ALPHA / tests)
    seen = f"Ring: a seed. Dot: the mean. Bar: the {level:.1f} % interval over seeds."
    return f"{seen} Grey band: differences too small to matter."


def forest_panels(found: list[Decided], *, movable: bool = False) -> list[Panel]:
    """Of these tests those that were made, one row each: a dot per seed, the interval as a bar, the verdict's word;
    differences in one panel, levels in another. movable: a reader may move margin and bound, and sees what the word
    would be."""
    made = [one for one in found if one.outcome.word != NOT_TESTED]
    levels = [one for one in made if one.test.kind == "level"]
    sides = {
        "Difference in margins; to the right is what the paper says": [one for one in made if one not in levels],
        "Level, as a share of the least that the paper's word asks for": levels,
    }
    return [_forest_panel(title, rows, movable) for title, rows in sides.items() if rows]


def _forest_panel(title: str, tests: list[Decided], movable: bool = False) -> Panel:
    level, rows = tests[0].test.kind == "level", []
    for one in tests:
        low, high = (float(end) for end in one.in_margins([one.outcome.low, one.outcome.high]))
        values = tuple(float(value) for value in one.in_margins(one.outcome.values))
        sign, word = MARKS[word_of(one)]
        kind = f"verdict {word.replace(' ', '-')}"
        colour = forest.COLOURS[one.outcome.word]
        rows.append(Row(forest.described(one), values, colour, low, high, f"{sign} {word}", kind))
    drawn = [end for row in rows for end in (*row.values, row.low, row.high) if math.isfinite(end)]
    least, most = (0.0, 1.2) if level else (-1.5, 1.5)
    limits = (max(min(least, *drawn), -forest.FARTHEST), min(max(most, *drawn), forest.FARTHEST))
    line, band = ((1.0, "the bound"), None) if level else ((0.0, "no difference"), (-1.0, 1.0))
    movable = movable and all(one.test.kind != "tie" for one in tests)  # page.js has no words for ties
    moves = ("bound" if level else "margin") if movable else ""
    words = {word: " ".join(MARKS[word]) for word in verdicts.WORDS}
    words |= {REVERSED: " ".join(MARKS[SHORT])} if level else {}
    return Panel(title, rows, 1, line, band, limits, wide=True, moves=moves, words=words)
