"""What the tests found, in sentences: one per data set, and an answer to each claim of the paper."""

from data import TASKS

from ..claims import verdicts
from ..claims.decided import Decided
from ..claims.preregistration import Claim
from ..claims.verdicts import INCONCLUSIVE, NO_DIFFERENCE, NOT_TESTED, REPRODUCED, REVERSED
from ..show.numbers import decimal, signed
from . import forest

SHOWN = {  # of a unit: factor, digits, its name in a sentence
    "share of labels": (100, 1, "points"),
    "nats": (1, 1, "nats"),
    "dB": (1, 2, "dB"),
    "bits": (1, 2, "bits"),
}

SHARE = (1, 2, "")
SHORT = "falls short"

CLAUSES = {  # in the first screen, in this order
    REPRODUCED: "As the paper says: ",
    SHORT: "Falls short: ",
    REVERSED: "The reverse: ",
    NO_DIFFERENCE: "No difference that matters: ",
    INCONCLUSIVE: "Open: ",
    NOT_TESTED: "Not tested yet: ",
}

LEVELS = {  # a level as a statement; {} is what was found
    "blocks_apart": "blocks keep labels apart by {}",
    "own_label_share": "of what moving a label changes, {} is that label",
    "moved_share": "moving a label covers {} of the way between real images",
    "parts_split": "the parts of a label that its two directions change differ by {}",
    "along_share": "one variable does {} of a label's work",
}


def sentences(found: list[Decided]) -> list[str]:
    """What the primary tests of each data set found, as text."""
    tasks = dict.fromkeys(one.test.task for one in found)
    return [_sentence(task, [one for one in found if one.test.task == task]) for task in tasks]


def _sentence(task: str, mine: list[Decided]) -> str:
    """Reproduced, falls short, reversed, no difference, open: a clause each, levels and differences with numbers."""
    said = []
    for word, opens in CLAUSES.items():
        here = [one for one in mine if word_of(one) == word]
        levels = [_stated(one) for one in here if one.test.kind == "level"]
        gaps = [one for one in here if one.test.kind == "difference"]
        if here and word == NOT_TESTED:
            said.append(f"{opens}{len(here)} of {len(mine)} tests.")
        elif here:
            told = _by_pair(gaps) if word == NO_DIFFERENCE else [_gap(one) for one in gaps]
            said.append(f"{opens}{'; '.join([*levels, *told])}.")
    return f"{TASKS[task].title}. {' '.join(said)}"


def _stated(one: Decided) -> str:
    """A level as a clause: what was found, and what the paper's words ask for."""
    return f"{_reached(one)} (asked for: {one.test.bound:g})"


def _reached(one: Decided) -> str:
    factor, digits, unit = SHOWN.get(one.score.unit, SHARE)
    mean = f"{decimal(factor * one.outcome.mean, digits)} {unit}".strip()
    return LEVELS.get(one.test.score, f"{one.test.score.replace('_', ' ')} is {{}}").format(mean)


def _gap(one: Decided) -> str:
    """A difference as a clause: whose score lies above or below whose, and by how much."""
    factor, digits, unit = SHOWN.get(one.score.unit, SHARE)
    by = factor * one.score.sign * one.outcome.mean
    first, second = forest.model_title(one.test.first), forest.model_title(one.test.second)
    amount = f"{decimal(abs(by), digits)} {unit}".strip()
    decided = one.outcome.word != INCONCLUSIVE
    small = ", less than would matter" if decided and abs(by) < factor * one.outcome.limit else ""
    return f"{first}'s {_score_name(one)} is {amount} {'above' if by > 0 else 'below'} {second}'s{small}"


def _by_pair(gaps: list[Decided]) -> list[str]:
    """For each pair of models the scores in question."""
    pairs = {}
    for one in gaps:
        pairs.setdefault(tuple(sorted((one.test.first, one.test.second))), []).append(_score_name(one))
    return [f"{_listed(names)} of {_listed(map(forest.model_title, pair))}" for pair, names in pairs.items()]


def _score_name(one: Decided) -> str:
    name = forest.SCORE_NAMES.get(one.test.score, one.test.score.replace("_", " "))
    return f"{one.test.split} {name}"


def _listed(words) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def word_of(one: Decided) -> str:
    """The outcome's word for people: a level below what the paper's words ask for is no reverse of them."""
    return SHORT if one.test.kind == "level" and one.outcome.word == REVERSED else one.outcome.word


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
        REVERSED: f"The reverse on {title}",
        SHORT: f"Falls short on {title}",
        NO_DIFFERENCE: f"No difference on {title}",
        INCONCLUSIVE: f"Open on {title}",
    }[word_of(one)]
    more = [seeds_text(one)]
    if outcome.word == INCONCLUSIVE:
        count = f"about {outcome.needs}" if outcome.needs else f"more than {verdicts.MOST_SEEDS}"
        more.append(f"{count} would decide")
    if outcome.images and outcome.word_of_images != outcome.word:
        more.append("over seeds alone")
    text = _level(one) if one.test.kind == "level" else _difference(one)
    return f"{opens}: {text}; {', '.join(more)})."


def seeds_text(one: Decided) -> str:
    """Number of seeds, and of how many that are planned."""
    n, planned = len(one.outcome.seeds), len(one.rule.seeds)
    return f"{n} seeds" if n == planned else f"{n} of {planned} seeds"


def _difference(one: Decided) -> str:
    """The first model's score minus the second's, with the interval; the bracket stays open."""
    factor, digits, unit = SHOWN.get(one.score.unit, SHARE)
    outcome, test = one.outcome, one.test
    ends = (factor * one.score.sign * value for value in (outcome.low, outcome.mean, outcome.high))
    low, mean, high = sorted(ends)
    first, second = forest.model_title(test.first), forest.model_title(test.second)
    return (
        f"{_score_name(one)}, {first} minus {second}: {signed(mean, digits)} {unit} "
        f"({decimal(low, digits)} to {decimal(high, digits)}, margin {factor * outcome.limit:g}"
    )


def _level(one: Decided) -> str:
    """The same with the model and the interval; the bracket stays open."""
    factor, digits, _ = SHOWN.get(one.score.unit, SHARE)
    low, high = (decimal(factor * end, digits) for end in (one.outcome.low, one.outcome.high))
    return f"in {forest.model_title(one.test.first)} {_reached(one)} ({low} to {high}, asked for {one.outcome.limit:g}"
