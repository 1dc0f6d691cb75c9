"""Who may import whom (CONTRIBUTING.md has the rooms): what lies below never imports what lies above."""

import graphlib
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.commands.sources import imported

SUPPORT = ROOT / "notebooks" / "support"
ROWS = (  # of support, lowest first: modules, or folders of them
    ("__init__",),
    ("code_identity", "weights", "model_names", "settings", "catalogue", "machine"),
    ("measures",),
    ("records", "runs", "training"),
    ("show",),
    ("experiments",),
    ("claims",),
    ("report",),
    ("commands",),
    ("__main__",),
)
COMMANDS = ("__main__.py", "example.py")  # what the shell calls


def project(path: Path) -> set[str]:
    """Of `imported` the project's own."""
    return {name for name in imported(path) if name.partition(".")[0] in ("data", "mccvae_core", "support")}


def within(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def test_settings_and_what_the_graph_asks_need_no_torch():
    """The graph, a cluster and the shell read a profile: in a second, not in five."""
    code = """import sys
from support import catalogue, settings
from support.commands import cluster, sources
for path in settings.PROFILES.glob("*.yaml"):
    catalogue.files(settings.read_profile(path.stem))
sys.exit("torch" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "notebooks").returncode == 0


def test_the_core_imports_torch_numpy_and_the_standard_library_alone():
    tops = {name.partition(".")[0] for name in imported(ROOT / "mccvae_core.py")}
    assert tops - set(sys.stdlib_module_names) <= {"torch", "numpy"}


@pytest.mark.parametrize("path", sorted((ROOT / "data").glob("*.py")), ids=lambda path: path.name)
def test_data_import_neither_support_nor_the_core(path):
    assert [name for name in project(path) if not within(name, "data")] == []


def row_of(name: str) -> int:
    """The row of a name below support, as "measures.judge" or, of the package itself, "ROOT"."""
    first = name.partition(".")[0]
    return next((i for i, row in enumerate(ROWS) if first in row), 0)


@pytest.mark.parametrize(
    "path", sorted(SUPPORT.rglob("*.py")), ids=lambda path: path.relative_to(SUPPORT).with_suffix("").as_posix()
)
def test_a_module_of_support_imports_only_from_its_own_row_and_those_above_it(path):
    mine = row_of(".".join(path.relative_to(SUPPORT).with_suffix("").parts))
    names = [name.removeprefix("support.") for name in imported(path) if name.startswith("support.")]
    assert [name for name in names if row_of(name) > mine] == []


def test_every_module_of_support_has_its_row():
    there = {path.stem for path in SUPPORT.iterdir() if path.is_dir() and path.stem != "__pycache__"}
    there |= {path.stem for path in SUPPORT.glob("*.py")}
    assert there == {name for row in ROWS for name in row}


@pytest.mark.parametrize("path", sorted((SUPPORT / "measures").glob("*.py")), ids=lambda path: path.name)
def test_measures_import_core_data_weights_and_each_other(path):
    allowed = ("mccvae_core", "data", "support.measures", "support.weights")
    left = [name for name in project(path) if not within(name, *allowed)]
    assert [name for name in left if name != "support"] == []  # `from .. import weights` names its package too


def test_no_import_of_support_goes_in_a_circle():
    modules = {".".join(path.relative_to(SUPPORT.parent).with_suffix("").parts): path for path in SUPPORT.rglob("*.py")}
    graphlib.TopologicalSorter(
        {name: project(path) & set(modules) - {name} for name, path in modules.items()}
    ).prepare()


@pytest.mark.parametrize("folder", [ROOT / "data", SUPPORT], ids=["data", "support"])
def test_only_commands_say_how_they_are_used(folder):
    text = {path.name: path.read_text() for path in folder.rglob("*.py") if path.name not in COMMANDS}
    assert [name for name, code in text.items() if "usage: " in code or "import argparse" in code] == []
