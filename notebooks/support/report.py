"""What the report says beside tables and figures: data, settings, provenance, deviations, links."""

import html
import re

import pandas as pd
from IPython.display import HTML, Markdown, display

from data import TASKS

from . import ROOT
from .figures import STAND_IN
from .runs import Run, commit
from .settings import Profile
from .tables import read_finding

EXPERIMENTS = ("classification", "reconstruction", "intervention", "objective", "characteristics", "allocation")


def notice(runs: list[Run]) -> None:
    """On top of a report made from stand-ins: that it is no reproduction, and how to get one."""
    if any(run.record["data"]["stand_in"] for run in runs):
        text = f"<strong>{STAND_IN.capitalize()}.</strong> Every result below was computed on stand-in data, not on the paper's: it shows that the whole way works, not what the paper's numbers are. <code>./run_all.sh paper</code> is the reproduction."
        display(HTML(f'<p class="notice">{text}</p>'))


def data_table(runs: list[Run]) -> pd.DataFrame:
    """What was used of each task's data."""
    seen = {run.record["task"]: run.record["data"] for run in runs}
    rows = [
        {
            "task": TASKS[task].title,
            "data": d["description"],
            **{part: f"{d['n'][part]:,}" for part in ("train", "validation", "test")},
            "sha256": d["sha256"][:12] + "…",
        }
        for task, d in seen.items()
    ]
    return pd.DataFrame(rows)


def _counted(characteristics: list[int]) -> str:
    """18 labels with 2 latents: 18 × 2; unequal ones one by one."""
    k = set(characteristics)
    return f"{len(characteristics)} × {k.pop()}" if len(k) == 1 else " + ".join(map(str, characteristics))


def settings_table(runs: list[Run]) -> pd.DataFrame:
    """What was trained: a row a task and model."""
    rows = {}
    for run in runs:
        r = run.record
        row = rows.setdefault((r["task"], r["model"]), {
            "task": TASKS[r["task"]].title, "model": run.spec.title, "latents": f"{_counted(r['characteristics'])}; {r['style_dim']} style",
            "estimator": r["estimator"], "batch": r["batch_size"], "epochs": f"{r['epochs']} (paper {TASKS[r['task']].epochs})", "seeds": [], "seconds": [],
        })  # fmt: skip
        row["seeds"].append(r["seed"])
        row["seconds"].append(r["seconds"])
    return pd.DataFrame(
        [
            row | {"seeds": ", ".join(map(str, row["seeds"])), "seconds": f"{sum(row['seconds']) / len(row['seconds']):,.0f}"}
            for row in rows.values()
        ]
    )


def provenance_table(runs: list[Run]) -> pd.DataFrame:
    """On what, with what and from which code the runs came: one row a thing, its different values joined."""

    def values(get):
        return "; ".join(sorted({str(get(run.record)) for run in runs}))

    return pd.DataFrame(
        {
            "": ["code (sha256 of core and data modules)", "git commit of this report", "versions", "device", "threads a run", "seconds of training in all"],
            "value": [
                values(lambda r: r["code"][:16] + "…"), commit() or "not in a git repository",
                values(lambda r: ", ".join(f"{k} {v}" for k, v in r["versions"].items())), values(lambda r: r["device"]), values(lambda r: r["threads"]),
                f"{sum(run.record['seconds'] for run in runs):,.0f}",
            ],
        }
    )  # fmt: skip


def readme_section(title: str) -> str:
    """The text of a section of the README, which is where it stands once."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return match[1].strip()


def display_deviations() -> None:
    """The README's list of deviations from the paper."""
    display(Markdown(readme_section("Deviations from the paper")))


def display_findings(profile: Profile) -> None:
    """The last sentence of each experiment's notebook."""
    display(Markdown("\n".join(f"- **{name.capitalize()}.** {read_finding(profile, name)}" for name in EXPERIMENTS)))


def display_links(profile: Profile, runs: list[Run]) -> None:
    """Links to the executed notebooks, as pages and as notebooks, and to the runs' folders, relative to the report."""
    experiments = [f'<a href="notebooks/{name}.html">{name}</a> (<a href="notebooks/{name}.ipynb">notebook</a>)' for name in EXPERIMENTS]
    trained = []
    for run in runs:
        path = run.folder.relative_to(profile.folder)
        about = f"{TASKS[run.record['task']].title}, {run.spec.title}, seed {run.record['seed']}"
        trained.append(f'<a href="{html.escape(path.as_posix())}/train.ipynb">{html.escape(about)}</a>')
    items = "".join(f"<li>{item}</li>" for item in [*experiments, *trained])
    display(HTML(f"<ul>{items}</ul>"))
