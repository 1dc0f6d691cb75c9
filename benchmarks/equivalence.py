"""`python benchmarks/equivalence.py [FOLDER]`: does bf16 train another model than float32? Paired over seeds, from
records alone.

FOLDER holds bf16 runs, <task>/<model>/seed<n> (the published ones, if none is named; `MCCVAE_PRECISION=bf16
./run_all.sh bf16` makes them); the float32 runs of the same tasks, models and seeds are the published ones. A
difference is bf16 - float32, with its mean and Student's 95 % interval over seeds. It is small enough where the
interval lies inside the margin."""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats

PUBLISHED = Path(__file__).resolve().parents[1] / "outputs" / "published"
MEASURES = {  # name: its place in metrics.json, factor, unit, margin
    "test accuracy": (("test", "accuracy"), 100.0, "points", 2.0),
    "test loss, unbiased": (("test", "bound", "loss_alpha0"), 1.0, "nats", 5.0),
    "test PSNR": (("test", "psnr"), 1.0, "dB", 0.5),
}


def value(run: Path, place: tuple[str, ...], precision: str) -> float:
    """A score of a run's record. Raises ValueError where its precision is another."""
    found = json.loads((run / "run.json").read_text()).get("precision", "float32")
    if found != precision:
        raise ValueError(f"{run} was computed in {found}, not in {precision}: precisions are not mixed")
    scores = json.loads((run / "metrics.json").read_text())
    for key in place:
        scores = scores[key]
    return scores


def paired(folder: Path, model: str, place: tuple[str, ...]) -> np.ndarray:
    """bf16 - float32 for every seed of a model, `<task>/<model>`, that both have."""
    seeds = sorted(
        path.name for path in (folder / model).glob("seed*") if (PUBLISHED / "runs" / model / path.name).is_dir()
    )
    pairs = [
        (value(folder / model / s, place, "bf16"), value(PUBLISHED / "runs" / model / s, place, "float32"))
        for s in seeds
    ]
    return np.array([a - b for a, b in pairs])


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean and Student's 95 % interval."""
    mean, n = differences.mean(), len(differences)
    half = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def main(folder: Path = PUBLISHED / "bf16") -> None:
    print(f"{'model':22}{'measure':22}{'seeds':>6}{'bf16 - float32':>16}{'95 % interval':>20}  margin")
    for path in sorted(folder.glob("*/*")):
        model = f"{path.parent.name}/{path.name}"
        for name, (place, factor, unit, margin) in MEASURES.items():
            differences = factor * paired(folder, model, place)
            if len(differences) > 1:
                mean, low, high = interval(differences)
                inside = "inside" if -margin < low and high < margin else "not inside"
                print(
                    f"{model:22}{name:22}{len(differences):6}{mean:16.2f}{f'{low:.2f} to {high:.2f}':>20} "
                    f" {inside} ±{margin:g} {unit}"
                )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
