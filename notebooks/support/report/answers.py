"""What the tests found, in sentences: one per data set, and an answer to each claim of the paper."""

from data import TASKS

from ..claims import verdicts
from ..claims.decided import Decided
from ..claims.preregistration import Claim
from ..claims.verdicts import INCONCLUSIVE, NO_DIFFERENCE, NOT_TESTED, REPRODUCED, REVERSED, WORDS
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

LEVELS = {  # what a level is a share of, in a sentence
    "blocks_apart": "separation of labels between blocks",
    "own_label_share": "own label's share of what a walk changes",
    "moved_share": "share of the way between real images that a walk covers",
    "parts_split": "difference between the parts that two variables change",
    "along_share": "share of the work that one variable does",
}


def sentences(found: list[Decided]) -> list[str]:
    """What the primary tests of each data set found, as text."""
    tasks = dict.fromkeys(one.test.task for one in found)
    return [_sentence(task, [one for one in found if one.test.task == task]) for task in tasks]


def _sentence(task: str, mine: list[Decided]) -> str:
    said = []
    if all(one.outcome.word == NOT_TESTED for one in mine):
        return f"{TASKS[task].title}: none of {len(mine)} tests could be made yet."
    for word in (*WORDS, SHORT):
        here = [one for one in mine if word_of(one) == word]
        if here:
            topics = "" if word == NOT_TESTED else f" ({'; '.join(map(_topic, here))})"
            said.append(f"{len(here)} {_verb(word, len(here))}{topics}")
    listed = f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else said[0]
    return f"{TASKS[task].title}: of {len(mine)} tests {listed}."


def _topic(one: Decided) -> str:
    """What a test is about, in a few words; of a level also what was found, and what the paper's words ask for."""
    test = one.test
    if test.kind == "level":
        name = LEVELS.get(test.score, test.score.replace("_", " "))
        return f"{name} {decimal(one.outcome.mean, 2)}, asked for {test.bound:g}"
    name = f"{test.split} {forest.SCORE_NAMES.get(test.score, test.score.replace('_', ' '))}"
    if {test.first, test.second} == {"ccvae", "mccvae"}:
        return name
    return f"{name} of {forest.model_title(test.first)}"


def word_of(one: Decided) -> str:
    """The outcome's word for people: a level below what the paper's words ask for is no reverse of them."""
    return SHORT if one.test.kind == "level" and one.outcome.word == REVERSED else one.outcome.word


def _verb(word: str, count: int) -> str:
    one, several = {
        SHORT: ("falls short of what the paper says", "fall short of what the paper says"),
        REPRODUCED: ("reproduces the paper", "reproduce the paper"),
        REVERSED: ("finds the reverse", "find the reverse"),
        NO_DIFFERENCE: ("finds no difference that matters", "find no difference that matters"),
        INCONCLUSIVE: ("is inconclusive", "are inconclusive"),
        NOT_TESTED: ("could not be made yet", "could not be made yet"),
    }[word]
    return one if count == 1 else several


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
        NO_DIFFERENCE: f"No difference that matters on {title}",
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
    name = forest.SCORE_NAMES.get(test.score, test.score.replace("_", " "))
    return (
        f"{test.split} {name}, {first} minus {second}: {signed(mean, digits)} {unit} "
        f"({decimal(low, digits)} to {decimal(high, digits)}, margin {factor * outcome.limit:g}"
    )


def _level(one: Decided) -> str:
    factor, digits, unit = SHOWN.get(one.score.unit, SHARE)
    low, mean, high = (decimal(factor * v, digits) for v in (one.outcome.low, one.outcome.mean, one.outcome.high))
    name = LEVELS.get(one.test.score, one.test.score.replace("_", " "))
    reached = f"{mean} {unit}".strip()
    return f"{forest.model_title(one.test.first)}'s {name}: {reached} ({low} to {high}, asked for {one.outcome.limit:g}"
