"""The report's opening, from the outcomes: one sentence per data set, and the paper's claims with our answers."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from IPython.display import HTML, display

from data import TASKS

from ..claims import decided, preregistration, verdicts
from ..claims.decided import Decided, Trained
from ..claims.preregistration import PAPER, Claim, Preregistration
from ..claims.verdicts import INCONCLUSIVE, NO_DIFFERENCE, NOT_TESTED, REPRODUCED, REVERSED
from ..experiments import baselines
from ..runs import Run
from ..show import figures, tables
from ..show.markup import escaped
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
    "moved_share": "walk moves the label by a share of how real images differ",
    "parts_split": "information on the part that a variable changes",
    "along_share": "share of the work that one variable does",
}


LINEAR = {"train_accuracy": "train_accuracy", "test_accuracy": "accuracy", "test_psnr": "psnr"}  # -> of baselines


def number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def show(deciding, below: str) -> list[Run]:
    """Display everything that the deciding runs say, and return them. deciding: what has their folder, where tables and
    figures are kept too; below: that folder's address from the page."""
    claims = preregistration.read()
    found = decided.decide_all(deciding.folder, claims)
    tables.save_table(decided.verdict_table(found, claims), deciding, "verdicts")
    display(HTML("".join(f"<p>{escaped(sentence)}</p>" for sentence in sentences(found, claims))))
    text, alt = forest.forest_caption(found), forest.forest_alt(found)
    figures.show(forest.forest(found), text, alt, profile=deciding, name="forest")
    places = [deciding.folder, deciding.folder.parent]  # of published runs all baselines lie in one file
    beside = max((baselines.read(folder) for folder in places), key=len)
    display(HTML(claims_table(claims, found, f"{below}tables/verdicts.csv", beside)))
    records = decided.read_records(deciding.folder, decided.read_scores(deciding.folder, claims))
    if records:
        tables.save_table(tables.results_table(decided.scored_runs(records, claims)), deciding, "results")
    gaps = [(one, forest.gaps_over_training(one, records)) for one in found]
    gaps = [(one, gap) for one, gap in gaps if gap is not None]
    if gaps:
        text, alt = forest.CURVES_CAPTION, forest.curves_alt(gaps)
        figures.show(forest.curves(gaps), text, alt, profile=deciding, name="gaps")
    return list(records.values())


# --- one sentence per data set ---


def sentences(found: list[Decided], claims: Preregistration) -> list[str]:
    """What the primary tests of each data set found, as text."""
    return [_sentence(task, [one for one in found if one.test.task == task]) for task in claims.tasks]


def _sentence(task: str, mine: list[Decided]) -> str:
    title, waits = TASKS[task].title, [one for one in mine if one.outcome.word == NOT_TESTED]
    if len(waits) == len(mine):
        reasons = "; ".join(dict.fromkeys(one.outcome.why for one in waits))
        return f"On {title} nothing is decided yet: none of its {len(mine)} primary tests could be made ({reasons})."
    made = len(mine) - len(waits)
    said = [f"On {title}, {made if waits else 'all'} of {len(mine)} primary tests could be made."]
    for word in (REPRODUCED, REVERSED, NO_DIFFERENCE, INCONCLUSIVE):
        here = [_statement(one) for one in mine if one.outcome.word == word]
        if here:
            said.append(f"{len(here)} {_verb(word, len(here))}: {'; '.join(here)}.")
    return " ".join(said)


def _statement(one: Decided) -> str:
    """What the paper says in a test's terms, as words in a sentence."""
    test, first = one.test, forest.model_title(one.test.first)
    name = forest.SCORE_NAMES.get(test.score, test.score.replace("_", " "))
    if test.kind == "level":
        return f"in {first} {name}"
    place = "like" if test.kind == "tie" else "above" if one.score.better == "more" else "below"
    return f"{first}'s {test.split} {name} {place} {forest.model_title(test.second)}'s"


def _verb(word: str, count: int) -> str:
    one, several = {
        REPRODUCED: ("reproduces the paper", "reproduce the paper"),
        REVERSED: ("finds the reverse of the paper", "find the reverse of the paper"),
        NO_DIFFERENCE: ("finds no difference that matters", "find no difference that matters"),
        INCONCLUSIVE: ("is inconclusive", "are inconclusive"),
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


def claims_table(claims: Preregistration, found: list[Decided], csv: str, beside: pd.DataFrame | None = None) -> str:
    """The claims as an HTML table, one row each; each row's numbers in a `details`. csv: the address of all numbers;
    beside: `baselines.read`."""
    tasks = list(claims.tasks)
    heads = "".join(f'<th scope="col">{escaped(TASKS[task].title)}</th>' for task in tasks)
    rows = []
    for claim in claims.claims:
        mine = [one for one in found if one.claim.id == claim.id]
        rows.append(_claim_row(claim, mine, tasks, numbers(claim, mine, len(found), beside)))
    caption = f'The paper\'s claims and our answers <a class="csv" href="{escaped(csv)}">verdicts.csv</a>'
    head = f'<thead><tr><th scope="col">the paper says</th><th scope="col">our answer</th>{heads}</tr></thead>'
    return f'<table class="claims"><caption>{caption}</caption>{head}<tbody>{"".join(rows)}</tbody></table>'


def _claim_row(claim: Claim, found: list[Decided], tasks: Iterable[str], told: list[str]) -> str:
    words = {one.test.task: one.outcome.word for one in found}
    words = {task: claim.status or NOT_TESTED for task in claim.about} | words
    cells = "".join(_mark(task, words.get(task)) for task in tasks)
    inside = "".join(f"<li>{escaped(text)}</li>" for text in told)
    more = f'<details class="numbers"><summary>Numbers</summary><ul>{inside}</ul></details>'
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
