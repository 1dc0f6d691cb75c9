"""What makes a run stale, what does not, and in which precision it is computed."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from conftest import fit
from support import code_identity, machine
from support.commands import guard
from support.measures import gradients

import mccvae_core as core
from data.common import Dataset, Split
from data.files import digest_arrays
from data.mnist import TASK

SOURCE = '''"""Module."""
import math

LIMIT = 3  # a number


def area(r, *, f=1):
    """Area of a circle."""
    if r < 0:
        raise ValueError(f"r is {r:.2f}, {'below'} 0")
    return f * math.pi * r**2
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Area of a circle."""', '"""The area.\n\n    More words.\n    """'),
        ('"""Module."""', '"""Another module."""'),
        ("  # a number", ""),
        ("LIMIT = 3", "# a comment of its own\n\n\nLIMIT = 3"),
        ("(r, *, f=1)", "(\n    r, *, f=1\n)"),
        ("        raise", "        # why\n        raise"),
    ],
)
def test_words_and_line_breaks_make_no_run_stale(old, new):
    assert old in SOURCE
    assert code_identity.tokens_sha256(SOURCE) == code_identity.tokens_sha256(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r**2", "r**3"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("r is {r:.2f}", "r = {r:.2f}"),
        ("    return", "        return"),
        ("'below'", "'under'"),
        ('    """Area of a circle."""\n', '    x = """Area of a circle."""\n'),
    ],
)
def test_what_is_computed_makes_a_run_stale(old, new):
    assert old in SOURCE
    assert code_identity.tokens_sha256(SOURCE) != code_identity.tokens_sha256(SOURCE.replace(old, new))


def test_the_core_has_a_hash_and_a_word_in_it_changes_none():
    source = code_identity.CORE.read_text()
    words = source.replace("Read it\nfrom top to bottom", "Read\nit slowly")
    assert words != source and code_identity.tokens_sha256(words) == code_identity.code_version()
    assert code_identity.tokens_sha256(source.replace("eps = (u - mu)", "eps")) == code_identity.code_version()
    assert code_identity.tokens_sha256(source.replace("r2 * eps**2", "r2 * eps**3")) != code_identity.code_version()


def dataset(**changes):
    """Three splits of two drawn images."""
    values = {"pixel": 0, "label": 0, "name": "a"} | changes
    images = torch.zeros(2, 1, 60, 60, dtype=torch.uint8)
    images[0, 0, 0, 0] = values["pixel"]
    labels = torch.eye(10, dtype=torch.uint8)[[values["label"], 1]]
    split = Split(images, labels, np.array([values["name"], "b"]))
    raw = digest_arrays(images.numpy())
    return Dataset(TASK, "real", False, TASK.labels, "", split, split, split, f"file {values}", raw)


def test_a_changed_byte_label_or_split_makes_a_run_stale_and_a_repacked_file_does_not():
    identity = {
        "task": "mnist",
        "data": dataset().summary(),
        "precision": "float32",
        "code": code_identity.code_version(),
    }
    assert code_identity.differences(identity, identity) == []
    repacked = copy.deepcopy(identity)
    repacked["data"]["sha256"] = "another file with the same arrays"
    assert code_identity.differences(repacked, identity) == []
    for change in ({"pixel": 1}, {"label": 2}, {"name": "c"}):
        other = identity | {"data": dataset(**change).summary()}
        assert code_identity.differences(other, identity) == ["data: other content"]


def test_a_record_of_before_stays_valid_for_its_task_alone():
    identity = {
        "task": "mnist",
        "data": dataset().summary(),
        "precision": "float32",
        "start": "ones",
        "code": code_identity.code_version(),
    }
    earlier = next(code for code, task in code_identity.EARLIER.items() if task == "mnist")
    record = {"task": "mnist", "data": {k: v for k, v in identity["data"].items() if k != "content"}, "code": earlier}
    assert code_identity.differences(record, identity) == []
    assert code_identity.differences(record, identity | {"precision": "bf16"}) == [
        "precision: 'float32' there, 'bf16' now"
    ]
    assert code_identity.differences(record | {"code": "0" * 64}, identity) == [
        "code: the core's equations have changed since"
    ]
    assert (
        code_identity.differences(record, identity | {"task": "celeba"})[-1]
        == "code: the core's equations have changed since"
    )


def test_the_core_computes_what_it_did():
    """Equal to the bit on the platforms of guard.json, in sum everywhere. Made anew, in notebooks/, by
    `python -m support.commands.guard`."""
    known = json.loads((code_identity.ROOT / "tests" / "guard.json").read_text())
    now = guard.digests()
    exact = known.get(guard.platform_class())
    for case, (digest, total) in now.items():
        assert exact is None or exact[case][0] == digest, case
        assert all(total == pytest.approx(values[case][1], abs=1.0) for values in known.values()), case


# --- precision ----------------------------------------------------------------------------------------------------


def test_the_first_run_of_a_folder_decides_on_the_precision_of_all(tmp_path, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(machine, "probe", lambda device: "bf16")
    assert machine.precision_of(tmp_path / "a", cpu) == "bf16"
    monkeypatch.setattr(machine, "probe", lambda device: "float32")
    assert machine.precision_of(tmp_path / "a", cpu) == "bf16"  # a later probe changes nothing
    monkeypatch.setenv("MCCVAE_PRECISION", "float32")
    assert machine.precision_of(tmp_path / "b", cpu) == "float32"
    with pytest.raises(
        machine.MachineError, match="the runs in a are computed in bf16, and MCCVAE_PRECISION asks for float32"
    ):
        machine.precision_of(tmp_path / "a", cpu)
    (tmp_path / "a" / "precision").unlink()  # the remedy
    assert machine.precision_of(tmp_path / "a", cpu) == "float32"
    monkeypatch.setenv("MCCVAE_PRECISION", "float16")
    with pytest.raises(machine.MachineError, match="auto, float32 or bf16, not 'float16'"):
        machine.precision_of(tmp_path / "a", cpu)


def test_the_probe_answers_within_its_time():
    assert machine.probe(torch.device("cpu"), seconds=0.5) in core.PRECISIONS
    assert machine.probe(torch.device("cpu"), seconds=0.0) == "float32"


@pytest.fixture(scope="module")
def trained():
    """An MCCVAE that has learnt a little, with images and labels."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.randint(0, 80, (64, 1, 60, 60), generator=rng) + 120 * labels[:, None, None, None]
    images, labels = images.to(torch.uint8), torch.nn.functional.one_hot(labels, 2).to(torch.uint8)
    model = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (2, 2), 4, "bernoulli", 0.5), seed=0)
    fit(model, images, labels, batch_size=16, epochs=12, seed=0, learning_rate=1e-3)
    return model, images, labels


def gradient_draws(model, images, labels, precision, seeds):
    """The gradient of a step, for each seed on a random batch and with random noise."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        batch = torch.randperm(len(images), generator=generator)[:16]
        with core.computing_in(model, precision):
            terms = core.ccvae_loss(
                model, core.to_images(images[batch]), labels[batch].float(), core.Objective(), generator=generator
            )
        rows.append(torch.cat(list(gradients._gradient(terms.loss, model).values())))
    return torch.stack(rows)


def test_bf16_moves_the_gradient_by_less_than_a_tenth_of_its_sampling_noise(trained):
    """The same batches and noise in both precisions, against the scatter of the gradient over batches and noise."""
    exact, rough = (gradient_draws(*trained, precision, range(8)) for precision in core.PRECISIONS)
    error = (rough - exact).norm(dim=1).mean()
    noise = (exact - exact.mean(0)).norm(dim=1).mean()
    assert 0 < error < 0.1 * noise, (error, noise)


def test_bf16_changes_log_px_by_less_than_a_thousandth(trained):
    model, images, _ = trained
    x = core.to_images(images)
    with torch.no_grad():
        z = model.encode(x).loc
        exact = model.log_px(x, z)
        with core.computing_in(model, "bf16"):
            rough = model.log_px(x, z)
            assert not torch.equal(model.encode(x).loc, z) and rough.dtype == torch.float32
    assert 0 < ((rough - exact) / exact).abs().max() < 1e-3
    assert torch.equal(model.encode(x).loc, z)  # float32 again


@pytest.mark.parametrize("kind", ["VAE", "MCCVAE"])
def test_a_bf16_training_resumes_bit_for_bit_and_measures_in_float32(trained, tmp_path, kind):
    images, labels = trained[1][:24], trained[2][:24]
    config = core.ModelConfig((1, 60, 60), (1, 2), 2, "bernoulli", 0.5)
    start = lambda: core.build_model(kind, config, seed=1)  # noqa: E731
    options = {"batch_size": 16, "seed": 3, "precision": "bf16", "validation": (images[:8], labels[:8])}
    whole, parted, path = start(), start(), tmp_path / "checkpoint.safetensors"
    history = fit(whole, images, labels, epochs=2, **options)
    fit(parted, images, labels, epochs=1, checkpoint=path, **options)
    again = fit(parted, images, labels, epochs=2, checkpoint=path, **options)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parted.parameters(), strict=True))
    assert history[-1]["validation_bound"] == again[-1]["validation_bound"]
    assert history[-1]["validation_bound"] == core.evaluate_loss(whole, images[:8], labels[:8])["loss"]
    plain = start()
    fit(plain, images, labels, epochs=2, **options | {"precision": "float32"})
    assert not torch.equal(plain.encoder.loc.weight, whole.encoder.loc.weight)


def test_the_weights_with_the_lowest_validation_loss_are_kept(trained, monkeypatch):
    """The loss of epoch 5 is made the lowest; those weights come back, not the last ones."""
    _, images, labels = trained
    model = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (1, 2), 2, "bernoulli", 0.5), seed=1)
    losses, seen = iter([3.0, 1.0, 2.0]), []

    def loss(model, *_):
        seen.append(copy.deepcopy(model.state_dict()))
        return {"loss": next(losses)}

    monkeypatch.setattr(core, "evaluate_loss", loss)
    monkeypatch.setattr(core, "VALIDATE_EVERY", 2)
    validation = (images[:8], labels[:8])
    state = core.fit(model, images, labels, core.Objective(), batch_size=32, epochs=5, seed=0, validation=validation)
    assert [row.get("validation_bound") for row in state.history] == [None, 3.0, None, 1.0, 2.0]
    assert (state.best.epoch, state.best.loss) == (4, 1.0)
    assert all(torch.equal(state.best.weights[name], value) for name, value in seen[1].items())
    assert any(not torch.equal(state.best.weights[name], value) for name, value in seen[2].items())


def test_a_loss_that_breaks_down_on_a_device_that_is_not_waited_for_is_named_before_anything_is_kept():
    model = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (1, 2), 2, "bernoulli", 0.5), seed=1)
    state = core.TrainingState(model, None, torch.zeros(4), torch.Generator())
    good = torch.ones(len(core.LOSS_TERMS))
    state.batches = [(True, 4, good)] * 3 + [(True, 4, good * math.nan)] + [(True, 4, good)]
    with pytest.raises(core.TrainingError, match="epoch 1, batch 4: loss, "):
        core._check_finite(state)
