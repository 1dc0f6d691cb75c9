"""An independent judge of pictures: a network that shares nothing with the models, and what it says of their
pictures."""

import itertools
import math
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mccvae_core as core

from ..weights import CheckpointError, read_safetensors, write_safetensors


class Judge(nn.Module):
    """A small convolutional network that reads labels, and for drawn data the continuous factors, from a picture.

    It shares nothing with the models that it judges. `features` (B, 128) are those of its last hidden layer. Each
    pixel's place is given beside its colour, for it must read places."""

    def __init__(self, image_shape, labels: int, factors: int):
        super().__init__()
        channels = (image_shape[0] + 2, 24, 48, 64, 96)
        layers = [
            m
            for i, o in itertools.pairwise(channels)
            for m in (nn.Conv2d(i, o, kernel_size=4, stride=2, padding=1), nn.BatchNorm2d(o, momentum=0.3), nn.ReLU())
        ]
        side = core._image_sides(image_shape[1])[-1]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * side**2, 128), nn.ReLU())
        self.labels, self.head = labels, nn.Linear(128, labels + factors)
        line = torch.linspace(-1, 1, image_shape[1])
        self.register_buffer("place", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None], persistent=False)
        self.register_buffer("mean", torch.zeros(factors))
        self.register_buffer("sd", torch.ones(factors))

    def features(self, x: Tensor) -> Tensor:
        """Images (B, *image_shape) in [0, 1] -> (B, 128)."""
        return self.layers(
            torch.cat([x, self.place.expand(len(x), -1, -1, -1)], 1).contiguous(memory_format=torch.channels_last)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, *image_shape) in [0, 1] -> label logits (B, L) and factors (B, F)."""
        out = self.head(self.features(x))
        return out[:, : self.labels], self.mean + self.sd * out[:, self.labels :]

    @torch.no_grad()
    def read(self, x: Tensor, batch_size: int = 512) -> tuple[Tensor, Tensor]:
        """Label probabilities (N, L) and factors (N, F), on the CPU, of images (N, *image_shape) in [0, 1]."""
        self.eval()
        logits, factors = zip(*(self(batch) for batch in x.split(batch_size)), strict=True)
        return torch.cat(logits).sigmoid().cpu(), torch.cat(factors).cpu()


def judge_epochs(images: int, steps: int = 1_000, most: int = 30) -> int:
    """Epochs of a judge's training on so many images: about `steps` steps of 64, from 3 to `most` epochs."""
    return min(most, max(3, round(steps * 64 / images)))


def fit_judge(
    images: Tensor, labels: Tensor, factors: Tensor, *, epochs: int, seed: int = 0, batch_size: int = 64
) -> Judge:
    """A judge trained on uint8 images (N, *image_shape), labels (N, L) of 0 and 1 and factors (N, F): Adam, its rate
    going up and down over the `epochs`; labels by cross-entropy, factors, of unit variance, by squares."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(tuple(images.shape[1:]), labels.shape[1], factors.shape[1]).to(memory_format=torch.channels_last)
    if factors.shape[1]:
        judge.mean.copy_(factors.mean(0))
        judge.sd.copy_(factors.std(0).clamp(min=1e-3))
    adam = torch.optim.AdamW(judge.parameters(), weight_decay=0.02, fused=True)
    steps = epochs * math.ceil(len(images) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=3e-3, total_steps=steps)
    rng = np.random.default_rng([seed, 4])
    judge.train()
    for _ in range(epochs):
        for index in np.array_split(rng.permutation(len(images)), math.ceil(len(images) / batch_size)):
            logits, read = judge(core.to_images(images[index]))
            squares = ((read - factors[index]) / judge.sd) ** 2
            loss = F.binary_cross_entropy_with_logits(logits, labels[index].float()) + 3 * squares.sum() / max(
                1, squares.numel()
            )
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            schedule.step()
    return judge.eval()


def save_judge(path: Path, judge: Judge) -> None:
    """A judge in one safetensors file, from which `load_judge` rebuilds it."""
    sizes = {"side": judge.place.shape[-1], "labels": judge.labels, "factors": len(judge.mean)}
    write_safetensors(path, judge.state_dict(), {"judge": sizes})


def load_judge(path: Path) -> Judge:
    """The judge that `save_judge` wrote, on the CPU, in evaluation mode. Raises CheckpointError for a file that holds
    none."""
    tensors, metadata = read_safetensors(Path(path))
    try:
        sizes, channels = metadata["judge"], tensors["layers.0.weight"].shape[1] - 2
        if tensors["head.bias"].shape != (sizes["labels"] + sizes["factors"],) or sizes["side"] not in (60, 64):
            raise ValueError("its sizes are not those of its weights")
        judge = Judge((channels, sizes["side"], sizes["side"]), sizes["labels"], sizes["factors"])
        judge.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} holds no judge of this project ({error})") from None
    return judge.to(memory_format=torch.channels_last).eval()


def judge_scores(judge: Judge, images: Tensor, labels: Tensor, factors: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The judge's own test, on uint8 images: accuracy of each label (L,) and R^2 of each factor (F,)."""
    from sklearn.metrics import r2_score

    p, read = judge.read(core.to_images(images))
    r2 = [r2_score(truth, value) for truth, value in zip(factors.T, read.T, strict=True)]
    return ((p > 0.5) == labels.bool()).float().mean(0).numpy(), np.array(r2)


@torch.no_grad()
def effect_matrix(model: core.MCCVAE, z: Tensor, moves: list[list[int]], judge: Judge) -> tuple[np.ndarray, np.ndarray]:
    """What each move changes, by the judge: means over the starts z (N, Z) of the absolute change of its label
    probabilities (R, L) and of its factors (R, F), when the latents of a move go together from one end of
    `characteristic_range` to the other."""
    rows = []
    for latents in moves:
        ends = []
        for end in (0, 1):
            moved = z.clone()
            for latent in latents:
                moved[:, latent] = core.characteristic_range(model, latent)[end]
            ends.append(judge.read(model.decode(moved)))
        rows.append([(high - low).abs().mean(0).numpy() for low, high in zip(*ends, strict=True)])
    labels, factors = zip(*rows, strict=True)
    return np.stack(labels), np.stack(factors)


@torch.no_grad()
def swap_scores(model: core.MCCVAE, z_a: Tensor, z_b: Tensor, label: int, judge: Judge) -> dict[str, float]:
    """One label's characteristics of images b put into images a, z (N, Z) each: what the judge then sees, against its
    reading of the reconstructions of a and b. Only pairs count whose label it reads differently: `pairs` of them.

    taken: share of these whose label now reads as b's does. kept: share of the other labels that read as a's do. NaN
    without such a pair, as in a model whose pictures don't show the label.
    """
    swapped, _ = core.swap_characteristics(model, z_a, z_b, [label])
    a, b, c = (judge.read(model.decode(z))[0] > 0.5 for z in (z_a, z_b, swapped))
    differ, others = a[:, label] != b[:, label], [i for i in range(a.shape[1]) if i != label]
    taken, kept = (c[:, label] == b[:, label])[differ], (c[:, others] == a[:, others])[differ]
    return {"pairs": int(differ.sum()), "taken": taken.float().mean().item(), "kept": kept.float().mean().item()}


def generation_scores(
    model: core.VAE, images: Tensor, labels: Tensor, judge: Judge, *, seed: int = 0
) -> dict[str, float]:
    """Samples for the label vectors of held-out uint8 images, one each, held against those images.

    accuracy: share of labels that the judge reads as asked for. kid, kid_sd: their `kernel_distance`. diversity:
    variance of the features among pictures of the same label vector, as a share of the real images'; below 1 the
    samples are too alike."""
    device = next(model.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    drawn = core.generate(model, labels.float().to(device), generator=noise).cpu()
    p, _ = judge.read(drawn)
    features = {"real": judge_features(judge, core.to_images(images)), "drawn": judge_features(judge, drawn)}
    kid, kid_sd = kernel_distance(features["real"], features["drawn"], seed=seed)
    _, group = labels.unique(dim=0, return_inverse=True)
    within = {name: _variance_within(f, group) for name, f in features.items()}
    return {
        "n": len(images),
        "accuracy": ((p > 0.5) == labels.bool()).float().mean().item(),
        "kid": kid,
        "kid_sd": kid_sd,
        "diversity": within["drawn"] / within["real"],
    }


def reconstruction_distance(model: core.VAE, images: Tensor, labels: Tensor, judge: Judge) -> float:
    """The `kernel_distance` of reconstructions (`reconstruct`) from the uint8 images that they are of; a little below 0
    where they are the same pictures, since that is an unbiased estimate for sets drawn apart."""
    real, drawn = (judge_features(judge, x) for x in (core.to_images(images), core.reconstruct(model, images, labels)))
    return kernel_distance(real, drawn)[0]


@torch.no_grad()
def judge_features(judge: Judge, images: Tensor, batch_size: int = 512) -> Tensor:
    """`Judge.features` (N, 128), float64, of images (N, *image_shape) in [0, 1]."""
    return torch.cat([judge.features(batch) for batch in images.split(batch_size)]).double()


def kernel_distance(real: Tensor, drawn: Tensor, *, seed: int = 0, subsets: int = 20) -> tuple[float, float]:
    """Kernel inception distance (Binkowski et al. 2018) of features (N, n), in units of the real ones' spread: mean and
    sd over `subsets` of half the images (torchmetrics). 0 in expectation for two samples of the same distribution."""
    from torchmetrics.image.kid import KernelInceptionDistance

    scale = real.std()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features: they are few
        torch.manual_seed(seed)
        kid = KernelInceptionDistance(feature=nn.Identity(), subsets=subsets, subset_size=len(real) // 2).set_dtype(
            torch.float64
        )
        kid.inception.num_features = real.shape[1]
        kid.update(real / scale, real=True)
        kid.update(drawn / scale, real=False)
        mean, sd = kid.compute()
    return mean.item(), sd.item()


def _variance_within(features: Tensor, group: Tensor) -> float:
    """Variance of features (N, n) about the mean of their group (N,), over groups of two and more."""
    total, freedom = 0.0, 0
    for g in group.unique():
        mine = features[group == g]
        if len(mine) > 1:
            total, freedom = total + ((mine - mine.mean(0)) ** 2).sum().item(), freedom + len(mine) - 1
    return total / freedom if freedom else math.nan
