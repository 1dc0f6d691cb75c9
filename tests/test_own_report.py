"""The report of one's own images: intervals against simulation, what is too little, mistakes as pictures; no paper in
it."""

import numpy as np
import pytest
import torch
from support.measures import intervals
from support.report import own_report

from data.common import Split


def test_wilson_and_newcombe_agree_with_published_values():
    assert np.allclose(intervals.wilson(81, 263), (0.2553, 0.3662), atol=1e-4)  # Newcombe 1998
    assert np.allclose(intervals.wilson(0, 20), (0, 0.1611), atol=1e-4) and intervals.wilson(0, 0) == (0, 1)
    low, high = intervals.auc_interval(1.0, 20, 20)
    assert high == 1 and 0.8 < low < 0.95  # not a point, as a bootstrap would have it
    assert intervals.auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert np.isnan(intervals.auc(np.ones(3), np.ones(3, int)))


def test_intervals_hold_the_true_score_about_95_times_of_100():
    rng = np.random.default_rng(0)
    true = {"auc": 0.8556, "balanced_accuracy": 0.7734, "sensitivity": 0.7734, "specificity": 0.7734}  # of N(±0.75, 1)
    held = dict.fromkeys(true, 0)
    for _ in range(300):
        y = np.repeat([1, 0], (15, 30))
        ends = intervals.intervals(1 / (1 + np.exp(-1.5 * (rng.normal(size=45) + 1.5 * y - 0.75))), y)
        held = {name: n + (ends[name][0] <= true[name] <= ends[name][1]) for name, n in held.items()}
    assert all(0.9 <= n / 300 <= 0.995 for n in held.values()), held


def test_groups_widen_intervals():
    rng = np.random.default_rng(1)
    y, p = np.repeat(rng.integers(0, 2, 20), 10), np.repeat(rng.random(20), 10)
    groups = np.repeat(np.arange(20).astype(str), 10)
    single, grouped = intervals.intervals(p, y), intervals.intervals(p, y, groups)
    for name in intervals.SCORES:
        assert np.ptp(grouped[name]) > 1.5 * np.ptp(single[name]), name
    perfect = intervals.intervals(y.astype(float), y, groups)
    assert perfect["sensitivity"] == intervals.wilson(len(set(groups[y == 1])), len(set(groups[y == 1])))


def test_scores_of_labels_and_what_is_too_little():
    rng = np.random.default_rng(2)
    labels = np.stack(
        [np.repeat([1.0, 0.0], 50), np.r_[np.ones(4), np.zeros(96)], np.zeros(100), np.full(100, np.nan)], 1
    )
    p = np.stack([np.clip(labels[:, 0] * 0.8 + 0.1, 0, 1), rng.random(100), np.full(100, 0.2), np.full(100, 0.3)], 1)
    table = own_report.label_scores(p, labels, ("a", "b", "c", "d"), None)
    assert (
        table["n"].tolist() == [100, 100, 100, 0]
        and table["auc"][0] == 1
        and abs(table["calibration_error"][0] - 0.1) < 1e-9
    )
    shown = own_report.shown_scores(table)
    assert shown["sensitivity"].tolist()[0] == "1.00 (0.93 to 1.00)" and shown["AUC"].tolist()[2:] == ["–", "–"]
    said = own_report.too_little(table, np.tile(labels, (2, 1)))
    assert said[0] == "b: only 4 of the test images with this label known are 1; each of them moves the scores much."
    assert any("b: only 8 training images have its rarer value" in line for line in said)
    assert "c: no test image is 1, so nothing can be said of how it is read." in said
    assert any(line.startswith("b: whether it is read better than by guessing can't be told") for line in said)
    assert not any(line.startswith("a:") for line in said)


def test_mistakes_are_the_surest_first_and_their_names_are_escaped():
    labels = np.array([[1, 0], [0, np.nan], [1, 1], [0, 0]], float)
    p = np.array([[0.3, 0.1], [0.9, 0.9], [0.01, 0.6], [0.2, 0.4]])
    found = own_report.surest_mistakes(p, labels, ("a", "b"))
    assert (
        found == [(2, "a", 1, 0.01), (1, "a", 0, 0.9), (0, "a", 1, 0.3)]
        and len(own_report.surest_mistakes(p, labels, ("a", "b"), 1)) == 1
    )
    names = np.array(["0.png", "1.png", '<img src=x onerror="x">.png', "3.png"])
    for channels in (1, 3):
        split = Split(torch.zeros(4, channels, 64, 64, dtype=torch.uint8), torch.tensor(labels), names)
        html = own_report.mistakes_markup(found, split)
        assert "<img src=x" not in html and "&lt;img src=x onerror=&quot;x&quot;&gt;.png" in html
        assert html.count("<figure") == 3 and "a: given 1, read 0 (0.010)" in html


@pytest.mark.parametrize("n", [1, 7])
def test_calibration_counts_every_image_once(n):
    rows = intervals.calibration(np.linspace(0, 1, n), np.arange(n) % 2)
    assert sum(row["n"] for row in rows) == n and all(row["low"] <= row["share"] <= row["high"] for row in rows)
