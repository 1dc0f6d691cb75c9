"""What the notebooks `characteristics` and `allocation` show: tables from models and from made-up numbers."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from support import runs, settings, training
from support.experiments import (
    allocations,
    characteristics,
    exchange,
    latent_effects,
    latent_pictures,
    paired_seeds,
    task_judges,
    where_found,
    within_blocks,
)
from support.experiments.paired_seeds import paired, verdict
from support.measures import judge as judging
from support.measures import latents
from support.settings import read_profile

import data
import mccvae_core as core


@pytest.fixture(scope="module")
def figures():
    return data.load("stick_figures", "embedded", images=350)


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """The smoke profile, its outputs in a folder of this test's own."""
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    return read_profile("smoke", images=70, epochs=1)


class PartReader(judging.Judge):
    """A judge that knows the figures' answer by heart: it must get a perfect score."""

    def __init__(self, split):
        torch.nn.Module.__init__(self)
        self.split = split

    def read(self, x, batch_size=512):
        index = [int((core.to_images(self.split.images) == image).flatten(1).all(1).nonzero()[0, 0]) for image in x]
        return self.split.labels[index].float(), task_judges.factors(self.split)[index]


def test_a_judge_is_scored_label_by_label_and_part_by_part(figures):
    table = task_judges.judge_table(figures, PartReader(figures.test))
    assert list(table["target"]) == [*figures.labels, *figures.part_names, *figures.style_names]
    assert (table.query("kind == 'label'")["accuracy"] == 1).all() and (table.query("kind != 'label'")["r2"] == 1).all()
    assert (table.query("kind == 'part'")["r2_within"] == 1).all() and table.query("kind == 'style'")[
        "r2_within"
    ].isna().all()
    shown = task_judges.judge_columns(table)
    assert list(shown["reads"]) == [
        "label: 4",
        f"part: {len(figures.part_names)}",
        f"style: {len(figures.style_names)}",
    ]


def run_of(model, d, profile, seed=0):
    record = {"task": d.task.name, "model": model, "seed": seed, "style_dim": 6, "data": {"stand_in": False}}
    spec = settings.ModelSpec.parse(model)
    trained = core.build_model("MCCVAE", spec.config(d), seed).eval()
    record["characteristics"] = list(trained.config.characteristics)
    run = runs.Run(None, record, {}, pd.DataFrame())
    object.__setattr__(run, "model", lambda: trained)
    return run


@pytest.fixture
def known_codes(monkeypatch):
    """Posterior means that are the truth: the two latents of a label hold its first two parts, style holds noise."""

    def put(d):
        first = [[p for p, owner in enumerate(d.part_label) if owner == label][:2] for label in range(len(d.labels))]

        drawn_from = {
            x.numpy().tobytes(): p.numpy()
            for s in (d.train, d.validation, d.test)
            for x, p in zip(s.images, s.parts, strict=True)
        }

        def codes(model, images):
            parts = np.stack([drawn_from[image.numpy().tobytes()] for image in images])
            noise = np.random.default_rng(len(images)).normal(size=(len(images), model.config.style_dim))
            return np.concatenate([parts[:, [p for pair in first for p in pair]] - 0.5, noise], axis=1).astype(
                np.float32
            )

        for module in (where_found, within_blocks, latent_effects, exchange):
            monkeypatch.setattr(module, "codes", codes)

    return put


def test_parts_are_found_in_the_block_that_holds_them(figures, profile, known_codes):
    known_codes(figures)
    table = where_found.found_table(figures, run_of("mccvae", figures, profile))
    linear = table[table["probe"] == "linear"].set_index("target")
    for label, name in enumerate(figures.labels):
        parts = [p for p, owner in zip(figures.part_names, figures.part_label, strict=True) if owner == label]
        assert (
            linear.loc[parts[:2], "own"].min() > 0.95
            and linear.loc[parts[:2], ["others", "style"]].max(axis=None) < 0.5
        )
        assert (linear.loc[parts[2:], "own"] < 0.5).all()
        assert linear.loc[name, "own"] > 0.8 and linear.loc[name, "style"] < 0.8
    assert (
        set(table["kind"]) == {"label", "part"}
        and linear.loc[figures.part_names[0], "n"] == figures.test.labels[:, 0].sum()
    )
    boosted = table[table["probe"] == "boosted"].groupby("kind")["own"].mean()
    pd.testing.assert_series_equal(where_found.found_in_blocks(figures, run_of("mccvae", figures, profile)), boosted)


class Flat(judging.Judge):
    """Reads label i from the brightness of the picture, whatever it is."""

    def __init__(self, labels, factors):
        torch.nn.Module.__init__(self)
        self.sizes = labels, factors

    def read(self, x, batch_size=512):
        mean = x.flatten(1).mean(1, keepdim=True)
        return mean.expand(-1, self.sizes[0]).cpu(), mean.expand(-1, self.sizes[1]).cpu()


def test_blocks_effects_and_exchange_have_a_row_for_each_thing(figures, profile, known_codes):
    known_codes(figures)
    judge = Flat(len(figures.labels), len(figures.part_names) + len(figures.style_names))
    run = run_of("mccvae-rb1-r0.5", figures, profile)
    blocks = within_blocks.block_table(figures, run, judge, starts=8)
    assert list(blocks["label"]) == list(figures.labels) and (blocks["k"] == 2).all()
    assert (blocks["completeness"] > 0.6).all() and (blocks["disentanglement"] > 0.6).all()
    assert blocks["effective_latents"].between(1, 2).all() and blocks["effective_latents_pixels"].between(1, 2).all()
    effects = latent_effects.effect_table(figures, run, judge, starts=8)
    assert len(effects) == 8 * (len(figures.labels) + len(figures.part_names) + len(figures.style_names))
    shares = latent_effects.diagonal_shares(effects).set_index("kind")
    assert shares.loc["label", "diagonal_share"] == pytest.approx(1 / 4, abs=1e-6) and shares.loc[
        "label", "chance"
    ] == pytest.approx(1 / 4)


def test_runs_are_scored_each_with_its_own_model_and_joined_in_their_order(profile, monkeypatch):
    def run_tables(run, data, judges):
        task = run.record["task"]
        mean = core.predict(run.model(), data[task].test.images).mean().item()
        return {"found": pd.DataFrame([{"model": run.spec.name, "mean": mean, "judge": judges[task]}])}

    monkeypatch.setattr(characteristics, "run_tables", run_tables)
    trained = [training.train(profile, "stick_figures", model, 0) for model in ("mccvae", "ccvae")]
    d = runs.load_data(profile, "stick_figures")
    table = characteristics.score_all(trained, {"stick_figures": d}, {"stick_figures": "the judge"})["found"]
    assert list(table["model"]) == [run.spec.name for run in trained] and set(table["judge"]) == {"the judge"}
    assert table["mean"].tolist() == [core.predict(run.model(), d.test.images).mean().item() for run in trained]


def test_a_summary_has_a_row_a_run_and_shows_mean_and_spread():
    about = {
        "task": "t",
        "task_title": "T",
        "stand_in": False,
        "model": "mccvae",
        "model_title": "MCCVAE",
        "latents": 9,
    }
    frames = {"found": [], "blocks": [], "effects": [], "exchange": []}
    for seed, own in ((0, 0.8), (1, 0.9)):
        a = about | {"seed": seed}
        for probe in latents.PROBES:
            for kind in ("label", "part"):
                value = own if probe == "boosted" else 0.0
                frames["found"].append(
                    a | {"target": kind, "kind": kind, "probe": probe, "own": value, "others": 0.1, "style": 0.2}
                )
        frames["blocks"].append(
            a
            | {
                "k": 2,
                "disentanglement": 1,
                "completeness": 0.5,
                "effective_latents": 1.5,
                "effective_latents_pixels": 1.2,
            }
        )
        for label, on, effect in (("x", "x", 3.0), ("x", "y", 1.0)):
            frames["effects"].append(a | {"label": label, "kind": "label", "on": on, "on_label": on, "effect": effect})
        frames["exchange"].append(a | {"swap_taken": 0.9, "sample_n": 5, "sample_kid": 0.1})
    table = characteristics.summary_table(**{name: pd.DataFrame(rows) for name, rows in frames.items()})
    assert table["label_own"].tolist() == [0.8, 0.9] and table["label_diagonal"].tolist() == [0.75, 0.75]
    shown = characteristics.summary_columns(table).iloc[0]
    assert (
        shown["label found"] == "0.850 ± 0.071"
        and shown["effective latents"] == "1.500 ± 0.000"
        and shown["seeds"] == 2
    )


def test_differences_are_paired_over_seeds_and_the_verdict_follows_the_interval():
    table = pd.DataFrame(
        {"seed": [0, 1, 2] * 2, "model": ["mccvae"] * 3 + ["ccvae"] * 3, "v": [0.5, 0.7, 0.6, 0.4, 0.59, 0.5]}
    )
    test = paired(table, "v", "mccvae", "ccvae")
    d = np.array([0.1, 0.11, 0.1])
    half = 4.302653 * d.std(ddof=1) / math.sqrt(3)  # Student's t, 2 degrees of freedom
    assert (
        test["difference"] == pytest.approx(d.mean())
        and test["low"] == pytest.approx(d.mean() - half, rel=1e-5)
        and test["n"] == 3
    )
    assert verdict(test) == "more" and verdict(paired(table, "v", "ccvae", "mccvae")) == "less"
    assert paired(table, "v", "mccvae", "vae") is None
    assert "one seed" in verdict(paired(table[table["seed"] == 0], "v", "mccvae", "ccvae"))
    assert test["first_mean"] == pytest.approx(0.6) and test["second_mean"] == pytest.approx(0.4966667)
    assert verdict({"n": 3, "low": -1, "high": 1}, 1) == "no difference can be told"
    more, less = {"n": 3, "low": 0.1, "high": 1}, {"n": 3, "low": -1, "high": -0.1}
    assert [verdict(t, b) for t in (more, less) for b in (1, -1)] == ["better", "worse", "worse", "better"]


def test_variants_are_held_against_the_same_model_without_their_option():
    table = pd.DataFrame(
        {"model": ["mccvae", "mccvae-rb300", "mccvae-rb300-r0.5", "mccvae-rb300-t20", "mccvae-rb9-pfull"]}
    )
    table["latents"] = 14
    assert paired_seeds.as_many_latents(table) == []
    more = pd.DataFrame(
        {
            "model": ["mccvae", "ccvae_more_style", "ccvae", "ccvae-rb300-z10", "mccvae-rb300"],
            "latents": [14, 14, 10, 14, 14],
        }
    )
    assert paired_seeds.as_many_latents(more) == [("mccvae", "ccvae_more_style"), ("mccvae-rb300", "ccvae-rb300-z10")]
    pairs = [("mccvae-rb300", "mccvae"), ("mccvae-rb300-r0.5", "mccvae-rb300"), ("mccvae-rb300-t20", "mccvae-rb300")]
    assert paired_seeds.variants(table) == pairs
    starved = pd.DataFrame(
        {"model": ["ccvae-rb9-x3-z6", "mccvae-rb9-x3", "mccvae-rb9-x3-z2", "ccvae-rb9-z6"], "latents": [10, 14, 10, 10]}
    )
    assert paired_seeds.as_many_latents(starved) == [("mccvae-rb9-x3-z2", "ccvae-rb9-x3-z6")]
    assert paired_seeds.variants(starved) == [("mccvae-rb9-x3-z2", "mccvae-rb9-x3")]


def test_the_finding_names_the_same_total_and_the_best_option():
    """Made up: two seeds each, so that every number in the sentence is known."""
    scores = {
        "mccvae-rb9": (0.10, 1.2, 14),
        "ccvae-rb9-z10": (0.20, math.nan, 14),
        "mccvae-rb9-z2": (0.30, 1.8, 10),
        "mccvae-rb9-t2": (0.05, 1.9, 14),
    }
    rows = [
        {
            "task_title": "T",
            "model": model,
            "seed": seed,
            "latents": latents,
            "label_own": 0.9,
            "label_others": 0.6,
            "label_style": 0.7,
            "part_own": own + 0.01 * seed,
            "effective_latents": eff,
        }
        for model, (own, eff, latents) in scores.items()
        for seed in (0, 1)
    ]
    summary = pd.DataFrame(rows)
    sentence = characteristics.finding(summary, paired_seeds.comparison_table(summary))
    assert "MCCVAE, rb9 0.105 against 0.205 of CCVAE, rb9, z10 on T (n = 2, worse)" in sentence
    assert (
        "found by MCCVAE, rb9, z2 0.305 against 0.105 of MCCVAE, rb9 on T (n = 2, better), "
        "at 1.80 against 1.20 effective latents" in sentence
    )
    assert (
        "0.90 on T (from the other blocks 0.60, from style 0.70); of a block's latents (two "
        "in MCCVAE), 1.63 on T do the work" in sentence
    )
    shown = paired_seeds.comparison_columns(paired_seeds.comparison_table(summary))
    assert (
        set(shown["score"]) == {"parts found", "effective latents", "label found", "label in style"}
        and shown["the model's"][0] == "0.105"
    )


def test_the_label_that_is_shown_is_one_that_the_paper_walks_to():
    assert latent_pictures.label_to_show(data.load("celeba", "embedded", images=60)) == data.load(
        "celeba", "embedded", images=60
    ).labels.index("Eyeglasses")
    assert latent_pictures.label_to_show(data.load("stick_figures", "embedded", images=60)) == 0


def test_allocation_spends_the_same_total_in_every_way(profile):
    trained = allocations.train_allocations(profile, "stick_figures", "-rb50-x3", 0)
    d = runs.load_data(profile, "stick_figures")
    latents = {way: sum(run.record["characteristics"]) + run.record["style_dim"] for way, run in trained.items()}
    assert latents.pop("k = 1") == len(d.labels) + 6 and set(latents.values()) == {2 * len(d.labels) + 6}
    assert (
        sum(trained["where needed"].record["characteristics"])
        == sum(trained["at random"].record["characteristics"])
        == 8
    )
    table = allocations.allocation_table(d, trained)
    assert (
        list(table["way"]) == list(trained)
        and table["test_accuracy"].between(0, 1).all()
        and table["part_own"].between(0, 1).all()
    )
    assert len(allocations.allocation_columns(table)) == 5
    comparison = allocations.allocation_comparison(table)
    assert set(comparison["second"]) == {"k = 1", "k = 2", "all in style", "at random"} and len(comparison) == 4 * 3
    assert "From one seed" in allocations.finding(comparison)
    again = allocations.train_allocations(profile, "stick_figures", "-rb50-x3", 0)
    assert {way: run.folder for way, run in again.items()} == {way: run.folder for way, run in trained.items()}


def test_the_allocation_finding_names_what_can_be_told():
    """Over three seeds: 0.3 more parts found than by style, a loss of 105, k = 2's is 100 ± 1, accuracies alike."""
    loss = {"k = 2": [100.0, 101.0, 99.0], "where needed": [106.0, 105.0, 104.0]}
    found = {"k = 2": 0.5, "all in style": 0.2, "at random": 0.5, "where needed": 0.5}
    table = pd.DataFrame(
        {"task_title": "T", "way": way, "seed": seed, "test_accuracy": 0.9, "part_own": part + seed / 100}
        | {"test_bound": loss.get(way, [90.0, 105.0, 120.0])[seed]}
        for way, part in found.items()
        for seed in range(3)
    )
    comparison = allocations.allocation_comparison(table)
    assert allocations.finding(comparison) == (
        "Latents put where a model with one each fails are worse than “k = 2” on T in test "
        "loss, unbiased (105.0 against 100.0) and better than “all in style” on T in parts found "
        "(0.510 against 0.210); 2 of 9 differences can be told, over 3 paired seeds."
    )
    same = comparison.assign(verdict="no difference can be told")
    assert "are neither better nor worse than any other way; 0 of 9" in allocations.finding(same)


def test_random_allocations_differ_by_seed_and_keep_one_a_label():
    many = {allocations.at_random(5, seed) for seed in range(20)}
    assert len(many) > 10 and all(sum(k) == 10 and min(k) >= 1 for k in many)
