"""Intervals over images: each image's part in a score, and widths that are known."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from support.claims import claim_images, preregistration
from support.claims.preregistration import PrimaryTest
from support.measures import by_image, intervals, scores
from support.measures.block_readings import Pair

import mccvae_core as core
from data import load

CLAIMS = preregistration.read()
HALF = stats.norm.isf(0.05 / 2 / len(CLAIMS.tests))  # of an interval at the level of all primary tests, in errors


@pytest.fixture(scope="module")
def seen():
    """A model as it starts, uint8 images and labels, more of them than go into one batch."""
    config = core.ModelConfig((1, 60, 60), (2, 1, 2), 3, "bernoulli", (0.5, 0.3, 0.2), start_std=1.0)
    model = core.build_model("MCCVAE", config, seed=0)
    noise = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (260, 1, 60, 60), dtype=torch.uint8, generator=noise)
    return model, images, torch.nn.functional.one_hot(torch.arange(260) % 3, 3)


# --- image by image -------------------------------------------------------------------------------------------------


def test_the_parts_of_images_have_the_scores_as_their_means(seen):
    model, images, labels = seen
    found = scores.evaluate(model, images, labels, exclusive=True, objective=core.Objective())
    assert by_image.accuracies(*seen).mean().item() == pytest.approx(found["accuracy"], abs=1e-6)
    losses = by_image.unbiased_losses(*seen)
    assert losses.double().mean().item() == pytest.approx(found["bound"]["loss_alpha0"], rel=1e-6)
    psnr = scores.picture_scores(model, images, labels)["psnr"]
    assert by_image.psnrs(model, images).mean().item() == pytest.approx(psnr, rel=1e-6)


def test_the_parts_of_images_are_their_own(seen):
    """Other labels or another picture change one image's part and no other's (but for control variates)."""
    model, images, labels = seen
    other = labels.clone()
    other[7] = torch.tensor([1, 1, 1]) - other[7]
    assert torch.nonzero(by_image.accuracies(model, images, other) != by_image.accuracies(*seen)).tolist() == [[7]]
    changed = (by_image.unbiased_losses(model, images, other) - by_image.unbiased_losses(*seen)).abs()
    assert changed.argmax() == 7 and changed[torch.arange(260) != 7].max() < 1e-3
    darker = images.clone()
    darker[3] //= 2
    moved = by_image.psnrs(model, darker) != by_image.psnrs(model, images)
    assert torch.nonzero(moved).tolist() == [[3]]


def test_labels_that_are_not_known_do_not_count(seen):
    model, images, labels = seen
    partly = labels.float()
    partly[0, 1:] = torch.nan
    read = (core.predict(model, images[:1]) > 0.5)[0, 0] == (labels[0, 0] > 0)
    assert by_image.accuracies(model, images, partly)[0] == float(read)


def test_an_auc_of_weighted_images_is_that_of_repeated_ones():
    rng = np.random.default_rng(0)
    y, readings = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 8  # with ties
    weights = rng.integers(0, 4, (5, 60))
    repeated = [roc_auc_score(np.repeat(y, w), np.repeat(readings, w)) for w in weights]
    assert intervals.weighted_auc(readings, y, weights) == pytest.approx(repeated)
    assert np.isnan(intervals.weighted_auc(readings, y, (y == 1)[None].astype(int))).all()


def test_who_is_drawn_together():
    chest = load("chest_xray", "embedded", images=210)
    names = np.array(["person7_virus_1.jpeg", "person7_virus_2.jpeg", "person7_bacteria_3.jpeg", "IM-0001-0001.jpeg"])
    groups = claim_images.groups_of(chest, names)
    assert groups[0] == groups[1] and len(set(groups)) == 3
    digits = load("mnist", "embedded", images=210)
    assert len(set(claim_images.groups_of(digits, digits.test.names))) == len(digits.test)


# --- widths ---------------------------------------------------------------------------------------------------------


def runs_of(column, of_image, groups, seeds=range(10, 15), models=("mccvae", "ccvae"), spread=0.0):
    """Runs whose score is the mean of of_image[model] (N,), and which differ from seed to seed by `spread`."""
    made = {}
    for model, values in of_image.items():
        for number, seed in enumerate(seeds):
            parts = {"values": values + spread * (number - 2), "groups": groups}
            made[model, seed] = {f"{column}/{name}": array for name, array in parts.items()}
    return made


def one_interval(task, of_runs, score, **options):
    rows = claim_images.intervals(CLAIMS, task, of_runs, **options)
    return next(row for row in rows if row["score"] == score)


def test_a_difference_has_the_paired_width_whatever_the_seeds_do():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(20, 3, 2_000), rng.normal(0.2, 0.5, 2_000)  # both models find the same images hard
    groups = np.arange(2_000).astype(str)
    of_runs = runs_of("test_psnr", {"mccvae": shared + own, "ccvae": shared}, groups, spread=1.0)
    row = one_interval("celeba", of_runs, "test_psnr", draws=4_000)
    half = HALF * own.std() / np.sqrt(2_000)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.08)
    assert row["mean"] == pytest.approx(own.mean()) and row["images"] == row["groups"] == 2_000
    assert row["seeds"] == "10 11 12 13 14"


def test_less_loss_is_more_of_what_the_claim_says():
    values = np.full(50, 100.0)
    groups = np.arange(50).astype(str)
    of_runs = runs_of("train_unbiased_loss", {"mccvae": values - 30, "ccvae": values}, groups)
    row = one_interval("celeba", of_runs, "train_unbiased_loss", draws=200)
    assert (row["low"], row["mean"], row["high"]) == pytest.approx((30, 30, 30))


def test_images_of_one_person_widen_the_interval():
    """Of four alike images each a person has, there are a quarter as many independent ones."""
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(300), 4).astype(str)
    gain = {"mccvae": np.repeat(rng.normal(0.3, 1, 300), 4), "ccvae": np.zeros(1_200)}
    ten = range(10, 20)
    widths = []
    for groups in (people, np.arange(1_200).astype(str)):
        row = one_interval("chest_xray", runs_of("test_psnr", gain, groups, ten), "test_psnr", draws=4_000)
        widths.append(row["high"] - row["low"])
    assert widths[0] / widths[1] == pytest.approx(2, abs=0.2)
    assert widths[0] / 2 == pytest.approx(HALF * gain["mccvae"].std() / np.sqrt(300), rel=0.1)


def test_too_few_seeds_or_other_images_have_no_interval():
    values, groups = np.zeros(9), np.arange(9).astype(str)
    of_runs = runs_of("test_psnr", {"mccvae": values, "ccvae": values}, groups)
    few = {key: one for key, one in of_runs.items() if key[1] < 12}
    assert claim_images.intervals(CLAIMS, "celeba", few) == []
    of_runs["ccvae", 11]["test_psnr/groups"] = groups[::-1]
    with pytest.raises(ValueError, match="scored on different images"):
        claim_images.intervals(CLAIMS, "celeba", of_runs)


# --- scores that are no means -----------------------------------------------------------------------------------------


def test_the_share_along_of_weighted_starts():
    along, across = np.zeros((2, 1, 4)), np.full((2, 2, 1, 4), np.nan)
    along[0], across[:, 0] = [[0.3, 0.3, 0.6, 0.6]], [[[0.1] * 4]] * 2
    along[1] = 0.9  # a label with one latent: nothing lies across, so it has no say
    share = claim_images.statistic("along_share", {"along": along, "across": across}, exclusive=True)
    assert share(np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 2]])) == pytest.approx([0.45 / 0.55, 0.75, 0.6 / 0.7])
    none = claim_images.statistic("along_share", {"along": along[1:], "across": across[:, 1:]}, exclusive=True)
    assert np.isnan(none(np.ones((1, 4)))).all()


def test_the_own_labels_share_of_weighted_starts():
    changes = np.zeros((2, 1, 2, 2))  # labels moved, judges, starts, labels
    changes[0, 0], changes[1, 0] = [[0.4, 0.0], [0.2, 0.2]], [[0.0, 0.5], [0.0, 0.5]]
    share = claim_images.statistic("own_label_share", {"changes": changes}, exclusive=False)
    first = (0.6 / 0.8 - 0.5) / 0.5
    assert share(np.array([[1, 1], [1, 0], [0, 1]])) == pytest.approx([(first + 1) / 2, 1, 0.5])


def test_the_split_of_parts_of_weighted_starts():
    changes = np.zeros((1, 2, 2, 2))  # judges, along and across, starts, parts
    changes[0, :, 0], changes[0, :, 1] = [[1, 0], [0, 1]], [[1, 1], [1, 1]]
    split = claim_images.statistic("parts_split", {"changes": changes}, exclusive=False)
    found = split(np.array([[1, 0], [0, 1], [1, 1]]))
    assert found[:2] == pytest.approx([1, 0]) and 0 < found[2] < 1
    one = claim_images.statistic("parts_split", {"changes": changes[..., :1]}, exclusive=False)
    assert np.isnan(one(np.ones((1, 2))))


def test_blocks_apart_of_weighted_images():
    first = np.array([0, 0, 1, 1])
    pair = Pair(np.array([1, 2, 3, 4]), first, np.array([0.1, 0.6, 0.5, 0.9]), np.array([0.1, 0.2, 0.8, 0.9]))
    values = {f"{name}_0": array for name, array in vars(pair).items()}
    apart = claim_images.statistic("blocks_apart", values, exclusive=True)
    weights = np.array([[7, 1, 1, 1, 1], [0, 2, 0, 1, 1]])  # image 0 is of neither class
    assert apart(weights) == pytest.approx([pair.apart(), 0]) and pair.apart() == pytest.approx(1 - 0.25 / 0.5)


# --- what is read of them ---------------------------------------------------------------------------------------------


def test_values_are_kept_for_what_they_were_made_from(tmp_path):
    values = {"test_psnr/values": np.arange(3.0), "test_psnr/groups": np.array(["a", "b", "b"])}
    claim_images.write_values(tmp_path, "these", values)
    again = claim_images.read_values(tmp_path, "these")
    assert set(again) == set(values) and all((again[name] == values[name]).all() for name in values)
    assert claim_images.read_values(tmp_path, "others") is None
    assert claim_images.read_values(tmp_path / "nowhere", "these") is None


def test_every_primary_score_has_parts_of_images():
    known = {*claim_images.EVALUATED, *claim_images.MOVED, "blocks_apart"}
    assert {test.score for _, test in CLAIMS.tests} <= known
    assert all(isinstance(test, PrimaryTest) and test.models for _, test in CLAIMS.tests)
