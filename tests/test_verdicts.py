"""The verdict rule: by hand, and how often it is wrong where the truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support.claims import verdicts
from support.claims.preregistration import PrimaryTest, Score, TaskRule, read
from support.claims.verdicts import INCONCLUSIVE, NO_DIFFERENCE, NOT_TESTED, REPRODUCED, REVERSED, decide, judge

MORE = Score(better="more", unit="points", says="a score")
LESS = Score(better="less", unit="nats", says="a loss")
FIVE = TaskRule(epoch="last", seeds=(10, 11, 12, 13, 14), least=3)


def a_test(kind="difference", margin=1.0, bound=None, second="ccvae"):
    about = {"task": "mnist", "split": "test", "score": "score", "first": "mccvae", "why": "a reason"}
    if kind == "level":
        return PrimaryTest(kind=kind, bound=bound, **about)
    return PrimaryTest(kind=kind, margin=margin, second=second, **about)


def runs(seeds=FIVE.seeds, **models):
    """A table of runs from the values of each model, one per seed."""
    rows = [
        {"model": model, "seed": seed, "test_score": value}
        for model, values in models.items()
        for seed, value in zip(seeds, values, strict=False)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    "low, high, difference, tie",
    [
        (-0.9, 0.9, NO_DIFFERENCE, REPRODUCED),
        (0.1, 0.9, NO_DIFFERENCE, REPRODUCED),  # real, and too small to matter
        (-0.9, -0.1, NO_DIFFERENCE, REPRODUCED),
        (0.1, 1.0, REPRODUCED, REVERSED),  # the margin itself would matter
        (2.0, 3.0, REPRODUCED, REVERSED),
        (-1.0, -0.1, REVERSED, REVERSED),
        (-3.0, -2.0, REVERSED, REVERSED),
        (0.0, 1.5, INCONCLUSIVE, INCONCLUSIVE),
        (-1.5, 0.0, INCONCLUSIVE, INCONCLUSIVE),
        (-0.5, 1.0, INCONCLUSIVE, INCONCLUSIVE),
        (-2.0, 2.0, INCONCLUSIVE, INCONCLUSIVE),
        (math.nan, math.nan, INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_a_difference_and_a_tie_by_the_place_of_their_interval(low, high, difference, tie):
    assert (decide("difference", low, high, 1.0), decide("tie", low, high, 1.0)) == (difference, tie)


@pytest.mark.parametrize(
    "low, high, word",
    [
        (0.8, 0.9, REPRODUCED),
        (0.8, 0.8, REPRODUCED),  # the bound is reached
        (0.1, 0.79, REVERSED),
        (0.7, 0.8, INCONCLUSIVE),
        (0.79, 0.9, INCONCLUSIVE),
    ],
)
def test_a_level_by_the_place_of_its_interval(low, high, word):
    assert decide("level", low, high, 0.8) == word


def test_the_interval_is_students_with_the_level_shared_among_the_tests():
    assert verdicts.student_half(5, 1.0, tests=1) == pytest.approx(2.776445 / math.sqrt(5), abs=1e-6)  # tables of t
    assert verdicts.student_half(10, 2.0, tests=5) == pytest.approx(2 * 3.249836 / math.sqrt(10), abs=1e-6)
    values = np.array([1.0, 2.0, 4.0])
    found = stats.ttest_1samp(values, 0).confidence_interval(1 - 0.05 / 15)
    half = verdicts.student_half(3, np.std(values, ddof=1), tests=15)
    assert (values.mean() - half, values.mean() + half) == pytest.approx(tuple(found))


def test_seeds_are_paired_and_the_difference_is_turned_in_the_claims_direction():
    common = np.array([0.0, 50.0, -30.0, 20.0, 80.0])
    table = runs(mccvae=common + np.array([3.0, 3.1, 2.9, 3.0, 3.05]), ccvae=common)
    found = judge(a_test(), MORE, FIVE, table, tests=15)
    assert found.word == REPRODUCED and found.mean == pytest.approx(3.01) and found.high - found.low < 0.5
    assert judge(a_test(), LESS, FIVE, table, tests=15).word == REVERSED
    assert judge(a_test(kind="tie"), MORE, FIVE, table, tests=15).word == REVERSED
    assert judge(a_test(margin=4.0), MORE, FIVE, table, tests=15).word == NO_DIFFERENCE
    assert judge(a_test(kind="tie", margin=4.0), LESS, FIVE, table, tests=15).word == REPRODUCED
    shuffled = table.sample(frac=1, random_state=0)
    assert judge(a_test(), MORE, FIVE, shuffled, tests=15) == found


def test_published_seeds_and_lonely_ones_have_no_say():
    table = runs(mccvae=[3.0, 3.1, 2.9, 3.0, 3.2], ccvae=[0.0] * 4)
    old = runs(seeds=range(5), mccvae=[-99.0] * 5, ccvae=[0.0] * 5)
    found = judge(a_test(), MORE, FIVE, pd.concat([table, old]), tests=15)
    assert found.seeds == (10, 11, 12, 13) and found.mean == pytest.approx(3.0)


def test_what_could_not_be_tested_says_why():
    few = runs(mccvae=[1.0, 2.0], ccvae=[0.0, 0.0])
    assert judge(a_test(), MORE, FIVE, few, tests=15).says == "not tested (2 of at least 3 seeds)"
    alone = judge(a_test(), MORE, FIVE, runs(mccvae=[1.0] * 5), tests=15)
    assert alone.word == NOT_TESTED and alone.why == "0 of at least 3 seeds"
    unmeasured = few.rename(columns={"test_score": "other"})
    assert judge(a_test(), MORE, FIVE, unmeasured, tests=15).why == "test_score was not measured"
    with pytest.raises(ValueError, match="two runs of one seed"):
        judge(a_test(), MORE, FIVE, pd.concat([few, few]), tests=15)


def test_a_level_is_read_from_one_model():
    test = a_test(kind="level", bound=0.8)
    table = runs(mccvae=[0.85, 0.86, 0.84, 0.85, 0.79], ccvae=[0.0] * 5)
    assert judge(test, MORE, FIVE, table.assign(test_score=0.85), tests=15).word == REPRODUCED
    found = judge(test, MORE, FIVE, table, tests=15)
    assert found.word == INCONCLUSIVE and found.better == pytest.approx(0.8)
    assert judge(test, MORE, FIVE, table.assign(test_score=0.1), tests=15).word == REVERSED


def test_p_agrees_with_the_interval():
    rng, words = np.random.default_rng(0), {"difference": 0, "tie": 0, "level": 0}
    for _ in range(1000):
        values = rng.normal(rng.uniform(-2, 2), rng.uniform(0.1, 2), size=5)
        mean, half = values.mean(), verdicts.student_half(5, values.std(ddof=1), tests=15)
        low, high = mean - half, mean + half
        outside = {"difference": low > 0 or high < 0, "tie": low > -1 and high < 1, "level": low > 1 or high < 1}
        for kind, expected in outside.items():
            assert (verdicts.p_value(kind, values, 1.0) < 0.05 / 15) == expected
            words[kind] += expected
    assert min(words.values()) > 20
    assert verdicts.p_value("difference", np.zeros(5), 1.0) == 1  # no spread at all
    assert verdicts.p_value("difference", np.ones(5), 1.0) == 0


def test_holms_p_by_hand():
    assert verdicts.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = verdicts.holm([0.02, math.nan, 0.5])  # what was not tested still counts
    assert adjusted[0] == pytest.approx(0.06) and math.isnan(adjusted[1]) and adjusted[2] == 1


def test_how_often_one_model_beats_the_other_is_counted_over_all_pairs():
    assert verdicts.probability_first_better(np.array([1.0, 3.0]), np.array([2.0, 3.0])) == pytest.approx(1.5 / 4)
    table = runs(mccvae=[1.0, 2.0, 3.0], ccvae=[4.0, 5.0, 6.0])
    assert judge(a_test(), MORE, FIVE, table, tests=15).better == 0
    assert judge(a_test(), LESS, FIVE, table, tests=15).better == 1


@pytest.mark.parametrize("kind, mean, limit", [("difference", 0.7, 1.0), ("tie", 0.1, 1.0), ("level", 0.7, 0.9)])
def test_the_seeds_needed_are_the_first_that_decide(kind, mean, limit):
    sd = 0.5
    n = verdicts.seeds_needed(kind, mean, sd, limit, tests=15)
    half = verdicts.student_half(np.array([n - 1, n]), sd, tests=15)
    before, at = decide(kind, mean - half, mean + half, limit)
    assert before == INCONCLUSIVE and at != INCONCLUSIVE
    assert verdicts.seeds_needed("level", 0.9, sd, 0.9, tests=15) is None


def test_an_inconclusive_verdict_says_how_many_seeds_it_would_take():
    table = runs(mccvae=[2.0, -1.0, 0.5, 1.5, 0.2], ccvae=[0.0] * 5)
    found = judge(a_test(), MORE, FIVE, table, tests=15)
    assert found.says == f"inconclusive (needs about {found.needs} seeds)" and found.needs > 5
    at_the_bound = judge(a_test(kind="level", bound=0.64), MORE, FIVE, table, tests=15)
    assert at_the_bound.says == "inconclusive (needs more than 1000 seeds)"


def test_a_verdict_that_one_of_two_intervals_supports_says_so():
    table = runs(mccvae=[3.0, 3.1, 2.9, 3.0, 3.05], ccvae=[0.0] * 5)
    says = lambda images: judge(a_test(), MORE, FIVE, table, tests=15).with_images(images).says  # noqa: E731
    assert says((2.0, 4.0)) == "reproduced"
    assert says((-1.0, 7.0)) == "reproduced, over seeds alone; over images: inconclusive"
    spread = runs(mccvae=[2.0, -1.0, 0.5, 1.5, 0.2], ccvae=[0.0] * 5)
    found = judge(a_test(), MORE, FIVE, spread, tests=15).with_images((0.4, 0.9))
    assert found.says.endswith("; over images alone: no difference that matters")


def test_the_bootstrap_over_images_has_the_standard_errors_width():
    rng = np.random.default_rng(1)
    values = rng.normal(2.0, 3.0, size=900)
    low, high = verdicts.bootstrap_interval(verdicts.mean_over_images(values), np.arange(900), tests=1)
    error = values.std(ddof=1) / 30
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)
    shared = verdicts.bootstrap_interval(verdicts.mean_over_images(values), np.arange(900), tests=15)
    assert (shared[1] - shared[0]) / (high - low) == pytest.approx(stats.norm.isf(0.05 / 30) / 1.96, abs=0.06)


def test_the_bootstrap_draws_a_persons_images_together():
    """With four equal images a person there are as many independent values as persons."""
    people = np.repeat(np.arange(100), 4)
    values = np.random.default_rng(2).normal(size=100)[people]
    together = np.diff(verdicts.bootstrap_interval(verdicts.mean_over_images(values), people, tests=1, draws=4000))
    apart = np.diff(verdicts.bootstrap_interval(verdicts.mean_over_images(values), np.arange(400), tests=1, draws=4000))
    assert together / apart == pytest.approx(2.0, abs=0.15)


def test_the_bootstrap_takes_a_statistic_that_is_no_mean():
    changes = np.array([[3.0, 1.0]] * 50)
    share = lambda weights: (weights @ changes)[:, 0] / (weights @ changes).sum(1)  # noqa: E731
    assert verdicts.bootstrap_interval(share, np.arange(50), tests=1, draws=300) == pytest.approx((0.75, 0.75))


SPREADS = np.array([0.01] * 5 + [2.5] * 10)  # accuracy: a point; loss: 2.5 nats
MARGINS = np.array([0.01] * 5 + [10.0] * 10)
FAMILIES = 10_000
MOST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / FAMILIES)  # and what so many families leave to chance


def families(truth, n, common=0.0, tests=15):
    """The words of many families of 15 tests whose true differences are `truth`: kind -> (FAMILIES, 15).

    common: the correlation between any two tests of a family, as they share their runs.
    """
    rng = np.random.default_rng(n)
    noise = math.sqrt(1 - common) * rng.normal(size=(FAMILIES, 15, n))
    noise += math.sqrt(common) * rng.normal(size=(FAMILIES, 1, n))
    values = truth[:, None] + SPREADS[:, None] * noise
    mean, half = values.mean(-1), verdicts.student_half(n, values.std(-1, ddof=1), tests)
    return lambda kind: decide(kind, mean - half, mean + half, MARGINS)


def share_with(words, *wrong):
    return np.isin(words, wrong).any(axis=1).mean()


@pytest.mark.parametrize("common", [0.0, 0.8])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_at_most_one_family_of_tests_in_twenty_has_a_wrong_word(n, common):
    nothing = families(np.zeros(15), n, common=common)
    assert share_with(nothing("difference"), REPRODUCED, REVERSED) <= MOST
    assert share_with(nothing("tie"), REVERSED) <= MOST
    for truth in (MARGINS, -MARGINS):
        what_matters = families(truth, n, common=common)
        assert share_with(what_matters("difference"), NO_DIFFERENCE) <= MOST
        assert share_with(what_matters("tie"), REPRODUCED) <= MOST
    levels = families(MARGINS, n, common=common)("level")  # the truth lies on the bound: both words are wrong
    assert share_with(levels, REPRODUCED, REVERSED) <= MOST


def test_the_simulation_finds_a_rule_that_errs_too_often():
    """Levels have no margin in the way, so their error is near 5 %; without the number of tests it is far above."""
    assert share_with(families(MARGINS, 5)("level"), REPRODUCED, REVERSED) > 0.04
    assert share_with(families(MARGINS, 5, tests=1)("level"), REPRODUCED, REVERSED) > 0.4
    assert share_with(families(np.zeros(15), 5, tests=1)("difference"), REPRODUCED, REVERSED) > MOST


def test_all_registered_tests_can_be_judged():
    """Each primary test of claims.yaml decides for its claim on made-up runs where it holds, against it elsewhere."""
    claims = read()
    for _, test in claims.tests:
        score, rule = claims.scores[test.score], claims.tasks[test.task]
        limit = verdicts.limit_of(test)
        noise = 0.01 * limit * np.random.default_rng(0).normal(size=(2, len(rule.seeds)))
        for truth, word in ((1.0, REPRODUCED), (-1.0, REVERSED)):
            shift = (1 + 0.1 * truth) * limit if test.kind == "level" else score.sign * 3 * truth * limit
            models = {test.first: shift + noise[0]} | ({test.second: noise[1]} if test.second else {})
            table = runs(rule.seeds, **models).rename(columns={"test_score": test.column})
            assert judge(test, score, rule, table, tests=len(claims.tests)).word == word
