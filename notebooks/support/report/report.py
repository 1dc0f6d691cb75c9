"""The report: what was asked, the answers, of each question one figure and one paragraph, what follows, what limits it.

Each method of `Report` displays a section. What the body leaves out stands on the experiments' pages and on that of
`details.Details`, linked."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display

from data import TASKS

from .. import DECIDING
from ..claims import decided, preregistration
from ..claims.decided import Decided, decide_all, verdict_table
from ..experiments import baselines, forensics
from ..runs import Datasets, Run, deciding_folder, first_runs, is_published, missing
from ..settings import Profile
from ..show import figures, strips, tables, walks
from ..show.figures import STAND_IN
from ..show.markup import escaped, link, markdown
from . import answers, body, claims_table, deciding_runs, explorer
from .provenance import Sources, missing_text

DRAWN_PROFILE = "characteristics"  # published beside the runs, all of it on drawn data
OPENING = "opening"  # the picture of the first screen, among the figures

WITHOUT_BIAS = "Without bias: trained with the objective's own gradient and a label weight chosen on validation images."
USE = """\
- **To tune a label, move it along the classifier's direction.** There CCVAE's one latent changes the label as
  much as MCCVAE's two, or more.
- **Across it lies a second style**: swapped, it brings the label into 1 to 3 of 100 images; along, in 42 to 80.
- **Train without the bias** ([`mccvae-rb900`](details.html#How-models-are-named)). Faces are drawn 0.6 dB better,
  X-rays 0.4 to 0.5; labels are read as well.
- **Read the picture, not the latents.** Encode what changed: they can differ.
- **On MNIST more latents draw better, whoever owns them**: ten give 1.3 dB in style, 1.5 in blocks; on faces and X-rays
  0.2 at most. For pictures alone take a VAE: faces gain 2.4 dB (one seed)."""
LIMITS = """\
- CelebA is 10,000 of 202,599 faces here, split by person, with 6,400 training steps. One seed of each had the paper's
  12,720: test accuracy fell to 0.835 (CCVAE, which broke down) and 0.868.
- CelebA's models overfit: scored are the weights of the lowest validation loss (epochs 95 to 160).
- On CelebA and MNIST seven of the ten seeds were planned after three had been seen.
- Images have 60 or 64 pixels to a side, each set one split. Judges learn from the same labels, and read 79 % of
  chest's and 89 % of CelebA's rightly.
- Where the paper leaves a choice open we took the official code's: [all
  deviations](details.html#Deviations-from-the-paper).
- The X-rays are of children. Nothing here is a medical finding."""


def absent(why: str) -> None:
    """In place of a section that there is nothing for; `page.Absent` leaves such sections out of the page."""
    display({"text/markdown": f"*{markdown(why)}*", "text/plain": why}, raw=True, metadata={"absent": True})


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
        return Sources(list({run.folder: run for run in (*self.all, *self.runs)}.values()))

    @functools.cached_property
    def deciding(self) -> "tuple[Profile | Beside, str] | None":
        """The runs that decide the claims, and their folder's address from the page; None for a report of other
        runs."""
        if folder := deciding_folder(self.profile.folder):
            return Beside(DECIDING, folder, ()), f"{DECIDING}/"
        return (self.profile, "") if self.profile.profile == DECIDING else None

    @functools.cached_property
    def found(self) -> list[Decided]:
        """The outcomes of all primary tests, saved as the deciding runs' table `verdicts`."""
        claims, (deciding, _) = preregistration.read(), self.deciding
        found = decide_all(deciding.folder, claims)
        tables.save_table(verdict_table(found, claims), deciding, "verdicts")
        return found

    @functools.cached_property
    def decide(self) -> list[Run]:
        """The deciding runs, with the metrics of the weights that decide."""
        found = deciding_runs.read(self.deciding[0].folder) if self.deciding is not None else []
        return sorted(found, key=lambda run: list(TASKS).index(run.record["task"]))

    @functools.cached_property
    def all(self) -> list[Run]:
        """The runs that tables of scores are made of."""
        return decided.all_runs(self.profile) if not self.below else self.runs

    @functools.cached_property
    def main(self) -> list[Run]:
        """Those of the models that Tables 1 to 3 have."""
        return decided.main_runs(self.profile) if not self.below else self.runs

    @functools.cached_property
    def shown(self) -> list[Run]:
        """The runs that pictures are drawn from."""
        tasks = dict.fromkeys(run.record["task"] for run in self.all)
        published = is_published(self.profile.folder)
        return [run for task in tasks for run in first_runs(self.profile, task)] if published else self.runs

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """What moves of a block change, by the deciding runs."""
        return body.deciding_scores(self.deciding[0].folder if self.deciding else self.profile.folder)

    def read(self, name: str) -> pd.DataFrame:
        return tables.read_table(self.profile, name, None if self.below else self._of_table(name))

    def _of_table(self, name: str) -> list[Run]:
        """The runs that have rows in a table."""
        return self.all if name == "results" else self.main if name.startswith("table_") else self.runs

    def has(self, experiment: str) -> bool:
        """Whether the profile has the experiment; where not, the notebook says so, and the page leaves the section
        out."""
        if experiment not in self.profile.experiments:
            absent(f"The profile {self.profile.profile} has no experiment {experiment}.")
        return experiment in self.profile.experiments

    def finding(self, name: str, beside: str | None = None) -> None:
        """The last sentence of an experiment's notebook; of the published report also that of a profile beside it."""
        if name in self.profile.experiments:
            display(Markdown(markdown(tables.read_finding(self.profile, name))))
        elif beside and is_published(self.profile.folder):
            folder = Beside(beside, self.profile.folder / beside, (name,))
            display(Markdown(markdown(tables.read_finding(folder, name))))
        else:
            absent(f"The profile {self.profile.profile} has no experiment {name}.")

    def _scores(self, name: str, what: str, read: Callable, digits: int, panels: Callable) -> None:
        """A score of the models of Tables 1 to 3, beside a linear model."""
        shown = panels(self.main, baselines.read(self.profile.folder))
        if self.deciding is None:
            self.finding(name)
        else:
            self._say(f"{body.gap_sentence(self.main, what, read, digits)} {body.linear_ahead(shown)}".strip())
        self.panels(shown)

    @property
    def _without_bias(self) -> str:
        """What the name means, where a model has it."""
        named = any((body.in_words(run.spec) or "").endswith(body.WITHOUT_BIAS) for run in self.main)
        return WITHOUT_BIAS if named else ""

    def _say(self, sentence: str) -> None:
        if sentence:
            display(Markdown(markdown(sentence)))

    def panels(self, panels: list[strips.Panel]) -> None:
        """Dots in rows, a ring per seed."""
        display(HTML(strips.panels_html(panels)))

    def more(self, *pages: tuple[str, str]) -> None:
        """Links to files beside the page: (address, what it holds)."""
        display(HTML(f"<p>More: {'; '.join(link(address, text) for address, text in pages)}.</p>"))

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

    def answers(self) -> None:
        """One sentence per data set, what a label's second latent does, the picture that shows it, what it rests on."""
        if self.deciding is not None:
            said = "".join(f"<li>{escaped(sentence)}</li>" for sentence in answers.sentences(self.found))
            second = body.second_latent(self.scores)
            shown = f'<p class="second">{escaped(second)}</p>' if second else ""
            display(HTML(f'<ul class="answers">{said}</ul>{shown}'))
        self._opening_picture()
        trained = self.decide if self.deciding is not None else self.runs
        if trained:
            display(HTML(f'<p class="rests">Rests on: {escaped(body.rests_on(trained))}.</p>'))

    def _opening_picture(self) -> None:
        """The walk along, across and both of one MCCVAE with several latents per label, drawn anew where data are."""
        chosen = [run for run in explorer.chosen(self.shown) if max(run.record["characteristics"]) > 1]
        by_task = {run.record["task"]: run for run in chosen}
        run = next((by_task[task] for task in walks.OPENING_TASKS if task in by_task), None)
        for data in Datasets(self.profile).to_draw([run.record["task"]] if run else []):
            number = next(iter(data.task.walks))
            walks.opening_figure(number, data, run.model().cpu(), self.profile, OPENING)
            return
        if (self.profile.folder / "figures" / f"{OPENING}.json").exists():
            figures.display_saved(self.profile, OPENING)

    def claims(self) -> None:
        """The paper's claims and our answers, from the runs that decide them."""
        if self.deciding is None:
            absent(f"These runs decide none of the paper's claims; those of the profile {DECIDING} do.")
        else:
            deciding, below = self.deciding
            csv, beside = f"{below}tables/verdicts.csv", deciding_runs.linear_beside(deciding)
            display(HTML(claims_table.claims_tables(preregistration.read(), self.found, csv, beside)))

    # --- the questions ---

    @functools.cached_property
    def objective_records(self) -> "Profile | Beside":
        """The profile whose experiment `objective` the page tells: its own, or that published beside it."""
        if "objective" not in self.profile.experiments and is_published(self.profile.folder):
            return Beside("objective", self.profile.folder / "objective", ("objective",))
        return self.profile

    def hidden_weight(self) -> None:
        """What official's gradient hides on the encoder, in the models that were measured."""
        if "objective" in self.objective_records.experiments:
            said = body.hidden_weight(tables.read_table(self.objective_records, "objective", None))
            display(Markdown(f"{said} {body.bias_effect(self.main)}".strip()))
            self.more(("details.html#Objective", "gradients, label weights and what the likelihoods can give"))
        else:
            absent(f"The profile {self.profile.profile} has no experiment objective.")

    def classification(self) -> None:
        if self.has("classification"):
            self._say("" if body.bias_effect(self.main) else self._without_bias)  # said already
            self._scores("classification", "Test accuracy", body.accuracy_of, 3, body.accuracy_panels)
            self._page("classification", "Tables 1 and 2, other scores")

    def reconstruction(self) -> None:
        if self.has("reconstruction"):
            self._scores("reconstruction", "Test PSNR in dB", body.psnr_of, 1, body.psnr_panels)
            self._page("reconstruction", "Table 3, the loss's terms, pictures")

    def intervention(self) -> None:
        """What moves of a block change, by the deciding runs; without them the first walk's picture."""
        if panels := body.move_panels(self.scores):
            self.panels(panels)
            self._page("intervention", "Figures 9 to 12, effects of single latents")
        elif self.has("intervention"):
            self.finding("intervention")
            figures.display_saved(self.profile, f"figure_{self.read('interventions')['figure'].iloc[0]}")
            self._page("intervention", "all walks and their effects")

    def latents(self) -> None:
        if self.has("characteristics"):
            table = body.readings(self.read("characteristics"), self.scores)
            self._say(body.kept_apart(table))
            self.panels(body.reading_panels(table))
            self._page("characteristics", "the judge, swaps, samples, parts, lungs")

    def _page(self, experiment: str, what: str) -> None:
        details = f"details.html#{body.SECTIONS[experiment]}"
        self.more((f"notebooks/{experiment}.html", what), (details, "tables with their sources"))

    def explorer(self) -> None:
        """One trained MCCVAE of each task, to be moved by hand."""
        explorer.display_explorer(self.profile, self.shown)

    def forensics(self) -> None:
        """Which hypotheses on the paper's numbers fit, in a sentence."""
        if self._hypotheses.exists():
            table = tables.read_table(self.objective_records, forensics.NAME, None)
            display(Markdown(markdown(forensics.sentence(table))))
        else:
            absent("Where the paper's numbers may come from was not computed.")

    def hypotheses(self) -> None:
        """Each of these hypotheses, what it predicts, and the paper's numbers."""
        if self._hypotheses.exists():
            table = tables.read_table(self.objective_records, forensics.NAME, None)
            tables.display_table(forensics.forensic_columns(table), forensics.TEXT, stand_in=self.stand_in)
        else:
            absent("Where the paper's numbers may come from was not computed.")

    @property
    def _hypotheses(self) -> Path:
        return self.objective_records.folder / "tables" / f"{forensics.NAME}.csv"

    # --- what follows ---

    def use(self) -> None:
        self._for_published(USE)

    def limits(self) -> None:
        self._for_published(LIMITS)

    def _for_published(self, text: str) -> None:
        """Words about the published runs, which other runs may not bear out."""
        if is_published(self.profile.folder):
            display(Markdown(text))
        else:
            absent("This is said of the published runs alone.")

    def rest(self) -> None:
        """The files beside the page."""
        pages = [link("details.html", "every table, where each number came from, methods, deviations")]
        experiments = self.profile.experiments
        pages += [link(f"notebooks/{name}.html", f"the experiment {name}, with its code") for name in experiments]
        said = "↗ marks files beside this one: keep them in one folder."
        display(HTML(f"<p>{said}</p><ul>{''.join(f'<li>{page}</li>' for page in pages)}</ul>"))
