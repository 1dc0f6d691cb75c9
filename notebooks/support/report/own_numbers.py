"""What the report of one's own images says of labels that are numbers, in the user's units: errors with intervals, how
far the model's own spread can be taken at its word, the largest errors, what is too little."""

import numpy as np
import pandas as pd

from data.continuous import Unit

from ..measures import intervals, quantities

FEW_TEST, FEW_TRAINING = 20, 100  # images with a number known
INSIDE = 1.96  # predicted standard deviations to each side that should hold 95 of 100 values
HOW = (
    "*Error*: how far, on average, the number that is read lies from the one that is known; beside it the same of "
    "always answering the training images' mean. *Correlation*: 1 where what is read rises in step with what is known, "
    "0 where one says nothing of the other."
)


def number_scores(read: np.ndarray, y: np.ndarray, label: str, unit: Unit, groups: np.ndarray | None) -> dict:
    """Of what is read of a label and its known values, standardised, (N,), NaN where not known: label, n, each of
    `quantities.SCORES` in the user's unit and its interval (<score>_low, <score>_high), None where there is none.
    groups (N,): images that are not independent of one another, or None."""
    known = ~np.isnan(y)
    values = [unit.undone(of[known].astype(float)) for of in (read, y)]
    row = {"label": label, "n": int(known.sum())} | quantities.scores(*values, unit.mean)
    ends = quantities.intervals(*values, unit.mean, None if groups is None else groups[known])
    for score in quantities.SCORES:
        row |= dict(zip((f"{score}_low", f"{score}_high"), ends.get(score, (None, None)), strict=True))
    return row


def shown_scores(table: pd.DataFrame, units: dict[str, Unit]) -> pd.DataFrame:
    """Rows of `number_scores` for people."""
    rows = []
    for row in table.to_dict("records"):
        error = lambda value, unit=units[row["label"]]: unit.text(value, 1)  # noqa: E731
        plain = lambda value: f"{value:.2f}".replace("-", "−")  # noqa: E731
        rows.append(
            {
                "label": row["label"],
                "test images": row["n"],
                "error": _with_interval(row, "error", error),
                "always the training mean": _with_interval(row, "error_of_mean", error),
                "correlation": _with_interval(row, "correlation", plain),
            }
        )
    return pd.DataFrame(rows)


def _with_interval(row: dict, score: str, text) -> str:
    value, low, high = (row[name] for name in (score, f"{score}_low", f"{score}_high"))
    if pd.isna(value):
        return "–"
    return text(value) if pd.isna(low) else f"{text(value)} ({text(low)} to {text(high)})"


def too_little(row: dict, train: np.ndarray, unit: Unit) -> list[str]:
    """Sentences on what there is too little of. row: `number_scores`; train: the label's training values (N,)."""
    name, training = row["label"], int((~np.isnan(train)).sum())
    if row["n"] == 0:
        return [f"{name}: known of no test image, so nothing can be said of how it is read."]
    said = []
    if row["n"] < FEW_TEST:
        said.append(f"{name}: known of only {row['n']} test images; each of them moves the scores much.")
    if training < FEW_TRAINING:
        said.append(f"{name}: known of only {training} training images; more of them are what helps most.")
    if pd.isna(row["gain_low"]) or row["gain_low"] <= 0:
        gain = "" if pd.isna(row["gain_low"]) else _gain(row, unit)
        said.append(f"{name}: whether it is read better than by always the training mean can't be told{gain}.")
    return said


def _gain(row: dict, unit: Unit) -> str:
    low, high = (unit.text(row[f"gain_{end}"], 1) for end in ("low", "high"))
    return f": the error is less by {low} to {high}"


def coverage(read: np.ndarray, sd: np.ndarray, y: np.ndarray, label: str, unit: Unit) -> dict:
    """How many known values (N,) lie within INSIDE predicted sd of what is read, all standardised, for people."""
    known = ~np.isnan(y)
    inside, n = int((np.abs(read - y) <= INSIDE * sd)[known].sum()), int(known.sum())
    low, high = intervals.wilson(inside, n)
    return {
        "label": label,
        "test images": n,
        "mean predicted sd": unit.text(unit.sd * float(sd[known].mean()), 1) if n else "–",
        "inside 1.96 sd, 0.95 is right": f"{inside / n:.2f} ({low:.2f} to {high:.2f})" if n else "–",
    }


def largest_errors(
    read: np.ndarray, y: np.ndarray, names: list[str], units: list[Unit], count: int
) -> list[tuple[int, str]]:
    """(position, what is said of it) of the numbers that are read furthest from what is known, in sd of the label, the
    furthest first; read and y standardised (N, L), y NaN where not known."""
    off = np.nan_to_num(np.abs(read - y), nan=-1.0)
    order = np.argsort(-off, axis=None, kind="stable")[:count]
    found = [divmod(int(at), off.shape[1]) for at in order if off.flat[at] >= 0]
    said = []
    for i, j in found:
        given, seen = (units[j].text(units[j].undone(float(of[i, j])), 1) for of in (y, read))
        said.append((i, f"{names[j]}: given {given}, read {seen}"))
    return said
