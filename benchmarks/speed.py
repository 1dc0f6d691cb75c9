"""`python benchmarks/speed.py [seconds] [task ...]`: training speed, images a second, on random images of each task's
shape.

Compared by turns within one run, so that a noisy machine hits all alike: the official loss written straightforwardly
(each labelled image encoded twice, contiguous memory, a DataLoader, Adam a parameter at a time) against this project's
estimators in both precisions (one encoding, channels last, fused Adam, uint8 in memory). Batches with and without
labels take turns. Then what the cores are best
used for: one run on all of them, or a run on each (which is what the Snakefile does).
"""

import itertools
import math
import multiprocessing
import os
import platform
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks")]
from support import machine  # noqa: E402

import mccvae_core as core  # noqa: E402
from data import TASKS  # noqa: E402

IMAGES = 2048


class TwiceEncoding(core.MCCVAE):
    """The official loss as it is usually written: q(y|x) encodes the image again."""

    def loss(self, x, y):
        q = self.encoder(x)
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
        again, _ = self.split_posterior(self.encoder(x))
        log_qyx = self.log_qyz(y, again.rsample((core.OFFICIAL_DRAWS,))).logsumexp(0) - math.log(core.OFFICIAL_DRAWS)
        w = (self.log_qyz(y, z_c.detach()) - log_qyx).exp()
        return -(w * f + log_qyx + self.log_py(y)).mean()


def straightforward(config, images, labels, batch_size):
    """A generator: each step trains on one batch and yields its size."""
    model = TwiceEncoding(config)
    adam = torch.optim.Adam(model.parameters(), lr=core.LEARNING_RATE, foreach=False)
    loader = DataLoader(
        TensorDataset(images, labels), batch_size, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True
    )
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


def ours(config, images, labels, batch_size, estimator, precision):
    """The same, by the core's own pieces as `fit` puts them together."""
    model = core.build_model("MCCVAE", config, seed=0)
    adam = torch.optim.Adam(model.parameters(), lr=core.LEARNING_RATE, fused=True)
    objective, log_px = core.Objective(estimator), torch.zeros(len(images))
    epoch = 0
    while True:
        epoch += 1
        for index, labelled in core.epoch_batches(len(images), batch_size, None, seed=0, epoch=epoch):
            index = torch.from_numpy(index)
            y = labels[index].float() if labelled else torch.full((len(index), labels.shape[1]), torch.nan)
            with core.computing_in(model, precision):
                terms = core.ccvae_loss(model, core.to_images(images[index]), y, objective, log_px[index])
            adam.zero_grad(set_to_none=True)
            terms.loss.backward()
            adam.step()
            log_px[index] = terms.log_px
            yield len(index)


def random_data(task):
    """The MCCVAE config of a task, random images of its shape and random labels."""
    config = core.ModelConfig(
        task.image_shape,
        (2,) * len(task.labels),
        task.style_dim,
        task.likelihood,
        task.label_prior or 1 / len(task.labels),
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, *task.image_shape), generator=generator).to(torch.uint8)
    return config, images, torch.randint(0, 2, (IMAGES, len(task.labels)), generator=generator)


def by_turns(ways, seconds):
    """Images a second of each way, a generator of batch sizes, all by turns for `seconds` each."""
    count, spent = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0.0)
    for steps in ways.values():  # warm-up: one labelled and one unlabelled batch
        next(steps), next(steps)
    while max(spent.values()) < seconds:
        for way, steps in ways.items():
            started = time.perf_counter()
            count[way] += next(steps) + next(steps)
            spent[way] += time.perf_counter() - started
    return {way: count[way] / spent[way] for way in ways}


def one_run(name, threads, precision, seconds):
    """Images a second of one run with `official` on `threads` threads; in a process of its own."""
    torch.set_num_threads(threads)
    task = TASKS[name]
    steps = ours(*random_data(task), task.batch_size, "official", precision)
    return by_turns({"": steps}, seconds)[""]


def side_by_side(name, precision, seconds):
    """Images a second of all runs together, for each way to use the cores."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    spawn = multiprocessing.get_context("spawn")
    for runs, threads in dict.fromkeys([(1, 1), (1, cores), (cores, 1)]):
        with spawn.Pool(runs) as pool:
            speeds = pool.starmap(one_run, [(name, threads, precision, seconds)] * runs, chunksize=1)
        yield f"{runs} run{'s' * (runs > 1)} of {threads} thread{'s' * (threads > 1)}, {precision}", sum(speeds)


def show(title, speed, base):
    """A table: images a second of each way and its ratio to the way `base`."""
    print(f"\n{title:52}{'images/s':>10}{'ratio':>8}")
    for way, value in speed.items():
        print(f"  {way:50}{value:10.0f}{value / speed[base]:8.2f}")


def main(seconds="10", *names):
    names = names or ("celeba", "mnist", "chest_xray")
    if unknown := [name for name in names if name not in TASKS]:
        sys.exit(f"speed.py: there is no task {unknown[0]!r}; there are: {', '.join(TASKS)}")
    amx = "AMX" if torch.cpu._is_amx_tile_supported() else "no AMX"
    print(
        f"{machine.device_name(torch.device('cpu'))}, {amx}; Python "
        f"{platform.python_version()}, torch {torch.__version__}"
    )
    print(f"{seconds} s for each number; ratios hold within a table, whose ways were timed by turns")
    for name in names:
        task = TASKS[name]
        for threads in dict.fromkeys((1, os.cpu_count())):
            torch.set_num_threads(threads)
            config, images, labels = random_data(task)
            ways = {"official, straightforward": straightforward(config, images, labels, task.batch_size)}
            for estimator, precision in itertools.product(core.ESTIMATORS, core.PRECISIONS):
                way = ours(config, images, labels, task.batch_size, estimator, precision)
                ways[f"{estimator}, {precision}"] = way
            shape = "x".join(map(str, task.image_shape))
            title = (
                f"{task.title}, {shape}, batch {task.batch_size}, {len(task.labels)} labels, k = 2, threads {threads}"
            )
            show(title, by_turns(ways, float(seconds)), "official, float32")
        used = dict(pair for precision in core.PRECISIONS for pair in side_by_side(name, precision, float(seconds)))
        show(f"{task.title}: official, how the cores are best used", used, next(iter(used)))


if __name__ == "__main__":
    main(*sys.argv[1:])
