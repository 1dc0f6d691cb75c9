"""The report of one's own images, in their words: counts, scores with intervals, calibration, mistakes as pictures,
walks; no paper."""

import base64
import dataclasses
import functools
import io

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display
from PIL import Image

import mccvae_core as core
from data import Dataset, own
from data.common import Split

from .. import IMAGES, OUTPUTS
from ..experiments import data_set, reconstruction
from ..measures import calibration, intervals, quantities
from ..runs import Run, load_data, missing
from ..settings import Profile
from ..show import tables, walks
from ..show.markup import escaped, link, markdown
from ..show.numbers import decimal
from . import explorer, own_numbers
from .provenance import missing_text, provenance_table, settings_table

FEW_TEST, FEW_TRAINING, WIDE = 10, 50, 0.2  # images of the rarer value; an interval wider than that says little
MISTAKES = 20
NAMES = {
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def label_scores(
    probabilities: np.ndarray, labels: np.ndarray, names: tuple[str, ...], groups: np.ndarray | None
) -> pd.DataFrame:
    """One row per label, of probabilities and labels (N, L), NaN where not known: n, ones, each of `intervals.SCORES`
    with its interval
    (<score>_low, <score>_high), calibration_error. groups (N,): images that are not independent of one another, or
    None."""
    rows = []
    for i, name in enumerate(names):
        known = ~np.isnan(labels[:, i])
        p, y = probabilities[known, i], labels[known, i].astype(int)
        row = {"label": name, "n": int(known.sum()), "ones": int(y.sum())}
        if len(y):
            ends = intervals.intervals(p, y, None if groups is None else groups[known])
            for score, value in intervals.scores(p, y).items():
                row |= {score: value, f"{score}_low": ends[score][0], f"{score}_high": ends[score][1]}
            row["calibration_error"] = intervals.calibration_error(p, y)
        rows.append(row)
    return pd.DataFrame(rows)


def shown_scores(table: pd.DataFrame) -> pd.DataFrame:
    """`label_scores` for people: a score and its interval in one cell."""
    shown = {"label": table["label"], "test images": table["n"], "of them 1": table["ones"]}
    for score, title in NAMES.items():
        ends = table.get([score, f"{score}_low", f"{score}_high"], pd.DataFrame(index=table.index, columns=range(3)))
        shown[title] = [
            f"{v:.2f} ({low:.2f} to {high:.2f})" if v == v else "–" for v, low, high in ends.astype(float).to_numpy()
        ]
    errors = table.get("calibration_error", pd.Series(np.nan, table.index))
    shown["calibration error"] = [f"{error:.2f}" if error == error else "–" for error in errors]
    return pd.DataFrame(shown)


def too_little(table: pd.DataFrame, train: np.ndarray) -> list[str]:
    """Sentences on what there is too little of. table: `label_scores`; train: the training labels (N, L)."""
    said = []
    for row, y in zip(table.to_dict("records"), train.T, strict=True):
        name, rarer = row["label"], min(row["ones"], row["n"] - row["ones"])
        value = int(row["ones"] <= row["n"] - row["ones"])
        training = min(int((y == 1).sum()), int((y == 0).sum()))
        if rarer == 0:
            said.append(f"{name}: no test image is {value}, so nothing can be said of how it is read.")
            continue
        if rarer < FEW_TEST:
            said.append(
                f"{name}: only {rarer} of the test images with this label known are {value}; each of them moves "
                f"the scores much."
            )
        if training < FEW_TRAINING:
            said.append(
                f"{name}: only {training} training images have its rarer value; more of them are what helps most."
            )
        low, high = row["auc_low"], row["auc_high"]
        if low <= 0.5:
            said.append(
                f"{name}: whether it is read better than by guessing can't be told: the AUC's interval, "
                f"{low:.2f} to {high:.2f}, holds ½."
            )
        width = row["balanced_accuracy_high"] - row["balanced_accuracy_low"]
        if width > WIDE:
            said.append(
                f"{name}: the interval of the balanced accuracy is {width:.2f} wide, so models can hardly be "
                f"compared by it."
            )
    return said


def surest_mistakes(
    probabilities: np.ndarray, labels: np.ndarray, names: tuple[str, ...], count: int = MISTAKES
) -> list[tuple[int, str, int, float]]:
    """(position, label, the value given, its probability of 1) of the labels that are read wrongly, the surest
    first."""
    wrong = np.argwhere((probabilities > 0.5) != (labels > 0.5))
    wrong = [(i, j) for i, j in wrong if not np.isnan(labels[i, j])]
    wrong.sort(key=lambda at: -abs(probabilities[tuple(at)] - 0.5))
    return [(int(i), names[j], int(labels[i, j]), float(probabilities[i, j])) for i, j in wrong[:count]]


def mistakes_markup(mistakes: list[tuple[int, str, int, float]], split: Split) -> str:
    """HTML of the pictures, each with its file's name under it."""
    said = [(i, f"{label}: given {given}, read {int(p > 0.5)} ({p:.3f})") for i, label, given, p in mistakes]
    return pictures_markup(said, split)


def pictures_markup(said: list[tuple[int, str]], split: Split) -> str:
    """HTML of the pictures at these positions, under each its file's name and what is said of it."""
    figures_of = []
    for i, about in said:
        pixels = split.images[i].numpy()
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
        image.save(buffer := io.BytesIO(), "PNG")
        name = escaped(split.names[i])
        code = base64.b64encode(buffer.getvalue()).decode()
        text = f"{name}<br>{escaped(about)}"
        figures_of.append(
            f'<figure style="display:inline-block;width:11em;margin:.5em;vertical-align:top;overflow-wrap:anywhere">'
            f'<img width="128" height="128" src="data:image/png;base64,{code}" alt="{name}">'
            f"<figcaption>{text}</figcaption></figure>"
        )
    return f"<div>{''.join(figures_of)}</div>"


@dataclasses.dataclass(frozen=True)
class OwnReport:
    """The report of a profile of own images; each method displays a section. Scores are those of the first model and
    seed."""

    profile: Profile
    runs: list[Run]

    @functools.cached_property
    def data(self) -> Dataset:
        return load_data(self.profile, own.TASK.name)

    @functools.cached_property
    def model(self) -> core.MCCVAE:
        return self.runs[0].model()

    @functools.cached_property
    def read(self) -> np.ndarray:
        """What is read of the test images (N, L): calibrated probabilities, and numbers, standardised."""
        return self._read(self.runs[0])

    def _read(self, run: Run) -> np.ndarray:
        model = run.model()
        read = core.predict(model, self.data.test.images)
        return calibration.calibrated(read, model, run.calibration).numpy()

    @functools.cached_property
    def binary(self) -> list[int]:
        """The positions of the labels of 0 and 1; `numbers`: of the others."""
        return self.data.of_kind("binary")

    @functools.cached_property
    def numbers(self) -> list[int]:
        return self.data.of_kind("continuous")

    def _binary(self, read: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Of the labels of 0 and 1 what is read, the test labels, their names."""
        names = tuple(self.data.labels[i] for i in self.binary)
        return read[:, self.binary], self.data.test.labels.numpy()[:, self.binary], names

    @functools.cached_property
    def groups(self) -> np.ndarray | None:
        """The group of each test image, one of its own where none was given; None: no image has one."""
        arrays = own.read_arrays(OUTPUTS / self.profile.profile / IMAGES)
        if not any(arrays["group"]):
            return None
        of = {
            name: group or f"/{name}"
            for name, group in zip(arrays["names"].tolist(), arrays["group"].tolist(), strict=True)
        }
        return np.array([of[name] for name in self.data.test.names.tolist()])

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        return label_scores(*self._binary(self.read), self.groups)

    @functools.cached_property
    def number_scores(self) -> pd.DataFrame:
        return self._number_scores(self.read, self.groups)

    def _number_scores(self, read: np.ndarray, groups: np.ndarray | None) -> pd.DataFrame:
        data, y = self.data, self.data.test.labels.numpy()
        rows = [
            own_numbers.number_scores(read[:, i], y[:, i], data.labels[i], data.units[i], groups) for i in self.numbers
        ]
        return pd.DataFrame(rows)

    def table(self, table: pd.DataFrame, text: str, csv: str | None = None) -> None:
        tables.display_table(table, text, stand_in=False, csv=csv and f"tables/{csv}.csv")

    def opening(self) -> None:
        """What was trained on what, what is missing, and where the table of every image is."""
        run, n = self.runs[0], self.runs[0].record["data"]["n"]
        text = (
            f"{sum(n.values()):,} images: {n['train']:,} to train on, {n['validation']:,} for validation, "
            f"{n['test']:,} for the test."
        )
        display(Markdown(f"{text} The model that is shown is {markdown(run.spec.title)}, seed {run.record['seed']}."))
        if absent_runs := missing(self.profile):
            display(HTML(f'<p class="notice">{missing_text(absent_runs, len(self.runs))}</p>'))
        display(
            HTML(
                f"<p>What it says of each image, and its latents: "
                f"{link('characteristics.csv', 'characteristics.csv')}.</p>"
            )
        )

    def counts(self) -> None:
        """How many images have a label known, and how many of these are 1."""
        self.table(data_set.known_table(self.data), "Known labels")
        missing_of = {
            name: int(np.isnan(y).sum()) for name, y in zip(self.data.labels, self._all_labels().T, strict=True)
        }
        lacking = [f"{markdown(name)} {n:,}" for name, n in missing_of.items() if n]
        display(
            Markdown(f"Not known: {', '.join(lacking)} images." if lacking else "Every label is known of every image.")
        )

    def _all_labels(self):
        return np.concatenate([split.labels for split in (self.data.train, self.data.validation, self.data.test)])

    def reading(self) -> None:
        """Scores of each label on the test images, and what they rest on."""
        train, said = self.data.train.labels.numpy(), []
        if self.binary:
            tables.save_table(self.scores, self.profile, "labels")
            self.table(shown_scores(self.scores), "Test images; in brackets 95 % intervals", "labels")
            said = too_little(self.scores, train[:, self.binary])
        if self.numbers:
            tables.save_table(self.number_scores, self.profile, "numbers")
            units = {self.data.labels[i]: self.data.units[i] for i in self.numbers}
            display(Markdown(own_numbers.HOW))
            shown = own_numbers.shown_scores(self.number_scores, units)
            self.table(shown, "Numbers of test images; in brackets 95 % intervals", "numbers")
            for i, row in zip(self.numbers, self.number_scores.to_dict("records"), strict=True):
                said += own_numbers.too_little(row, train[:, i], self.data.units[i])
        how = (
            f"Intervals by group ({len(set(self.groups)):,} in the test)."
            if self.groups is not None
            else "Intervals count every image as independent."
        )
        display(Markdown("\n".join([how, "", *(f"- {markdown(line)}" for line in said)])))

    def calibration(self) -> None:
        """Whether a probability of .8 is right in eight of ten, and how many numbers lie where they should."""
        if by := self.runs[0].calibration:
            display(Markdown(self._how_calibrated(by)))
        rows = []
        read, labels, names = self._binary(self.read)
        for p, y, name in zip(read.T, labels.T, names, strict=True):
            known = ~np.isnan(y)
            for row in intervals.calibration(p[known], y[known].astype(int)) if known.any() else []:
                rows.append(
                    {
                        "label": name,
                        "probability of 1": f"{row['from']:.1f} to {row['to']:.1f}",
                        "images": row["n"],
                        "mean probability": f"{row['probability']:.2f}",
                        "are 1": f"{row['share']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
                    }
                )
        if self.binary:
            self.table(pd.DataFrame(rows), "Test images by what the model says of them")
        if self.numbers:
            data, test = self.data, self.data.test
            sd = quantities.predicted_sd(self.model, core.posterior(self.model, test.images)).cpu().numpy()
            sd = sd * (self.runs[0].calibration["spread"] if self.runs[0].calibration else 1)
            y = test.labels.numpy()
            rows = [
                own_numbers.coverage(self.read[:, i], sd[:, i], y[:, i], data.labels[i], data.units[i])
                for i in self.numbers
            ]
            self.table(pd.DataFrame(rows), "Numbers of test images and the spread that the model predicts")

    def _how_calibrated(self, by: dict[str, list[float]]) -> str:
        slopes = [f"{markdown(self.data.labels[i])} {by['slope'][i]:.2f}" for i in self.binary]
        spreads = [f"{markdown(self.data.labels[i])} {by['spread'][i]:.2f}" for i in self.numbers]
        said = [f"the log-odds are multiplied by a slope ({', '.join(slopes)}) and shifted" if slopes else ""]
        said.append(f"a predicted sd is multiplied by a factor ({', '.join(spreads)})" if spreads else "")
        return (
            f"What the model says is calibrated on the {len(self.data.validation):,} validation images: "
            f"{'; '.join(filter(None, said))}. A slope below 1: the model by itself is too sure. Walks and the "
            "explorer show what the model says by itself."
        )

    def mistakes(self) -> None:
        """The pictures that are read wrongly with most confidence, by their files' names, and those whose numbers are
        read with the largest errors."""
        if self.binary:
            found = surest_mistakes(*self._binary(self.read))
            nothing = Markdown("No known label of a test image is read wrongly.")
            display(HTML(mistakes_markup(found, self.data.test)) if found else nothing)
        if self.numbers:
            named = [(self.data.labels[i], self.data.units[i]) for i in self.numbers]
            y = self.data.test.labels.numpy()[:, self.numbers]
            found = own_numbers.largest_errors(self.read[:, self.numbers], y, *zip(*named, strict=True), MISTAKES)
            display(Markdown("The largest errors of numbers:"))
            display(HTML(pictures_markup(found, self.data.test)))

    def pictures(self) -> None:
        """Reconstructions."""
        reconstruction.reconstructions(self.data, {self.runs[0].spec.title: self.model}, self.profile)

    def walks(self) -> None:
        """A walk along every label."""
        for number in self.data.task.walks:
            walks.walk_figure(number, self.data, {self.runs[0].spec.title: self.model}, self.profile)

    def explorer(self) -> None:
        explorer.display_explorer(self.profile, self.runs)

    def models(self) -> None:
        """Every trained model and seed, if there are several, and how they were trained."""
        if len(self.runs) > 1:
            rows = []
            for run in self.runs:
                read = self._read(run)
                row = {"model": run.spec.title, "seed": run.record["seed"]}
                mine = label_scores(*self._binary(read), None).reindex(columns=NAMES).astype(float).mean()
                if self.binary:
                    row |= {title: decimal(mine[score], 3) for score, title in NAMES.items()}
                for one in self._number_scores(read, None).to_dict("records"):
                    unit = self.data.units[self.data.labels.index(one["label"])]
                    row[f"error of {one['label']}"] = "–" if pd.isna(one["error"]) else unit.text(one["error"], 1)
                rows.append(row)
            self.table(pd.DataFrame(rows), "Means over labels, test images")
        self.table(settings_table(self.runs).drop(columns="task"), "Models and training; seconds are the mean of a run")

    def provenance(self) -> None:
        self.table(provenance_table(self.runs), "How this report came about")
