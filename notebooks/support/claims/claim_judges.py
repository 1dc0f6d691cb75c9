"""The judges that score runs for the paper's claims: several per task, trained once and kept beside the task's runs.

They share nothing with the models, and their seeds are other than each other's, so that a score can say how much it
depends on its judge. Of CelebA's photographs they read the attributes too that no model trains on: parts of labels.
"""

import dataclasses
import functools
import hashlib

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

import mccvae_core as core
from data import Dataset, Split, celeba
from data.files import write_atomically

from .. import runs, weights
from ..measures import judge as judging
from ..measures import parts
from ..settings import ModelSpec, Profile

SEEDS = (0, 1, 2)
READ = 2_000  # real images at most, by which a judge is tried and on which its ceiling is taken
TABLE = "judges.csv"


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """The judges of a task, J of them, which read T targets: the task's L labels, then P further attributes.

    table: one row per judge and target, see `panel_table`. attributes (N, P): of the training images. sha256: of the
    judges' and the VAE's files. vae: its posterior means are the common code in which minimality is measured.
    """

    judges: tuple[judging.Judge, ...]
    vae: core.VAE
    labels: tuple[str, ...]
    attribute_names: tuple[str, ...]
    attributes: np.ndarray
    table: pd.DataFrame
    sha256: str

    @property
    def readers(self) -> list:
        """For each judge, images (N, *image_shape) in [0, 1] -> log-odds (N, T)."""
        return [functools.partial(log_odds, judge) for judge in self.judges]

    def read(self, images: Tensor) -> Tensor:
        """Probabilities (N, L) of the labels: the mean over the judges."""
        return torch.stack([self.read_by(j, images) for j in range(len(self.judges))]).mean(0)

    def read_by(self, judge: int, images: Tensor) -> Tensor:
        """Probabilities (N, L) of the labels by one judge."""
        return self.readers[judge](images)[:, : len(self.labels)].sigmoid()

    @property
    def ceiling(self) -> np.ndarray:
        """(J, L): how far apart the judge's probability of a label is between real test images with it and without."""
        mine = self.table[self.table["kind"] == "label"]
        return mine.pivot(index="judge", columns="target", values="difference")[list(self.labels)].to_numpy(float)

    @property
    def kept(self) -> np.ndarray:
        """(P,) of bool: the attributes that the judges read well enough to tell of parts."""
        first = self.table[(self.table["kind"] == "part") & (self.table["judge"] == SEEDS[0])]
        return first["kept"].to_numpy(bool)


@torch.no_grad()
def log_odds(judge: judging.Judge, images: Tensor, batch_size: int = 512) -> Tensor:
    """Log-odds (N, T) of a judge's targets, for images (N, *image_shape) in [0, 1]."""
    return torch.cat([judge(batch)[0] for batch in images.split(batch_size)])


def panel(profile: Profile, data: Dataset) -> Panel:
    """A task's judges, trained where their files are not there yet; judges.csv beside them says how well they read."""
    folder = runs.runs_below(profile.folder) / data.task.name
    names, values = further_attributes(data)
    targets = torch.cat([data.train.labels, torch.from_numpy(values["train"])], dim=1)
    judges, h = [], hashlib.sha256()
    for seed in SEEDS:
        file = folder / f"judge{seed}-{data.content[:8]}.safetensors"
        if not file.exists():
            print(f"{data.task.title}: judge {seed} is trained, once for all runs", flush=True)
            epochs = judging.judge_epochs(len(data.train))
            nothing = torch.zeros(len(data.train), 0)
            judging.save_judge(file, judging.fit_judge(data.train.images, targets, nothing, epochs=epochs, seed=seed))
        judges.append(judging.load_judge(file))
        h.update(file.read_bytes())
    vae = folder / f"vae-{data.content[:8]}.safetensors"
    if not vae.exists():
        weights.save_model(vae, fit_vae(data))
    h.update(vae.read_bytes())
    table = panel_table(judges, data, names, values)
    write_atomically(folder / TABLE, table.to_csv(index=False, float_format="%.6g").encode())
    attributes = values["train"]
    return Panel(tuple(judges), weights.load_model(vae), tuple(data.labels), names, attributes, table, h.hexdigest())


def fit_vae(data: Dataset) -> core.VAE:
    """A VAE of this project, trained on the training images for about as many steps as a judge."""
    model = core.build_model("VAE", ModelSpec.parse("vae").config(data), seed=0)
    epochs, objective = judging.judge_epochs(len(data.train)), core.Objective()
    core.fit(model, data.train.images, data.train.labels, objective, batch_size=64, epochs=epochs, seed=0)
    return model.eval()


def further_attributes(data: Dataset) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the attributes that no model trains on, and for each split their values (N, P); of CelebA's photographs
    22, of other data none."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    if data.task.name != celeba.TASK.name or data.source != "real":
        return (), {name: np.zeros((len(split), 0), np.uint8) for name, split in splits.items()}
    found = {name: celeba.other_attributes(split.names) for name, split in splits.items()}
    return found["test"][0], {name: values for name, (_, values) in found.items()}


def panel_table(judges, data: Dataset, names: tuple[str, ...], values: dict[str, np.ndarray]) -> pd.DataFrame:
    """How each judge reads images that it was not trained on: one row per judge and target.

    kind: label, tried on test images; part, an attribute that no model trains on, tried on test and validation images,
    since it is rare. n, positives: of these images. auc. difference: of its mean probability between images with and
    without the target. kept: of a part, at least LEAST_POSITIVES positives and a mean AUC of LEAST_AUC.
    """
    test, held_out = data.test.some(READ), [data.test, data.validation][: 2 if names else 0]
    truth = [(name, "label", test.labels[:, i].numpy()) for i, name in enumerate(data.labels)]
    both = np.concatenate([values["test"], values["validation"]])
    truth += [(name, "part", both[:, i]) for i, name in enumerate(names)]
    rows = []
    for seed, judge in zip(SEEDS, judges, strict=True):
        read = _probabilities(judge, [test])[:, : len(data.labels)]
        columns = [*read.T, *(_probabilities(judge, held_out)[:, len(data.labels) :].T if names else [])]
        for (name, kind, known), p in zip(truth, columns, strict=True):
            rows.append({"judge": seed, "target": name, "kind": kind} | _read_well(known.astype(bool), p))
    table = pd.DataFrame(rows)
    means = table.groupby(["kind", "target"])[["auc", "positives"]].transform("mean")
    good = (means["auc"] >= parts.LEAST_AUC) & (means["positives"] >= parts.LEAST_POSITIVES)
    return table.assign(kept=good & (table["kind"] == "part"))


def _probabilities(judge: judging.Judge, splits: list[Split]) -> np.ndarray:
    return torch.cat([log_odds(judge, core.to_images(split.images)) for split in splits]).double().sigmoid().numpy()


def _read_well(known: np.ndarray, p: np.ndarray) -> dict:
    both = known.any() and not known.all()
    return {
        "n": len(known),
        "positives": int(known.sum()),
        "auc": roc_auc_score(known, p) if both else np.nan,
        "difference": p[known].mean() - p[~known].mean() if both else np.nan,
    }
