"""`python -m support.commands.guard`: a guard of numerics. The weights after a few steps on drawn data, as digests.

The core may be rewritten without a change of what it computes. Weights are equal to the bit only on one class of
platform (processor family, instruction set, torch), so the digests of tests/guard.json stand by class, and sums of the
weights stand for all."""

import hashlib
import json
import platform

import torch

import mccvae_core as core

CONFIG = {"characteristics": (1, 2, 3), "style_dim": 4, "label_prior": 0.3}
SHAPES = {"grey": ((1, 60, 60), "bernoulli"), "colour": ((3, 64, 64), "laplace")}
UNBIASED = core.Objective("rao-blackwell", label_weight=100.0)
CASES = {  # name: kind of model, what differs in its config, objective, what differs in the training
    "vae": ("VAE", {}, core.Objective(), {}),
    "cvae": ("ConditionalVAE", {}, core.Objective(), {}),
    "ccvae": ("MCCVAE", {"characteristics": (1, 1, 1)}, core.Objective(), {}),
    "mccvae": ("MCCVAE", {}, core.Objective(), {}),
    "mccvae-rb100": ("MCCVAE", {}, UNBIASED, {}),
    "mccvae-rb0-f.3": ("MCCVAE", {}, core.BOUND, {"labelled_fraction": 0.3}),
    "mccvae-rb0-t1-pfull": ("MCCVAE", {"block_prior": "full"}, core.Objective("rao-blackwell", block_penalty=1.0), {}),
    "mccvae-r.1": ("MCCVAE", {"start_std": 0.1}, core.Objective(), {}),
}


def platform_class() -> str:
    """Where equal code gives equal bits."""
    isa = torch.backends.cpu.get_cpu_capability()
    amx = "AMX" if torch.cpu._is_amx_tile_supported() else "no AMX"
    return f"{platform.machine()}, {isa}, {amx}, torch {torch.__version__.split('+')[0]}"


def trained(shape: str, case: str, precision: str = "float32") -> core.VAE:
    """The model of a case after two epochs of three steps, on one thread."""
    (image_shape, likelihood), (kind, config, objective, options) = SHAPES[shape], CASES[case]
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (96, *image_shape), generator=rng).to(torch.uint8)
    labels = torch.randint(0, 2, (96, 3), generator=rng).to(torch.uint8)
    values = CONFIG | {"image_shape": image_shape, "likelihood": likelihood} | config
    model = core.build_model(kind, core.ModelConfig(**values), seed=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        core.fit(model, images, labels, objective, batch_size=32, epochs=2, seed=1, precision=precision, **options)
    finally:
        torch.set_num_threads(threads)
    return model


def digest(model: core.VAE) -> tuple[str, float]:
    """sha256 of a model's weights, its first 16 digits, and their sum."""
    h, weights = hashlib.sha256(), model.state_dict()
    for name, value in sorted(weights.items()):
        h.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return h.hexdigest()[:16], sum(value.double().sum().item() for value in weights.values())


def digests() -> dict[str, tuple[str, float]]:
    """`digest` of every case, by "<shape> <case>"."""
    return {f"{shape} {case}": digest(trained(shape, case)) for shape in SHAPES for case in CASES}


if __name__ == "__main__":
    print(json.dumps({platform_class(): digests()}, indent=1))
