"""Training, files, evaluation and interventions of the core."""

import contextlib
import dataclasses
import math
import os

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import fit
from support import machine, weights
from support.measures import block_effects, scores
from torchmetrics.functional.image import structural_similarity_index_measure

import mccvae_core as core
from data.files import write_atomically


def start(config, seed=0, kind="MCCVAE"):
    return core.build_model(kind, config, seed)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# --- batches ------------------------------------------------------------------------------------------------


def test_an_epoch_sees_every_image_once_by_turns_with_and_without_labels():
    batches = core.epoch_batches(10, 3, None, seed=0, epoch=1)
    assert [labelled for _, labelled in batches] == [True, False, True, False]
    assert sorted(np.concatenate([index for index, _ in batches])) == list(range(10))
    again = core.epoch_batches(10, 3, None, seed=0, epoch=1)
    assert all((a[0] == b[0]).all() for a, b in zip(batches, again, strict=True))
    for other in ({"seed": 1, "epoch": 1}, {"seed": 0, "epoch": 2}):
        changed = core.epoch_batches(10, 3, None, **other)
        assert any((a[0] != b[0]).any() for a, b in zip(batches, changed, strict=True))


def test_with_few_labels_labelled_batches_cycle_through_the_subset():
    subset = np.array([0, 1, 2, 3, 4])
    batches = core.epoch_batches(50, 4, subset, seed=0, epoch=1)
    assert len(batches) == math.ceil(50 / 4) and [labelled for _, labelled in batches] == [
        i % 2 == 0 for i in range(13)
    ]
    labelled = np.concatenate([index for index, known in batches if known])
    assert set(labelled) == set(subset) and np.bincount(labelled).max() - np.bincount(labelled).min() <= 1
    rest = np.concatenate([index for index, known in batches if not known])
    assert not set(rest) & set(subset) and len(set(rest)) == len(rest)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_the_labelled_subset_is_stratified_seeded_and_random(fraction):
    labels = torch.nn.functional.one_hot(torch.arange(1000) % 3 % 2, 2).to(torch.uint8)
    index = core.labelled_subset(labels, fraction, seed=0)
    assert len(index) == len(set(index)) == round(1000 * fraction)
    share = labels[index].float().mean(0)
    assert (share - labels.float().mean(0)).abs().max() <= 1 / len(index) + 1e-6
    assert (index == core.labelled_subset(labels, fraction, seed=0)).all()
    assert (index != core.labelled_subset(labels, fraction, seed=1)).any()
    assert index.max() > 900  # not the first rows of the file


# --- fit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", core.MODELS)
def test_training_lowers_the_loss_and_records_every_term(small_data, small_config, kind):
    images, labels = small_data
    model = start(small_config, kind=kind)
    rows = []
    history = fit(model, images, labels, batch_size=20, epochs=8, seed=0, on_epoch=rows.append)
    assert history == rows and [row["epoch"] for row in history] == list(range(1, 9))
    assert {f"labelled_{term}" for term in core.LOSS_TERMS} < set(history[0])
    assert (f"unlabelled_{core.LOSS_TERMS[0]}" in history[0]) == (kind == "MCCVAE")
    assert history[-1]["labelled_reconstruction"] < history[0]["labelled_reconstruction"] - 20


def test_a_mccvae_learns_labels(small_data, small_config):
    images, labels = small_data
    model = start(small_config)
    fit(model, images, labels, batch_size=10, epochs=15, seed=0)
    result = scores.evaluate(model, images, labels, exclusive=True, objective=core.Objective())
    assert result["accuracy"] > 0.95 and result["argmax_accuracy"] > 0.95 and result["majority_accuracy"] == 0.5


def test_partly_labelled_images_count_for_what_is_known(small_data, small_config):
    """A third of the labels is enough to learn them; two labels that are never known together are both learned."""
    images, labels = small_data
    partly = labels.float()
    half = torch.arange(60) // 2 % 2 == 0
    partly[half, 0] = partly[~half, 1] = math.nan
    partly[::5] = math.nan
    model = start(small_config)
    options = {"estimator": "rao-blackwell", "label_weight": 900.0, "by_turns": False}
    history = fit(model, images, partly, batch_size=20, epochs=10, seed=0, learning_rate=1e-3, **options)
    assert scores.classification_scores(core.predict(model, images), labels, exclusive=True)["accuracy"] > 0.9
    assert "unlabelled_loss" not in history[-1]
    for kind, options in (("MCCVAE", {"estimator": "official"}), ("ConditionalVAE", {})):
        with pytest.raises(ValueError, match="72 are missing"):
            fit(start(small_config, kind=kind), images, partly, batch_size=20, epochs=1, seed=0, **options)


def test_same_seed_same_weights_other_seed_other_weights(small_data, small_config):
    images, labels = small_data
    trained = []
    for seed in (0, 0, 1):
        model = start(small_config, seed)
        fit(model, images, labels, batch_size=20, epochs=2, seed=seed)
        trained.append(flat(model))
    assert torch.equal(trained[0], trained[1]) and not torch.equal(trained[0], trained[2])


@pytest.mark.parametrize(
    ("estimator", "fraction"), [("official", 1.0), ("official", 0.2), ("rao-blackwell", 1.0), ("rao-blackwell", 0.2)]
)
def test_an_interrupted_training_ends_in_the_same_weights_bit_for_bit(
    small_data, small_config, tmp_path, estimator, fraction
):
    images, labels = small_data
    options = {
        "estimator": estimator,
        "batch_size": 20,
        "seed": 3,
        "labelled_fraction": fraction,
        "identity": {"a": [1]},
    }
    whole = start(small_config)
    history = fit(whole, images, labels, epochs=4, **options)
    path = tmp_path / "checkpoint.safetensors"

    class Stop(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(start(small_config), images, labels, epochs=4, checkpoint=path, on_epoch=stop, **options)
    resumed = start(small_config, seed=99)  # its own start is overwritten
    again = fit(resumed, images, labels, epochs=4, checkpoint=path, **options)
    assert torch.equal(flat(whole), flat(resumed))
    strip = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]  # noqa: E731
    assert strip(history) == strip(again)


def test_a_checkpoint_of_another_run_is_refused_and_nothing_loaded(small_data, small_config, tmp_path):
    images, labels = small_data
    path = tmp_path / "checkpoint.safetensors"
    fit(
        start(small_config), images, labels, batch_size=20, epochs=1, seed=0, checkpoint=path, identity={"k": 1, "s": 2}
    )
    model = start(small_config, seed=5)
    before = flat(model)
    with pytest.raises(weights.CheckpointError, match="k 1 there, 3 here"):
        fit(model, images, labels, batch_size=20, epochs=2, seed=0, checkpoint=path, identity={"k": 3, "s": 2})
    assert torch.equal(before, flat(model))
    whole, metadata = weights.read_safetensors(path)
    part = tmp_path / "part"
    for lacking in ("log_px", "noise", "model.classifier_weight", "adam.0.exp_avg_sq"):
        weights.write_safetensors(part, {k: v for k, v in whole.items() if k != lacking}, metadata)
        with pytest.raises(weights.CheckpointError, match=f"no whole checkpoint .'?{lacking}"):
            fit(model, images, labels, batch_size=20, epochs=2, seed=0, checkpoint=part, identity={"k": 1, "s": 2})
    for changed in (
        {"log_px": whole["log_px"][1:]},
        {"noise": whole["noise"] * 0 + 255},
        {"adam.x.step": torch.zeros(())},
        {"adam.999.step": torch.zeros(())},
    ):
        weights.write_safetensors(part, whole | changed, metadata)
        with pytest.raises(weights.CheckpointError, match="no whole checkpoint"):
            fit(model, images, labels, batch_size=20, epochs=2, seed=0, checkpoint=part, identity={"k": 1, "s": 2})
    for changed in ({"history": [1]}, {"history": None}, {"seconds": None}, {"identity": 3}):
        weights.write_safetensors(part, whole, metadata | changed)
        with pytest.raises(weights.CheckpointError, match="no whole checkpoint"):
            fit(model, images, labels, batch_size=20, epochs=2, seed=0, checkpoint=part, identity={"k": 1, "s": 2})
    assert torch.equal(before, flat(model))


@pytest.mark.parametrize("damage", ["truncated", "a bit changed", "empty", "gone"])
def test_a_broken_checkpoint_is_named_and_the_one_before_it_used(small_data, small_config, tmp_path, damage):
    images, labels = small_data
    path = tmp_path / "checkpoint.safetensors"
    whole, options = start(small_config), {"batch_size": 20, "seed": 0}
    fit(whole, images, labels, epochs=3, **options)
    fit(start(small_config), images, labels, epochs=2, checkpoint=path, **options)
    content = bytearray(path.read_bytes())
    if damage == "a bit changed":
        content[-1000] ^= 1
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b""}.get(damage, content))
    resumed = start(small_config, seed=9)
    if damage == "gone":
        path.unlink()
        fit(resumed, images, labels, epochs=3, checkpoint=path, **options)
    else:
        with pytest.warns(
            UserWarning, match=r"checkpoint\.safetensors (can't be read|is damaged).* goes on from the one before it"
        ):
            fit(resumed, images, labels, epochs=3, checkpoint=path, **options)
    assert torch.equal(flat(whole), flat(resumed))
    if damage != "gone":  # the good one stays, whatever happens to the next that is written
        good = weights.one_before(path).read_bytes()
        path.write_bytes(b"nothing")
        with pytest.warns(UserWarning, match="goes on from the one before it"), pytest.MonkeyPatch.context() as full:
            full.setattr(weights, "write_safetensors", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OSError, match="disk full"):
                fit(resumed, images, labels, epochs=3, checkpoint=path, **options)
        assert weights.one_before(path).read_bytes() == good
    for file in (path, weights.one_before(path)):
        file.write_bytes(b"nothing")
    with pytest.raises(
        weights.CheckpointError,
        match=r"checkpoint\.safetensors can't be read.*checkpoint\.before\.safetensors can't be read",
    ):
        fit(resumed, images, labels, epochs=4, checkpoint=path, **options)


@pytest.mark.parametrize(("estimator", "fraction"), [("official", 0.3), ("rao-blackwell", 1.0)])
def test_a_long_epoch_goes_on_from_within(small_data, small_config, tmp_path, monkeypatch, estimator, fraction):
    images, labels = small_data
    path = tmp_path / "checkpoint.safetensors"
    options = {
        "batch_size": 16,
        "epochs": 2,
        "seed": 4,
        "estimator": estimator,
        "labelled_fraction": fraction,
        "identity": {"a": 1},
    }
    whole = start(small_config)
    history = fit(whole, images, labels, **options)
    monkeypatch.setattr(weights, "CHECKPOINT_SECONDS", -1)  # after every batch
    batches, step = [], core._train_batch

    def stop_at(count):
        def batch(*arguments):
            if len(batches) == count:
                raise KeyboardInterrupt
            batches.append(step(*arguments))

        return batch

    # within the first epoch, again, and within a later one
    for count, seed in ((2, {}), (3, {"seed": 7}), (6, {"seed": 8})):
        monkeypatch.setattr(core, "_train_batch", stop_at(count))
        with pytest.raises(KeyboardInterrupt):
            fit(start(small_config, **seed), images, labels, checkpoint=path, **options)
    monkeypatch.setattr(core, "_train_batch", stop_at(None))
    resumed = start(small_config, seed=99)
    again = fit(resumed, images, labels, checkpoint=path, **options)
    assert len(batches) == 2 * len(core.epoch_batches(len(images), 16, None, 0, 1))  # none was done twice
    assert torch.equal(flat(whole), flat(resumed))
    strip = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]  # noqa: E731
    assert strip(history) == strip(again) and all(row["seconds"] > 0 for row in again)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_checkpoint(small_data, small_config, tmp_path):
    images, labels = small_data
    path = tmp_path / "checkpoint.safetensors"
    model = start(small_config)
    fit(model, images, labels, batch_size=20, epochs=1, seed=0, checkpoint=path)
    good = path.read_bytes()

    model.log_px = lambda x, z: core.VAE.log_px(model, x, z) * math.nan
    with pytest.raises(
        core.TrainingError, match=r"epoch 2, batch 1: loss, loss_alpha0, reconstruction.*checkpoint.* is kept"
    ):
        fit(model, images, labels, batch_size=20, epochs=3, seed=0, checkpoint=path)
    assert path.read_bytes() == good and all(value.isfinite().all() for value in model.state_dict().values())


def test_weights_that_are_not_finite_are_not_saved(small_data, small_config, tmp_path):
    images, labels = small_data
    path = tmp_path / "checkpoint.safetensors"
    model = start(small_config)
    fit(model, images, labels, batch_size=20, epochs=1, seed=0, checkpoint=path)
    good = path.read_bytes()
    state = core.TrainingState(model, torch.optim.Adam(model.parameters()), torch.zeros(len(images)), torch.Generator())
    model.encoder.loc.bias.data[0] = math.inf
    with pytest.raises(core.TrainingError, match=r"encoder\.loc\.bias are not finite"):
        weights.save_checkpoint(path, state, None)
    assert path.read_bytes() == good


def test_a_batch_whose_weights_vanish_counts_for_no_images():
    w = torch.zeros(3)
    empty = core.LossTerms.of(core.Objective(), reconstruction=torch.ones(3), weight=w)
    small = core.LossTerms.of(core.Objective(), reconstruction=torch.ones(2), weight=torch.tensor([1e-30, 1e-30]))
    assert empty.ess == 0 and small.ess == pytest.approx(2)
    assert core._means([(3, empty.values())])["ess"] == 0 and core._means([(2, small.values()), (3, empty.values())])[
        "ess"
    ] == pytest.approx(2)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (lambda x: x.float(), lambda y: y, "uint8"),
        (lambda x: x[:, :, :32, :32], lambda y: y, "60, 60"),
        (lambda x: x, lambda y: y[:10], "labels must be"),
        (lambda x: x, lambda y: y.float() * 0.5, "label 0 is binary: it must be 0, 1 or NaN"),
        (lambda x: x, lambda y: torch.full(y.shape, math.nan), "120 are missing"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(small_data, small_config, images, labels, message):
    with pytest.raises(ValueError, match=message):
        fit(start(small_config), images(small_data[0]), labels(small_data[1]), batch_size=20, epochs=1, seed=0)


@pytest.mark.parametrize(
    ("labels", "fraction"), [([[1, 0], [0, 1]], 1.0), ([[1, 0], [0, 1]], 0.5), ([[1, 0], [1, 0]], 1.0)]
)
@pytest.mark.parametrize("estimator", core.ESTIMATORS)
def test_one_image_a_class_a_constant_label_and_a_batch_larger_than_the_data_train(
    small_data, small_config, labels, fraction, estimator
):
    images, labels = small_data[0][:2], torch.tensor(labels, dtype=torch.uint8)
    model = start(small_config)
    options = {"batch_size": 64, "epochs": 2, "seed": 0, "estimator": estimator, "labelled_fraction": fraction}
    history = fit(model, images, labels, block_penalty=0.0 if estimator == "official" else 2.0, **options)
    assert len(history) == 2 and all(math.isfinite(value) for row in history for value in row.values())
    result = scores.evaluate(model, images, labels, exclusive=True, objective=core.Objective(estimator))
    assert result["n"] == 2 and math.isfinite(result["loss"]["loss_alpha0"])


def test_a_device_that_is_asked_for_and_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.choose_device() == torch.device("cuda:0")
    for wanted, device in (("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")):
        monkeypatch.setenv("MCCVAE_DEVICE", wanted)
        assert machine.choose_device() == torch.device(device)
    for wanted in ("cuda:2", "tpu", "cuda:x"):
        monkeypatch.setenv("MCCVAE_DEVICE", wanted)
        with pytest.raises(
            ValueError, match=rf"asks for '{wanted}', which is not on this machine; there are: cuda:0, cuda:1, .*cpu"
        ):
            machine.choose_device()


def test_epoch_means_weigh_images_not_batches():
    def terms(value, weight):
        n = len(weight)
        return core.LossTerms.of(
            core.Objective(), reconstruction=torch.full((n,), value), kl_style=torch.zeros(n), weight=weight
        ).values()

    weight = torch.tensor([0.5, 1.0, 2.0, 0.1])
    means = core._means([(3, terms(1.0, weight[:3])), (1, terms(5.0, weight[3:]))])
    assert means["reconstruction"] == pytest.approx(2.0)
    assert means["mean_weight"] == pytest.approx(weight.mean().item())
    assert means["ess"] == pytest.approx((weight.sum() ** 2 / (weight**2).sum()).item(), rel=1e-6)


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", core.MODELS)
def test_a_saved_model_comes_back_the_same(small_config, tmp_path, kind):
    model = start(small_config, kind=kind)
    weights.save_model(tmp_path / "m.safetensors", model)
    loaded = weights.load_model(tmp_path / "m.safetensors")
    assert type(loaded) is type(model) and loaded.config == model.config and torch.equal(flat(model), flat(loaded))
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04K\x01.", b"\xff" * 64])
def test_a_file_that_holds_no_model_is_named(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(weights.CheckpointError, match=r"m\.safetensors"):
        weights.load_model(path)


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x"]


# --- evaluation ---------------------------------------------------------------------------------------------------


def test_scores_by_hand():
    labels = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]])
    probabilities = torch.tensor([[0.9, 0.1, 0.2], [0.4, 0.3, 0.1], [0.8, 0.9, 0.0], [0.1, 0.7, 0.2]])
    s = scores.classification_scores(probabilities, labels, exclusive=True)
    assert s["accuracy"] == pytest.approx(10 / 12)
    assert s["majority_accuracy"] == pytest.approx((3 + 3 + 4) / 12)
    assert s["exact_match"] == 0.5 and s["majority_exact_match"] == 0.75
    assert s["argmax_accuracy"] == 0.75 and s["majority_argmax_accuracy"] == 0.75
    assert (
        s["argmax_balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
        and s["majority_argmax_balanced_accuracy"] == 0.5
    )
    first, second = (2 / 3 + 1) / 2, (1 + 2 / 3) / 2
    assert s["balanced_accuracy"] == pytest.approx((first + second) / 2)  # the third label is never 1
    assert s["by_label"]["balanced_accuracy"][2] is None and s["by_label"]["positives"] == [3, 1, 0]
    assert "argmax_accuracy" not in scores.classification_scores(probabilities, labels, exclusive=False)


def test_labels_that_are_not_known_count_in_no_score():
    nan = math.nan
    probabilities = torch.tensor([[0.9, 0.2], [0.8, 0.6], [0.1, 0.4], [0.3, 0.9]])
    labels = torch.tensor([[1, 0], [0, nan], [nan, 0], [1, nan]])
    s = scores.classification_scores(probabilities, labels, exclusive=False)
    # the first alone is known whole
    assert s["n"] == 4 and s["accuracy"] == pytest.approx(3 / 5) and s["exact_match"] == 1
    assert s["majority_accuracy"] == pytest.approx(4 / 5) and s["majority_exact_match"] == 1
    assert s["balanced_accuracy"] == pytest.approx((1 / 2 + 0) / 2)  # the second label is never 1
    assert s["by_label"]["accuracy"] == pytest.approx([1 / 3, 1]) and s["by_label"][
        "majority_accuracy"
    ] == pytest.approx([2 / 3, 1])
    assert s["by_label"]["positives"] == [2, 0] and s["by_label"]["balanced_accuracy"] == [pytest.approx(1 / 4), None]
    nothing_whole = scores.classification_scores(probabilities[1:], labels[1:], exclusive=False)
    assert nothing_whole["exact_match"] is None and nothing_whole["majority_exact_match"] is None


def test_the_majority_is_that_of_the_reference():
    labels = torch.tensor([[1], [1], [0]])
    s = scores.classification_scores(
        torch.zeros(3, 1), labels, exclusive=False, reference=torch.tensor([[0], [0], [1]])
    )
    assert s["majority_accuracy"] == pytest.approx(1 / 3) and s["accuracy"] == pytest.approx(1 / 3)


def test_prediction_is_at_the_posterior_mean_or_at_draws(small_data, small_config):
    images, _ = small_data
    model = start(small_config)
    x = core.to_images(images)
    with torch.no_grad():
        q = model.encode(x)
        torch.testing.assert_close(
            core.predict(model, images, batch_size=7), model.label_logits(model.split(q.loc)[0]).sigmoid()
        )
        draws = torch.stack([core.predict(model, images, sampled=True, seed=s) for s in range(40)]).logit().mean(0)
        torch.testing.assert_close(draws, model.label_logits(model.split(q.loc)[0]), atol=0.9, rtol=0)
    assert torch.equal(
        core.predict(model, images, sampled=True, seed=1), core.predict(model, images, sampled=True, seed=1)
    )


def test_the_posterior_and_reconstructions_are_those_of_all_images_in_order(small_data, small_config):
    images, labels = small_data
    for kind in core.MODELS:
        model = start(small_config, kind=kind)
        q, x = core.posterior(model, images, batch_size=7), core.to_images(images)
        with torch.no_grad():
            whole = model.encode(x)
            given = (labels.float(),) if kind == "ConditionalVAE" else ()
            drawn = model.decode(whole.loc, *given)
        torch.testing.assert_close((q.loc, q.scale), (whole.loc, whole.scale), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(core.reconstruct(model, images, labels, batch_size=7), drawn, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 60, 60), (3, 64, 48)], ids=str)
def test_structural_similarity_is_that_of_torchmetrics(size):
    rng = torch.Generator().manual_seed(2)
    first = torch.nn.functional.interpolate(
        torch.rand(4, size[0], 6, 6, generator=rng), size[1:], mode="bicubic"
    ).clamp(0, 1)
    second = (first + 0.1 * torch.randn(first.shape, generator=rng)).clamp(0, 1)
    theirs = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none")
    torch.testing.assert_close(scores.structural_similarity(first, second), theirs, rtol=0, atol=1e-4)
    assert theirs.max() < 0.95


@pytest.mark.parametrize("kind", core.MODELS)
def test_an_evaluation_that_encodes_once_has_the_numbers_of_one_that_does_not(
    small_data, small_config, kind, monkeypatch
):
    images, labels = (part.repeat(5, *[1] * (part.dim() - 1)) for part in small_data)  # more than a batch
    model = start(small_config, kind=kind)
    encoder = model.encoder
    found = scores.evaluate(model, images, labels, exclusive=True, objective=core.Objective("official"))
    assert model.encoder is encoder
    monkeypatch.setattr(scores, "_encoded_once", lambda *_: contextlib.nullcontext())
    again = scores.evaluate(model, images, labels, exclusive=True, objective=core.Objective("official"))
    again["bound"] = core.evaluate_loss(model, images, labels)
    # the encoder's batches are others: equal to the bit on some processors alone
    first, second = (pd.json_normalize(of).iloc[0].explode() for of in (found, again))
    assert first.index.equals(second.index) and first.tolist() == pytest.approx(second.tolist(), rel=1e-5)


def test_pictures_are_scored_as_the_definitions_say(small_data, small_config, monkeypatch):
    images, labels = small_data
    x = core.to_images(images)
    drawn = (0.9 * x + 0.05 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    monkeypatch.setattr(core, "reconstruct", lambda model, some, y: drawn[: len(some)])
    result = scores.picture_scores(None, images[:1], labels[:1])
    a, b = x[0, 0].double(), drawn[0, 0].double()
    assert result["psnr"] == pytest.approx(10 * math.log10(1 / ((a - b) ** 2).mean().item()), rel=1e-5)
    line = torch.exp(-(torch.arange(-5, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = line[:, None] * line / line.sum() ** 2
    mean = lambda v: (v.unfold(0, 11, 1).unfold(1, 11, 1) * window).sum((-1, -2))  # noqa: E731
    va, vb, ab = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2, mean(a * b) - mean(a) * mean(b)
    local = (2 * mean(a) * mean(b) + 1e-4) * (2 * ab + 9e-4) / ((mean(a) ** 2 + mean(b) ** 2 + 1e-4) * (va + vb + 9e-4))
    assert result["ssim"] == pytest.approx(local.mean().item(), rel=0.01)  # ours counts the border's windows in part
    monkeypatch.setattr(core, "reconstruct", lambda model, some, y: core.to_images(some))
    assert scores.picture_scores(None, images, labels, batch_size=50) == {
        "psnr": pytest.approx(100),
        "ssim": pytest.approx(1),
    }


def test_evaluated_loss_is_that_of_all_images_at_label_weight_zero(small_data, small_config):
    images, labels = small_data
    model = start(small_config)
    loss = core.evaluate_loss(model, images, labels, core.Objective(), batch_size=60)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        direct = core.ccvae_loss(model, core.to_images(images), labels.float(), core.Objective(), generator=noise)
    assert loss["loss"] == pytest.approx(direct.loss_alpha0.item(), rel=1e-6)
    split = core.evaluate_loss(model, images, labels, core.Objective(), batch_size=7)
    for term in ("kl_style", "characteristics", "log_py"):  # without noise: the same however it is cut
        assert split[term] == pytest.approx(loss[term], rel=1e-5)


# --- interventions ---------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    config = core.ModelConfig((1, 60, 60), (1, 2, 1), 2, "bernoulli", 0.5)
    model = start(dataclasses.replace(config, start_std=1.0)).eval()
    return model


def test_a_walk_moves_its_own_block_between_the_ends_of_the_conditional_prior(model):
    z = torch.randn(6, generator=torch.Generator().manual_seed(0))
    walk = core.latent_walk(model, z, {1: 1}, steps=5)
    moved = (walk.z != z).any(0)
    assert moved.tolist() == [False, True, True, False, False, False]
    for j in (1, 2):
        p0, p1 = (model.conditional_prior(torch.full((1, 3), v)) for v in (0.0, 1.0))
        sign = 1 if p1.loc[0, j] > p0.loc[0, j] else -1
        ends = (p0.loc[0, j] - sign * 2 * p0.scale[0, j], p1.loc[0, j] + sign * 2 * p1.scale[0, j])
        torch.testing.assert_close(walk.z[:, j], torch.linspace(ends[0].item(), ends[1].item(), 5))
    torch.testing.assert_close(walk.images, model.decode(walk.z))
    torch.testing.assert_close(walk.probabilities, model.label_logits(walk.z[:, :4]).sigmoid())
    torch.testing.assert_close(walk.reencoded, model.label_logits(model.encode(walk.images).loc[:, :4]).sigmoid())
    back = core.latent_walk(model, z, {1: 0}, steps=5)
    torch.testing.assert_close(back.z, walk.z.flip(0))


def test_one_latent_of_a_block_can_be_walked_alone_and_many_starts_at_once(model):
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    walk = core.latent_walk(model, z, {1: 1, 0: 0}, within=0, steps=4)
    assert walk.z.shape == (4, 3, 6) and walk.images.shape == (4, 3, 1, 60, 60) and walk.reencoded.shape == (4, 3, 3)
    assert (walk.z != z).flatten(0, 1).any(0).tolist() == [True, True, False, False, False, False]
    single = core.latent_walk(model, z[2], {1: 1, 0: 0}, within=0, steps=4)
    torch.testing.assert_close(single.images, walk.images[:, 2])


def test_effects_are_means_over_the_ends_of_the_walks(model):
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    effects = block_effects.intervention_effects(model, z, {0: 0, 1: 1})
    walk = core.latent_walk(model, z, {0: 0, 1: 1}, steps=7)
    change = walk.reencoded[-1] - walk.reencoded[0]
    assert effects["moved"] == pytest.approx(((change[:, 1] - change[:, 0]) / 2).mean().item(), abs=1e-6)
    assert effects["others"] == pytest.approx(change[:, 2].abs().mean().item(), abs=1e-6)
    assert effects["pixels"] == pytest.approx((walk.images[-1] - walk.images[0]).abs().mean().item(), abs=1e-6)


@pytest.mark.parametrize(("towards", "within"), [({3: 1}, None), ({-1: 1}, None), ({1: 1}, 2), ({0: 1}, 1)])
def test_a_walk_of_what_is_not_there_is_refused(model, towards, within):
    with pytest.raises(ValueError, match="label"):
        core.latent_walk(model, torch.zeros(6), towards, within=within)


def test_swapping_exchanges_the_named_blocks_alone(model):
    a, b = torch.arange(6.0), 10 + torch.arange(6.0)
    new_a, new_b = core.swap_characteristics(model, a, b, [1, 2])
    assert new_a.tolist() == [0, 11, 12, 13, 4, 5] and new_b.tolist() == [10, 1, 2, 3, 14, 15]
    assert a.tolist() == list(range(6))


def test_generation_draws_characteristics_from_the_conditional_prior(model, monkeypatch):
    y = torch.tensor([[1.0, 0.0, 1.0]]).repeat(20_000, 1)
    monkeypatch.setattr(model, "decode", lambda z: z)
    z = core.generate(model, y, generator=torch.Generator().manual_seed(0))
    prior = model.conditional_prior(y[:1])
    torch.testing.assert_close(z.mean(0), torch.cat([prior.loc[0], torch.zeros(2)]), atol=0.06, rtol=0)
    torch.testing.assert_close(z.std(0), torch.cat([prior.scale[0], torch.ones(2)]), atol=0.05, rtol=0)


def test_a_conditional_vae_generates_from_labels(small_config):
    model = start(small_config, kind="ConditionalVAE")
    a, b = (
        core.generate(model, torch.tensor([y]), generator=torch.Generator().manual_seed(0))
        for y in ([1.0, 0.0], [0.0, 1.0])
    )
    assert a.shape == (1, 1, 60, 60) and not torch.equal(a, b)
