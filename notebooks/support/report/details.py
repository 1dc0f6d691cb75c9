"""The page beside the report: every table with its sources, earlier tests, further experiments, methods, records."""

import dataclasses
import functools

import pandas as pd
from IPython.display import HTML, Markdown, display

from data import TASKS

from ..experiments import (
    allocations,
    baselines,
    characteristics,
    classification,
    conditional,
    forensics,
    intervention,
    label_weight,
    likelihood_floors,
    lungs,
    objective,
    overview,
    paired_seeds,
    reconstruction,
    task_judges,
)
from ..runs import is_published
from ..settings import options_table
from ..show import figures, tables
from ..show.markup import escaped, link, markdown
from . import deciding_runs, schemes
from .provenance import data_table, provenance_table, settings_table, trained_on
from .report import DRAWN_PROFILE, Beside, Report, absent

DRAWN = {  # of published drawn data: the task that they stand in for -> their own name
    TASKS["celeba"].title: "drawn faces",
    TASKS["mnist"].title: "embedded digits",
    TASKS["chest_xray"].title: "drawn chests",
    TASKS["stick_figures"].title: "stick figures",
}


@dataclasses.dataclass(frozen=True)
class Details(Report):
    """The report's other sections, displayed by a method each; figures of the profile's own experiments stand on these
    experiments' pages."""

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
        table = super().read(name)
        if self.below == f"{DRAWN_PROFILE}/" and "task_title" in table:
            table["task_title"] = table["task_title"].replace(DRAWN)
        return table

    def figure(self, name: str) -> None:
        """A figure of an experiment whose page is not published; the others' pages have theirs."""
        if self.below:
            figures.display_saved(self.profile, name)

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
        return Details(Beside(name, self.profile.folder / name, experiments), [], f"{name}/")

    def on_which_data(self) -> None:
        """What the runs of this report were trained on."""
        display(Markdown(f"**On which data.** {trained_on(self.all)}."))

    def overview(self) -> None:
        """Every model of every task in one table, saved beside the others; the READMEs have it too."""
        tables.save_table(overview.results_table(self.all), self.profile, "results")
        table = self.read("results")  # so that a number rounds here as in the READMEs
        self.table(
            overview.results_columns(table),
            "All models: mean over seeds ± half the 95 % interval; losses in nats per image",
            "results",
        )

    def classification(self) -> None:
        """Tables 1 and 2, further scores, every run's accuracy."""
        if self.has("classification"):
            for name, part in (("table_1", "train"), ("table_2", "test")):
                table, text = self.read(name), f"Table {name[-1]}: {part} classification accuracy per label"
                show = functools.partial(
                    classification.display_accuracy, beside=baselines.of_labels(self.baselines, part)
                )
                self.table(table, text, name, show=show)
            self.table(
                classification.score_columns(table),
                f"Test scores beside accuracy per label ({tables.seeds_note(table)})",
                "table_2",
            )
            self.figure("accuracy")

    def reconstruction(self) -> None:
        """Table 3, the loss's terms, Figures 3 and 6 to 8."""
        if self.has("reconstruction"):
            table = self.read("table_3")
            self.table(table, "Table 3: train loss, nats per image", "table_3", show=reconstruction.display_losses)
            self.table(
                reconstruction.term_columns(table),
                f"Terms of the train loss, nats per image ({tables.seeds_note(table)})",
                "table_3",
            )
            if len(self.baselines):
                self.table(baselines.picture_columns(self.baselines), baselines.PICTURES, note=None)
            for name in (
                "loss_terms",
                *["figure_3"] * ("celeba" in set(table["task"])),
                *map(reconstruction.reconstruction_name, table["task"].unique()),
            ):
                self.figure(name)

    def intervention(self) -> None:
        """Figures 9 to 12 and the effects of their walks."""
        if self.has("intervention"):
            table = self.read("interventions")
            for number in table["figure"].unique():
                self.figure(f"figure_{number}")
            self.table(
                intervention.intervention_columns(table),
                "Effects of the walks, means over test images",
                "interventions",
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
                objective.hidden_columns(self.read("objective")),
                "The label weight that official hides on the encoder",
                "objective",
            )
            self.figure("terms_over_training")
            self.figure("encoder")
            self.table(
                objective.encoder_columns(self.read("encoder")),
                "Shares of the encoder's gradient after the last epoch",
                "encoder",
            )
            self.figure("trade_off")
            self.table(
                label_weight.trade_off_columns(self.read("label_weight")),
                "Accuracy against loss, mean ± sd over seeds",
                "label_weight",
            )
            self.table(
                likelihood_floors.floor_columns(self.read("floors")),
                "Likelihoods beside the paper's Table 3, nats per image",
                "floors",
            )
            variants = likelihood_floors.variant_columns(self.read("floor_variants"))
            self.table(variants, "Floors on other treatments of the images, nats per image", "floor_variants")
            if (self.profile.folder / "tables" / f"{forensics.NAME}.csv").exists():
                table = self.read(forensics.NAME)
                self.table(forensics.forensic_columns(table), forensics.TEXT, forensics.NAME, note=None)
            self.table(
                objective.weight_columns(self.read("weights")),
                "The official loss under other noise, training images",
                "weights",
            )

    def latents(self) -> None:
        """What the latents hold: the judge, the scores, differences, and two pictures a task."""
        if self.has("characteristics"):
            self.table(task_judges.judge_columns(self.read("judge")), "The judge's own test", "judge")
            summary = characteristics.summary_columns(self.read("characteristics"))
            self.table(summary, "What the latents hold, means over labels ± sd over seeds", "characteristics")
            self.table(
                paired_seeds.comparison_columns(self.read("comparison")), "Differences, paired over seeds", "comparison"
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
            paired_seeds.comparison_columns(there.read("comparison")),
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
                allocations.allocation_columns(table),
                "Ways to spend as many latents, mean ± sd over seeds",
                "allocation",
                **options,
            )
            shown = paired_seeds.comparison_columns(comparison)
            self.table(
                shown, "Where needed against the other ways, paired over seeds", "allocation_comparison", **options
            )

    def gaps(self) -> None:
        """The outcomes of the primary tests, and what they compare over training."""
        if self.deciding is None:
            absent("These runs decide none of the paper's claims.")
        else:
            deciding_runs.show_forest(self.deciding[0], self.found)
            deciding_runs.show_gaps(self.deciding[0], self.found)

    # --- methods and provenance ---

    def scheme(self, *numbers: int) -> None:
        """Figures 1, 2, 4 and 5."""
        for number in numbers:
            schemes.display_scheme(number)

    def settings(self) -> None:
        """Data, models, training."""
        self.table(data_table(self.all), "Data")
        self.table(settings_table(self.all), "Models and training; seconds are the mean of a run")

    def names(self) -> None:
        """What the options of a model's name mean."""
        display(Markdown(options_table()))

    def provenance(self) -> None:
        """On what, from which code; the experiments' notebooks; the notes that stand behind numbers."""
        self.table(provenance_table([*self.all, *self.runs]), "How this report came about", note=None)
        # of that one notebooks are not tracked
        kinds = {"page": "html"} | ({} if is_published(self.profile.folder) else {"notebook": "ipynb"})
        links = {
            name: ", ".join(link(f"notebooks/{name}.{kind}", what) for what, kind in kinds.items())
            for name in self.profile.experiments
        }
        pages = [f"<li>{escaped(name)} ({there})</li>" for name, there in links.items()]
        display(HTML(f"<p>The experiments, with their code:</p><ul>{''.join(pages)}</ul>"))

    def notes(self) -> None:
        """Where every number came from."""
        display(HTML(self.sources.listed(self.profile)))
