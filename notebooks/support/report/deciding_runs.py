"""The runs that decide the claims: which they are, and the table and the figure that are kept in their folder."""

from pathlib import Path

import pandas as pd

from ..claims import decided, preregistration
from ..claims.decided import Decided
from ..experiments import baselines
from ..runs import Run
from ..show import figures
from . import claims_table, forest


def read(folder: Path) -> list[Run]:
    """The runs that have scores of the claims, with the metrics of the weights that decide."""
    claims = preregistration.read()
    return decided.scored_runs(decided.read_records(folder, decided.read_scores(folder, claims)), claims)


def linear_beside(deciding) -> pd.DataFrame:
    """The baselines of the deciding runs' tasks; of published runs all lie in one file."""
    return max((baselines.read(folder) for folder in (deciding.folder, deciding.folder.parent)), key=len)


def show_forest(deciding, found: list[Decided]) -> None:
    """The outcomes of the tests that were made, as a figure kept in the deciding runs' folder; nothing without any."""
    if panels := claims_table.forest_panels(found):
        text = claims_table.forest_text(len(preregistration.read().tests))
        alt = f"The primary tests. {forest.picture_alt(panels)}"
        figures.show(forest.picture(panels), f"The primary tests. {text}", alt, profile=deciding, name="forest")


def show_gaps(deciding, found: list[Decided]) -> None:
    """What the tests compare, over training, as a figure kept in the deciding runs' folder; nothing without runs."""
    claims = preregistration.read()
    records = decided.read_records(deciding.folder, decided.read_scores(deciding.folder, claims))
    gaps = [(one, forest.gaps_over_training(one, records)) for one in found]
    gaps = [(one, gap) for one, gap in gaps if gap is not None]
    if gaps:
        text, alt = forest.CURVES_CAPTION, forest.curves_alt(gaps)
        figures.show(forest.curves(gaps), text, alt, profile=deciding, name="gaps")
