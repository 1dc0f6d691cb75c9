"""The scores of the claims, on codes, readers and models made by hand whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from support import runs, settings, training
from support.claims import block_scores, claim_images, claim_judges, claim_scores, preregistration, verdicts
from support.measures import block_readings, blocks, judged, parts
from support.settings import read_profile
from test_blocks import LinearPictures, normal

import data
import mccvae_core as core
from data import DataError, celeba

CLASSES, K = 4, 2
OWNERS = np.array([*np.repeat(np.arange(CLASSES), K), -1])


def class_codes(n, seed, hold):
    """Codes (n, Z) of n images of CLASSES classes, noise where hold(owner, class) is 0, and their labels (n, L)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=n)
    held = np.array([[hold(owner, c) for owner in OWNERS] for c in range(CLASSES)], float)
    return 2 * held[y] + rng.normal(size=(n, len(OWNERS))), np.eye(CLASSES, dtype=int)[y]


def apart(hold):
    codes = class_codes(4_000, 0, hold), class_codes(4_000, 1, hold)
    return block_readings.blocks_apart(block_readings.read_pairs(*codes, OWNERS))


# --- blocks apart -----------------------------------------------------------------------------------------------


def test_blocks_that_hold_their_own_label_alone_are_apart():
    assert apart(lambda owner, c: owner == c) == pytest.approx(1, abs=0.03)


def test_blocks_that_all_hold_the_class_are_not_apart():
    """Every block has a number of its own for each class, so that the two others tell a pair as well as its own do."""
    assert apart(lambda owner, c: 2 * c) == pytest.approx(0, abs=0.01)


def test_half_as_much_in_other_blocks_counts_half():
    assert block_readings.apart(0.75, 1.0) == 0.5 and np.isnan(block_readings.apart(0.5, 0.5))


def test_two_classes_have_no_other_blocks():
    owners = np.array([0, 1])
    codes = np.random.default_rng(0).normal(size=(40, 2)), np.eye(2, dtype=int)[np.arange(40) % 2]
    assert np.isnan(block_readings.blocks_apart(block_readings.read_pairs(codes, codes, owners)))
    three = codes[0], np.eye(3, dtype=int)[np.arange(40) % 2]  # one has no images
    assert block_readings.read_pairs(three, three, np.array([0, 1, 2])) == []


def test_a_label_is_read_from_where_it_is():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (6_000, CLASSES))  # labels that have nothing to do with each other
    codes = 2 * np.column_stack([np.repeat(y, K, axis=1), 9 * y[:, 2]]) + rng.normal(size=(6_000, len(OWNERS)))
    found = block_readings.label_readings((codes[:3_000], y[:3_000]), (codes[3_000:], y[3_000:]), OWNERS, 2)
    assert found["auc_own"] > 0.95 and found["auc_style"] > 0.999
    assert found["auc_others"] == pytest.approx(0.5, abs=0.04) and found["auc_labels"] == pytest.approx(0.5, abs=0.04)


# --- parts ------------------------------------------------------------------------------------------------------


def test_parts_are_split_where_each_coordinate_has_its_own():
    assert parts.split_bits([[1, 5, 0, 0], [0, 0, 2, 0.1]]) == pytest.approx(1)
    assert parts.split_bits(np.eye(4)) == pytest.approx(2)
    of_one_and_three = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert parts.split_bits([[1, 0, 0, 0], [0, 1, 1, 1]]) == pytest.approx(of_one_and_three)


def test_parts_are_not_split_where_coordinates_do_the_same_or_one_does_all():
    assert parts.split_bits([[1, 2, 3], [2, 4, 6]]) == pytest.approx(0, abs=1e-12)
    assert parts.split_bits([[1, 2, 3], [0, 0, 0]]) == 0
    assert np.isnan(parts.split_bits([[0, 0], [0, 0]]))


def test_a_quarter_bit_is_four_to_one():
    """What claims.yaml says of its bound."""
    assert parts.split_bits([[4, 4, 1, 1], [1, 1, 4, 4]]) == pytest.approx(0.278, abs=0.001)


def test_every_part_weighs_the_same():
    changes = np.array([[4, 1, 0.3], [1, 3, 0.7]])
    assert parts.split_bits(changes * [100, 1, 0.01]) == pytest.approx(parts.split_bits(changes))


def test_a_split_is_rare_by_chance_and_the_same_twice_is_not():
    own = np.repeat(np.eye(2), 4, axis=1)
    mean, p = parts.split_by_chance(own)
    assert mean < 0.7 and p == pytest.approx(1 / 70, abs=0.015)  # 70 ways to choose four of eight
    assert parts.split_by_chance(np.array([[1, 2, 9, 1], [1, 2, 9, 1]]))[1] == 1


def test_parts_are_what_differs_by_five_points():
    labels = np.repeat([[0], [1]], 100, axis=0)
    rates = ((0.50, 0.56), (0.50, 0.54), (0.20, 0.15), (0, 1))
    columns = [np.concatenate([np.arange(100) < round(100 * rate) for rate in pair]) for pair in rates]
    assert parts.parts_of(labels, np.column_stack(columns), 0).tolist() == [True, False, True, True]
    assert not parts.parts_of(np.ones((200, 1)), np.column_stack(columns), 0).any()


# --- moves, read from the pixels --------------------------------------------------------------------------------


def pixel_reader(model, weights, bias=0.0):
    """Log-odds (N, T) of the latents that a linear picture shows, times weights (Z, T)."""
    return lambda images: model.encode(images).loc @ torch.as_tensor(weights, dtype=torch.float64) + bias


def label_weights(model):
    w = torch.zeros(model.config.latent_dim, model.config.labels, dtype=torch.float64)
    w[: model.config.characteristic_dim] = model.block * model.classifier_weight[:, None]
    return w


def moved(model, label, *readers, n=20):
    c = blocks.block_coordinates(model, label)
    z = normal(n, model.config.latent_dim)
    return {kind: judged.together(v) for kind, v in judged.changes_of_block(model, c, z, readers).items()}


def test_a_reader_that_reads_what_the_classifier_reads_sees_nothing_across():
    model = LinearPictures((2, 3), lit=[9, 1, 5, 5, 2, 9])
    kinds = moved(model, 1, pixel_reader(model, label_weights(model)))
    along, across = (kinds[kind].change[:, 1] for kind in ("along", "across"))
    assert along > 0.5 and judged.along_share(along, across) == pytest.approx(1)
    assert kinds["across"].pixels > 0
    assert kinds["along"].change[0, 0] == pytest.approx(0, abs=1e-9)
    assert judged.own_share(kinds["whole"].change, 1, exclusive=False) == pytest.approx(1)


def test_a_reader_that_reads_what_the_classifier_ignores_sees_nothing_along():
    model = LinearPictures((2, 2))
    difference = torch.zeros(5, 2, dtype=torch.float64)
    difference[0, 0], difference[1, 0] = 1, -1
    kinds = moved(model, 0, pixel_reader(model, difference))
    along, across = (kinds[kind].change[:, 0] for kind in ("along", "across"))
    assert judged.along_share(along, across) == pytest.approx(0, abs=1e-9) and across > 0.3


def test_the_log_odds_and_their_rise_are_those_of_four_sd():
    model = LinearPictures((2,))
    kinds = moved(model, 0, pixel_reader(model, label_weights(model), bias=-1.0))
    c = blocks.block_coordinates(model, 0)
    assert kinds["along"].log_odds == pytest.approx(4 * c.logit_sd)
    ends = torch.tensor([-2.0, 2.0]) * c.logit_sd + (c.weight @ c.mean).item() - 1.0
    assert kinds["along"].rise == pytest.approx((ends.sigmoid()[1] - ends.sigmoid()[0]).item())
    backwards = moved(model, 0, pixel_reader(model, -label_weights(model)))["along"]
    assert backwards.rise < 0 < backwards.change


def test_each_reader_has_a_row_of_its_own_and_single_latents_are_read_by_the_first():
    model = LinearPictures((2, 1))
    readers = [pixel_reader(model, label_weights(model) * k) for k in (0, 1)]
    changes = judged.changes_of_block(model, blocks.block_coordinates(model, 0), normal(8, 4), readers)
    assert changes["along"][0].change.shape == (2, 2) and not changes["along"][0].change[0].any()
    assert [change.change.shape for change in changes["single"]] == [(1, 2), (1, 2)]
    reader = pixel_reader(model, label_weights(model))
    alone = judged.changes_of_block(model, blocks.block_coordinates(model, 1), normal(8, 4), [reader])
    assert set(alone) == {"along", "whole"}


def test_the_share_of_the_own_label():
    even, all_, none = np.ones((1, 4)), np.eye(4)[:1], np.zeros((1, 4))
    assert judged.own_share(even, 0, exclusive=False) == 0 and judged.own_share(all_, 0, exclusive=False) == 1
    assert judged.own_share(np.array([[3.0, 1, 1, 1]]), 0, exclusive=True) == 1
    assert np.isnan(judged.own_share(none, 0, exclusive=False))


# --- tables -----------------------------------------------------------------------------------------------------


def test_means_are_over_judges_and_then_over_labels():
    rows = block_scores.Rows()
    rows.add("moved_share", [0.2, 0.4], coordinates="along", label="a")
    rows.add("moved_share", [np.nan, 0.8], coordinates="along", label="b")
    rows.add("blocks_apart", 0.5)
    table = rows.table().set_index(["label", "score"])["value"]
    assert table["a", "moved_share"] == pytest.approx(0.3) and np.isnan(table["b", "moved_share"])
    assert table["", "moved_share_judge0"] == 0.2 and table["", "moved_share_judge1"] == pytest.approx(0.6)
    assert table["", "moved_share"] == pytest.approx(0.4) and table["", "blocks_apart"] == 0.5


class Known(torch.nn.Module):
    """A judge that reads label and attribute from two pixels."""

    def __init__(self, sharp):
        super().__init__()
        self.sharp = sharp

    def forward(self, x):
        return self.sharp * (2 * x[:, 0, 0, :2] - 1), None


def test_ceiling_and_kept_attributes_are_those_of_images_held_out():
    rng = np.random.default_rng(0)
    d = data.load("chest_xray", "embedded", images=210)
    truth = {name: rng.integers(0, 2, (len(getattr(d, name)), 2)) for name in ("train", "validation", "test")}

    def split(name):
        images = torch.zeros(len(truth[name]), 1, 64, 64, dtype=torch.uint8)
        images[:, 0, 0, :2] = 255 * torch.from_numpy(truth[name])
        return data.Split(images, torch.from_numpy(truth[name][:, :1]), np.arange(len(images)).astype(str))

    d = d.__class__(d.task, "real", False, ("ill",), "", *(split(name) for name in truth), "")
    values = {name: known[:, 1:] for name, known in truth.items()}
    table = claim_judges.panel_table([Known(1.0), Known(2.0), Known(4.0)], d, ("hat",), values)
    ill = table[table["target"] == "ill"]
    assert ill["difference"].to_numpy() == pytest.approx([np.tanh(0.5 * k) for k in (1, 2, 4)])
    assert not ill["kept"].any()
    hat = table[table["target"] == "hat"]
    held_out = truth["test"][:, 1].sum() + truth["validation"][:, 1].sum()
    assert (hat["auc"] == 1).all() and (hat["positives"] == held_out).all() and hat["kept"].all() == (held_out >= 40)


def test_faces_keep_what_no_model_trains_on(tmp_path, monkeypatch):
    monkeypatch.setenv("MCCVAE_DATA", str(tmp_path))
    names, attr = np.array(["1.jpg", "2.jpg", "3.jpg"]), np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], np.uint8)
    np.savez(tmp_path / "celeba_64.npz", attr=attr, attr_names=np.array(["Mustache", "Male", "Bald"]), names=names)
    others, values = celeba.other_attributes(np.array(["3.jpg", "1.jpg"]))
    assert others == ("Mustache", "Bald") and values.tolist() == [[1, 0], [0, 1]]
    with pytest.raises(DataError, match=r"no image 4\.jpg"):
        celeba.other_attributes(np.array(["4.jpg"]))


# --- a profile, from end to end -----------------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path, monkeypatch):
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    monkeypatch.setattr(claim_judges.judging, "judge_epochs", lambda images: 1)
    for name, few in (("STARTS_ELSE", 8), ("PICTURES", 40), ("OFFICIAL", 20), ("PAIRS", 4)):
        monkeypatch.setattr(claim_scores, name, few)
    return read_profile("smoke", images=210, models={"chest_xray": ["ccvae", "mccvae", "vae"]})


def folder_of(trained):
    return trained["mccvae"].folder / runs.SCORES


def test_runs_of_a_profile_are_scored_once(profile, monkeypatch, capsys):
    trained = {model: training.train(profile, "chest_xray", model, 0) for model in ("ccvae", "mccvae", "vae")}
    table = claim_scores.score_profile(profile)
    assert list(table["model"]) == ["ccvae", "mccvae"] and set(table["weights"]) == {"last"}
    claims = preregistration.read()
    assert all(test.column in table for _, test in claims.tests)
    row = table.iloc[1]
    assert row["test_psnr"] == pytest.approx(trained["mccvae"].metrics["test"]["psnr"], rel=1e-6)
    assert np.isfinite(row[["test_blocks_apart", "test_moved_share", "test_along_share"]].astype(float)).all()
    assert np.isnan(table.loc[0, "test_along_share"])  # CCVAE has one variable a label
    score = claims.scores["psnr"]
    test = next(test for _, test in claims.tests if test.score == "psnr" and test.task == "chest_xray")
    assert verdicts.judge(test, score, claims.tasks["chest_xray"], table, tests=15).word == verdicts.NOT_TESTED
    of_run = claim_scores.read_table(trained["mccvae"].folder / "scores" / claim_scores.TABLE)
    pictures = ("composition_10", "effectiveness_f1", "minimality_cld", "kid")
    for name in ("official_loss", "swap_pairs", "parts_split", *pictures):
        assert np.isfinite(of_run.loc[of_run["score"] == name, "value"]).any(), name
    assert set(of_run["weights"]) == {"last", "best"} and not of_run.duplicated(claim_scores.COLUMNS[:-1]).any()

    tests = {test.column: test for _, test in claims.tests if test.task == "chest_xray" and "mccvae" in test.models}
    columns = ("train_accuracy", "train_unbiased_loss", "test_psnr", "test_along_share")
    assert set(tests) == set(columns)
    for column in columns:  # with every image once it is the score itself
        values = claim_images.of_column(claim_images.read_values(folder_of(trained), of_run["made_from"][0]), column)
        once = np.ones((1, len(values["groups"])))
        score = claim_images.statistic(tests[column].score, values, exclusive=True)(once)
        assert score.item() == pytest.approx(row[column], rel=1e-5), column

    monkeypatch.setattr(claim_scores, "measured", None)
    monkeypatch.setattr(claim_judges.judging, "fit_judge", None)
    again = claim_scores.score_profile(profile, ["chest_xray"])
    assert not (profile.folder / claim_scores.INTERVALS).exists()  # of one seed, which the tests don't read
    kept = pd.read_csv(profile.folder / claim_scores.SUMMARY)
    pd.testing.assert_frame_equal(again, kept, check_exact=False, rtol=1e-5)
    monkeypatch.setattr(claim_scores, "code", lambda: "newer")
    with pytest.raises(TypeError):  # it is measured again
        claim_scores.score_profile(profile)

    capsys.readouterr()
    monkeypatch.undo()
    (trained["mccvae"].folder / runs.WEIGHTS).write_bytes(b"broken")
    assert claim_scores._with_weights(trained["mccvae"].folder) is None
    assert "not scored" in capsys.readouterr().out


def test_a_misspelt_task_or_profile_is_named(capsys):
    assert claim_scores.main([]) == 2 and claim_scores.main(["nowhere"]) == 1
    assert claim_scores.main(["smoke", "chests"]) == 1
    said = capsys.readouterr().out
    assert "there is no profile 'nowhere'" in said and "there is no task 'chests'" in said


def test_what_is_scored_needs_no_gradient():
    model = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (2, 1), 1, "bernoulli", 0.5), seed=0)
    move, reader = judged.Move("along"), lambda images: images.mean((2, 3))
    change = judged.change_of(model, blocks.block_coordinates(model, 0), torch.zeros(2, 4), move, [reader])
    assert change.pixels >= 0
