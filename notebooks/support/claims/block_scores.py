"""What moving and swapping a model's blocks does to its pictures, as rows of scores, by several judges."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

import mccvae_core as core
from data import Dataset, mnist

from ..experiments import lungs
from ..measures import block_effects, blocks, judged, morphology, parts
from ..measures.judged import Change
from .claim_judges import Panel

LEFT_RIGHT = ("left_lung", "right_lung")  # of the picture


class Rows(list):
    """Rows of scores: `add` takes a number, or one for each judge (J,)."""

    def add(self, score: str, value, *, coordinates: str = "", label: str = "") -> None:
        self.append({"coordinates": coordinates, "label": label, "score": score, "value": np.atleast_1d(value)})

    def table(self) -> pd.DataFrame:
        """Columns coordinates, label, score, value: means over judges; of every score of labels its mean over them
        too, as label "", which leaves out labels that have none; there also each judge's, as <score>_judge0 and so
        on."""
        means, groups = [], {}
        for row in self:
            means.append(row | {"value": row["value"].mean()})
            if row["label"]:
                groups.setdefault((row["coordinates"], row["score"]), []).append(row["value"])
        for (coordinates, score), values in groups.items():
            by_judge = pd.DataFrame(values).mean().to_numpy(float)
            about = {"coordinates": coordinates, "label": ""}
            means.append(about | {"score": score, "value": by_judge.mean()})
            if len(by_judge) > 1:
                means += [about | {"score": f"{score}_judge{j}", "value": value} for j, value in enumerate(by_judge)]
        return pd.DataFrame(means, columns=["coordinates", "label", "score", "value"])


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a task's labels: their names, which of them are each label's (L, P), how one reads from a change
    how much each has changed, (J, P), and what is to be measured of every picture, if anything."""

    names: tuple[str, ...]
    of_label: np.ndarray
    changed: Callable[[Change], np.ndarray]
    measure: Callable[[torch.Tensor], np.ndarray] | None = None


def parts_of_task(data: Dataset, panel: Panel) -> Parts:
    """CelebA: attributes that the judges read; chest X-rays: left and right lung; digits: their shape; else none."""
    count = len(data.labels)
    if panel.attribute_names:
        known = panel.kept
        of_label = [parts.parts_of(data.train.labels.numpy(), panel.attributes, i) & known for i in range(count)]
        return Parts(panel.attribute_names, np.array(of_label), lambda change: change.log_odds[:, count:])
    if lungs.HEALTHY in data.labels:
        fields = lung_sides(data)
        of_field = lambda change: np.array([[change.moved[field].mean() for field in fields]])  # noqa: E731
        return Parts(LEFT_RIGHT, np.ones((count, 2), dtype=bool), of_field)
    if data.task.name == mnist.TASK.name:
        everything = np.ones((count, len(morphology.NAMES)), dtype=bool)
        of_shape = lambda change: change.measured[None]  # noqa: E731
        return Parts(morphology.NAMES, everything, of_shape, morphology.shape_of_digits)
    return Parts((), np.zeros((count, 0), dtype=bool), lambda change: np.zeros((1, 0)))


def lung_sides(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The lung fields (H, W) of bool in the left and in the right half of the picture."""
    fields = lungs.lung_fields(data)
    left = np.arange(fields.shape[1]) < fields.shape[1] / 2
    return fields & left, fields & ~left


Changes = list[dict[str, list[Change]]]  # of each label: its block's moves by their kind


def move_scores(rows: Rows, model: core.MCCVAE, data: Dataset, panel: Panel, z: torch.Tensor) -> Changes:
    """Scores of all moves of every label's block from the starts z (N, Z). Returns what each move changes.

    change: absolute change of a judge's probability of the label; change_share: as a share of the difference between
    real images with and without it. rise, moved_share: the same with its sign. own_label_share: `judged.own_share`.
    pixels. along_share. effective_variables: of those along and across, or of single latents. parts_split and the
    change of each part: `parts`.
    """
    of_parts, of_labels = parts_of_task(data, panel), []
    for label, name in enumerate(data.labels):
        coordinates = blocks.block_coordinates(model, label)
        if coordinates.size > 2:
            coordinates = block_effects.order_across(model, coordinates, z)
        changes = judged.changes_of_block(model, coordinates, z, panel.readers, of_parts.measure)
        kinds = {kind: judged.together(moves) for kind, moves in changes.items()}
        for kind, change in kinds.items():
            _kind_rows(rows, kind, change, label, data, panel.ceiling)
        _shared_rows(rows, changes, kinds, label, name)
        if of_parts.of_label[label].any():
            _part_rows(rows, changes, kinds, of_parts, label, name)
        if lungs.HEALTHY in data.labels and coordinates.size == 2:
            _lung_rows(rows, changes, np.logical_or(*lung_sides(data)), name)
        of_labels.append(changes)
    return of_labels


def _kind_rows(rows: Rows, kind: str, change: Change, label: int, data: Dataset, ceiling: np.ndarray) -> None:
    about, count = {"coordinates": kind, "label": data.labels[label]}, len(data.labels)
    own, most = change.change[:, label], ceiling[: len(change.change), label]
    rows.add("change", own, **about)
    rows.add("change_share", own / most, **about)
    rows.add("pixels", change.pixels, **about)
    share = judged.own_share(change.change[:, :count], label, exclusive=data.task.exclusive)
    rows.add("own_label_share", share, **about)
    if kind in ("along", "whole"):
        rows.add("rise", change.rise[:, label], **about)
        rows.add("moved_share", change.rise[:, label] / most, **about)


def _shared_rows(rows: Rows, changes: dict[str, list[Change]], kinds: dict[str, Change], label: int, name: str) -> None:
    """How the block's variables share the work."""
    if "across" not in kinds:
        return
    along, across = (kinds[kind].change[:, label] for kind in ("along", "across"))
    rows.add("along_share", judged.along_share(along, across), label=name)
    rows.add("along_share_pixels", judged.along_share(kinds["along"].pixels, kinds["across"].pixels), label=name)
    variables = {"": [*changes["along"], *changes["across"]], "single": changes["single"]}
    for coordinates, moves in variables.items():
        of_label = np.array([move.change[:, label] for move in moves])
        number = [block_effects.effective_number(column) for column in of_label.T]
        rows.add("effective_variables", number, coordinates=coordinates, label=name)
        number = block_effects.effective_number(np.array([float(move.pixels) for move in moves]))
        rows.add("effective_variables_pixels", number, coordinates=coordinates, label=name)


def _part_rows(rows: Rows, changes, kinds, of_parts: Parts, label: int, name: str) -> None:
    mine = of_parts.of_label[label]
    by_move = {kind: of_parts.changed(change)[:, mine] for kind, change in kinds.items() if kind != "single"}
    singles = {f"single {1 + j}": of_parts.changed(c)[:, mine] for j, c in enumerate(changes.get("single", []))}
    for coordinates, values in (by_move | singles).items():
        for part, value in zip(np.array(of_parts.names)[mine], values.T, strict=True):
            rows.add(f"part_{part}", value, coordinates=coordinates, label=name)
    rows.add("parts", int(mine.sum()), label=name)
    sides = {"": [by_move[kind] for kind in ("along", "across") if kind in by_move], "single": list(singles.values())}
    for coordinates, values in sides.items():
        if len(values) < 2 or mine.sum() < 2:
            continue
        by_judge = list(np.stack(values, axis=1))  # J of (K, P)
        rows.add("parts_split", [parts.split_bits(v) for v in by_judge], coordinates=coordinates, label=name)
        chance, p = zip(*(parts.split_by_chance(v) for v in by_judge), strict=True)
        rows.add("parts_split_by_chance", chance, coordinates=coordinates, label=name)
        rows.add("parts_split_p", p, coordinates=coordinates, label=name)


def _lung_rows(rows: Rows, changes: dict[str, list[Change]], fields: np.ndarray, name: str) -> None:
    """lung_correlation: of the two maps of change, with its sign, inside the lungs; -1 where one darkens what the
    other lightens."""
    for coordinates, moves in {"": [*changes["along"], *changes["across"]], "single": changes["single"]}.items():
        maps = [move.lighter[fields] for move in moves]
        moving = all(np.ptp(values) > 0 for values in maps)
        value = np.corrcoef(maps)[0, 1] if moving else math.nan
        rows.add("lung_correlation", value, coordinates=coordinates, label=name)


def swap_scores(rows: Rows, model: core.MCCVAE, data: Dataset, panel: Panel, test: tuple, pairs: int) -> None:
    """Swaps of a block, or of what lies along or across, between test images with the label and without: swap_taken,
    swap_kept and swap_pairs of `block_effects.swap_effects`, by the judges' mean. test: codes (N, Z), labels (N, L)."""
    codes, labels = test
    for label, name in enumerate(data.labels):
        with_it, without = (torch.nonzero(labels[:, label] == value).flatten()[:pairs] for value in (1, 0))
        n = min(len(with_it), len(without))
        if not n:
            continue
        found = block_effects.swap_effects(model, codes[with_it[:n]], codes[without[:n]], label, panel.read)
        for part, scores in found.items():
            if part == "across" and len(core.block_of(model, label)) == 1:
                continue
            for score, value in scores.items():
                rows.add(f"swap_{score}", float(value), coordinates=part, label=name)
