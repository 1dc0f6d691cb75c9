"""The paper's claims with the primary tests that decide them, as claims.yaml has them: read, checked, frozen.

A claim is the paper's sentence. For a task that it speaks of it has at most one primary test, written down before
the runs that decide it; whatever else is measured is secondary and decides nothing. `verdicts.py` says what a primary
test finds.
"""

import datetime
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.messages import PlainError

from .. import ROOT

FILE = ROOT / "notebooks" / "support" / "claims" / "claims.yaml"
PAPER = yaml.safe_load((FILE.parents[1] / "paper.yaml").read_text())
MOST_TESTS = 15
FIRST_SEED = 10  # the seeds below were published before the claims were written

Task = Literal["celeba", "mnist", "chest_xray"]
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=FIRST_SEED)]


class ClaimsError(PlainError):
    """The claims can't be read; the message says where the fault is and what it is."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskRule(_Part):
    """How the runs of a task are read.

    epoch: best, of least validation loss, or last. seeds: in the order in which they are trained; a test is read once,
    over all that have been trained in the end. least: with fewer seeds it is not tested.
    """

    epoch: Literal["best", "last"]
    seeds: tuple[Seed, ...]
    least: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _has_enough(self):
        if len(set(self.seeds)) != len(self.seeds) or len(self.seeds) < self.least:
            raise ValueError(f"seeds must be at least {self.least} different numbers")
        return self


class Score(_Part):
    """One measured number of a run. better: which side; unit: as people read it; says: what it is."""

    better: Literal["more", "less"]
    unit: Text
    says: Text

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.better == "more" else -1


class PrimaryTest(_Part):
    """What decides a claim on one task.

    kind: difference (`first` is better than `second`), tie (the two don't differ by what matters) or level (`first`
    reaches `bound`). margin: the least difference that a reader would notice. why: the reason of margin or bound.
    label: the only one that the score is about; without it, all of the task. coordinates: those of a label's block that
    the score reads.
    """

    task: Task
    kind: Literal["difference", "tie", "level"]
    split: Literal["train", "validation", "test"]
    score: Text
    first: Text
    second: Text | None = None
    margin: Positive | None = None
    bound: Positive | None = None
    why: Text
    label: Text | None = None
    coordinates: Literal["along", "across", "along and across", "whole block"] | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self):
        is_level = self.kind == "level"
        for name, wanted in (("second", not is_level), ("margin", not is_level), ("bound", is_level)):
            if (getattr(self, name) is not None) != wanted:
                raise ValueError(f"a test of kind {self.kind} {'needs' if wanted else 'has no'} {name}")
        return self

    @property
    def models(self) -> list[str]:
        return [name for name in (self.first, self.second) if name]

    @property
    def column(self) -> str:
        """Name of the score's column in a table with one row per run."""
        return f"{self.split}_{self.score}"


class Numbers(_Part):
    """Cells of paper.yaml: in this table, the paper says, the model `lower` has the lower number."""

    table: Literal[*PAPER]
    lower: Text
    higher: Text

    @model_validator(mode="after")
    def _are_in_the_paper(self):
        for model in (self.lower, self.higher):
            if model not in PAPER[self.table]:
                there = ", ".join(PAPER[self.table])
                raise ValueError(f"{self.table} of paper.yaml has no {model!r}; it has {there}")
        return self

    def differences(self) -> dict[str, float]:
        """For each task of which the paper has both numbers: the higher model's minus the lower one's."""
        low, high = PAPER[self.table][self.lower], PAPER[self.table][self.higher]
        return {task: high[task] - low[task] for task in high if task in low}


class Claim(_Part):
    """One claim of the paper.

    quote: the paper's own words. about: the tasks of which the paper says it. why_here: for a sentence about any data,
    why these tasks. numbers: what the paper's tables show for it; shows: what else. untested: for every other task of
    `about`, why it has no primary test. status, why: of a claim without any primary test. secondary: measured too.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    quote: Text
    section: Annotated[str, Field(pattern=r"^[1-5](\.[1-9])?$")]
    written: datetime.date
    about: Annotated[tuple[Task, ...], Field(min_length=1)]
    why_here: Text | None = None
    numbers: Numbers | None = None
    shows: Text | None = None
    tests: tuple[PrimaryTest, ...] = ()
    untested: dict[Task, Text] = {}
    status: Literal["exploratory", "not tested"] | None = None
    why: Text | None = None
    secondary: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _accounts_for_each_task(self):
        if (self.numbers is None) == (self.shows is None):
            raise ValueError("say what the paper has for it: either numbers or shows")
        wanted = not self.tests
        if (self.status is not None) != wanted or (self.why is not None) != wanted:
            raise ValueError("a claim without a primary test needs a status and why, one with a test has neither")
        told = [*(test.task for test in self.tests), *self.untested]
        if self.tests and sorted(told) != sorted(self.about):
            raise ValueError("each task of about, and no other, needs one primary test or a reason in untested")
        return self


class Preregistration(_Part):
    """The whole file: rules of the tasks, scores, claims."""

    tasks: dict[Task, TaskRule]
    scores: dict[str, Score]
    claims: tuple[Claim, ...]

    @model_validator(mode="after")
    def _is_consistent(self):
        names = [claim.id for claim in self.claims]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two claims have the id {min(twice)!r}")
        if len(self.tests) > MOST_TESTS:
            raise ValueError(f"there are {len(self.tests)} primary tests; {MOST_TESTS} is the most")
        for claim, test in self.tests:
            if test.score not in self.scores:
                there = ", ".join(self.scores)
                raise ValueError(f"{claim.id} on {test.task}: there is no score {test.score!r}; there are {there}")
            if test.kind == "level" and self.scores[test.score].better == "less":
                raise ValueError(f"{claim.id} on {test.task}: turn {test.score} so that more is better in a level")
            if test.task not in self.tasks:
                raise ValueError(f"{claim.id}: there is no rule for the task {test.task}")
        return self

    @property
    def tests(self) -> list[tuple[Claim, PrimaryTest]]:
        """All primary tests, each with its claim, in the file's order."""
        return [(claim, test) for claim in self.claims for test in claim.tests]


def read(file: Path = FILE) -> Preregistration:
    """Read the claims. Raises ClaimsError where the file is not what it must be."""
    try:
        values = yaml.safe_load(file.read_text())
        return Preregistration.model_validate(values)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClaimsError(f"{file.name} can't be read: {error}") from None
    except ValidationError as error:
        faults = "\n".join(f"- {_place(fault['loc'], values)}: {fault['msg']}" for fault in error.errors())
        raise ClaimsError(f"{file.name} is not as it must be:\n{faults}") from None


def _place(keys: tuple, values) -> str:
    """Where a fault lies, for people: a claim by its id where it has one."""
    places = []
    for key in keys:
        try:
            values = values[key]
        except (LookupError, TypeError):
            values = None
        named = isinstance(key, int) and isinstance(values, dict) and isinstance(values.get("id"), str)
        places.append(values["id"] if named else str(key))
    return " > ".join(places) or "the whole file"
