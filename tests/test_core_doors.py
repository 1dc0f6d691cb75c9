"""What each public door of the core says of input that its docstring excludes, and the example of its docstring."""

import contextlib
import io
import re

import pytest
import torch

import mccvae_core as core

PIXELS = torch.randint(0, 256, (4, 1, 60, 60), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
FLOATS = PIXELS.float() / 255


@pytest.fixture(scope="module")
def model():
    return core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (1, 2), 3, "bernoulli", 0.5), seed=0)


@pytest.mark.parametrize("kind", ["VAE", "MCCVAE"])
def test_a_loss_of_images_from_0_to_255_is_refused(model, kind):
    of_kind = core.build_model(kind, model.config, seed=0)
    loss = core.ccvae_loss if kind == "MCCVAE" else core.vae_loss
    given = (LABELS, core.BOUND) if kind == "MCCVAE" else ()
    with pytest.raises(ValueError, match=re.escape("x must lie in [0, 1]; it goes from 0 to 255")):
        loss(of_kind, PIXELS.float(), *given)
    assert loss(of_kind, FLOATS, *given).loss.isfinite()  # the remedy


@pytest.mark.parametrize("wrong", [PIXELS, PIXELS.float(), FLOATS - 0.5, FLOATS[0], FLOATS.numpy(), FLOATS * torch.nan])
def test_encode_takes_floats_between_0_and_1(model, wrong):
    with pytest.raises(ValueError, match="x must"):
        model.encode(wrong)


@pytest.mark.parametrize("door", [core.posterior, core.predict, core.reconstruct, core.to_images])
def test_what_takes_uint8_takes_nothing_else(model, door):
    given = () if door is core.to_images else (model,)
    with pytest.raises(
        ValueError, match=re.escape("images must be a uint8 tensor, values 0 to 255, not torch.float32")
    ):
        door(*given, FLOATS)
    door(*given, PIXELS)


def test_fit_names_the_type_that_it_got(model):
    with pytest.raises(ValueError, match=re.escape("a uint8 tensor (N, 1, 60, 60), not ndarray (4, 1, 60, 60)")):
        core.fit(model, PIXELS.numpy(), LABELS, core.BOUND, batch_size=2, epochs=1, seed=0)
    with pytest.raises(ValueError, match="labels must be a tensor"):
        core.fit(model, PIXELS, LABELS.numpy(), core.BOUND, batch_size=2, epochs=1, seed=0)


def test_a_kind_of_model_that_is_none_is_named_with_those_that_are(model):
    with pytest.raises(ValueError, match="CCVAE is an MCCVAE whose k_i are all 1"):
        core.build_model("CCVAE", model.config, seed=0)


@pytest.mark.parametrize("towards", [{"Male": 1}, {2: 1}, {-1: 0}, {0: 2}])
def test_a_walk_names_the_label_or_value_that_is_not_there(model, towards):
    with pytest.raises(ValueError, match=r"label must lie between 0 and 1|can go towards 0 or 1"):
        core.latent_walk(model, torch.zeros(6), towards)


def test_the_example_of_the_docstring_runs():
    lines = [line[4:] for line in core.__doc__.splitlines() if line.startswith("    ")]
    first = lines.index("import torch, mccvae_core as core")
    last = max(number for number, line in enumerate(lines) if line.startswith("print("))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec("\n".join(lines[first : last + 1]), {})
    assert "torch.Size([7, 3, 1, 64, 64])" in said.getvalue()
