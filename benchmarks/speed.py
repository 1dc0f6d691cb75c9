"""`python benchmarks/speed.py [task] [seconds]`: training speed, images a second, on random images of a task's shape.

Compared within one run, by turns, so that a noisy machine hits all alike: the official loss written straightforwardly
(each labelled image encoded twice, contiguous memory, a DataLoader, Adam a parameter at a time) against this
project's `official` and `rao-blackwell` (one encoding, channels last, fused Adam, uint8 in memory). Batches with and
without labels take turns. Peak memory is the process's so far; the matrix-product rate is float32, 1024x1024. Then what the
cores are best used for: one run on all of them, or a run on each (which is what the Snakefile does). How soon a model
reaches the official one's validation accuracy depends on training, not on speed alone: notebook `objective` has it.
"""

import math
import multiprocessing
import os
import platform
import resource
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import mccvae_core as core
from data import TASKS

IMAGES = 2048


class TwiceEncoding(core.MCCVAE):
    """The official loss as it is usually written: q(y|x) encodes the image again."""

    def loss(self, x, y):
        q = self.encode(x)
        z = q.rsample()
        z_c, _ = self.split(z)
        labelled = not y.isnan().any()
        if not labelled:
            y = torch.bernoulli(self.label_logits(z_c).sigmoid()).detach()
        q_c, q_style = self.split_posterior(q)
        kl = core.kl_standard_normal(q_style) + torch.distributions.kl_divergence(q_c, self.conditional_prior(y)).sum(1)
        f = self.log_px(x, z) - kl - self.log_qyz(y, z_c)
        if not labelled:
            return -(f + self.log_py(y)).mean()
        again, _ = self.split_posterior(self.encode(x))
        log_qyx = self.log_qyz(y, again.rsample((core.OFFICIAL_DRAWS,))).logsumexp(0) - math.log(core.OFFICIAL_DRAWS)
        w = (self.log_qyz(y, z_c.detach()) - log_qyx).exp()
        return -(w * f + log_qyx + self.log_py(y)).mean()


def straightforward(config, images, labels, batch_size):
    """A generator: each step trains on one batch and yields its size."""
    model = TwiceEncoding(config)
    adam = torch.optim.Adam(model.parameters(), lr=core.LEARNING_RATE, foreach=False)
    loader = DataLoader(TensorDataset(images, labels), batch_size, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True)
    turn = 0
    while True:
        for x, y in loader:
            y = y.float() if turn % 2 == 0 else torch.full(y.shape, torch.nan)
            loss = model.loss(x.float() / 255, y)
            adam.zero_grad()
            loss.backward()
            adam.step()
            loss.item()
            turn += 1
            yield len(x)


def ours(config, images, labels, batch_size, estimator):
    """The same, by the core's own pieces as `fit` puts them together."""
    model = core.build_model("MCCVAE", config, seed=0)
    adam = torch.optim.Adam(model.parameters(), lr=core.LEARNING_RATE, fused=True)
    log_px = torch.zeros(len(images))
    epoch = 0
    while True:
        epoch += 1
        for index, labelled in core.epoch_batches(len(images), batch_size, None, seed=0, epoch=epoch):
            index = torch.from_numpy(index)
            y = labels[index].float() if labelled else torch.full((len(index), labels.shape[1]), torch.nan)
            terms = core.ccvae_loss(model, core.to_images(images[index]), y, core.Objective(estimator), log_px[index])
            adam.zero_grad(set_to_none=True)
            terms.loss.backward()
            adam.step()
            log_px[index] = terms.log_px
            yield len(index)


def matrix_rate():
    """float32 multiply-adds a second, of a 1024x1024 product, in GFLOP/s."""
    a = torch.randn(1024, 1024)
    a @ a
    started = time.perf_counter()
    for _ in range(20):
        a @ a
    return 20 * 2 * 1024**3 / (time.perf_counter() - started) / 1e9


def convolution_flops(config):
    """Multiply-adds times two of one forward pass through encoder and decoder, an image."""
    sides = core._image_sides(config.image_shape[1])
    channels = [config.image_shape[0], 32, 32, 64, 128]
    one_way = sum(2 * 16 * i * o * s**2 for i, o, s in zip(channels[:-1], channels[1:], sides[1:], strict=True))
    return 2 * one_way


def random_data(task):
    """The MCCVAE config of a task, random images of its shape and random labels."""
    config = core.ModelConfig(
        task.image_shape, (2,) * len(task.labels), task.style_dim, task.likelihood, task.label_prior or 1 / len(task.labels)
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, *task.image_shape), generator=generator).to(torch.uint8)
    return config, images, torch.randint(0, 2, (IMAGES, len(task.labels)), generator=generator)


def one_run(name, threads, seconds):
    """Images a second of one `rao-blackwell` run on `threads` threads; in a process of its own."""
    torch.set_num_threads(threads)
    steps = ours(*random_data(TASKS[name]), TASKS[name].batch_size, "rao-blackwell")
    next(steps), next(steps)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        count += next(steps) + next(steps)
    return count / (time.perf_counter() - started)


def side_by_side(name, seconds):
    """Images a second of all runs together, for each way to use the cores."""
    cores, spawn = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        multiprocessing.get_context("spawn"),
    )
    for runs, threads in dict.fromkeys([(1, 1), (1, cores), (cores, 1)]):
        with spawn.Pool(runs) as pool:
            speeds = pool.starmap(one_run, [(name, threads, seconds)] * runs, chunksize=1)
        yield f"{runs} run{'s' * (runs > 1)} of {threads} thread{'s' * (threads > 1)}", sum(speeds)


def main(name="celeba", seconds="20"):
    if name not in TASKS:
        sys.exit(f"speed.py: there is no task {name!r}; there are: {', '.join(TASKS)}")
    task = TASKS[name]
    config, images, labels = random_data(task)
    ways = {
        "official, straightforward": straightforward(config, images, labels, task.batch_size),
        "official, ours": ours(config, images, labels, task.batch_size, "official"),
        "rao-blackwell, ours": ours(config, images, labels, task.batch_size, "rao-blackwell"),
    }
    count, spent = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0.0)
    for steps in ways.values():  # warm-up: one labelled and one unlabelled batch
        next(steps), next(steps)
    while max(spent.values()) < float(seconds):
        for way, steps in ways.items():
            started = time.perf_counter()
            count[way] += next(steps) + next(steps)
            spent[way] += time.perf_counter() - started
    speed = {way: count[way] / spent[way] for way in ways}
    rate, flops = matrix_rate(), 3 * convolution_flops(config)  # the backward pass costs about two forward ones
    print(
        f"{task.title}, {'x'.join(map(str, task.image_shape))}, batch {task.batch_size}, {len(task.labels)} labels, k = 2, labelled and unlabelled by turns"
    )
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}; matrix product {rate:.0f} GFLOP/s"
    )
    print(f"{'':28}{'images/s':>10}{'ratio':>8}{'of matrix rate':>16}")
    for way, value in speed.items():
        print(f"{way:28}{value:10.0f}{value / speed['official, straightforward']:8.2f}{value * flops / 1e9 / rate:16.0%}")
    print(f"peak memory of all three together: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    used = list(side_by_side(name, float(seconds)))
    print(f"\n{'rao-blackwell':28}{'images/s':>10}{'ratio':>8}")
    for way, value in used:
        print(f"{way:28}{value:10.0f}{value / used[0][1]:8.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
