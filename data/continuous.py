"""Labels that are numbers, as an age or a height: standardised on the training labels, shown in the user's unit."""

import dataclasses
import math

import numpy as np

from .messages import DataError, shown

KINDS = ("binary", "continuous")
SPAN = 2.0  # standard deviations to each side of the mean that a walk goes
QUARTERS = (0.25, 0.5, 0.75)


@dataclasses.dataclass(frozen=True)
class Unit:
    """What a continuous label was standardised by, in the user's unit: mean and sd of the training labels, their lowest
    and highest value. Raises ValueError where they are not finite, or the sd is not above 0."""

    mean: float
    sd: float
    low: float
    high: float

    def __post_init__(self):
        values = (self.mean, self.sd, self.low, self.high)
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in values) or self.sd <= 0:
            raise ValueError(f"a unit needs four finite numbers, the sd above 0, not {values}")

    def standardised(self, values):
        """y of values in the user's unit."""
        return (values - self.mean) / self.sd

    def undone(self, y):
        """The values in the user's unit of standardised y."""
        return y * self.sd + self.mean

    @property
    def ends(self) -> tuple[float, float]:
        """From where to where a walk goes, standardised: SPAN sd about the mean, inside the range of training."""
        return max(-SPAN, self.standardised(self.low)), min(SPAN, self.standardised(self.high))

    @property
    def places(self) -> int | None:
        """Decimal places that show about a tenth of the sd; None where they would be too many digits."""
        places = 1 - math.floor(math.log10(self.sd))
        return max(0, places) if abs(places) <= 6 else None

    def text(self, value: float, digits: int = 0) -> str:
        """A value in the user's unit for people, to `places` and so many more."""
        if self.places is None:
            return f"{value:.{4 + digits}g}".replace("-", "−")
        places = self.places + digits
        return f"{round(value, places) + 0.0:,.{places}f}".replace("-", "−")


def unit_of(name: str, values: np.ndarray) -> Unit:
    """The unit of a label's known training values (n,). Raises DataError where they don't differ."""
    if len(np.unique(values)) < 2:
        said = f"{values[0]:g} on every training image" if len(values) else "known of no training image"
        raise DataError(f"the label {shown(name)} is {said}, so there is nothing to learn of it; leave it out")
    return Unit(float(values.mean()), float(values.std()), float(values.min()), float(values.max()))


def strata(y: np.ndarray, kinds: list[str]) -> np.ndarray:
    """Labels (N, L), NaN where not known, as 0, 1 and NaN: of a continuous one whether it is above each quarter of its
    different values, so that a split has its low and high values in every part."""
    columns = []
    for column, kind in zip(y.T, kinds, strict=True):
        if kind == "continuous":
            quarters = np.quantile(np.unique(column[~np.isnan(column)]), QUARTERS, method="lower")
            columns += [np.where(np.isnan(column), np.nan, column > quarter) for quarter in np.unique(quarters)]
        else:
            columns.append(column)
    return np.stack(columns, 1) if columns else y
