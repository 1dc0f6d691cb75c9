"""The report's opening: what it says of outcomes, in which words, and that nothing is lost or twice."""

import dataclasses
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from conftest import page_of
from support.claims.decided import Trained, decide_all
from support.claims.preregistration import read
from support.claims.verdicts import NOT_TESTED, REVERSED, WORDS, decide
from support.report import answers, body, claim_numbers, claims_table, deciding_runs, forest
from support.show import strips
from test_forest import LEVEL, LOSS, decided_as, the_test

CLAIMS = read()
ON_MNIST = the_test("lower-training-loss", "mnist")


class Rows(HTMLParser):
    """The text of each row's cells, and how deep `details` stand in each other."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.depth, self.deepest, self.inside = [], 0, 0, False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True
        self.depth += tag == "details"
        self.deepest = max(self.deepest, self.depth)

    def handle_endtag(self, tag):
        self.depth -= tag == "details"
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def trained(one):
    return dataclasses.replace(one, trained={name: Trained(3.2, 0.41, 9, 9) for name in one.models})


@pytest.fixture
def found():
    """Every primary test, three of them with seeds."""
    made = {
        LOSS: decided_as(LOSS, [2130, 2131, 2130, 2129, 2131], [2100, 2101, 2099, 2100, 2102], images=(-35, 25)),
        LEVEL: decided_as(LEVEL, [0.970, 0.975, 0.972]),
        ON_MNIST: decided_as(ON_MNIST, [1, 50, 9], [9, 1, 50]),
    }
    return [trained(made.get(test) or decided_as(test, [])) for _, test in CLAIMS.tests]


def of(claim, found):
    return next(c for c in CLAIMS.claims if c.id == claim), [one for one in found if one.claim.id == claim]


def test_one_sentence_per_data_set_made_from_outcomes(found):
    celeba, chest, mnist = sorted(answers.sentences(found))
    assert celeba == "CelebA. Not tested yet: 6 of 6 tests."
    assert mnist == (
        "MNIST. As the paper says: one variable does 0.97 of a label's work (asked for: 0.9). "
        "Open: MCCVAE's train loss is 0.0 nats below CCVAE's. Not tested yet: 2 of 4 tests."
    )
    assert chest == (
        "Chest X-ray. The reverse: MCCVAE's train loss is 29.8 nats above CCVAE's. Not tested yet: 4 of 5 tests."
    )


def test_an_answer_has_direction_size_interval_margin_and_seeds(found):
    said = answers.answer(*of("lower-training-loss", found))
    assert "The reverse on Chest X-ray: train loss, MCCVAE minus CCVAE: +29.8 nats (" in said
    assert re.search(r"\(2\d\.\d to 3\d\.\d, margin 10; 5 seeds, over seeds alone\)\.", said)
    assert "Open on MNIST: " in said and "3 of 5 seeds" not in said.split("Open on MNIST")[0]
    assert said.endswith("Not tested on CelebA: 0 of at least 3 seeds.")
    level = answers.answer(*of("one-does-the-work", found))
    assert level.startswith("Yes on MNIST: in MCCVAE one variable does 0.97 of a label's work (")
    assert "asked for 0.9; 3 of 5 seeds" in level
    short = answers.finding(decided_as(LEVEL, [0.5, 0.5, 0.51]))
    assert short.startswith("Falls short on MNIST: ")  # no reverse of the paper's words
    said = answers._sentence("mnist", [decided_as(LEVEL, [0.5, 0.5, 0.51])])
    assert said == "MNIST. Falls short: one variable does 0.50 of a label's work (asked for: 0.9)."
    lower = answers._sentence("chest_xray", [decided_as(LOSS, [10] * 3, [30] * 3)])
    assert lower.endswith("As the paper says: MCCVAE's train loss is 20.0 nats below CCVAE's.")


def test_a_gain_where_more_is_better_and_a_loss_where_less_is_read_alike():
    accuracy = the_test("ccvae-classifies-better", "celeba")
    high, low = [0.9] * 3, [0.88] * 3
    for first, second, way in ((high, low, "+2.0 points (2.0 to 2.0"), (low, high, "−2.0 points (−2.0 to −2.0")):
        said = answers.finding(decided_as(accuracy, first, second))
        assert f"train accuracy, CCVAE minus MCCVAE: {way}, margin 1" in said
    said = answers.finding(decided_as(LOSS, [10] * 3, [30] * 3))
    assert "train loss, MCCVAE minus CCVAE: −20.0 nats (−20.0 to −20.0" in said


def test_every_claim_has_a_row_with_the_papers_words_an_answer_and_its_marks(found):
    page = Rows(claims_table.claims_tables(CLAIMS, found, "tables/verdicts.csv"))
    head = ["the paper says", "our answer", "CelebA", "MNIST", "Chest X-ray"]
    assert [row for row in page.rows if row == head] == [head] * 2 and page.deepest == 1
    rows = [row for row in page.rows if row != head]
    tested = {claim.id for claim, _ in CLAIMS.tests}
    claims = sorted(CLAIMS.claims, key=lambda claim: claim.id not in tested)
    assert [row[0] for row in rows] == [f"{claim.quote} §{claim.section}" for claim in claims]
    marks = {claim.id: row[2:] for claim, row in zip(claims, rows, strict=True)}
    assert marks["lower-training-loss"] == ["– not tested", "? inconclusive", "✗ reversed"]
    assert marks["one-does-the-work"] == ["", "✓ reproduced", "– not tested"]  # the paper says nothing of CelebA
    assert marks["prior-without-influence"] == ["", "– not tested", ""]
    assert marks["diversity"] == ["– exploratory"] * 3
    for claim, row in zip(claims, rows, strict=True):
        assert claim.status is None or (claim.why in row[1] and claim.status.capitalize() in row[1])
        assert all(why in row[1] for why in claim.untested.values())


def test_the_forest_has_a_row_per_test_that_was_made_with_its_dots_in_margins(found):
    text = claims_table.forest_html(found, 15)
    assert text.count("strip-row") == 3 and "Chest X-ray, train loss: MCCVAE &lt; CCVAE" in text
    losses = claims_table._forest_panel("x", [one for one in found if one.test == LOSS])
    assert losses.rows[0].values == pytest.approx([-3.0, -3.0, -3.1, -2.9, -2.9]) and losses.band == (-1, 1)
    assert losses.rows[0].text == "✗ reversed" and losses.limits[0] < -3.1
    level = claims_table._forest_panel("x", [one for one in found if one.test == LEVEL])
    assert level.rows[0].values == pytest.approx([value / 0.9 for value in (0.970, 0.975, 0.972)])
    assert claims_table.forest_html([decided_as(LOSS, [])], 15) == "" and "the 99.7 % interval" in text


def test_moved_margins_and_bounds_give_the_words_that_the_rule_gives(open_page, found, tmp_path):
    html = claims_table.forest_html(found, 15, movable=True)
    cell = nbformat.v4.new_code_cell("forest()", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/html": html}, execution_count=1)]
    tab = open_page(page_of(tmp_path, [nbformat.v4.new_markdown_cell("# A report"), cell]))
    made, changed = [one for one in found if one.outcome.word != NOT_TESTED], set()
    for moves in ("margin", "bound"):
        mine = [one for one in made if (one.test.kind == "level") == (moves == "bound")]
        figure = tab.locator(f"figure[data-moves={moves}]")
        for factor in (0.1, 0.5, 1.0, 1.05, 1.1, 1.2):
            figure.get_by_label(f"{moves} ×").fill(f"{factor:g}")
            words = [
                decide(one.test.kind, one.outcome.low, one.outcome.high, factor * one.outcome.limit) for one in mine
            ]
            words = [claims_table.SHORT if moves == "bound" and word == REVERSED else word for word in words]
            shown = [" ".join(claims_table.MARKS[word]) for word in words]
            assert figure.locator(".strip-value").all_text_contents() == shown
            changed |= {word for one, word in zip(mine, words, strict=True) if word != one.outcome.word}
        figure.locator("input").fill("0.5")
        drawn = figure.locator(".strip-band" if moves == "margin" else ".strip-line").first
        low, high = (float(figure.get_attribute(f"data-{end}")) for end in ("low", "high"))
        ends = [0.5] if moves == "bound" else [-0.5, 0.5]
        x = [float(drawn.get_attribute(name).rstrip("%")) for name in (["x1"] if moves == "bound" else ["x", "width"])]
        at = [100 * min(max((end - low) / (high - low), 0), 1) for end in ends]
        assert x == pytest.approx(at if moves == "bound" else [at[0], at[1] - at[0]])
    assert changed and not tab.errors


def test_an_interval_beyond_the_axis_ends_in_an_arrow():
    panel = claims_table._forest_panel("x", [decided_as(LOSS, [0, 500, 1000], [0, 0, 0])])
    assert panel.limits == (-forest.FARTHEST, forest.FARTHEST)
    assert "‹" in strips.panels_html([panel])


def test_behind_an_answer_stand_its_numbers(found):
    said = " ".join(claim_numbers.numbers(*of("lower-training-loss", found), 15))
    assert "CelebA 8657 (MCCVAE) and 9676 (CCVAE)" in said and "99.7 % interval over 5 seeds" in said
    assert "each: 30.0, 30.0, 31.0, 29.0, 29.0" in said and "over train images −25.0 to 35.0" in said
    assert "P(first better) 0.00" in said and "Holm's p 0.010" in said
    assert "MCCVAE's validation loss fell by 3.2 nats in the last tenth, its priors lie 0.41 sd apart" in said


def test_pca_stands_beside_scores_that_it_has(found):
    beside = pd.DataFrame({"what": "linear", "task": "chest_xray", "models": ["ccvae", "mccvae"], "psnr": [22.8, 23.4]})
    test = next(test for _, test in CLAIMS.tests if test.score == "psnr" and test.task == "chest_xray")
    one = SimpleNamespace(test=test, models=["mccvae", "ccvae"])
    said = "23.400 with as many numbers as MCCVAE has latents, 22.800 with as many numbers as CCVAE has latents"
    assert claim_numbers._beside(one, beside) == [f"PCA: {said}."]
    assert claim_numbers._beside(one, beside[:0]) == claim_numbers._beside(one, None) == []
    loss = next(test for _, test in CLAIMS.tests if test.score == "unbiased_loss")
    assert claim_numbers._beside(SimpleNamespace(test=loss, models=["mccvae"]), beside) == []  # never beside a bound


def test_each_word_has_a_mark_and_each_level_a_name():
    assert set(claims_table.MARKS) == {*WORDS, claims_table.SHORT, "no test", "exploratory"}
    assert {test.score for _, test in CLAIMS.tests if test.kind == "level"} == set(answers.LEVELS)


def test_text_of_claims_is_escaped(found, tmp_path):
    claim = CLAIMS.claims[0].model_copy(update={"quote": "<b>x</b>", "secondary": ("<i>",)})
    hostile = CLAIMS.model_copy(update={"claims": (claim, *CLAIMS.claims[1:])})
    table = claims_table.claims_tables(hostile, decide_all(tmp_path, CLAIMS), 'a"b.csv')
    assert "<b>" not in table and "<i>" not in table and 'a"b' not in table


def test_without_runs_the_opening_stands_too(tmp_path):
    assert deciding_runs.read(tmp_path) == [] and body.rests_on([]) == ""
    scores = body.deciding_scores(tmp_path)
    assert body.second_latent(scores) == "" and body.move_panels(scores) == []
