"""Dots in rows: where they lie, what is said of them, and that text of others stays text."""

import re

import pytest
from support.show import strips
from support.show.strips import Panel, Row

ROWS = [Row("CCVAE", (0.80, 0.82, 0.84), "#123456"), Row("MCCVAE", (), "#654321", text="no run")]


def test_dots_lie_at_their_share_of_the_axis():
    html = strips.panels_html([Panel("accuracy", ROWS, limits=(0.8, 0.9), line=(0.85, "majority"))])
    rings = [float(x) for x in re.findall(r'<circle cx="([\d.]+)%" cy="50%" r="3.5"', html)]
    assert rings == pytest.approx([0, 20, 40], abs=0.06) and 'cx="20.0%" cy="50%" r="4.5"' in html
    assert 'class="strip-line" x1="50.0%"' in html and "line: majority" in html
    assert (
        html.count('<svg class="strip"') == 1 and '<text x="50.0%" y="1.2em" text-anchor="middle">0.85</text>' in html
    )


@pytest.mark.parametrize(
    ("low", "high", "wanted", "digits"),
    [
        (0.797, 0.888, [0.8, 0.85], 2),
        (0.0, 0.052, [0.0, 0.02, 0.04], 2),
        (16.5, 19.9, [17.0, 18.0, 19.0], 0),
        (-2.4, 1.5, [-2.0, 0.0], 0),
        (1e-4, 9e-4, [0.0002, 0.0004, 0.0006, 0.0008], 4),
    ],
)
def test_an_axis_has_round_numbers(low, high, wanted, digits):
    found, decimals = strips.ticks(low, high)
    assert found == pytest.approx(wanted) and decimals == digits


def test_an_axis_reaches_over_dots_line_and_interval():
    low, high = strips.limits_of(Panel("x", [Row("a", (1.0, 2.0), "red", low=0.5, high=2.5)], line=(3.0, "l")))
    assert low < 0.5 and high > 3.0
    assert strips.limits_of(Panel("x", [])) == pytest.approx((-0.06, 1.06))


def test_the_text_says_what_is_seen():
    said = strips.alt(Panel("accuracy", [*ROWS, Row("a", (1.0,), "red", 0.5, 1.5)], line=(0.5, "chance"), digits=2))
    assert said == (
        "accuracy. CCVAE: 0.82, 3 seeds; MCCVAE: no run, –, no seeds; a: 1.00 (0.50 to 1.50), 1 seed. chance: 0.50."
    )


def test_text_of_others_is_escaped():
    html = strips.panels_html([Panel("<b>", [Row('"><i>', (1.0,), '"red')], line=(1.0, "<u>"))])
    assert not any(tag in html for tag in ("<b>", "<i>", "<u>", '""')) and "&lt;b&gt;" in html
