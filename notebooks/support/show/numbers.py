"""Numbers as they are shown: digits, signs, intervals, lists of them."""

import pandas as pd


def decimal(value, digits: int) -> str:
    """Without a sign where it rounds to zero."""
    return "–" if pd.isna(value) else f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def signed(value: float, digits: int) -> str:
    """With a sign, which is + where it rounds to zero."""
    return f"{round(value, digits) + 0.0:+,.{digits}f}".replace("-", "−")


def interval(low, high, digits: int) -> str:
    return "–" if pd.isna(low) or pd.isna(high) else f"{decimal(low, digits)} to {decimal(high, digits)}"


def plus_minus(mean, sd, digits) -> str:
    return decimal(mean, digits) + (f" ± {decimal(sd, digits)}" if pd.notna(sd) else "")


def as_printed(value) -> str:
    """As the paper prints it: 0.90, 1, 9,676."""
    return "–" if pd.isna(value) else f"{value:,.0f}" if value >= 1 else f"{value:.2f}"


def listed(parts) -> str:
    parts = list(parts)
    return "".join(parts) if len(parts) < 2 else ", ".join(parts[:-1]) + " and " + parts[-1]
