"""How tables are shown, and how tables and findings are kept in a profile's folder `tables`."""

import io
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display

from data import TASKS, own
from data.files import read_limited, reason, write_atomically

from ..runs import NAMES, PAPER_TASKS, Run, RunError, only_looked_at
from ..settings import Profile
from .figures import STAND_IN
from .markup import Markup, escaped, link
from .numbers import decimal

MAX_TABLE = 256 << 20  # bytes


def about_run(run: Run) -> dict:
    task = TASKS[run.record["task"]]
    return {
        "task": task.name,
        "task_title": task.title,
        "model": run.record["model"],
        "model_title": run.spec.title,
        "seed": run.record["seed"],
        "stand_in": run.record["data"]["stand_in"],
    }


def save_table(table: pd.DataFrame, profile: Profile, name: str) -> None:
    """tables/<name>.csv, whole numbers exact and others to six digits; not where the folder is `only_looked_at`."""
    if only_looked_at(profile.folder):
        return
    write_atomically(profile.folder / "tables" / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())


def read_table(profile: Profile, name: str, runs: list[Run] | None = None) -> pd.DataFrame:
    """`read_csv` of tables/<name>.csv. runs: those of the profile.

    Raises RunError where the table lacks one that it should have: a file cut at the end of a row can still be read."""
    path = profile.folder / "tables" / f"{name}.csv"
    table = read_csv(path)
    mine = [run for run in runs or [] if name in OF_RUNS and OF_RUNS[name](run)]
    keys = [key for key in ("task_title", "model", "seed") if key in table]
    wanted = [tuple(about_run(run)[key] for key in keys) for run in mine]
    if lacking := [run for run in wanted if run not in set(table[keys].itertuples(index=False, name=None))]:
        raise RunError(
            f"{path} is not whole, it has no row of {', '.join(map(str, lacking[0]))}; delete it and run again"
        )
    return table


OF_RUNS = {  # table -> which of a profile's runs have rows in it
    "table_1": lambda run: run.spec.kind == "MCCVAE" and run.record["task"] in (*PAPER_TASKS, own.TASK.name),
    "table_2": lambda run: run.spec.kind == "MCCVAE" and run.record["task"] in (*PAPER_TASKS, own.TASK.name),
    "table_3": lambda run: run.record["task"] in (*PAPER_TASKS, own.TASK.name),
    "characteristics": lambda run: run.spec.has_blocks,
    "results": lambda run: True,
}


def read_csv(path: Path) -> pd.DataFrame:
    """Raises RunError for a file that is no table, or not a whole one."""
    try:
        content = read_limited(path, MAX_TABLE)
        if not content.endswith(b"\n"):
            raise ValueError("its last row is cut short")
        return pd.read_csv(io.BytesIO(content), dtype=NAMES)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is broken ({reason(error)}); delete it and run again") from None


def named_columns(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return table[list(names)].rename(columns=names)


def rounded_columns(table: pd.DataFrame, digits: int, columns) -> pd.DataFrame:
    return table.assign(**{c: table[c].map(lambda v: decimal(v, digits)) for c in columns})


def display_table(
    table: pd.DataFrame, text: str, *, stand_in: bool, index: bool = False, note=None, csv: str | None = None
) -> None:
    """A table with its caption; over a stand-in's results the words say so.

    note(task title, model title) -> markup behind a number: where it came from. It gets None for what a cell's row and
    column don't name.
    csv: the file of the table's full numbers, as seen from the page. Of a table without rows it says that there are
    none."""
    caption = escaped(f"{text} ({STAND_IN})" if stand_in else text)
    if csv:
        caption += f" {link(csv, csv.rpartition('/')[2])}".replace("<a ", '<a class="csv" ')
    if not len(table):
        display(HTML(f"<p><em>{caption}: no run of this profile is of that kind.</em></p>"))
        return
    shown = table.map(_cell)
    if note is not None:
        shown = _with_notes(table, shown, note)
    shown = shown.rename(columns=escaped, index=escaped)
    # no attribute of HTML's
    markup = shown.to_html(index=index, border=0, justify="left", escape=False).replace(' halign="left"', "")
    display(HTML(markup.replace("<thead>", f"<caption>{caption}</caption><thead>", 1)))


def _cell(value) -> str:
    """As markup."""
    if isinstance(value, Markup):
        return value
    text = escaped("–" if pd.isna(value) else f"{value:,.3f}" if isinstance(value, float) else str(value))
    return text.replace("± ", "±&nbsp;")  # a narrow column breaks before the sign, not after it too


def _with_notes(table: pd.DataFrame, shown: pd.DataFrame, note) -> pd.DataFrame:
    """Notes behind the number that they are of: in a table in the paper's layout behind each of ours, else behind the
    last column that says which model or task a row is of."""
    if table.columns.nlevels == 2:
        noted = {
            column: [cell if cell == "–" else cell + note(column[0], model) for model, cell in shown[column].items()]
            for column in shown
            if column[1] == "ours"
        }
    else:
        named = [column for column in ("task", "model") if column in table]
        of = lambda column: table[column] if column in table else [None] * len(table)  # noqa: E731
        marks = [note(task, model) for task, model in zip(of("task"), of("model"), strict=True)]
        noted = {
            column: [cell + mark for cell, mark in zip(shown[column], marks, strict=True)] for column in named[-1:]
        }
    shown = shown.copy()
    for column, cells in noted.items():
        shown[column] = cells
    return shown


def seeds_note(table: pd.DataFrame) -> str:
    """What stands behind the numbers of a table."""
    seeds = sorted({int(n) for n in table["seeds"]})
    counts = ", ".join(
        f"{title} {int(n):,}" for title, n in table.groupby("task_title", sort=False)["n"].first().items()
    )
    many = "one seed" if seeds == [1] else f"mean ± sd over {seeds[0]}{f' to {seeds[-1]}' * (len(seeds) > 1)} seeds"
    return f"{many}; images: {counts}"


def save_finding(sentence: str, profile: Profile, name: str) -> None:
    """tables/finding_<name>.txt, from which the report takes it; and shown as the notebook's last line."""
    if not only_looked_at(profile.folder):
        write_atomically(profile.folder / "tables" / f"finding_{name}.txt", (sentence + "\n").encode())
    print(sentence)


def read_finding(profile: Profile, name: str) -> str:
    return (profile.folder / "tables" / f"finding_{name}.txt").read_text(errors="replace").strip()
