"""The report, section by section: what was asked, verdicts, results, methods, provenance, and where every number came
from."""

import dataclasses
import functools
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display

from data import TASKS

from ..experiments import baselines, characteristics, conditional, forensics, lungs
from ..runs import PAPER_TASKS, Run, commit, is_published, missing
from ..settings import ModelSpec, Profile, options_table
from ..show import figures, tables
from ..show.figures import STAND_IN
from ..show.markup import Markup, escaped, link, markdown
from . import claims, explorer, opening, schemes


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
        names = ("metrics.json", "history.csv", "run.json", "train.ipynb")
        there = [link(f"{folder}/{name}", name.partition(".")[0]) for name in names if (run.folder / name).exists()]
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
    return tables._list(parts)


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"


def absent(why: str) -> None:
    """In place of a section that there is nothing for; `page.Absent` leaves such sections out of the page."""
    display({"text/markdown": f"*{markdown(why)}*", "text/plain": why}, raw=True, metadata={"absent": True})


ABOUT_VERDICTS = """\
Each claim has a test and a margin (`support/report/claims.py`), written before the runs, or, where † stands, when the
results of some of them were known; differences are paired over seeds, with 95 % intervals. *n* is the number of
seeds. *Does not hold*: the interval lies on the other side, or so far below the margin that what there may be of a
difference is too small to matter. *Open*: the interval does not decide; with one seed there is none. *Not tried*: no
run for it yet. *Not meant*: the claim is not about these data, or can't be tried on them: nobody knows the parts of
what a photograph shows. [What the verdicts rest on](#What-the-verdicts-rest-on) has the numbers."""


DRAWN_PROFILE = "characteristics"  # published beside the runs, all of it on drawn data
DECIDING_PROFILE = "trained_out"  # its runs decide the claims; published beside the others


@dataclasses.dataclass(frozen=True)
class Beside:
    """A profile whose tables and figures are published in a folder beside the published runs."""

    profile: str
    folder: Path
    experiments: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """The report of a profile, from the files that its runs and experiments left; each method displays a section."""

    profile: "Profile | Beside"
    runs: list[Run]
    below: str = ""  # from the page to the profile's folder

    @functools.cached_property
    def stand_in(self) -> bool:
        return any(run.record["data"]["stand_in"] for run in self.runs)

    @functools.cached_property
    def sources(self) -> Sources:
        return Sources(self.runs)

    @functools.cached_property
    def deciding(self) -> "tuple[Profile | Beside, str] | None":
        """The runs that decide the claims, and their folder's address from the page; None for a report of other
        runs."""
        if is_published(self.profile.folder):
            return Beside(DECIDING_PROFILE, self.profile.folder / DECIDING_PROFILE, ()), f"{DECIDING_PROFILE}/"
        return (self.profile, "") if self.profile.profile == DECIDING_PROFILE else None

    @functools.cached_property
    def verdicts(self) -> pd.DataFrame:
        """`claims.claims_table` of the runs before these, saved beside the other tables."""
        table = claims.claims_table(self.profile, self.runs)
        tables.save_table(table, self.profile, "claims")
        return table

    @functools.cached_property
    def baselines(self) -> pd.DataFrame:
        """What stands beside the models in tables; without rows where it was not made."""
        return baselines.read(self.profile.folder)

    def table(self, table: pd.DataFrame, text: str, csv: str | None = None, **options) -> None:
        """A table with notes and, where it shows tables/<csv>.csv, a link to that."""
        show = options.pop("show", tables.display_table)
        options = {
            "stand_in": self.stand_in,
            "note": self.sources.note,
            "csv": csv and f"{self.below}tables/{csv}.csv",
        } | options
        show(table, text, **options)

    def read(self, name: str) -> pd.DataFrame:
        """A table; of the published drawn data under their own names, not under those of the sets that they stand in
        for."""
        table = tables.read_table(self.profile, name, None if self.below else self.runs)
        if self.below == f"{DRAWN_PROFILE}/" and "task_title" in table:
            table["task_title"] = table["task_title"].replace(claims.DRAWN)
        return table

    def figure(self, name: str) -> None:
        figures.display_saved(self.profile, name)

    def has(self, experiment: str) -> bool:
        """Whether the profile has the experiment; where not, the notebook says so, and the page leaves the section
        out."""
        if experiment not in self.profile.experiments:
            absent(f"The profile {self.profile.profile} has no experiment {experiment}.")
        return experiment in self.profile.experiments

    def beside(self, name: str, *experiments: str) -> "Report | None":
        """Of the published report, where that has not these experiments: the report of the profile `name`, whose tables
        and figures of them are published beside its runs, in a folder of that name."""
        if not is_published(self.profile.folder) or set(experiments) & set(self.profile.experiments):
            return None
        display(
            Markdown(
                f"By the profile {markdown(name)}, whose records lie beside this report in the folder of that name."
            )
        )
        return Report(Beside(name, self.profile.folder / name, experiments), [], f"{name}/")

    # --- the first screen ---

    def asked(self) -> None:
        """What must be known first: over stand-ins that this is no reproduction, and which runs are missing."""
        if self.stand_in:
            text = (
                f"<strong>{STAND_IN.capitalize()}.</strong> Every result below was computed on "
                "stand-in data, not on the paper's: it shows that the whole way works, not what the "
                "paper's numbers are. <code>./run_all.sh paper</code> is the reproduction."
            )
            display(HTML(f'<p class="notice">{text}</p>'))
        if absent_runs := missing(self.profile):
            display(HTML(f'<p class="notice">{missing_text(absent_runs, len(self.runs))}</p>'))
        if self.profile.source == "own":
            display(
                Markdown(
                    "What the first model says of each image, and its latents: "
                    "[characteristics.csv](characteristics.csv)."
                )
            )

    def claims(self) -> None:
        """The paper's claims and our answers, from the runs that decide them."""
        if self.deciding is None:
            absent(f"These runs decide none of the paper's claims; those of the profile {DECIDING_PROFILE} do.")
        else:
            runs = opening.show(*self.deciding)
            display(Markdown(f"**Decided on:** {trained_on(runs) if runs else 'no runs yet'}."))

    def earlier(self) -> None:
        """What the tests before these say of the profile's own runs."""
        if len(self.verdicts):
            display(Markdown(claims.tally(self.verdicts)))
            self.table(claims.verdict_columns(self.verdicts, real=not self.stand_in), "The paper's claims", "claims")
            if len(drawn := claims.verdict_columns(self.verdicts, drawn=True)):
                self.table(
                    drawn,
                    "… and on drawn data, by the profile characteristics, whose results were known when "
                    "these tests were written",
                    "claims",
                )
            display(Markdown(ABOUT_VERDICTS))
        else:
            absent("None of the paper's claims can be tried on these data and models.")

    def finding(self, name: str, beside: str | None = None) -> None:
        """The last sentence of an experiment's notebook; of the published report also that of a profile beside it."""
        if name in self.profile.experiments:
            display(Markdown(markdown(tables.read_finding(self.profile, name))))
        elif beside and is_published(self.profile.folder):
            folder = Beside(beside, self.profile.folder / beside, (name,))
            display(Markdown(markdown(tables.read_finding(folder, name))))
        else:
            absent(f"The profile {self.profile.profile} has no experiment {name}.")

    def explorer(self) -> None:
        """One trained MCCVAE of each task, to be moved by hand."""
        explorer.display_explorer(self.profile, self.runs)

    # --- results ---

    def on_which_data(self) -> None:
        """What the runs of this report were trained on."""
        display(Markdown(f"**On which data.** {trained_on(self.runs)}."))

    def overview(self) -> None:
        """Every model of every task in one table, saved beside the others; the READMEs have it too."""
        tables.save_table(tables.results_table(self.runs), self.profile, "results")
        table = self.read("results")  # so that a number rounds here as in the READMEs
        self.table(
            tables.results_columns(table),
            "All models: mean over seeds ± half the 95 % interval; losses in nats per image",
            "results",
        )

    def classification(self) -> None:
        """Tables 1 and 2, further scores, every run's accuracy."""
        if self.has("classification"):
            for name, part in (("table_1", "train"), ("table_2", "test")):
                table, text = self.read(name), f"Table {name[-1]}: {part} classification accuracy per label"
                show = functools.partial(tables.display_accuracy, beside=baselines.of_labels(self.baselines, part))
                self.table(table, text, name, show=show)
            self.table(
                tables.score_columns(table),
                f"Test scores beside accuracy per label ({tables.seeds_note(table)})",
                "table_2",
            )
            self.figure("accuracy")

    def reconstruction(self) -> None:
        """Table 3, the loss's terms, Figures 3 and 6 to 8."""
        if self.has("reconstruction"):
            table = self.read("table_3")
            self.table(table, "Table 3: train loss, nats per image", "table_3", show=tables.display_losses)
            self.table(
                tables.term_columns(table),
                f"Terms of the train loss, nats per image ({tables.seeds_note(table)})",
                "table_3",
            )
            if len(self.baselines):
                self.table(baselines.picture_columns(self.baselines), baselines.PICTURES, note=None)
            for name in (
                "loss_terms",
                *["figure_3"] * ("celeba" in set(table["task"])),
                *map(figures.reconstruction_name, table["task"].unique()),
            ):
                self.figure(name)

    def intervention(self) -> None:
        """Figures 9 to 12 and the effects of their walks."""
        if self.has("intervention"):
            table = self.read("interventions")
            for number in table["figure"].unique():
                self.figure(f"figure_{number}")
            self.table(
                tables.intervention_columns(table), "Effects of the walks, means over test images", "interventions"
            )
            if len(self.baselines):
                self.table(baselines.edit_columns(self.baselines), baselines.EDITS, note=None)

    def objective(self) -> None:
        """The audit: spread and hidden weight, terms and gradients over training, label weights, Table 3's
        likelihoods."""
        if there := self.beside("objective", "objective"):
            there.objective()
        elif self.has("objective"):
            self.figure("gradients")
            self.table(
                tables.hidden_columns(self.read("objective")),
                "The label weight that official hides on the encoder",
                "objective",
            )
            self.figure("terms_over_training")
            self.figure("encoder")
            self.table(
                tables.encoder_columns(self.read("encoder")),
                "Shares of the encoder's gradient after the last epoch",
                "encoder",
            )
            self.figure("trade_off")
            self.table(
                tables.trade_off_columns(self.read("label_weight")),
                "Accuracy against loss, mean ± sd over seeds",
                "label_weight",
            )
            self.table(
                tables.floor_columns(self.read("floors")),
                "Likelihoods beside the paper's Table 3, nats per image",
                "floors",
            )
            variants = tables.variant_columns(self.read("floor_variants"))
            self.table(variants, "Floors on other treatments of the images, nats per image", "floor_variants")
            if (self.profile.folder / "tables" / f"{forensics.NAME}.csv").exists():
                table = self.read(forensics.NAME)
                display(Markdown(markdown(forensics.sentence(table))))
                self.table(forensics.forensic_columns(table), forensics.TEXT, forensics.NAME, note=None)
            self.table(
                tables.weight_columns(self.read("weights")),
                "The official loss under other noise, training images",
                "weights",
            )

    def latents(self) -> None:
        """What the latents hold: the judge, the scores, differences, and two pictures a task."""
        if self.has("characteristics"):
            self.table(characteristics.judge_columns(self.read("judge")), "The judge's own test", "judge")
            summary = characteristics.summary_columns(self.read("characteristics"))
            self.table(summary, "What the latents hold, means over labels ± sd over seeds", "characteristics")
            self.table(
                characteristics.comparison_columns(self.read("comparison")),
                "Differences, paired over seeds",
                "comparison",
            )
            self.table(
                conditional.conditional_columns(self.read("conditional")),
                "Beside a conditional VAE, means over labels and seeds",
                "conditional",
            )
            self.table(
                lungs.lung_columns(self.read("lungs")),
                "Change by lung field on walks from normal to a disease",
                "lungs",
            )
            for name in ["lungs"] * (self.profile.folder / "figures" / "lungs.json").exists():
                self.figure(name)
            for task in TASKS:
                for name in (f"effects_{task}", f"latents_{task}"):
                    if (self.profile.folder / "figures" / f"{name}.json").exists():
                        self.figure(name)

    def drawn(self) -> None:
        """Of the published report: what latents hold of drawn images, whose parts are known."""
        there = self.beside(DRAWN_PROFILE)
        if there is None:
            absent("What this profile has of drawn images stands above.")
            return
        options = {"stand_in": True}
        there.table(
            characteristics.summary_columns(there.read("characteristics")),
            "What the latents hold, means over labels ± sd over seeds",
            "characteristics",
            **options,
        )
        there.table(
            characteristics.comparison_columns(there.read("comparison")),
            "Differences, paired over seeds",
            "comparison",
            **options,
        )
        for task in ("stick_figures", "celeba"):
            there.figure(f"parts_{task}")

    def allocation(self) -> None:
        """Ways to spend as many latents."""
        if there := self.beside(DRAWN_PROFILE, "allocation"):
            there.allocation()
        elif self.has("allocation"):
            table, comparison = self.read("allocation"), self.read("allocation_comparison")
            options = {"stand_in": bool(table["stand_in"].any())}
            self.table(
                characteristics.allocation_columns(table),
                "Ways to spend as many latents, mean ± sd over seeds",
                "allocation",
                **options,
            )
            shown = characteristics.comparison_columns(comparison)
            self.table(
                shown, "Where needed against the other ways, paired over seeds", "allocation_comparison", **options
            )

    def evidence(self) -> None:
        """What the verdicts rest on."""
        if len(self.verdicts):
            shown = claims.evidence_columns(self.verdicts)
            pairs = zip(self.verdicts["task_title"], self.verdicts["measured"], strict=True)
            marks = [
                "".join(dict.fromkeys(self.sources.note(task, model) for model in measured.split(" − ")))
                for task, measured in pairs
            ]
            shown["measured"] = [
                Markup(escaped(text) + mark) for text, mark in zip(shown["measured"], marks, strict=True)
            ]
            self.table(shown, "Evidence", "claims", note=None)
        else:
            absent("There are no verdicts.")

    # --- methods and provenance ---

    def scheme(self, *numbers: int) -> None:
        """Figures 1, 2, 4 and 5."""
        for number in numbers:
            schemes.display_scheme(number)

    def settings(self) -> None:
        """Data, models, training."""
        self.table(data_table(self.runs), "Data")
        self.table(settings_table(self.runs), "Models and training; seconds are the mean of a run")

    def names(self) -> None:
        """What the options of a model's name mean."""
        display(Markdown(options_table()))

    def provenance(self) -> None:
        """On what, from which code; the experiments' notebooks; the notes that stand behind numbers."""
        self.table(provenance_table(self.runs), "How this report came about", note=None)
        # of that one pages are not tracked
        kinds = {"notebook": "ipynb"} | ({} if is_published(self.profile.folder) else {"page": "html"})
        links = {
            name: ", ".join(link(f"notebooks/{name}.{kind}", what) for what, kind in kinds.items())
            for name in self.profile.experiments
        }
        pages = [f"<li>{escaped(name)} ({there})</li>" for name, there in links.items()]
        display(HTML(f"<p>The experiments, with their code:</p><ul>{''.join(pages)}</ul>"))

    def notes(self) -> None:
        """Where every number came from."""
        display(HTML(self.sources.listed(self.profile)))
