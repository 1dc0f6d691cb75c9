"""What a label's latents hold: tables and figures of the notebooks `characteristics` and `allocation`."""

import dataclasses
import math
from collections.abc import Iterable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

import mccvae_core as core
from data import Dataset, Split

from .. import runs, training
from ..measures import allocation as allocating
from ..measures import judge as judging
from ..measures import latents
from ..runs import Run
from ..settings import ModelSpec, Profile
from ..show.figures import caption, picture, show
from ..show.numbers import decimal, interval, listed, plus_minus
from ..show.tables import named_columns

JUDGE_STEPS, JUDGE_EPOCHS = 1_000, 15  # of 64 images, no more than so many epochs
PROBED = 3_000  # images that a probe is fitted on, at most, and as many that it is tried on
STARTS = 64  # test images from which single latents are moved
READ = 0.01  # what a judge's accuracy must have over the majority's
SCORES = {  # of a run: name for people, and which way is better: 1 more, -1 less, 0 neither
    "label_own": ("label found", 1),
    "label_others": ("label in other blocks", -1),
    "label_style": ("label in style", -1),
    "part_own": ("parts found", 1),
    "part_others": ("parts in other blocks", -1),
    "part_style": ("parts in style", -1),
    "disentanglement": ("disentanglement", 1),
    "completeness": ("completeness", 1),
    "effective_latents": ("effective latents", 0),
    "label_diagonal": ("own label's share of effects", 1),
    "part_diagonal": ("own parts' share of effects", 1),
    "swap_taken": ("swap taken", 1),
    "swap_kept": ("swap kept", 1),
    "sample_accuracy": ("samples right", 1),
    "sample_kid": ("KID of samples", -1),
    "reconstruction_kid": ("KID of reconstructions", -1),
    "sample_diversity": ("diversity", 0),
    "test_accuracy": ("test accuracy", 1),
    "test_bound": ("test loss, unbiased", -1),
    "test_reconstruction": ("test reconstruction", -1),
}
NATS = ("test_bound", "test_reconstruction")
COMPARED = (
    "part_own", "effective_latents", "label_own", "label_style", "label_diagonal", "swap_taken", "sample_accuracy",
    "sample_kid",
    "test_accuracy", "test_bound",
)  # fmt: skip


def factors(split: Split) -> torch.Tensor:
    """(N, F): the parts, then the style of drawn images."""
    return torch.cat([split.parts, split.style], dim=1)


def factor_owner(data: Dataset) -> np.ndarray:
    """(F,): the label of each factor, STYLE for style."""
    return np.array([*data.part_label, *[latents.STYLE] * len(data.style_names)], dtype=int)


def train_judge(data: Dataset, seed: int = 0) -> judging.Judge:
    """The task's judge: about JUDGE_STEPS steps on the training part.

    A set too small for these gets JUDGE_EPOCHS of half batches: as many steps as twice the epochs, the same scores,
    half the time."""
    train = data.train
    epochs = judging.judge_epochs(len(train), JUDGE_STEPS, JUDGE_EPOCHS)
    batch_size = 32 if epochs == JUDGE_EPOCHS else 64
    images, labels = train.images, train.labels
    return judging.fit_judge(images, labels, factors(train), epochs=epochs, seed=seed, batch_size=batch_size)


class Judges(dict):
    """task -> its judge, trained when first asked for; that of published runs is kept, so that all of them have the
    same."""

    def __init__(self, data: runs.Datasets):
        super().__init__()
        self.data = data

    def __missing__(self, task: str) -> judging.Judge:
        folder = self.data.profile.folder
        file = runs.runs_below(folder) / task / "judge.safetensors"
        if runs.is_published(folder) and file.exists():
            self[task] = judging.load_judge(file)
        else:
            self[task] = train_judge(self.data[task])
            if runs.is_published(folder):
                judging.save_judge(file, self[task])
        return self[task]


def judge_tables(tasks: Iterable[str], data: runs.Datasets, judges: Judges) -> pd.DataFrame:
    """`judge_table` of each task; of the published runs it is kept."""
    tables = [
        runs.kept(
            runs.runs_below(data.profile.folder) / task / "judge.csv",
            lambda task=task: judge_table(data[task], judges[task]),
        )
        for task in tasks
    ]
    return pd.concat(tables, ignore_index=True)


def judge_table(data: Dataset, judge: judging.Judge) -> pd.DataFrame:
    """The judge's own test scores: a row a label (accuracy, majority's beside it), part or style factor (R²; of a part
    also among the images that have its label)."""
    accuracy, r2 = judging.judge_scores(judge, data.test.images, data.test.labels, factors(data.test))
    within = {latents.STYLE: np.full(len(r2), math.nan)}
    for label in set(data.part_label):
        mine = data.test.take(np.flatnonzero(data.test.labels[:, label]))
        within[label] = judging.judge_scores(judge, mine.images, mine.labels, factors(mine))[1]
    rate = data.test.labels.float().mean(0).numpy()
    about = {"task_title": data.task.title, "stand_in": data.stand_in, "n": len(data.test)}
    rows = [
        about | {"target": name, "kind": "label", "accuracy": a, "majority": max(p, 1 - p)}
        for name, a, p in zip(data.labels, accuracy, rate, strict=True)
    ]
    names = [*data.part_names, *data.style_names]
    for f, (name, owner) in enumerate(zip(names, factor_owner(data), strict=True)):
        kind = "style" if owner == latents.STYLE else "part"
        rows.append(about | {"target": name, "kind": kind, "r2": r2[f], "r2_within": within[owner][f]})
    return pd.DataFrame(rows)


def judge_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`judge_table` for showing: a row a task and kind, mean and lowest score, and the labels that it can't judge: read
    less than READ better than by the majority's answer."""
    rows = []
    for (task, kind), part in table.groupby(["task_title", "kind"], sort=False):
        value, score = ("accuracy", "accuracy") if kind == "label" else ("r2", "R²")
        worst = part.loc[part[value].idxmin()]
        row = {"task": task, "reads": f"{kind}: {len(part)}", "score": score, "mean": part[value].mean()}
        row |= {"lowest": f"{worst[value]:.3f} ({worst['target'].replace('_', ' ')})"}
        if kind == "label":
            unread = part.loc[part["accuracy"] < part["majority"] + READ, "target"].str.replace("_", " ")
            row |= {"majority": part["majority"].mean(), "hardly better than the majority": listed(unread) or "none"}
        if kind == "part":
            row |= {"among images with the label": part["r2_within"].mean()}
        rows.append(row)
    return pd.DataFrame(rows)


def codes(model: core.MCCVAE, images: torch.Tensor) -> np.ndarray:
    """Posterior means (N, Z) of uint8 images."""
    return core.posterior(model, images).loc.cpu().numpy()


def _about(run: Run, data: Dataset) -> dict:
    spec = run.spec
    about = {
        "task": data.task.name,
        "task_title": data.task.title,
        "stand_in": data.stand_in,
        "model": spec.name,
        "model_title": spec.title,
    }
    return about | {"seed": run.record["seed"], "latents": sum(run.record["characteristics"]) + run.record["style_dim"]}


def _targets(data: Dataset, run: Run) -> Iterator[tuple[dict, tuple, tuple]]:
    """What is to be read from the codes of a run's model: every label, and, among the images that have its label, every
    part. What the target is, and of training and test images (codes (n, Z), values (n,))."""
    model, parts = run.model(), {"train": data.train.some(PROBED), "test": data.test.some(PROBED)}
    z = {name: codes(model, part.images) for name, part in parts.items()}
    targets = [(name, "label", i, None) for i, name in enumerate(data.labels)]
    targets += [
        (name, "part", label, p) for p, (name, label) in enumerate(zip(data.part_names, data.part_label, strict=True))
    ]
    for name, kind, label, p in targets:
        values = {n: (part.labels[:, label] if p is None else part.parts[:, p]).numpy() for n, part in parts.items()}
        mask = {
            n: np.full(len(part), True) if p is None else part.labels[:, label].bool().numpy()
            for n, part in parts.items()
        }
        about = {"target": name, "kind": kind, "label": label, "probe": None, "n": int(mask["test"].sum())}
        yield about, *((z[n][mask[n]], values[n][mask[n]]) for n in parts)


def found_table(data: Dataset, run: Run) -> pd.DataFrame:
    """`latents.found` of every label (AUC) and part (R², images whose label is 1, so that knowing the label
    alone scores 0): a row a target and probe."""
    owners, rows = latents.latent_owners(run.model()), []
    for about, train, test in _targets(data, run):
        for probe in latents.PROBES:
            target = {
                "target": about["target"],
                "kind": about["kind"],
                "label": data.labels[about["label"]],
                "probe": probe,
                "n": about["n"],
            }
            rows.append(_about(run, data) | target | latents.found(train, test, owners, about["label"], probe))
    return pd.DataFrame(rows)


def found_in_blocks(data: Dataset, run: Run) -> pd.Series:
    """Kind -> how well the boosted probe reads its targets from their own block: the mean of `found_table`'s `own`."""
    owners, rows = latents.latent_owners(run.model()), []
    for about, train, test in _targets(data, run):
        own = owners == about["label"]
        score = latents.probe_score((train[0][:, own], train[1]), (test[0][:, own], test[1]), "boosted")
        rows.append({"kind": about["kind"], "own": score})
    return pd.DataFrame(rows).groupby("kind")["own"].mean()


def block_table(data: Dataset, run: Run, judge: judging.Judge, starts: int = STARTS) -> pd.DataFrame:
    """A row a label: disentanglement and completeness within its block (`latents.block_dci`, drawn data), and the
    effective number of latents by the judge's reading of the label and by pixels, when each latent alone goes over its
    range."""
    model = run.model()
    parts = data.train.some(PROBED), data.test.some(PROBED)
    z_train, z_test = (codes(model, part.images) for part in parts)
    z, rows = torch.from_numpy(codes(model, data.test.some(starts).images)), []
    singles = [[j] for j in range(model.config.characteristic_dim)]
    on_labels, _ = judging.effect_matrix(model, z, singles, judge)
    pixels = [pixel_change(model, z, j) for j in range(model.config.characteristic_dim)]
    for label, name in enumerate(data.labels):
        block, mine = core.block_of(model, label), [p for p, owner in enumerate(data.part_label) if owner == label]
        dci = (math.nan, math.nan)
        if mine:
            with_it = [part.labels[:, label].bool().numpy() for part in parts]
            values = [part.parts.numpy()[mask][:, mine] for part, mask in zip(parts, with_it, strict=True)]
            train, test = (
                (z[mask][:, block], v) for z, mask, v in zip((z_train, z_test), with_it, values, strict=True)
            )
            importance = latents.block_importance(train, test)
            dci = latents.block_dci(importance)
        effective = {
            "effective_latents": latents.effective_number(on_labels[block, label]),
            "effective_latents_pixels": latents.effective_number(np.array(pixels)[block]),
        }
        rows.append(
            _about(run, data)
            | {"label": name, "k": len(block), "disentanglement": dci[0], "completeness": dci[1]}
            | effective
        )
    return pd.DataFrame(rows)


@torch.no_grad()
def pixel_change(model: core.MCCVAE, z: torch.Tensor, latent: int) -> float:
    """Mean absolute change of the image, in [0, 1], when one latent goes over its range, from the starts z (N, Z)."""
    ends = z.repeat(2, 1)
    low, high = core.characteristic_range(model, latent)
    ends[: len(z), latent], ends[len(z) :, latent] = low, high
    first, last = model.decode(ends).split(len(z))
    return (last - first).abs().mean().item()


def effect_table(data: Dataset, run: Run, judge: judging.Judge, starts: int = STARTS) -> pd.DataFrame:
    """The matrix of effects: a row a characteristic and a thing that the judge reads; see `judging.effect_matrix`."""
    model = run.model()
    z = torch.from_numpy(codes(model, data.test.some(starts).images))
    count, owner = model.config.characteristic_dim, latents.latent_owners(model)
    on_labels, on_factors = judging.effect_matrix(model, z, [[j] for j in range(count)], judge)
    number = {j: 1 + core.block_of(model, owner[j]).index(j) for j in range(count)}
    columns = [(name, "label", i) for i, name in enumerate(data.labels)]
    columns += [
        (name, "style" if o == latents.STYLE else "part", o)
        for name, o in zip([*data.part_names, *data.style_names], factor_owner(data), strict=True)
    ]
    effects = np.concatenate([on_labels, on_factors], axis=1)
    return pd.DataFrame(
        [
            _about(run, data)
            | {"label": data.labels[owner[j]], "latent": number[j], "n": len(z), "on": name, "kind": kind}
            | {"on_label": None if o == latents.STYLE else data.labels[o], "effect": effects[j, c]}
            for j in range(count)
            for c, (name, kind, o) in enumerate(columns)
        ]
    )


def diagonal_shares(effects: pd.DataFrame) -> pd.DataFrame:
    """Of each run's effects on labels, and on parts, the share that falls on what the moved latent owns; beside it that
    of chance."""
    rows = []
    for keys, part in effects[effects["kind"] != "style"].groupby(
        ["task_title", "model_title", "seed", "kind"], sort=False
    ):
        own = part["label"] == part["on_label"]
        about = dict(zip(("task_title", "model_title", "seed", "kind"), keys, strict=True))
        rows.append(
            about | {"diagonal_share": part.loc[own, "effect"].sum() / part["effect"].sum(), "chance": own.mean()}
        )
    return pd.DataFrame(rows)


def exchange_table(data: Dataset, run: Run, judge: judging.Judge, pairs: int = 200) -> pd.DataFrame:
    """Swaps of one label's characteristics between test images that differ in it, samples for the test part's label
    vectors, and reconstructions; beside them what the model costs, its test accuracy and loss."""
    model = run.model()
    z = torch.from_numpy(codes(model, data.test.images))
    taken, kept, count = [], [], 0
    for label in range(len(data.labels)):
        with_it, without = (torch.nonzero(data.test.labels[:, label] == v).flatten()[:pairs] for v in (1, 0))
        n = min(len(with_it), len(without))
        if n:
            scores = judging.swap_scores(model, z[with_it[:n]], z[without[:n]], label, judge)
            taken.append(scores["taken"])
            kept.append(scores["kept"])
            count += scores["pairs"]
    some = data.test.some(1_000)
    drawn = judging.generation_scores(model, some.images, some.labels, judge)
    # over labels with a pair
    mean = {name: pd.Series(v, dtype=float).mean() for name, v in (("swap_taken", taken), ("swap_kept", kept))}
    swap = {"pairs": count} | mean | _test_scores(run)
    swap |= {"reconstruction_kid": judging.reconstruction_distance(model, some.images, some.labels, judge)}
    return pd.DataFrame([_about(run, data) | swap | {f"sample_{name}": value for name, value in drawn.items()}])


def score_all(
    trained: list[Run], data: dict[str, Dataset], judges: dict[str, judging.Judge]
) -> dict[str, pd.DataFrame]:
    """The four tables of all runs, joined in their order; data and judges by task. Those of published runs are kept."""
    tables = [run_tables(run, data, judges) for run in trained]
    return {name: pd.concat([table[name] for table in tables], ignore_index=True) for name in tables[0]}


def run_tables(run: Run, data: dict[str, Dataset], judges: dict[str, judging.Judge]) -> dict[str, pd.DataFrame]:
    """All four tables of a run."""
    task = run.record["task"]
    make = {
        "found": lambda: found_table(data[task], run),
        "blocks": lambda: block_table(data[task], run, judges[task]),
        "effects": lambda: effect_table(data[task], run, judges[task]),
        "exchange": lambda: exchange_table(data[task], run, judges[task]),
    }
    return {name: run.scores(name, table) for name, table in make.items()}


def _test_scores(run: Run) -> dict[str, float]:
    """Accuracy per label, and loss and reconstruction by rao-blackwell, nats per image, on the test part."""
    test = run.metrics["test"]
    return {
        "test_accuracy": test["accuracy"],
        "test_bound": test["bound"]["loss_alpha0"],
        "test_reconstruction": test["bound"]["reconstruction"],
    }


# --- summaries and comparison -----------------------------------------------------------------------------------


def summary_table(
    found: pd.DataFrame, blocks: pd.DataFrame, effects: pd.DataFrame, exchange: pd.DataFrame
) -> pd.DataFrame:
    """A row a run: labels and parts found (boosted probe), what leaks, effective latents, diagonal shares, swaps and
    samples."""
    keys = ["task_title", "model", "model_title", "seed", "latents", "stand_in"]
    boosted = found[found["probe"] == "boosted"]
    table = (
        boosted[boosted["kind"] == "label"]
        .groupby(keys, sort=False)[["own", "others", "style"]]
        .mean()
        .add_prefix("label_")
    )
    parts = (
        boosted[boosted["kind"] == "part"]
        .groupby(keys, sort=False)[["own", "others", "style"]]
        .mean()
        .add_prefix("part_")
    )
    table = table.join(parts)
    several = blocks[blocks["k"] > 1].groupby(keys, sort=False)
    table = table.join(
        several[["disentanglement", "completeness", "effective_latents", "effective_latents_pixels"]].mean()
    )
    shares = diagonal_shares(effects).pivot_table(
        index=["task_title", "model_title", "seed"], columns="kind", values="diagonal_share"
    )
    table = table.reset_index().merge(shares.add_suffix("_diagonal").reset_index(), how="left")
    return table.merge(exchange.drop(columns=["task", "sample_n"]), how="left")


def summary_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`summary_table` for showing: mean ± sd over seeds."""
    keys = {"task_title": "task", "model_title": "model", "latents": "latents"}
    grouped = table.groupby(list(keys), sort=False)
    shown = grouped.size().rename("seeds").reset_index().rename(columns=keys)
    return _scores_shown(
        shown, grouped, [column for column in SCORES if column in table and table[column].notna().any()]
    )


def _scores_shown(shown: pd.DataFrame, grouped, columns: list[str]) -> pd.DataFrame:
    """`shown` with mean ± sd over seeds of some of SCORES, by their names for people."""
    for column in columns:
        pairs = zip(grouped[column].mean(), grouped[column].std(), strict=True)
        shown[SCORES[column][0]] = [plus_minus(m, s, 1 if column in NATS else 3) for m, s in pairs]
    return shown


def paired(table: pd.DataFrame, value: str, first: str, second: str) -> dict | None:
    """Difference first − second of a value over the seeds that both models have: both means, their difference, its 95 %
    interval (Student), n; None without a pair."""
    from scipy import stats

    pivot = table.pivot_table(index="seed", columns="model", values=value)
    if not {first, second} <= set(pivot.columns):
        return None
    pivot = pivot[[first, second]].dropna()
    if pivot.empty:
        return None
    d = pivot[first] - pivot[second]
    half = stats.t.ppf(0.975, len(d) - 1) * d.std() / math.sqrt(len(d)) if len(d) > 1 else math.nan
    means = {"first_mean": pivot[first].mean(), "second_mean": pivot[second].mean()}
    return means | {"difference": d.mean(), "low": d.mean() - half, "high": d.mean() + half, "n": len(d)}


def verdict(test: dict, better: int = 0) -> str:
    """In words: better or worse, where a score has a better side (SCORES), else more or less; or not to be told."""
    if test["n"] < 2:
        return "can't be told from one seed"
    sign = 1 if test["low"] > 0 else -1 if test["high"] < 0 else 0
    if not sign:
        return "no difference can be told"
    return {1: "better", -1: "worse", 0: {1: "more", -1: "less"}[sign]}[sign * better]


def comparison_table(table: pd.DataFrame) -> pd.DataFrame:
    """`paired` of each pair of `as_many_latents` and `variants`, and of each of COMPARED, on each task, with its
    verdict."""
    rows = []
    for task, part in table.groupby("task_title", sort=False):
        for first, second in as_many_latents(part) + variants(part):
            for value in COMPARED:
                if value in part and (test := paired(part, value, first, second)):
                    titles = {"first": ModelSpec.parse(first).title, "second": ModelSpec.parse(second).title}
                    rows.append(
                        {"task_title": task}
                        | titles
                        | {"value": value}
                        | test
                        | {"verdict": verdict(test, SCORES[value][1])}
                    )
    columns = [
        "task_title",
        "first",
        "second",
        "value",
        "first_mean",
        "second_mean",
        "difference",
        "low",
        "high",
        "n",
        "verdict",
    ]
    return pd.DataFrame(rows, columns=columns)


def comparison_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`comparison_table` for showing."""
    digits = [1 if value in NATS else 3 for value in table["value"]]
    shown = table.assign(
        value=[SCORES[value][0] for value in table["value"]],
        interval=[interval(r.low, r.high, d) for r, d in zip(table.itertuples(), digits, strict=True)],
        **{
            name: [decimal(v, d) for v, d in zip(table[name], digits, strict=True)]
            for name in ("first_mean", "second_mean", "difference")
        },
    )
    names = {
        "task_title": "task", "first": "model", "second": "against", "value": "score", "first_mean": "the model's",
        "second_mean": "the other's",
        "difference": "difference", "interval": "95 % interval", "n": "seeds", "verdict": "verdict",
    }  # fmt: skip
    return named_columns(shown, names)


def as_many_latents(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (MCCVAE, CCVAE) that differ in where they have their latents and not in how many, on every task that has
    both."""
    totals = table.groupby("model")["latents"].agg(lambda v: tuple(sorted(set(v))))
    specs = {name: ModelSpec.parse(name) for name in table["model"].unique()}
    return [
        (one, two)
        for one, a in specs.items()
        for two, b in specs.items()
        if a.base == "mccvae"
        and b.base.startswith("ccvae")
        and b == dataclasses.replace(a, base=b.base, k=b.k, style_dim=b.style_dim)
        and totals[one] == totals[two]
    ]


def variants(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (variant, plain): each MCCVAE with an option of `settings.OPTIONS` for its block, or other style, against
    the same model without it, and one without such an option but of the estimator rao-blackwell against the official
    one."""
    pairs = []
    for name in table["model"].unique():
        spec = ModelSpec.parse(name)
        plain = dataclasses.replace(spec, start_std=0.0, block_penalty=0.0, block_prior="diagonal", style_dim=None)
        if spec == plain:
            plain = dataclasses.replace(spec, label_weight=None, rate_factor=1.0)
        if spec.base == "mccvae" and spec != plain and plain.name in set(table["model"]):
            pairs.append((name, plain.name))
    return pairs


def label_to_show(data: Dataset) -> int:
    """The label that the paper walks along, Eyeglasses of CelebA; elsewhere the first that is moved, or the first of
    all."""
    moved = [
        label
        for _, towards in data.task.walks.values()
        for label, value in towards.items()
        if value and label in data.labels
    ]
    return data.labels.index(moved[-1]) if moved else 0


def characteristics_finding(summary: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Labels found, latents at work, whether several latents find more parts than as many in style, and what the best
    variant adds."""
    read = summary.groupby("task_title", sort=False)[["label_own", "label_others", "label_style"]].mean()
    sentence = "Labels are read from their own block with an area under the curve of " + listed(
        f"{row.label_own:.2f} on {task} (from the other blocks {row.label_others:.2f}, from "
        f"style {row.label_style:.2f})"
        for task, row in read.iterrows()
    )
    effective = summary.dropna(subset="effective_latents").groupby("task_title", sort=False)["effective_latents"].mean()
    if len(effective):
        sentence += (
            "; of a block's latents (two in MCCVAE), "
            + listed(f"{v:.2f} on {t}" for t, v in effective.items())
            + " do the work"
        )
    parts = comparison[comparison["value"] == "part_own"]
    against = parts[parts["second"].str.startswith("CCVAE")]
    if len(against):
        sentence += "; parts found in the own block (R²), " + listed(_change(r) for r in against.itertuples())
    options = parts[parts["second"].str.startswith("MCCVAE")]
    for task, mine in options.groupby("task_title", sort=False):
        best = mine.loc[mine["first_mean"].idxmax()]
        sentence += f"; of the options for a block the most parts on {task} are found by {_change(best)}"
        at_work = comparison[
            (comparison[["task_title", "first", "value"]] == [task, best["first"], "effective_latents"]).all(axis=1)
        ]
        sentence += "".join(
            f", at {r.first_mean:.2f} against {r.second_mean:.2f} effective latents" for r in at_work.itertuples()
        )
    return sentence + "."


def _change(row) -> str:
    """A row of `comparison_table` in words."""
    return (
        f"{row.first} {row.first_mean:.3f} against {row.second_mean:.3f} of {row.second} on "
        f"{row.task_title} (n = {row.n}, {row.verdict})"
    )


# --- figures ----------------------------------------------------------------------------------------------------


def effect_figure(effects: pd.DataFrame, data: Dataset, run: Run, profile: Profile, name: str) -> None:
    """The matrix of effects of one run: latents down, what the judge reads across, outlined where a latent owns what
    changes."""
    about = _about(run, data)
    table = effects[(effects[["task", "model", "seed"]] == [about["task"], about["model"], about["seed"]]).all(axis=1)]
    table = table.assign(row=table["label"] + ", latent " + table["latent"].astype(str), column=table["on"])
    order = {"label": 0, "part": 1, "style": 2}
    columns = table.drop_duplicates("column").sort_values("kind", key=lambda k: k.map(order), kind="stable")
    pivot = table.pivot_table(index="row", columns="column", values="effect", sort=False)[list(columns["column"])]
    fig, ax = plt.subplots(figsize=(0.42 * pivot.shape[1] + 2.5, 0.3 * pivot.shape[0] + 2))
    most = max(0.1, math.ceil(10 * pivot.to_numpy().max()) / 10)
    sns.heatmap(pivot, ax=ax, cmap="cividis", vmin=0, vmax=most, cbar_kws={"label": "mean absolute change"})
    owner = dict(zip(table["row"], table["label"], strict=True))
    for r, row in enumerate(pivot.index):
        for c, on_label in enumerate(columns["on_label"]):
            if on_label == owner[row]:
                ax.add_patch(plt.Rectangle((c, r), 1, 1, fill=False, edgecolor="white", linewidth=1.5))
    for edge in (columns["kind"] == "label").sum(), (columns["kind"] != "style").sum():
        ax.axvline(edge, color="white", linewidth=3)
    title = table["model_title"].iloc[0]
    kinds = [f"{kind}s" if kind != "style" else kind for kind in columns["kind"].unique()]
    ax.set(xlabel=f"what the judge reads: {', '.join(kinds)}", ylabel="latent that is moved")
    ax.tick_params(axis="y", rotation=0)
    text = caption(
        f"{data.task.title}, {title}: what moving one latent over its range changes, mean "
        f"over {table['n'].iloc[0]} test images",
        data,
    )
    own = table["label"] == table["on_label"]
    alt = f"{text}. White frames: the latent's own. Share of effects on labels that falls on the own label: "
    labels = table["kind"] == "label"
    alt += f"{table.loc[own & labels, 'effect'].sum() / table.loc[labels, 'effect'].sum():.2f}."
    show(fig, text, alt, profile=profile, name=name)


@torch.no_grad()
def latent_walks_figure(
    data: Dataset, run: Run, judge: judging.Judge, label: int, profile: Profile, name: str, steps: int = 7
) -> None:
    """A walk a row, one for each latent of a label's block; under each what the judge reads, the label and its parts,
    mean over STARTS test images without the label, of which the first is shown."""
    model = run.model()
    z = torch.from_numpy(codes(model, data.test.images[data.test.labels[:, label] == 0][:STARTS]))
    block, mine = core.block_of(model, label), [p for p, owner in enumerate(data.part_label) if owner == label]
    fig = plt.figure(figsize=(1.1 * steps + 3, 2.6 * len(block) + 0.6))
    grid = fig.add_gridspec(2 * len(block), steps, height_ratios=[1.2, 1] * len(block))
    words = []
    for r, latent in enumerate(block):
        walk = core.latent_walk(model, z, {label: 1}, within=r, steps=steps)
        p, read = (values.unflatten(0, (steps, len(z))).mean(1) for values in judge.read(walk.images.flatten(0, 1)))
        for t in range(steps):
            ax = fig.add_subplot(grid[2 * r, t])
            picture(ax, walk.images[t, 0])
            if t == 0:
                ax.set_ylabel(f"latent {r + 1}", rotation=0, ha="right", va="center")
        ax = fig.add_subplot(grid[2 * r + 1, :])
        low, high = core.characteristic_range(model, latent)
        where = np.linspace(low, high, steps)
        ax.plot(where, p[:, label], marker="o", label=f"{data.labels[label].replace('_', ' ')} (probability)")
        for i in mine:
            ax.plot(where, read[:, i], marker=".", linestyle="--", label=data.part_names[i].replace("_", " "))
        ax.set(ylim=(-0.1, 1.1), xlabel=f"value of latent {r + 1}", ylabel="judge's reading, mean")
        ax.legend(fontsize=7, ncol=4)
        words.append(f"latent {r + 1}: {data.labels[label]} from {p[0, label]:.2f} to {p[-1, label]:.2f}")
    text = caption(
        f"{data.task.title}, {run.spec.title}: each latent of “{data.labels[label]}” alone over its range", data
    )
    fig.suptitle(text)
    below = f"{text}. Curves: mean over {len(z)} test images without the label; pictures: the first of them."
    show(fig, below, f"{text}. Judge's probability at the ends: {'; '.join(words)}.", profile=profile, name=name)


def part_scatter(data: Dataset, run: Run, label: int, profile: Profile, name: str) -> None:
    """Parts of a label against the latents of its block, test images in which the label is 1."""
    model = run.model()
    mine = data.test.take(np.flatnonzero(data.test.labels[:, label]))
    z, block = codes(model, mine.images), core.block_of(model, label)
    parts = [p for p, owner in enumerate(data.part_label) if owner == label]
    fig, axes = plt.subplots(
        len(parts), len(block), figsize=(2.6 * len(block) + 1, 2.2 * len(parts)), squeeze=False, sharex="col"
    )
    words = []
    for row, p in zip(axes, parts, strict=True):
        for ax, j in zip(row, block, strict=True):
            ax.scatter(z[:, j], mine.parts[:, p], s=5, alpha=0.5)
            r = np.corrcoef(z[:, j], mine.parts[:, p])[0, 1]
            ax.set(title=f"r = {r:.2f}", ylabel=data.part_names[p].replace("_", " ") if j == block[0] else "")
            words.append(f"{data.part_names[p]} with latent {1 + block.index(j)}: {r:.2f}")
    for ax, j in zip(axes[-1], block, strict=True):
        ax.set_xlabel(f"latent {1 + block.index(j)} of “{data.labels[label]}”")
    text = caption(
        f"{data.task.title}, {run.spec.title}: the parts of “{data.labels[label]}” against "
        f"its latents, {len(mine)} test images",
        data,
    )
    fig.suptitle(text)
    show(fig, text, f"{text}. Correlations: {'; '.join(words)}.", profile=profile, name=name)


# --- allocation -------------------------------------------------------------------------------------------------


def allocation(data: Dataset, run: Run) -> tuple[int, ...]:
    """(k_1, …, k_L) with as many characteristics as k = 2 has, from the validation part of a trained k = 1 model."""
    model, part = run.model(), data.validation
    confusion = allocating.misreading(core.predict(model, part.images), part.labels)
    errors = allocating.reconstruction_by_label(model, part.images, part.labels)
    return allocating.allocate_characteristics(confusion, errors, 2 * len(data.labels))


def random_allocation(labels: int, seed: int) -> tuple[int, ...]:
    """As many characteristics, each beyond the first of a label put at random."""
    extra = np.random.default_rng([seed, 5]).integers(0, labels, labels)
    return tuple(int(v) for v in 1 + np.bincount(extra, minlength=labels))


def train_allocations(profile: Profile, task: str, base: str, seed: int) -> dict[str, Run]:
    """k = 1, k = 2, the same total in style, the total where it is needed, and the total at random: all trained, by
    what they are.

    base: options that all share, such as "-rb300"; "" for the official estimator.
    """
    data = runs.load_data(profile, task)

    def train(base_model, **changes):
        spec = dataclasses.replace(ModelSpec.parse(f"{base_model}{base}"), **changes)
        return training.train(profile, task, spec.name, seed, data)

    def several(k):  # two everywhere is MCCVAE itself
        return train("mccvae", k=None if set(k) == {2} else k)

    one = train("ccvae")
    style = data.task.style_dim + len(data.labels)
    return {
        "k = 1": one,
        "k = 2": train("mccvae"),
        "all in style": train("ccvae_more_style")
        if style == data.task.more_style_dim
        else train("ccvae", style_dim=style),
        "where needed": several(allocation(data, one)),
        "at random": several(random_allocation(len(data.labels), seed)),
    }


def allocation_table(data: Dataset, trained: dict[str, Run]) -> pd.DataFrame:
    """A row a way to spend the latents: test accuracy, test loss by rao-blackwell and labels and parts found in their
    own block."""
    rows = []
    for way, run in trained.items():
        found = found_in_blocks(data, run)
        about = _about(run, data) | {"way": way, "k": " ".join(map(str, run.record["characteristics"]))}
        rows.append(about | _test_scores(run) | {"label_own": found["label"], "part_own": found.get("part", math.nan)})
    return pd.DataFrame(rows)


def allocation_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`allocation_table` for showing: mean ± sd over seeds, and the k of the first seed."""
    grouped = table.groupby(["task_title", "way"], sort=False)
    shown = grouped.agg(latents=("latents", "first"), k=("k", "first"), seeds=("seed", "size")).reset_index()
    shown = _scores_shown(
        shown, grouped, ["test_accuracy", "test_bound", "test_reconstruction", "label_own", "part_own"]
    )
    return shown.rename(columns={"task_title": "task", "way": "way to spend them", "k": "k by label (first seed)"})


def allocation_comparison(table: pd.DataFrame) -> pd.DataFrame:
    """`where needed` against every other way, paired over seeds."""
    rows = []
    for task, part in table.assign(model=table["way"]).groupby("task_title", sort=False):
        for way in ("k = 1", "k = 2", "all in style", "at random"):
            for value in ("test_accuracy", "test_bound", "part_own"):
                test = paired(part, value, "where needed", way)
                if test:
                    about = {"task_title": task, "first": "where needed", "second": way, "value": value}
                    rows.append(about | test | {"verdict": verdict(test, SCORES[value][1])})
    return pd.DataFrame(rows)


def allocation_finding(comparison: pd.DataFrame) -> str:
    """Does it help to put latents where they are needed? Only differences that can be told are named."""
    if comparison.empty:
        return "There was nothing to compare."
    if comparison["n"].max() < 2:
        rows = comparison[(comparison["value"] == "test_accuracy") & (comparison["second"] == "k = 2")].itertuples()
        seen = listed(f"{r.first_mean:.3f} against {r.second_mean:.3f} of k = 2 on {r.task_title}" for r in rows)
        return (
            "From one seed it can't be told whether latents help where a model with one each "
            f"fails; test accuracy with them is {seen}."
        )
    told = comparison[comparison["verdict"].isin(["better", "worse"])]
    named = [
        f"{r.verdict} than “{r.second}” on {r.task_title} in {SCORES[r.value][0]} "
        f"({_mean(r.value, r.first_mean)} against {_mean(r.value, r.second_mean)})"
        for r in told.itertuples()
    ]
    what = listed(named) if named else "neither better nor worse than any other way"
    seeds = listed(f"{n}" for n in sorted(set(comparison["n"])))
    return (
        f"Latents put where a model with one each fails are {what}; {len(told)} of "
        f"{len(comparison)} differences can be told, over {seeds} paired seeds."
    )


def _mean(value: str, mean: float) -> str:
    return decimal(mean, 1 if value in NATS else 3)
