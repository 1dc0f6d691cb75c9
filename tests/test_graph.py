"""The notebooks as they are committed, the whole graph once by the smoke profile, and the report that comes out."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from conftest import RUN_FILES
from nbclient import NotebookClient
from support import ROOT
from support.commands import page
from support.settings import EXPERIMENTS, read_profile

from data import MODULES, TASKS

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OUT = Path("outputs/smoke")
FINDING = """import sys
from pathlib import Path

sys.path.extend(str(folder / "notebooks") for folder in (Path.cwd(), *Path.cwd().parents))  # wherever the kernel starts

"""  # how a notebook's second code cell begins


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the working tree without what runs have left."""
    root = tmp_path_factory.mktemp("clone") / "a folder with spaces"
    left_out = shutil.ignore_patterns(
        "outputs", ".venv", ".git", "cache", ".snakemake", "__pycache__", ".pytest_cache", ".ruff_cache"
    )
    shutil.copytree(ROOT, root, ignore=left_out)
    return root


def run_all(clone, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "MCCVAE_DATA"}
    environment["VIRTUAL_ENV"] = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX", "")
    return subprocess.run([clone / "run_all.sh", *arguments], cwd="/", env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def smoke(clone):
    """The clone after `./run_all.sh smoke`, and what that printed."""
    result = run_all(clone, "smoke")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert not result.stderr, result.stderr[-3000:]
    return clone, result.stdout


# --- what is committed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_committed_clean_with_literal_parameters_first(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert code[0].metadata.tags == ["parameters"] and not any(cell.metadata.get("tags") for cell in code[1:])
    for line in code[0].source.splitlines():
        assert re.fullmatch(r'\w+ = ("\w+"|\d+|None)  # .+|\w+ = \d+', line), line
    assert code[1].source.startswith(FINDING) and "notebook_profile(globals())" in code[1].source
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].source.startswith("# ")
    assert max(len(cell.source.removeprefix(FINDING).splitlines()) for cell in code) <= 12  # thin cells


QUESTIONS = [path for path in NOTEBOOKS if not path.stem.endswith(("report", "details"))]


@pytest.mark.parametrize("path", QUESTIONS, ids=lambda p: p.stem)
def test_notebooks_begin_with_a_question_and_end_with_the_answer_from_results(path):
    cells = nbformat.read(path, as_version=4).cells
    assert re.search(r"\*\*Question\.\*\* .+\?.*\n\n\*\*How\.\*\* ", cells[0].source), cells[0].source
    last = cells[-1].source.splitlines()
    assert len(last) == 1 and re.match(r"print\(\w+\.(finding|answer)\(|tables\.save_finding\(", last[0]), last


def test_a_notebook_finds_its_modules_wherever_in_the_project_its_kernel_starts(monkeypatch):
    for folder in (ROOT, ROOT / "notebooks", ROOT / "notebooks" / "profiles"):
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.path", [])
        exec(FINDING, {})
        assert str(ROOT / "notebooks") in sys.path


def test_the_notebooks_are_there():
    expected = {*TASKS, *EXPERIMENTS, "report", "details", "own_report", "tour"}
    assert {path.stem for path in NOTEBOOKS} == expected


def test_versions_stand_once():
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    pins = [line for line in lines if line]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", pin) for pin in pins) and len(
        {p.split("==")[0].lower() for p in pins}
    ) == len(pins)
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [d for d in environment["dependencies"] if isinstance(d, str)]
    assert environment["dependencies"][-1] == {"pip": ["-r requirements.txt"]} and sorted(
        d.split(">=")[0] for d in conda
    ) == ["pip", "python"]
    needed = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert f"python>={needed}" in conda


def test_code_is_formatted_and_lint_free():
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout


# --- the graph --------------------------------------------------------------------------------------------------


def test_smoke_says_that_its_data_are_stand_ins_first_and_last(smoke):
    lines = smoke[1].strip().splitlines()
    for line in (lines[0], lines[-1]):
        assert "stand-in data" in line and "./run_all.sh paper" in line
    assert re.search(r"outputs/smoke/report\.html \(made in \d+ s", smoke[1])
    assert "mnist mccvae seed 0  epoch 2/2" in smoke[1] and "%|" not in smoke[1]


def test_every_file_that_the_design_names_is_there(smoke):
    root = smoke[0]
    for task in MODULES:
        for model in ("ccvae", "ccvae_more_style", "mccvae"):
            folder = root / OUT / task / model / "seed0"
            names = {p.name for p in folder.iterdir()}
            assert names == RUN_FILES
            benchmark = (root / OUT / "benchmarks" / f"{task}-{model}-seed0.tsv").read_text().splitlines()
            assert benchmark[0].split("\t")[:3] == ["s", "h:m:s", "max_rss"] and float(benchmark[1].split("\t")[0]) > 0
    tables = {p.name for p in (root / OUT / "tables").glob("*.csv")}
    assert tables == {
        *("table_1.csv", "table_2.csv", "table_3.csv", "interventions.csv"),
        *("objective.csv", "weights.csv", "floors.csv", "floor_variants.csv", "encoder.csv"),
        *("label_weight.csv", "forensics.csv"),
        *(
            "judge.csv",
            "found.csv",
            "blocks.csv",
            "effects.csv",
            "exchange.csv",
            "characteristics.csv",
            "comparison.csv",
            "conditional.csv",
            "lungs.csv",
        ),
        *("allocation.csv", "allocation_comparison.csv", "results.csv"),
    }
    for number in (3, *range(6, 13)):
        about = json.loads((root / OUT / "figures" / f"figure_{number}.json").read_text())
        assert (
            f"Figure {number}." in about["caption"] and "stand-in data" in about["caption"] and len(about["alt"]) > 60
        )
    assert not list((root / OUT).rglob("*.unfinished.ipynb")) and not list((root / OUT).rglob("*.part"))


def test_records_hold_no_path_of_this_machine(smoke):
    root = smoke[0]
    for path in (p for p in (root / OUT).rglob("*") if p.suffix in (".json", ".csv", ".txt", ".html", ".ipynb")):
        text = path.read_text()
        assert str(root) not in text and str(Path.home()) + "/" not in text, path


def test_every_executed_experiment_ends_with_its_finding(smoke):
    for name in EXPERIMENTS:
        notebook = nbformat.read(smoke[0] / OUT / "notebooks" / f"{name}.ipynb", as_version=4)
        sentence = notebook.cells[-1].outputs[0].text.strip()
        assert sentence.endswith(".") and re.search(r"\d", sentence)
        assert sentence == (smoke[0] / OUT / "tables" / f"finding_{name}.txt").read_text().strip()


class Page(HTMLParser):
    """What a page would load, links to, shows and says."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.images, self.lang, self.ids, self.captions = [], [], [], None, set(), []
        self._in_caption = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        self.ids.add(a.get("id"))
        self.loads += [a[k] for k in ("src", "srcset", "data", "poster", "action") if a.get(k)] + (
            [a["href"]] if tag == "link" else []
        )
        if tag == "a":
            self.links.append(a.get("href", ""))
        if tag == "img":
            self.images.append(a)
        if tag == "html":
            self.lang = a.get("lang")
        if tag == "caption":
            self._in_caption = True
            self.captions.append("")

    def handle_endtag(self, tag):
        self._in_caption &= tag != "caption"

    def handle_data(self, text):
        if self._in_caption:
            self.captions[-1] += text


@pytest.mark.parametrize("name", ["report", "details", *(f"notebooks/{name}" for name in EXPERIMENTS)])
def test_pages_ask_nothing_of_the_network_and_describe_every_picture(smoke, name):
    text = (smoke[0] / OUT / f"{name}.html").read_text()
    page = Page(text)
    assert all(load.startswith("data:") for load in page.loads)
    assert not re.search(
        r"@import|url\(\s*['\"]?(https?:)?//|\bfetch\(|XMLHttpRequest|\bimport\(|WebSocket|require\.js|mathjax",
        text,
        re.IGNORECASE,
    )
    assert page.lang == "en"
    assert all(len(image.get("alt") or "") > 20 for image in page.images) and (
        page.images or name == "notebooks/allocation"
    )
    assert 'id="code-button"' in text and '<details class="code">' in text
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link
        elif not re.match(r"https?://", link):
            file, _, place = link.partition("#")
            path = (smoke[0] / OUT / name).parent.joinpath(file)
            assert path.exists() and (not place or f'id="{place}"' in path.read_text()), link


def test_the_report_asks_its_questions_and_links_what_it_leaves_out(smoke):
    text = (smoke[0] / OUT / "report.html").read_text()
    for heading in ("Classification: ", "Reconstruction: ", "Interventions: ", "What the latents hold", "Move it"):
        assert f">{heading}" in text
    assert 'href="notebooks/intervention.html"' in text and 'href="details.html#Objective"' in text
    assert text.count('class="strip-panel"') >= 6 and "stand-in data" in text.lower()
    assert "rb900" not in text.partition("<h2")[2].partition("If you want to use")[0]
    words = page.Words(text)
    assert words.folded <= 2500 and words.unfolded <= 9000


def test_the_other_pages_have_every_table_figure_and_section(smoke):
    folder = smoke[0] / OUT
    text = (folder / "details.html").read_text()
    details = Page(text)
    for number in (1, 2, 3):
        assert sum(caption.startswith(f"Table {number}:") for caption in details.captions) == 1
    needs_none = ("Ways to spend as many latents", "Where needed against the other ways")  # stand in for nothing
    assert all("stand-in data" in caption for caption in details.captions if not caption.startswith(needs_none))
    for number in (1, 2, 4, 5):
        mine = [image for image in details.images if image["alt"].startswith(f"Figure {number}.")]
        assert len(mine) == 1 and "svg" in mine[0]["src"][:20]
    experiments = [Page((folder / f"notebooks/{name}.html").read_text()) for name in EXPERIMENTS]
    for number in (3, *range(6, 13)):
        images = [image["alt"] for one in experiments for image in one.images]
        mine = [alt for alt in images if alt.startswith(f"Figure {number}.")]
        assert len(mine) == 1 and "stand-in data" in mine[0]
    for section in (
        "What the latents hold",
        "Data and settings",
        "Deviations from the paper",
        "Provenance",
        "Where every number came from",
    ):
        assert f">{section}<" in text
    for number in ("0.92", "0.78", "9,676", "2,385"):  # the paper's, beside ours
        assert f"<td>{number}</td>" in text
    assert "one linear layer" in text and "CPU" in text and "torch 2" in text
    assert 'href="notebooks/intervention.html"' in text and 'href="mnist/mccvae/seed0/train.ipynb"' in text


def test_the_report_has_an_explorer_of_every_task_without_a_picture_in_it(smoke):
    text = (smoke[0] / OUT / "report.html").read_text()
    payloads = re.findall(r'<script type="application/json">(.*?)</script></section>', text, re.DOTALL)
    contents = {content["task"]: content for content in map(json.loads, payloads)}
    assert set(contents) == set(MODULES) and len(payloads) == len(MODULES)
    for content in contents.values():
        assert re.fullmatch(r"MCCVAE, seed 0, \d+ epochs", content["model"])
        assert all(set(start) == {"name", "z"} for start in content["starts"])
        assert len(json.dumps(content)) < 4e6


def test_run_again_nothing_is_stale(smoke):
    report = smoke[0] / OUT / "report.html"
    stamp, started = report.stat().st_mtime_ns, time.perf_counter()
    result = run_all(smoke[0], "smoke")
    assert result.returncode == 0 and report.stat().st_mtime_ns == stamp
    assert ".ipynb" not in result.stdout + result.stderr and time.perf_counter() - started < 60


def test_a_file_that_is_missing_behind_a_report_is_made_again(smoke, tmp_path):
    for name, wanted in (
        ("tables/table_1.csv", "classification"),
        ("mnist/ccvae/seed0/model.safetensors", "train"),
        ("notebooks/objective.html", "page"),
    ):
        path, aside = smoke[0] / OUT / name, tmp_path / "aside"
        path.rename(aside)
        said = run_all(smoke[0], "smoke", "--", "--dry-run")
        aside.rename(path)
        assert re.search(rf"^{wanted} +1$", said.stdout + said.stderr, re.MULTILINE), (name, said.stdout)


def test_the_published_report_is_made_from_records_without_training(clone):
    there = clone / "outputs" / "published"
    shutil.copytree(ROOT / "outputs" / "published" / "runs", there / "runs")
    said = run_all(clone, "report", "--", "--dry-run")
    shutil.rmtree(there)
    jobs = re.findall(r"^(\w+) +\d+$", said.stdout + said.stderr, re.MULTILINE)
    assert set(jobs) == {
        *read_profile("published").experiments,
        "details_notebook",
        "report_notebook",
        "page",
        "finish",
        "report",
        "total",
    }, said.stdout


def test_notebooks_run_in_a_live_session_from_a_fresh_kernel_with_a_bar(smoke, monkeypatch):
    """As JupyterLab runs them: the kernel starts in the notebook's folder and the server names its session."""
    root = smoke[0]
    monkeypatch.setenv("JPY_SESSION_NAME", "mnist.ipynb")
    notebook = nbformat.read(root / "notebooks" / "mnist.ipynb", as_version=4)
    notebook.cells[1].source = notebook.cells[1].source.replace('"demo"', '"smoke"').replace("seed = 0", "seed = 5")
    NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(root / "notebooks")}}, timeout=300
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = json.dumps(outputs)
    assert (
        "mnist mccvae seed 5" in shown and ("2/2" in shown or "widget-view" in shown) and "epoch 1/2  loss" not in shown
    )
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    assert (root / OUT / "mnist" / "mccvae" / "seed5" / "run.json").exists()


def test_papermill_by_hand_refuses_an_unknown_parameter(smoke, tmp_path):
    command = [
        "papermill",
        "mnist.ipynb",
        tmp_path / "x.ipynb",
        "-f",
        "profiles/smoke.yaml",
        "-p",
        "epoch",
        "3",
        "-k",
        "python3",
        "--no-progress-bar",
    ]
    result = subprocess.run(command, cwd=smoke[0] / "notebooks", capture_output=True, text=True)
    assert result.returncode != 0 and "unknown parameter epoch; this notebook takes" in result.stderr


def test_a_failing_notebook_is_named_with_its_own_error_and_leaves_no_new_report(smoke):
    root = smoke[0]
    path = root / "notebooks" / "classification.ipynb"
    text = path.read_text()
    report = root / OUT / "report.html"
    report.unlink()
    try:
        path.write_text(
            text.replace("settings = notebook_profile(globals())", "raise ValueError('the table is on fire')")
        )
        result = run_all(root, "smoke")
    finally:
        path.write_text(text)
    said = result.stdout + result.stderr
    assert result.returncode != 0 and not report.exists()
    assert "FAILED: notebooks/classification.ipynb profile=smoke" in said and "ValueError: the table is on fire" in said
    assert "Traceback" not in said and len(said.splitlines()) < 25, said


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nonsense", "no profile or command 'nonsense'"),
        ("../profiles/smoke", "no profile or command"),
        ("quick", "MCCVAE_DATA"),
    ],
)
def test_mistakes_at_the_command_line_get_a_message_and_no_traceback(smoke, monkeypatch, command, message):
    root, environment = smoke[0], os.environ | {"MCCVAE_DATA": "no/such/folder"}
    result = subprocess.run([root / "run_all.sh", command], env=environment, capture_output=True, text=True)
    said = result.stdout + result.stderr
    assert result.returncode != 0 and message in said and "Traceback" not in said
    assert not (root / "outputs" / "quick" / "report.html").exists()


# --- the report in a browser; last, since no notebook can run beside playwright
# --------------------------------------------------------


@pytest.mark.parametrize("width", [1400, 360])
def test_the_report_opens_without_a_network_and_axe_finds_no_violation(smoke, open_page, width):
    report = smoke[0] / OUT / "notebooks" / "report.html"
    assert report.stat().st_size <= 15e6
    tab = open_page(report, viewport={"width": width, "height": 900})
    explorers = tab.locator("section.explorer")
    assert explorers.count() == len(MODULES)
    explorers.last.scroll_into_view_if_needed()
    explorers.last.locator("canvas").first.wait_for()
    results = Axe().run(tab)
    assert results.violations_count == 0, results.generate_report()
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
    assert not tab.errors and all(url.startswith(("file:", "data:")) for url in tab.requests)
