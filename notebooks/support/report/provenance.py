"""Where a report's numbers came from: data, settings, versions, the runs' files as numbered notes."""

import pandas as pd

from data import TASKS

from ..runs import PACKED, PAPER_TASKS, PARTS, Run, commit
from ..settings import ModelSpec, Profile
from ..show.markup import escaped, link, markdown
from ..show.numbers import listed


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


def _latents(run: Run) -> str:
    """Those of labels and of style; a model without labels has no such parts."""
    k, style = run.record["characteristics"], run.record["style_dim"]
    return f"{_counted(k)}; {style} style" if run.spec.kind == "MCCVAE" else f"{sum(k) + style}"


def _epochs(run: Run) -> str:
    """Beside the paper's, where it has the task."""
    return str(run.record["epochs"]) + (
        f" (paper {TASKS[run.record['task']].epochs})" if run.record["task"] in PAPER_TASKS else ""
    )


def settings_table(runs: list[Run]) -> pd.DataFrame:
    """What was trained: a row a task and model."""
    rows = {}
    for run in runs:
        r = run.record
        row = rows.setdefault((r["task"], r["model"]), {
            "task": TASKS[r["task"]].title, "model": run.spec.title, "latents": _latents(run),
            "estimator": r["estimator"] if run.spec.kind == "MCCVAE" else "ELBO", "batch": r["batch_size"],
            "epochs": _epochs(run), "seeds": [], "seconds": [],
        })  # fmt: skip
        row["seeds"].append(r["seed"])
        row["seconds"].append(r["seconds"])
    return pd.DataFrame(
        [
            row
            | {
                "seeds": ", ".join(map(str, row["seeds"])),
                "seconds": f"{sum(row['seconds']) / len(row['seconds']):,.0f}",
            }
            for row in rows.values()
        ]
    )


def provenance_table(runs: list[Run]) -> pd.DataFrame:
    """On what, with what and from which code the runs came: one row a thing, its different values joined."""

    def values(get):
        return "; ".join(sorted({str(get(run.record)) for run in runs}))

    return pd.DataFrame(
        {
            "what": ["code (sha256 of core and data modules)", "git commit of this report", "versions", "device",
            "threads a run", "seconds of training in all"],
            "value": [
                values(lambda r: r["code"][:16] + "…"), commit() or "not in a git repository",
                values(lambda r: ", ".join(f"{k} {v}" for k, v in r["versions"].items())),
                values(lambda r: r["device"]), values(lambda r: r["threads"]),
                f"{sum(run.record['seconds'] for run in runs):,.0f}",
            ],
        }
    )  # fmt: skip


def missing_text(absent_runs: list[tuple[str, str, int]], there: int) -> str:
    """Which of a profile's runs (task, model, seed) are not there, as HTML: never fewer seeds in silence."""
    seeds = {}
    for task, model, seed in absent_runs:
        seeds.setdefault((task, model), []).append(str(seed))
    named = {}
    for (task, model), mine in seeds.items():
        named.setdefault(task, []).append(
            f"{ModelSpec.parse(model).title} {'seed' if len(mine) == 1 else 'seeds'} {', '.join(mine)}"
        )
    listed = "; ".join(f"{TASKS[task].title}: {'; '.join(models)}" for task, models in named.items())
    return (
        f"<strong>Incomplete:</strong> {there} of {there + len(absent_runs)} runs are here. Missing: {escaped(listed)}."
    )


class Sources:
    """Where numbers came from, as numbered notes: one for each task and model, its runs' records, and one for each
    task, its data.

    numbers: task title -> its note's number, (task title, model's title or name) -> its note's."""

    def __init__(self, runs: list[Run]):
        self.groups: dict[tuple, list[Run]] = {}
        for run in runs:
            title = TASKS[run.record["task"]].title
            self.groups.setdefault((title, None), []).append(run)
            self.groups.setdefault((title, run.record["model"]), []).append(run)
        self.numbers = {}
        for number, (title, model) in enumerate(self.groups, start=1):
            keys = [title] if model is None else [(title, model), (title, ModelSpec.parse(model).title)]
            self.numbers |= dict.fromkeys(keys, number)

    def note(self, task: str | None, model: str | None) -> str:
        """The mark behind a number, a link to its note; nothing for a task that no run has."""
        number = self.numbers.get((task, model)) or self.numbers.get(task)
        return f'<sup><a href="#source-{number}" aria-label="source {number}">{number}</a></sup>' if number else ""

    def listed(self, profile: Profile) -> str:
        """The notes, as a list of links to the files in the runs' folders."""
        items = []
        for number, ((title, model), mine) in enumerate(self.groups.items(), start=1):
            if model is None:
                what, file = f"{title}, data", mine[0].folder.parents[1] / "data.json"
                links = [link(file.relative_to(profile.folder).as_posix(), "data.json")] if file.exists() else []
            else:
                what = f"{title}, {mine[0].spec.title}"
                links = [self._files(profile, run) for run in mine]
            items.append(
                f'<li id="source-{number}">{escaped(what)}: {"; ".join(links) or "in the run.json of each run"}</li>'
            )
        return f'<ol class="sources">{"".join(items)}</ol>'

    def _files(self, profile: Profile, run: Run) -> str:
        folder = run.folder.relative_to(profile.folder).as_posix()
        parts = [name for part in PARTS for name in (part, f"{part}{PACKED}")]
        names = [name for name in (*parts, "run.json", "train.ipynb") if (run.folder / name).exists()]
        there = [link(f"{folder}/{name}", name.partition(".")[0]) for name in names]
        return f"seed {run.record['seed']} ({', '.join(there)})"


def trained_on(runs: list[Run]) -> str:
    """The runs' data, with how many models and seeds were trained and for how long, as Markdown."""
    parts = []
    for (title, model), mine in Sources(runs).groups.items():
        if model is None:
            n = mine[0].record["data"]["n"]
            models, seeds, epochs = ({run.record[key] for run in mine} for key in ("model", "seed", "epochs"))
            trained = f"{_several(len(models), 'model')}, {'up to ' if len(models) > 1 and len(seeds) > 1 else ''}"
            trained += f"{_several(len(seeds), 'seed')}, {markdown(' or '.join(map(str, sorted(epochs))))} epochs"
            parts.append(f"**{markdown(title)}** ({n['train']:,} images to train on, {n['test']:,} to test; {trained})")
    return listed(parts)


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"
