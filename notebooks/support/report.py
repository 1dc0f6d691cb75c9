"""What the report says beside tables and figures: data, settings, provenance, deviations, links."""

import functools
import html
import re

import pandas as pd
from IPython.display import HTML, Markdown, display

from data import TASKS

from . import ROOT, characteristics, figures, tables
from .figures import STAND_IN
from .runs import PAPER_TASKS, Run, commit
from .settings import Profile


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


def _epochs(run: Run) -> str:
    """Beside the paper's, where it has the task."""
    return str(run.record["epochs"]) + (f" (paper {TASKS[run.record['task']].epochs})" if run.record["task"] in PAPER_TASKS else "")


def settings_table(runs: list[Run]) -> pd.DataFrame:
    """What was trained: a row a task and model."""
    rows = {}
    for run in runs:
        r = run.record
        row = rows.setdefault((r["task"], r["model"]), {
            "task": TASKS[r["task"]].title, "model": run.spec.title, "latents": f"{_counted(r['characteristics'])}; {r['style_dim']} style",
            "estimator": r["estimator"] if run.spec.kind == "MCCVAE" else "ELBO", "batch": r["batch_size"], "epochs": _epochs(run), "seeds": [], "seconds": [],
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
    display(Markdown("\n".join(f"- **{name.capitalize()}.** {tables.read_finding(profile, name)}" for name in profile.experiments)))


def display_links(profile: Profile, runs: list[Run]) -> None:
    """Links to the executed notebooks, as pages and as notebooks, and to the runs' folders, relative to the report."""
    experiments = [
        f'<a href="notebooks/{name}.html">{name}</a> (<a href="notebooks/{name}.ipynb">notebook</a>)' for name in profile.experiments
    ]
    trained = []
    for run in runs:
        path = run.folder.relative_to(profile.folder)
        about = f"{TASKS[run.record['task']].title}, {run.spec.title}, seed {run.record['seed']}"
        trained.append(f'<a href="{html.escape(path.as_posix())}/train.ipynb">{html.escape(about)}</a>')
    items = "".join(f"<li>{item}</li>" for item in [*experiments, *trained])
    display(HTML(f"<ul>{items}</ul>"))


# --- sections: what each experiment has left, from its files alone ---------------------------------------------


def _there(profile: Profile, experiment: str) -> bool:
    """Whether the profile has the experiment; where not, the report says so."""
    if experiment not in profile.experiments:
        display(Markdown(f"*The profile {profile.profile} has no experiment {experiment}.*"))
    return experiment in profile.experiments


def classification(profile: Profile, stand_in: bool) -> None:
    """Tables 1 and 2, further scores, every run's accuracy."""
    if _there(profile, "classification"):
        for name, part in (("table_1", "train"), ("table_2", "test")):
            table = tables.read_table(profile, name)
            tables.display_accuracy(table, f"Table {name[-1]}: {part} classification accuracy per label", stand_in=stand_in)
        text = f"Test scores beside accuracy per label ({tables.seeds_note(table)})"
        tables.display_table(tables.score_columns(table), text, stand_in=stand_in)
        figures.display_saved(profile, "accuracy")


def reconstruction(profile: Profile, stand_in: bool) -> None:
    """Table 3, the loss's terms, Figures 6 to 8."""
    if _there(profile, "reconstruction"):
        table = tables.read_table(profile, "table_3")
        tables.display_losses(table, "Table 3: train loss, nats per image", stand_in=stand_in)
        text = f"Terms of the train loss, nats per image ({tables.seeds_note(table)})"
        tables.display_table(tables.term_columns(table), text, stand_in=stand_in)
        for name in ("loss_terms", *map(figures.reconstruction_name, table["task"].unique())):
            figures.display_saved(profile, name)


def intervention(profile: Profile, stand_in: bool) -> None:
    """Figures 9 to 12 and the effects of their walks."""
    if _there(profile, "intervention"):
        table = tables.read_table(profile, "interventions")
        for number in table["figure"].unique():
            figures.display_saved(profile, f"figure_{number}")
        tables.display_table(tables.intervention_columns(table), "Effects of the walks, means over test images", stand_in=stand_in)


def objective(profile: Profile, stand_in: bool) -> None:
    """The audit: spread and hidden weight, terms and gradients over training, label weights, Table 3's likelihoods."""
    if _there(profile, "objective"):
        read, show = functools.partial(tables.read_table, profile), functools.partial(tables.display_table, stand_in=stand_in)
        figures.display_saved(profile, "gradients")
        show(tables.hidden_columns(read("objective")), "The label weight that official hides on the encoder")
        figures.display_saved(profile, "terms_over_training")
        figures.display_saved(profile, "encoder")
        show(tables.encoder_columns(read("encoder")), "Shares of the encoder's gradient after the last epoch")
        figures.display_saved(profile, "trade_off")
        show(tables.trade_off_columns(read("label_weight")), "Accuracy against loss, mean ± sd over seeds")
        show(tables.floor_columns(read("floors")), "Likelihoods beside the paper's Table 3, nats per image")
        show(tables.variant_columns(read("floor_variants")), "Floors on other treatments of the images, nats per image")
        show(tables.weight_columns(read("weights")), "The official loss under other noise, training images")


def latents(profile: Profile, stand_in: bool) -> None:
    """What the latents hold: the judge, the scores, differences, and two pictures a task."""
    if _there(profile, "characteristics"):
        read, show = functools.partial(tables.read_table, profile), functools.partial(tables.display_table, stand_in=stand_in)
        show(characteristics.judge_columns(read("judge")), "The judge's own test")
        show(characteristics.summary_columns(read("characteristics")), "What the latents hold, means over labels")
        show(characteristics.comparison_columns(read("comparison")), "Differences, paired over seeds")
        for task in TASKS:
            for name in (f"effects_{task}", f"latents_{task}"):
                if (profile.folder / "figures" / f"{name}.json").exists():
                    figures.display_saved(profile, name)


def allocation(profile: Profile) -> None:
    """Ways to spend as many latents."""
    if _there(profile, "allocation"):
        table, comparison = tables.read_table(profile, "allocation"), tables.read_table(profile, "allocation_comparison")
        stand_in = bool(table["stand_in"].any())
        tables.display_table(characteristics.allocation_columns(table), "Ways to spend as many latents", stand_in=stand_in)
        tables.display_table(
            characteristics.comparison_columns(comparison), "Where needed against the other ways, paired over seeds", stand_in=stand_in
        )
