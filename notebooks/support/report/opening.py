"""The report's opening, from the outcomes: one sentence per data set, and the paper's claims with our answers, which
open to the forest of their tests."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from data import TASKS

from ..claims import decided, preregistration, verdicts
from ..claims.decided import Decided, Trained
from ..claims.preregistration import PAPER, Claim, Preregistration
from ..claims.verdicts import INCONCLUSIVE, NO_DIFFERENCE, NOT_TESTED, REPRODUCED, REVERSED, WORDS
from ..experiments import baselines, overview
from ..runs import Run
from ..show import figures, strips, tables
from ..show.markup import escaped
from ..show.strips import Panel, Row
from . import forest

MARKS = {  # of a verdict: sign, word
    REPRODUCED: ("✓", "reproduced"),
    REVERSED: ("✗", "reversed"),
    NO_DIFFERENCE: ("≈", "no difference"),
    INCONCLUSIVE: ("?", "inconclusive"),
    NOT_TESTED: ("–", "not tested"),
    "exploratory": ("–", "exploratory"),
}
SHOWN = {  # of a unit: factor, digits, its name in a sentence
    "share of labels": (100, 1, "points"),
    "nats": (1, 1, "nats"),
    "dB": (1, 2, "dB"),
    "bits": (1, 2, "bits"),
}
SHARE = (1, 2, "")
LEVELS = {  # what a level is a share of, in a sentence
    "blocks_apart": "separation of labels between blocks",
    "own_label_share": "own label's share of what a walk changes",
    "moved_share": "share of the way between real images that a walk covers",
    "parts_split": "difference between the parts that two variables change",
    "along_share": "share of the work that one variable does",
}


LINEAR = {"train_accuracy": "train_accuracy", "test_accuracy": "accuracy", "test_psnr": "psnr"}  # -> of baselines


def number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def deciding_runs(folder: Path) -> list[Run]:
    """The runs that have scores of the claims, with the metrics of the weights that decide."""
    claims = preregistration.read()
    return decided.scored_runs(decided.read_records(folder, decided.read_scores(folder, claims)), claims)


def linear_beside(deciding) -> pd.DataFrame:
    """The baselines of the deciding runs' tasks; of published runs all lie in one file."""
    return max((baselines.read(folder) for folder in (deciding.folder, deciding.folder.parent)), key=len)


def save_results(deciding) -> None:
    """The deciding runs at a glance, as the table `results` in their folder."""
    if found := deciding_runs(deciding.folder):
        tables.save_table(overview.results_table(found), deciding, "results")


def show_gaps(deciding, found: list[Decided]) -> None:
    """What the tests compare, over training, as a figure kept in the deciding runs' folder; nothing without runs."""
    claims = preregistration.read()
    records = decided.read_records(deciding.folder, decided.read_scores(deciding.folder, claims))
    gaps = [(one, forest.gaps_over_training(one, records)) for one in found]
    gaps = [(one, gap) for one, gap in gaps if gap is not None]
    if gaps:
        text, alt = forest.CURVES_CAPTION, forest.curves_alt(gaps)
        figures.show(forest.curves(gaps), text, alt, profile=deciding, name="gaps")


# --- one sentence per data set ---


def sentences(found: list[Decided]) -> list[str]:
    """What the primary tests of each data set found, as text."""
    tasks = dict.fromkeys(one.test.task for one in found)
    return [_sentence(task, [one for one in found if one.test.task == task]) for task in tasks]


def _sentence(task: str, mine: list[Decided]) -> str:
    said = []
    if all(one.outcome.word == NOT_TESTED for one in mine):
        return f"{TASKS[task].title}: none of {len(mine)} tests could be made yet."
    for word in WORDS:
        here = [one for one in mine if one.outcome.word == word]
        if here:
            topics = "" if word == NOT_TESTED else f" ({'; '.join(map(_topic, here))})"
            said.append(f"{len(here)} {_verb(word, len(here))}{topics}")
    listed = f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else said[0]
    return f"{TASKS[task].title}: of {len(mine)} tests {listed}."


def _topic(one: Decided) -> str:
    """What a test is about, in a few words; of a level also what was found."""
    test = one.test
    if test.kind == "level":
        return f"{LEVELS.get(test.score, test.score.replace('_', ' '))}: {number(one.outcome.mean, 2)}"
    name = f"{test.split} {forest.SCORE_NAMES.get(test.score, test.score.replace('_', ' '))}"
    if {test.first, test.second} == {"ccvae", "mccvae"}:
        return name
    return f"{name} of {forest.model_title(test.first)}"


def _verb(word: str, count: int) -> str:
    one, several = {
        REPRODUCED: ("reproduces the paper", "reproduce the paper"),
        REVERSED: ("finds the reverse", "find the reverse"),
        NO_DIFFERENCE: ("finds no difference that matters", "find no difference that matters"),
        INCONCLUSIVE: ("is inconclusive", "are inconclusive"),
        NOT_TESTED: ("could not be made yet", "could not be made yet"),
    }[word]
    return one if count == 1 else several


# --- an answer ---


def answer(claim: Claim, found: list[Decided]) -> str:
    """Our answer to a claim in plain words, from the outcomes of its tests."""
    if claim.status is not None:
        return f"{claim.status.capitalize()}. {claim.why}"
    told = [finding(one) for one in found if one.outcome.word != NOT_TESTED]
    waits = {}
    for one in found:
        if one.outcome.word == NOT_TESTED:
            waits.setdefault(one.outcome.why, []).append(TASKS[one.test.task].title)
    return " ".join([*told, *(f"Not tested on {' and '.join(titles)}: {why}." for why, titles in waits.items())])


def finding(one: Decided) -> str:
    """The outcome of a test that was made, as a sentence: verdict, numbers, seeds, margin or bound."""
    outcome, title = one.outcome, TASKS[one.test.task].title
    opens = {
        REPRODUCED: f"Yes on {title}",
        REVERSED: f"No on {title}",
        NO_DIFFERENCE: f"No difference that matters on {title}",
        INCONCLUSIVE: f"Open on {title}",
    }[outcome.word]
    more = [seeds_text(one)]
    if outcome.word == INCONCLUSIVE:
        count = f"about {outcome.needs}" if outcome.needs else f"more than {verdicts.MOST_SEEDS}"
        more.append(f"{count} would decide")
    if outcome.images and outcome.word_of_images != outcome.word:
        more.append(f"over images: {outcome.word_of_images}")
    text = _level(one) if one.test.kind == "level" else _difference(one)
    return f"{opens}: {text}; {', '.join(more)})."


def seeds_text(one: Decided) -> str:
    """Number of seeds, and of how many that are planned."""
    n, planned = len(one.outcome.seeds), len(one.rule.seeds)
    return f"{n} seeds" if n == planned else f"{n} of {planned} planned seeds"


def _difference(one: Decided) -> str:
    """How much more the first model has than the second, with the interval; the bracket stays open."""
    factor, digits, unit = SHOWN.get(one.score.unit, SHARE)
    outcome, test = one.outcome, one.test
    low, mean, high = (factor * value for value in (outcome.low, outcome.mean, outcome.high))
    side = "higher" if (mean >= 0) == (one.score.sign > 0) else "lower"
    if mean < 0:
        low, mean, high = -high, -mean, -low
    first, second = forest.model_title(test.first), forest.model_title(test.second)
    name = forest.SCORE_NAMES.get(test.score, test.score.replace("_", " "))
    return (
        f"{first}'s {test.split} {name} is {number(mean, digits)} {unit} {side} than "
        f"{second}'s ({number(low, digits)} to {number(high, digits)}, margin {factor * outcome.limit:g}"
    )


def _level(one: Decided) -> str:
    factor, digits, unit = SHOWN.get(one.score.unit, SHARE)
    low, mean, high = (number(factor * v, digits) for v in (one.outcome.low, one.outcome.mean, one.outcome.high))
    name = LEVELS.get(one.test.score, one.test.score.replace("_", " "))
    reached = f"{mean} {unit}".strip()
    return f"{forest.model_title(one.test.first)}'s {name}: {reached} ({low} to {high}, bound {one.outcome.limit:g}"


# --- the table ---


def claims_tables(claims: Preregistration, found: list[Decided], csv: str, beside: pd.DataFrame | None = None) -> str:
    """The claims with a primary test as an HTML table, a row each, whose numbers open; the others, exploratory, folded
    below it. csv: the address of all numbers. beside: `baselines.read`."""
    tested = {one.claim.id for one in found}
    ours, rest = ([c for c in claims.claims if (c.id in tested) == whether] for whether in (True, False))
    caption = f'The paper\'s claims and our answers <a class="csv" href="{escaped(csv)}">verdicts.csv</a>'
    table = _table(claims, ours, found, caption, beside)
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
    words = {one.test.task: one.outcome.word for one in found}
    words = {task: claim.status or NOT_TESTED for task in claim.about} | words
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
    return f'<td {about}><span class="verdict {kind}">{sign} {said}</span></td>'


def numbers(claim: Claim, found: list[Decided], tests: int, beside: pd.DataFrame | None = None) -> list[str]:
    """What stands behind an answer, a line each. beside: `baselines.read`."""
    lines = [_paper(claim)]
    if claim.why_here:
        lines.append(claim.why_here)
    for one in found:
        lines.append(f"{TASKS[one.test.task].title}, {_measure(one)}: {one.outcome.says}. {_limit(one)}")
        if one.outcome.seeds:
            lines += [_statistics(one, tests), *_beside(one, beside), _training(one)]
    lines += [f"{TASKS[task].title}, no test: {why}." for task, why in claim.untested.items()]
    if claim.secondary:
        lines.append(f"Measured beside it, exploratory: {'; '.join(claim.secondary)}.")
    return [*lines, f"Written on {claim.written}, before the runs that decide."]


def _paper(claim: Claim) -> str:
    if claim.numbers is None:
        return f"The paper shows: {claim.shows}."
    table, models = PAPER[claim.numbers.table], (claim.numbers.lower, claim.numbers.higher)
    said = []
    for task in claim.numbers.differences():
        each = [f"{table[model][task]:g} ({forest.model_title(model)})" for model in models]
        said.append(f"{TASKS[task].title} {' and '.join(each)}")
    return f"The paper's {claim.numbers.table.replace('_', ' ').capitalize()}: {'; '.join(said)}."


def _measure(one: Decided) -> str:
    where = f", {one.test.coordinates}" if one.test.coordinates else ""
    label = f", label {one.test.label}" if one.test.label else ""
    return f"{one.score.says.rstrip('.')} ({one.test.split} images, {one.rule.epoch} weights{where}{label})"


def _limit(one: Decided) -> str:
    return f"{forest.limit_text(one).capitalize()}: {one.test.why}"


def _statistics(one: Decided, tests: int) -> str:
    """Interval, seeds, P(A > B) and p of a test that was made, in the score's own unit."""
    outcome, digits = one.outcome, 1 if one.score.unit == "nats" else 3
    level = 100 * (1 - verdicts.ALPHA / tests)
    each = ", ".join(number(value, digits) for value in outcome.values)
    said = f"Mean {number(outcome.mean, digits)}, {level:.1f} % interval over {seeds_text(one)} "
    said += f"{number(outcome.low, digits)} to {number(outcome.high, digits)} ({one.precision}; each: {each})"
    if outcome.images:
        low, high = (number(value, digits) for value in outcome.images)
        said += f"; over {one.test.split} images {low} to {high}"
    else:
        said += f"; none over {one.test.split} images, which needs the runs' weights"
    better = "share of seeds that reach the bound" if one.test.kind == "level" else "P(first better)"
    return f"{said}; {better} {number(outcome.better, 2)}; Holm's p {_p(one.holm)}."


def _beside(one: Decided, beside: pd.DataFrame | None) -> list[str]:
    """What principal components with as many numbers as the models have latents reach in a test's own score."""
    column = LINEAR.get(one.test.column)
    if beside is None or column is None:
        return []
    mine, said = beside[(beside["what"] == "linear") & (beside["task"] == one.test.task)], []
    for model in one.models:
        title = forest.model_title(model)
        reached = [row[column] for _, row in mine.iterrows() if model in row["models"].split()]
        said += [f"{number(value, 3)} with as many numbers as {title} has latents" for value in reached]
    return [f"PCA, read by logistic regression: {', '.join(said)}."] if said else []


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else number(value, 3)


def _training(one: Decided) -> str:
    """How far each model was trained."""
    return "Training: " + "; ".join(_trained(name, one.trained[name]) for name in one.models) + "."


def _trained(name: str, far: Trained) -> str:
    if np.isnan(far.fall):
        change = "validation loss not recorded"
    else:
        way = "fell" if far.fall >= 0 else "rose"
        change = f"validation loss {way} by {number(abs(far.fall), 1)} nats in the last tenth"
    return f"{forest.model_title(name)}'s {change}, its priors lie {number(far.separation, 2)} sd apart"


# --- the forest ---


def forest_html(found: list[Decided], tests: int) -> str:
    """Of these tests those that were made, one row each: a ring per seed, the interval as a bar, the verdict's word.
    tests: how many there are in all."""
    made = [one for one in found if one.outcome.word != NOT_TESTED]
    if not made:
        return ""
    level = 100 * (1 - verdicts.ALPHA / tests)
    text = f"Ring: a seed. Dot: the mean. Bar: the {level:.1f} % interval over seeds."
    levels = [one for one in made if one.test.kind == "level"]
    sides = {
        "Difference in margins; to the right is what the paper says": [one for one in made if one not in levels],
        "Level, as a share of the least that the paper's word asks for": levels,
    }
    panels = [_forest_panel(title, rows) for title, rows in sides.items() if rows]
    return f"<p>{text} Grey band: differences too small to matter.</p>{strips.panels_html(panels)}"


def _forest_panel(title: str, tests: list[Decided]) -> Panel:
    level, rows = tests[0].test.kind == "level", []
    for one in tests:
        low, high = (float(end) for end in one.in_margins([one.outcome.low, one.outcome.high]))
        values = tuple(float(value) for value in one.in_margins(one.outcome.values))
        sign, word = MARKS[one.outcome.word]
        kind = f"verdict {word.replace(' ', '-')}"
        colour = forest.COLOURS[one.outcome.word]
        rows.append(Row(forest.described(one), values, colour, low, high, f"{sign} {word}", kind))
    drawn = [end for row in rows for end in (*row.values, row.low, row.high) if math.isfinite(end)]
    least, most = (0.0, 1.2) if level else (-1.5, 1.5)
    limits = (max(min(least, *drawn), -forest.FARTHEST), min(max(most, *drawn), forest.FARTHEST))
    line, band = ((1.0, "the bound"), None) if level else ((0.0, "no difference"), (-1.0, 1.0))
    return Panel(title, rows, 1, line, band, limits, wide=True)
