"""`python benchmarks/differences.py [task] [epochs] [seeds]`: what the same training gives elsewhere.

The task's stand-in data, CCVAE, seeds 0, 1, ...; each training in a process of its own, against the one of one thread:
again, on two threads, on an older processor (torch is held to the instructions of SSE 4), in bfloat16 (autocast), and
with another seed, the scale that the others are to be seen on. Weights: the largest difference of one, relative to the
largest weight."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "notebooks"), str(ROOT)]
OLDER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
VARIANTS = {  # environment, and what `train` is told
    "one thread": ({}, {}),
    "again": ({}, {}),
    "two threads": ({}, {"threads": 2}),
    "older processor": (OLDER, {}),
    "bf16 inside encoder and decoder": ({}, {"bfloat16": True}),
    "another seed": ({}, {"shift": 100}),
}


def train(
    path: str, task: str, epochs: int, seed: int, threads: int = 1, bfloat16: bool = False, shift: int = 0
) -> None:
    """One training; its weights, scores and seconds into a file."""
    import torch
    from support.measures import scores
    from support.settings import ModelSpec

    import data
    import mccvae_core as core

    torch.set_num_threads(threads)
    images = data.load(task, "embedded")
    model = core.build_model("MCCVAE", ModelSpec.parse("ccvae").config(images), seed + shift)
    start = time.perf_counter()
    precision = "bf16" if bfloat16 else "float32"
    state = core.fit(
        model, images.train.images, images.train.labels, core.Objective(), batch_size=32, epochs=epochs,
        seed=seed + shift,
        precision=precision,
    )  # fmt: skip
    seconds, history = time.perf_counter() - start, state.history
    test = scores.evaluate(
        model, images.test.images, images.test.labels, exclusive=images.task.exclusive, objective=core.Objective()
    )
    results = {
        "first epoch's loss": history[0]["labelled_loss"],
        "last epoch's loss": history[-1]["labelled_loss"],
        "test accuracy": test["accuracy"],
        "test loss": test["bound"]["loss_alpha0"],
    }
    torch.save({"weights": model.state_dict()}, f"{path}.pt")
    Path(path).write_text(json.dumps(results | {"seconds": seconds}))


def run(folder: Path, variant: str, task: str, epochs: int, seed: int) -> tuple[dict, dict]:
    """Weights and scores of one training in a process of its own."""
    import torch

    environment, told = VARIANTS[variant]
    path = str(folder / f"{variant} {seed}")
    arguments = json.dumps({"path": path, "task": task, "epochs": epochs, "seed": seed} | told)
    subprocess.run([sys.executable, __file__, "--train", arguments], env=os.environ | environment, check=True)
    return torch.load(f"{path}.pt", weights_only=True)["weights"], json.loads(Path(path).read_text())


def main(task: str = "stick_figures", epochs: str = "8", seeds: str = "3") -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(int(seeds)):
            trained = {variant: run(Path(folder), variant, task, int(epochs), seed) for variant in VARIANTS}
            weights, scores = trained["one thread"]
            largest = max(w.abs().max().item() for w in weights.values())
            for variant, (other, others) in trained.items():
                far = max((other[name] - w).abs().max().item() for name, w in weights.items()) / largest
                row = {"against one thread": variant, "weights": far, "time": others["seconds"] / scores["seconds"]}
                rows.append(row | {name: others[name] - scores[name] for name in scores if name != "seconds"})
    table = pd.DataFrame(rows).groupby("against one thread", sort=False)
    print(f"{task}, {epochs} epochs, {seeds} seeds: mean difference, and its largest size")
    print(table.mean().map("{:.3g}".format).to_string())
    print(table.agg(lambda column: column.abs().max()).map("{:.3g}".format).to_string())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(**json.loads(sys.argv[2]))
    else:
        main(*sys.argv[1:])
