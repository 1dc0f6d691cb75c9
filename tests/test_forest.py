"""The forest plot and the gaps over training: what is drawn where, and what is said of it."""

import matplotlib.pyplot as plt
import pandas as pd
from support.claims.decided import Decided
from support.claims.preregistration import PrimaryTest, TaskRule, read
from support.claims.verdicts import NOT_TESTED, WORDS, judge
from support.report import forest
from support.runs import Run

CLAIMS = read()
RULE = TaskRule(epoch="last", seeds=(10, 11, 12, 13, 14), least=3)


def decided_as(test: PrimaryTest, first, second=None, images=None) -> Decided:
    """A test's outcome from the values of its models, one per seed."""
    claim = next(claim for claim in CLAIMS.claims if test in claim.tests)
    values = {test.first: first} | ({test.second: second} if second else {})
    rows = [
        {"model": model, "seed": seed, test.column: value}
        for model, mine in values.items()
        for seed, value in zip(RULE.seeds, mine, strict=False)
    ]
    table = pd.DataFrame(rows, columns=["model", "seed", test.column])
    outcome = judge(test, CLAIMS.scores[test.score], RULE, table, tests=15)
    outcome = outcome.with_images(images) if images else outcome
    return Decided(claim, test, CLAIMS.scores[test.score], RULE, outcome, 0.01, "bf16", {})


def the_test(claim, task):
    return next(test for one, test in CLAIMS.tests if (one.id, test.task) == (claim, task))


LOSS = the_test("lower-training-loss", "chest_xray")  # margin 10 nats, less is better
LEVEL = the_test("one-does-the-work", "mnist")  # bound 0.9


def test_each_word_has_a_colour_of_its_own_that_is_read_on_white():
    assert set(forest.COLOURS) == set(WORDS) and len(set(forest.COLOURS.values())) == len(WORDS)
    rgb = map(plt.matplotlib.colors.to_rgb, forest.COLOURS.values())
    assert max(0.3 * red + 0.59 * green + 0.11 * blue for red, green, blue in rgb) < 0.6


def test_all_tests_have_names_for_people():
    every = [decided_as(test, []) for _, test in CLAIMS.tests]
    assert {test.score for _, test in CLAIMS.tests} <= set(forest.SCORE_NAMES)
    assert all(one.outcome.word == NOT_TESTED for one in every)
    assert forest.described(decided_as(LOSS, [])) == "Chest X-ray, train loss: MCCVAE < CCVAE"


def a_run(losses):
    history = pd.DataFrame({"epoch": [1, 5, 10], "validation_bound": [None, *losses]})
    return Run(None, {}, {}, history)


def test_gaps_over_training_are_paired_and_turned():
    one = decided_as(LOSS, [90, 91, 92], [100, 101, 102])
    records = {("chest_xray", "mccvae", seed): a_run([120 + seed, 90]) for seed in (10, 11, 12)}
    records |= {("chest_xray", "ccvae", seed): a_run([110 + seed, 105]) for seed in (10, 11, 12)}
    gap = forest.gaps_over_training(one, records)
    assert gap["epoch"].tolist() == [5] * 3 + [10] * 3 and gap["gap"].tolist() == [-1.0] * 3 + [1.5] * 3
    assert "gap −1.0 at epoch 5" in forest.curves_alt([(one, gap)])
    fig = forest.curves([(one, gap)])
    mean = fig.axes[1].lines[-1]
    assert list(mean.get_ydata()) == [-1.0, 1.5]
    plt.close(fig)


def test_tests_that_training_records_nothing_of_have_no_curve():
    psnr = the_test("better-reconstructions", "celeba")
    for one in (decided_as(LEVEL, [0.9] * 3), decided_as(psnr, [1, 2, 3], [1, 2, 3]), decided_as(LOSS, [])):
        assert forest.gaps_over_training(one, {}) is None
    bare = Run(None, {}, {}, pd.DataFrame({"epoch": [1]}))
    old = {("chest_xray", model, seed): bare for model in ("ccvae", "mccvae") for seed in RULE.seeds}
    assert forest.gaps_over_training(decided_as(LOSS, [1, 2, 3], [1, 2, 3]), old) is None
