"""The scores that the paper's claims need, of every finished run of a profile whose weights are there.

    python -m support.claims.claim_scores PROFILE [TASK ...]

writes <run>/scores/claims.csv.gz, one row per score, <profile>/claim_scores.csv, one row per run with the columns that
the primary tests of claims.yaml read, and <profile>/claim_intervals.csv, one row per test with the interval over images
(`claim_images`, which keeps each image's part in a score beside the run's table). A run whose table is current is
skipped: made of the same weights, by the same judges and code. A run's table has the columns

    weights      last, after the last epoch, or best, of least validation loss.
    coordinates  of a block: along, across, whole, single, `single 1` ...; empty: of the model, or of both.
    label        empty: the mean over labels.
    split        whose images are scored; of a code that is read: where the reader is tried.
    score        see `block_scores`, `code_scores`, `picture_scores`, `official_scores`; or as claims.yaml names it.
    value        the mean over the judges; <score>_judge0 ... are theirs.
    made_from    sha256 of weights, judges and code.

The weights that claims.yaml reads, last or best, are scored from STARTS test images, the others from a quarter;
likewise PICTURES test images for counterfactuals, OFFICIAL of a split for the official loss. On the whole, as measured
on chest X-rays: 31 s of one core for the first, about 8 s for the others.
"""

import functools
import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import mccvae_core as core
from data import TASKS, Dataset, Split
from data.files import write_atomically
from data.messages import quoted

from .. import ROOT, code_identity, runs, weights
from ..measures import block_readings, blocks, counterfactual, latents, official
from ..measures.block_readings import Pair
from ..measures.judge import judge_features
from ..records import SPLITS
from ..runs import Run, RunError
from ..settings import Profile, SettingsError, read_profile
from . import claim_images, preregistration
from .block_scores import Rows, move_scores, swap_scores
from .claim_images import Seen
from .claim_judges import Panel, panel
from .preregistration import PrimaryTest

STARTS = {"celeba": 96, "mnist": 160}  # test images from which blocks move; else STARTS_ELSE: more labels cost more
STARTS_ELSE = 256
CODES = 3_000  # training images at most on which a code's reader is fitted, and test images on which it is tried
PAIRS = 48  # of images of which a label's block is swapped
PICTURES = 256  # test images whose labels are intervened on
OFFICIAL = 5_000  # images of a split for the official loss
PICTURE_SCORES = {"f1": "effectiveness_f1", "accuracy": "effectiveness_accuracy", "kept": "effectiveness_kept"}
PICTURE_SCORES |= {name: f"minimality_{name}" for name in ("cld", "nearer", "further")}
TABLE, SUMMARY, INTERVALS = "claims.csv.gz", "claim_scores.csv", "claim_intervals.csv"
COLUMNS = ["weights", "coordinates", "label", "split", "score", "value"]
TEXT = {name: str for name in (*COLUMNS[:-1], "made_from")}
COORDINATES = {"along": "along", "across": "across", "whole block": "whole"}  # of claims.yaml -> of the tables
SOURCES = (
    "claims/claim_scores.py",
    "claims/claim_judges.py",
    "claims/claim_images.py",
    "claims/block_scores.py",
    "experiments/lungs.py",
    "measures",
)


def read_table(file: Path) -> pd.DataFrame:
    """A run's table, as `score_run` has it."""
    return pd.read_csv(file, dtype=TEXT, keep_default_na=False, na_values={"value": [""]})


@functools.cache
def code() -> str:
    """sha256 of the tokens of what computes the scores."""
    folder, h = ROOT / "notebooks" / "support", hashlib.sha256(code_identity.code_version().encode())
    for source in SOURCES:
        for file in sorted((folder / source).glob("*.py")) if (folder / source).is_dir() else [folder / source]:
            h.update(code_identity.tokens_sha256(file.read_text()).encode())
    return h.hexdigest()


def files_of(run: Run) -> dict[str, Path]:
    """The files of a run's weights, `last` and, if it was kept, `best`. Raises RunError where they are not its own."""
    run.check_weights()
    last, best = run.weights(), run.folder / runs.BEST_WEIGHTS
    return {"last": last} | ({"best": best} if best.exists() and last.parent == run.folder else {})


def score_run(
    run: Run, data: Dataset, judges: Panel, main: str = "last", tests: list[PrimaryTest] | None = None
) -> tuple[pd.DataFrame, claim_images.Values]:
    """A run's table but for `made_from`, and each image's part in the scores of `tests`. main: the weights that are
    scored from all starts, and that these parts are of. Where the best weights are the last ones, they are scored once.
    Raises RunError for weights that are not the run's."""
    files, tables, values = files_of(run), {}, {}
    same = run.metrics.get("best", {}).get("epoch") == run.record["epochs"]
    for name, file in files.items():
        if same and tables:
            tables[name] = next(iter(tables.values()))
            continue
        model, whole = weights.load_model(file), name == main or same
        tables[name], seen = measured(model, data, judges, 1 if whole else 4)
        if whole:
            values = claim_images.values_of(tests or [], model, data, judges, seen)
    recorded = {name: recorded_scores(run.metrics if name == "last" else run.metrics["best"]) for name in files}
    joined = [pd.concat([recorded[name], tables[name]], ignore_index=True).assign(weights=name) for name in files]
    return pd.concat(joined, ignore_index=True)[COLUMNS], values


def recorded_scores(metrics: dict) -> pd.DataFrame:
    """What a run's metrics hold already: accuracy, unbiased_loss and, of test images, psnr."""
    rows = []
    for split in SPLITS:
        of_split = metrics[split]
        scores = {"accuracy": of_split["accuracy"], "unbiased_loss": of_split["bound"]["loss_alpha0"]}
        scores |= {"psnr": of_split["psnr"]} if "psnr" in of_split else {}
        rows += [{"coordinates": "", "label": "", "split": split, "score": s, "value": v} for s, v in scores.items()]
    return pd.DataFrame(rows)


def measured(model: core.MCCVAE, data: Dataset, judges: Panel, part: int = 1) -> tuple[pd.DataFrame, Seen]:
    """All scores of a model that are not in its metrics, and what single images had in them; pictures and losses from
    one `part`-th of the images."""
    starts = STARTS.get(data.task.name, STARTS_ELSE) // part
    rows, train, test = Rows(), data.train.some(CODES), data.test.some(CODES)
    codes = {name: core.posterior(model, part.images).loc for name, part in (("train", train), ("test", test))}
    rows.add("starts", min(starts, len(test)))
    from_these = slice(0, starts * max(1, len(test) // starts), max(1, len(test) // starts))
    changes = move_scores(rows, model, data, judges, codes["test"][from_these])
    swap_scores(rows, model, data, judges, (codes["test"], test.labels), PAIRS)
    of_codes = ((codes[name], part.labels) for name, part in (("train", train), ("test", test)))
    pairs = code_scores(rows, model, data, *of_codes)
    picture_scores(rows, model, data, judges, PICTURES // part)
    table = pd.concat([rows.table().assign(split="test"), official_scores(model, data, OFFICIAL // part)])
    return table.reset_index(drop=True), Seen(changes, test.names[from_these], pairs, test.names)


def official_scores(model: core.MCCVAE, data: Dataset, most: int) -> pd.DataFrame:
    """official_loss and official_loss_se, `official.official_loss`, of `most` training and test images at most."""
    rows = []
    for split in ("train", "test") if model.config.block_prior == "diagonal" else ():
        some = getattr(data, split).some(most)
        values = official.official_loss(model, some.images, some.labels)
        for score, value in zip(("official_loss", "official_loss_se"), values, strict=True):
            rows.append({"coordinates": "", "label": "", "split": split, "score": score, "value": value})
    return pd.DataFrame(rows)


def picture_scores(rows: Rows, model: core.MCCVAE, data: Dataset, judges: Panel, count: int) -> None:
    """`counterfactual.counterfactual_scores` of interventions along w and by whole blocks, on `count` test images
    with as many others for reference. Labels that exclude one another go to another class, of others one at a time is
    flipped.

    effectiveness_f1, _accuracy, _kept: by the second judge. kid: in the features of the first. minimality_*: in the
    code of the judges' VAE. composition_1, composition_10: without an intervention, so of no coordinates.
    """
    some, reference = _two_parts(data.test.some(2 * count))
    targets = (counterfactual.another_class if data.task.exclusive else counterfactual.flipped_by_turns)(some.labels)
    methods = {"along": counterfactual.along_method(model), "whole": counterfactual.walk_method(model)}
    for coordinates, method in methods.items():
        found = counterfactual.counterfactual_scores(
            method,
            core.to_images(some.images),
            some.labels,
            targets,
            reader=functools.partial(judges.read_by, 1),
            features=functools.partial(judge_features, judges.judges[0]),
            encode=functools.partial(counterfactual.posterior_means, judges.vae),
            reference=(core.to_images(reference.images), reference.labels),
        )
        for score, value in found.items():
            if score.startswith("composition"):
                if coordinates == "whole":
                    rows.add(score, value)
            elif score != "n":
                rows.add(PICTURE_SCORES.get(score, score), float(value), coordinates=coordinates)


def _two_parts(split: Split) -> tuple[Split, Split]:
    """Every other image, and the rest."""
    return split.take(range(0, len(split), 2)), split.take(range(1, len(split), 2))


def code_scores(rows: Rows, model: core.MCCVAE, data: Dataset, train: tuple, test: tuple) -> list[Pair]:
    """What posterior means (N, Z) tell of labels (N, L); train and test are both of these. Returns the pairs of classes
    that blocks_apart is the mean of.

    separation, kl, kl_share_across: of p(z|y = 1) from p(z|y = 0). auc_across: `blocks.across_auc`. posteriors_*:
    `two_posteriors`. auc_own, auc_others, auc_style, auc_labels: `block_readings.label_readings`. blocks_apart, of
    labels that exclude one another; of others blocks_apart_labels, 1 - (A - 1/2) / (B - 1/2) with A the AUC of a
    label from other blocks, B from the other labels themselves.
    """
    owners, arrays = latents.latent_owners(model), [(z.numpy(), y.numpy()) for z, y in (train, test)]
    for label, name in enumerate(data.labels):
        c, about = blocks.block_coordinates(model, label), {"label": name}
        prior, kl = model.label_prior[label].item(), blocks.prior_divergence(c)
        block = [(z[:, list(c.latents)], y[:, label]) for z, y in (train, test)]
        rows.add("separation", blocks.separation(c), **about)
        rows.add("kl", kl["total"], **about)
        rows.add("kl_share_across", kl["share_across"], **about)
        rows.add("auc_across", blocks.across_auc(c, *block), coordinates="across", **about)
        for score, value in blocks.two_posteriors(c, *block[1], prior).items():
            rows.add(f"posteriors_{score}", value, **about)
        found = block_readings.label_readings(*arrays, owners, label)
        for score, value in found.items():
            rows.add(score, value, **about)
        if not data.task.exclusive:
            rows.add("blocks_apart_labels", block_readings.apart(found["auc_others"], found["auc_labels"]), **about)
    pairs = block_readings.read_pairs(*arrays, owners) if data.task.exclusive else []
    if data.task.exclusive:
        rows.add("blocks_apart", block_readings.blocks_apart(pairs))
    return pairs


def summary_row(run: Run, table: pd.DataFrame, claims: preregistration.Preregistration) -> dict:
    """A run's row of claim_scores.csv: task, model, seed, precision, the weights that claims.yaml reads, and the
    column of every primary test. A score of one label is that label's; one that the run lacks is NaN."""
    record = run.record
    name = claims.tasks[record["task"]].epoch if record["task"] in claims.tasks else "last"
    about = {"task": record["task"], "model": record["model"], "seed": record["seed"]}
    about |= {"precision": record.get("precision", "float32"), "weights": name}
    keys = table[table["weights"] == name].set_index(["split", "score", "coordinates", "label"])["value"]
    for _, test in claims.tests:
        place = (test.split, test.score, COORDINATES.get(test.coordinates, ""), test.label or "")
        about[test.column] = float(keys.get(place, np.nan))
    return about


def scored(
    run: Run, data: Dataset, judges: Panel, claims: preregistration.Preregistration
) -> tuple[pd.DataFrame, claim_images.Values]:
    """A run's table and each image's part in its scores, read from its folder where they are current, else made and
    put there."""
    folder = run.folder / runs.SCORES
    h = hashlib.sha256(f"{code()} {judges.sha256} {data.content}".encode())
    for path in files_of(run).values():
        h.update(path.read_bytes())
    made_from = h.hexdigest()[:16]
    current = (folder / TABLE).exists() and set((table := read_table(folder / TABLE))["made_from"]) == {made_from}
    if current and (values := claim_images.read_values(folder, made_from)) is not None:
        return table, values
    rule, record = claims.tasks.get(run.record["task"]), run.record
    tests = [test for _, test in claims.tests if test.task == record["task"] and record["model"] in test.models]
    table, values = score_run(run, data, judges, rule.epoch if rule else "last", tests)
    content = table.assign(made_from=made_from).to_csv(index=False, float_format="%.8g")
    write_atomically(folder / TABLE, gzip.compress(content.encode(), mtime=0))
    claim_images.write_values(folder, made_from, values)
    return read_table(folder / TABLE), values


def score_profile(profile: Profile, tasks: list[str] | None = None) -> pd.DataFrame:
    """Score every finished run of a profile that has blocks and whose weights are there; says which are left out.

    Writes each run's table, the profile's summary and the intervals over images, and returns the summary. Raises
    SettingsError for a task that there is none of."""
    if unknown := [task for task in tasks or [] if task not in TASKS]:
        raise SettingsError(f"there is no task {quoted(unknown[0])}; there are: {', '.join(TASKS)}")
    claims, data, rows, found = preregistration.read(), runs.Datasets(profile), [], []
    for task in TASKS.values() if not tasks else map(TASKS.get, tasks):
        judges, of_runs = None, {}
        for folder in (runs.run_folder(profile, task.name, *run) for run in profile.runs(task)):
            run = _with_weights(folder)
            if run is None:
                continue
            judges = judges or panel(profile, data[task.name])
            table, of_runs[run.record["model"], run.record["seed"]] = scored(run, data[task.name], judges, claims)
            rows.append(summary_row(run, table, claims))
            print(f"{task.name} {run.record['model']} seed {run.record['seed']}: scored", flush=True)
        found += claim_images.intervals(claims, task.name, of_runs)
    _write_beside(profile.folder / INTERVALS, pd.DataFrame(found, columns=claim_images.COLUMNS), tasks)
    return _write_beside(profile.folder / SUMMARY, pd.DataFrame(rows), tasks)


def _with_weights(folder: Path) -> Run | None:
    """The finished run with blocks in a folder; None where there is none, with a word where its weights lack."""
    if not (folder / "run.json").exists():
        return None
    run = runs.read_run(folder)
    if not run.spec.has_blocks:
        return None
    try:
        files_of(run)
    except RunError as error:
        print(f"not scored: {error}", flush=True)
        return None
    return run


def _write_beside(file: Path, table: pd.DataFrame, tasks: list[str] | None) -> pd.DataFrame:
    """Write the rows of the tasks that are scored now beside those of other tasks that the file has; nothing where
    there is none to write. Returns what is there then."""
    if not len(table):
        return table
    if tasks and file.exists():
        there = pd.read_csv(file)
        table = pd.concat([there[~there["task"].isin(tasks)], table], ignore_index=True)
    write_atomically(file, table.to_csv(index=False, float_format="%.8g").encode())
    return table


def main(arguments: list[str]) -> int:
    if not arguments:
        print("Use: python -m support.claims.claim_scores PROFILE [TASK ...]")
        return 2
    try:
        score_profile(read_profile(arguments[0]), arguments[1:])
    except (SettingsError, RunError, preregistration.ClaimsError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
