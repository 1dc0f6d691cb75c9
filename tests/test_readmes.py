"""The READMEs: how long they are, that their links lead somewhere, and that their tables say what the code and the
records say."""

import re
import subprocess
from pathlib import Path

import pytest
from support import PUBLISHED, ROOT, runs, settings
from support.commands import own
from support.experiments import overview
from support.show import tables

COLUMNS = 120
LIMITS = {"README.md": (130, 1_200), "CONTRIBUTING.md": (80, 1_000)}  # lines, words
PAPER_MODELS = ("ccvae", "ccvae_more_style", "mccvae")
README_COLUMNS = ["task", "model", "train accuracy", "test accuracy", "train loss"]


def pages() -> list[Path]:
    """Every Markdown file that is not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not in a git repository")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def line(cells) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table_in(page: str, header: str) -> list[str]:
    """The rows of the Markdown table with this header."""
    lines = (ROOT / page).read_text().splitlines()
    assert header in lines, f"{page} has no table that begins {header}"
    rows = lines[lines.index(header) + 2 :]
    return rows[: next(i for i, row in enumerate(rows) if not row.startswith("|"))]


@pytest.mark.parametrize("page", LIMITS)
def test_the_first_pages_are_short(page):
    text = (ROOT / page).read_text()
    lines, words = LIMITS[page]
    assert len(text.splitlines()) <= lines and len(text.split()) <= words
    assert [row for row in text.splitlines() if len(row) > COLUMNS] == []


def test_prose_fits_into_120_columns():
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in pages()
        for number, row in enumerate(page.read_text().splitlines(), 1)
        if len(row) > COLUMNS and not row.startswith("|")
    ]
    assert long == []


def anchors(page: Path) -> set[str]:
    """The headings' anchors, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    broken = []
    for page in pages():
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            if "://" in target:
                continue
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_option_of_a_model_s_name_is_told_and_its_example_is_a_name():
    assert settings.options_table() in (ROOT / "notebooks" / "README.md").read_text()
    for name, option in settings.OPTIONS.items():
        weight = "-rb100" if "-rb" in option.about.split("needs")[-1] and name != "rb" else ""
        for example in option.examples:
            assert settings.ModelSpec.parse(f"mccvae{weight}-{name}{example}").name


def test_every_option_of_own_images_is_told():
    told = table_in("data/README.md", "| option | means |")
    assert told == [line((f"`{word}=`", about)) for word, about in own.WORDS.items()]


def test_every_notebook_is_told():
    told = " ".join(table_in("notebooks/README.md", "| notebook | what it does |"))
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == set(re.findall(r"`(\w+)`", told)) - {
        "profile"
    }


def test_every_profile_is_told():
    told = table_in("notebooks/profiles/README.md", "| profile | data | for | on 2 cores, after set-up |")
    there = {path.stem for path in (ROOT / "notebooks" / "profiles").glob("*.yaml")}
    assert {re.match(r"\| `(\w+)`", row)[1] for row in told} == there


def test_every_published_result_is_told():
    results = tables.read_csv(ROOT / "outputs" / PUBLISHED / "tables" / "results.csv")
    shown = overview.results_columns(results)
    rows = [line(row) for row in shown.itertuples(index=False)]
    told = table_in("outputs/published/README.md", line(shown.columns))
    assert told == rows, "\n".join(["the table is", *rows])


def test_the_readme_has_the_paper_s_models_by_the_runs_that_decide():
    results = tables.read_csv(ROOT / "outputs" / PUBLISHED / "tables" / "results.csv")
    of_task = results["task"].map({task: number for number, task in enumerate(runs.PAPER_TASKS)})
    of_model = results["model"].map({model: number for number, model in enumerate(PAPER_MODELS)})
    its_own = results["paper_train_loss"].notna() & of_task.notna()
    results = results.assign(of_task=of_task, of_model=of_model)[its_own].sort_values(["of_task", "of_model"])
    shown = overview.results_columns(results).rename(columns=lambda name: name.removesuffix(": paper / ours"))
    rows = [line(row) for row in shown[README_COLUMNS].itertuples(index=False)]
    told = table_in("README.md", line(README_COLUMNS))
    assert told == rows and len(rows) == 8, "\n".join(["the table is", *rows])
