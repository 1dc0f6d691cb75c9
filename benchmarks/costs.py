"""`python benchmarks/costs.py [folder ...]`: what trainings cost, from the records under folders (outputs/), for
profiles/costs.yaml.

Of each task the milliseconds an image and epoch on one core that nine in ten runs kept within, by run.json, and over
all jobs that Snakemake timed (benchmarks/*.tsv) the largest resident memory.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import yaml


def main(folders: list[Path]) -> None:
    records = [json.loads(path.read_text()) for folder in folders for path in sorted(folder.rglob("seed*/run.json"))]
    rows = [
        {"task": r["task"], "device": r["device"], "ms": 1000 * r["seconds"] / r["epochs"] / r["data"]["n"]["train"]}
        for r in records
        if r["threads"] == 1 and r["device"].startswith("CPU")
    ]
    if not rows:
        sys.exit(
            f"costs.py: no run of one thread on a CPU under {', '.join(map(str, folders))}; train "
            "some: ./run_all.sh quick"
        )
    runs = pd.DataFrame(rows)
    memory = [
        pd.read_csv(path, sep="\t")["max_rss"].max() for folder in folders for path in folder.rglob("benchmarks/*.tsv")
    ]
    largest = f"; largest resident memory of {len(memory)} jobs: {max(memory):,.0f} MiB" if memory else ""
    print(f"# {len(runs)} runs on {', '.join(sorted(set(runs['device'])))}{largest}")
    print(yaml.safe_dump({"milliseconds": runs.groupby("task")["ms"].quantile(0.9).round(2).to_dict()}), end="")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or [Path(__file__).resolve().parents[1] / "outputs"])
