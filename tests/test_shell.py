"""./run_all.sh as its users start it: signals, dry runs, clocks, other projects' environments, Snakemake's words."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import support
from PIL import Image
from support import OUTPUTS, PUBLISHED, ROOT, runs, settings
from support.commands import execute
from support.commands import graph as graph_command
from support.commands import own as own_command
from support.commands.options import options_of, without_cores
from support.settings import read_profile
from support.show import tables
from test_faults import TARGETS, clone, graph, processes_of, snakemake_of, until  # noqa: F401 (a fixture)

from data import own
from data.files import HeldError, hold


def run_all(clone, *words, **environment):  # noqa: F811
    python = {"VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX", "")}
    command = [clone / "run_all.sh", *words]
    done = subprocess.run(command, cwd="/", env=os.environ | python | environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["-np"], "--dry-run"), (["-pn", "x"], "--dry-run"), (["--dryrun"], "--dry-run"), (["--dry"], "--dry-run"),
        (["-S"], "--summary"), (["--summ"], "--summary"), (["--direc", "/x"], "--directory"), (["-d/x"], "--directory"),
        (["--configf=a"], "--configfile"), (["--cores", "1", "-n"], "--dry-run"),
    ],
)  # fmt: skip
def test_options_are_known_however_they_are_written(words, found):
    assert found in options_of(words)


def test_options_that_make_something_are_not_taken_for_a_dry_run():
    assert not options_of(["-j4", "--cores", "2", "-k", "--until", "train", "outputs/n"]) & {"--dry-run", "--summary"}


HOSTILE = {"PYTHONHOME": "/nonexistent", "PYTHONSAFEPATH": "1", "LC_ALL": "C", "MPLBACKEND": "none"}


def test_a_dry_run_in_a_hostile_environment_touches_nothing_and_says_so(clone, tmp_path):  # noqa: F811
    for module in ("support", "torch", "data", "yaml"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('of another project')\n")
    (tmp_path / "notebooks").mkdir()
    hostile = HOSTILE | dict.fromkeys(("PYTHONPATH", "CDPATH", "JUPYTER_PATH"), str(tmp_path))
    status, said = run_all(clone, "brief", "--", "-np", *TARGETS, **hostile)
    assert status == 0 and "Nothing was made" in said and "another project" not in said, said
    assert not (clone / "outputs").exists() and not (clone / ".venv").exists()


def everything(*folders):
    """Every file and folder below these with its age and size."""
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_size)
        for folder in folders
        for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture
def images(tmp_path):
    """A folder of 60 grey pictures in two folders that are their classes."""
    rng = np.random.default_rng(0)
    for i in range(60):
        folder = tmp_path / "images" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (66, 70), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "images"


WRITES = {"PYTHONDONTWRITEBYTECODE": ""}  # as a user's Python does


def test_a_dry_run_of_own_images_checks_and_leaves_the_disk_as_it_was(clone, images):  # noqa: F811
    words = ["own", images, "name=dry", "epochs=1"]
    before = everything(clone, images)
    status, said = run_all(clone, *words, "--", "--summ", **WRITES)
    assert status == 0 and "60 images" in said and "Nothing was made" in said, said
    assert "It would write outputs/own_dry/images.npz and outputs/own_dry/profile.yaml, train 1 model" in said
    status, said = run_all(clone, *words, "--dry-run", **WRITES)  # before --: as everywhere it means nothing
    assert status == 2 and "options of Snakemake stand after --" in said, said
    assert everything(clone, images) == before


def test_a_dry_run_of_what_is_there_shows_the_graph_and_leaves_the_disk_as_it_was(clone, images):  # noqa: F811
    environment = os.environ | {"PYTHONPATH": ""}
    command = [sys.executable, "-m", "support.commands.own", "/", str(images), "name=dry", "epochs=1"]
    assert subprocess.run(command, cwd=clone / "notebooks", env=environment, stdout=subprocess.PIPE).returncode == 0
    for kind in ("metadata", "incomplete"):
        (clone / ".snakemake" / kind).mkdir(parents=True, exist_ok=True)
    before = everything(clone, images)
    status, said = run_all(clone, "own", images, "name=dry", "epochs=1", "--", "--dry-run", **WRITES)
    assert status == 0 and re.search(r"\ntrain +1\n", said) and "Nothing was made" in said, said
    assert "It would write" not in said and everything(clone, images) == before
    shutil.rmtree(clone / "outputs" / "own_dry")


BROKEN = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:5_000]),
    "a picture more": lambda path: np.savez(path, **{**own.read_arrays(path), "x": np.zeros((61, 64, 64), np.uint8)}),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "gone": lambda path: path.unlink(),
}


def test_broken_own_images_are_named_first_and_mended_as_it_says(clone, images, monkeypatch, capsys):  # noqa: F811
    """Also where the graph only shows something; `graph.py` as run_all.sh calls it, `own` as its message says."""
    for module in (support, settings, graph_command, own_command):
        monkeypatch.setattr(module, "OUTPUTS", clone / "outputs")
    monkeypatch.setattr(graph_command.os, "chdir", lambda path: None)
    started = lambda *_, **__: sys.exit("Snakemake was started")  # noqa: E731
    monkeypatch.setattr(graph_command, "_shown", started)
    path = clone / "outputs" / "own_dry" / "images.npz"
    own_command.main(["/", str(images), "name=dry", "epochs=1"])
    for break_ in BROKEN.values():
        break_(path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            graph_command.main(["own_dry", "-n"])
        said = capsys.readouterr().err
        assert stopped.value.code == 3 and f"run_all.sh: {path}" in said and said.count("\n") == 1, said
        assert said.strip().endswith("./run_all.sh own IMAGES LABELS name=dry")
        if "delete it" in said and path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        own_command.main(["/", str(images), "name=dry", "epochs=1"])
        assert len(own.read_arrays(path)["x"]) == 60
    profile = path.with_name("profile.yaml")
    profile.write_bytes(b"\xff\xfe")
    with pytest.raises(SystemExit):
        graph_command.main(["own_dry", "-n"])
    said = capsys.readouterr().err
    assert "profile.yaml can't be read as settings" in said and "name=dry" in said
    own_command.main(["/", str(images), "name=dry", "epochs=1"])
    with pytest.raises(SystemExit, match="Snakemake was started"):
        graph_command.main(["own_dry", "-n"])
    shutil.rmtree(path.parent)


def test_a_dry_run_makes_no_environment_and_says_what_makes_one(clone, tmp_path):  # noqa: F811
    before = everything(clone)
    nothing = {"VIRTUAL_ENV": str(tmp_path), "CONDA_PREFIX": "", "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    status, said = run_all(clone, "brief", "--", "-n", **WRITES, **nothing)
    assert status == 1 and "it: ./run_all.sh test -- --version" in said, said
    assert everything(clone) == before


@pytest.mark.parametrize("words", [["--cores", "0"], ["-c0"], ["--jobs=0"], ["x", "-j", "-1"]])
def test_a_graph_without_cores_is_refused_and_not_waited_for(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        graph_command.main(["smoke", *words])
    assert stopped.value.code == 3 and "give --cores 1 or more" in capsys.readouterr().err
    assert not without_cores(["--cores", "all", "-j4", "--until", "x0", "-n"])


def test_reserved_options_are_refused_though_cut_short(capsys):
    with pytest.raises(SystemExit) as stopped:
        graph_command.main(["smoke", "--direc", "/"])
    assert stopped.value.code == 3 and "--directory is this project's own" in capsys.readouterr().err


def test_a_check_of_own_images_that_is_killed_says_so(clone, images):  # noqa: F811
    environment = os.environ | {"VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX", "")}
    process = subprocess.Popen(
        [clone / "run_all.sh", "own", images, "name=dry"], env=environment, stderr=subprocess.PIPE, text=True
    )
    check, give_up = None, time.monotonic() + 60
    while check is None and time.monotonic() < give_up:
        time.sleep(0.05)
        for pid in processes_of(clone):
            with contextlib.suppress(OSError):
                if b"support.commands.own" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    check = int(pid)
    os.kill(check, signal.SIGKILL)
    said = process.communicate()[1]
    assert process.returncode == 137 and "stopped from outside (signal 9), as when memory runs out" in said, said


def test_a_source_from_the_future_is_named_and_touched_it_is_none(clone):  # noqa: F811
    late = clone / "notebooks" / "stick_figures.ipynb"
    os.utime(late, (time.time() + 2 * 86_400,) * 2)
    status, said = run_all(clone, "brief", "--", *TARGETS)
    assert status == 1 and "Traceback" not in said, said
    assert "notebooks/stick_figures.ipynb: changed later than now" in said
    assert not list((clone / "outputs").rglob("run.json"))
    remedy = said.strip().splitlines()[-1].rpartition("or: ")[2]
    assert subprocess.run(remedy, shell=True, cwd=clone).returncode == 0
    assert late.stat().st_mtime <= time.time()


def test_a_missing_file_of_the_project_and_a_file_in_snakemakes_place_are_named(clone):  # noqa: F811
    notes, settings = clone / ".snakemake", clone / "notebooks" / "support" / "settings.py"
    notes.unlink(missing_ok=True) if notes.is_symlink() or notes.is_file() else shutil.rmtree(notes, ignore_errors=True)
    notes.write_text("")
    status, said = run_all(clone, "brief", "--", *TARGETS)
    assert status == 1 and ".snakemake is no folder" in said and "Traceback" not in said, said
    notes.unlink()
    away = settings.rename(settings.with_suffix(".away"))
    status, said = run_all(clone, "brief", "--", *TARGETS)
    away.rename(settings)
    assert status == 1 and "support.settings is missing; `git status`" in said and "Traceback" not in said, said


def test_snakemake_s_own_error_reaches_the_user(clone):  # noqa: F811
    status, said = run_all(clone, "brief", "--", "nothing_of_that_name")
    assert status == 1 and "nothing_of_that_name" in said, said
    assert ".snakemake/log" not in said and "Traceback" not in said, said


def test_terminated_the_graph_stops_and_goes_on_where_it_stood(clone):  # noqa: F811
    """SIGTERM to Snakemake alone, then to the command, then nothing: the checkpoint goes only in the end."""
    for to_command in (False, True):
        process = graph(clone)
        until(process, "epoch 3/12" if not to_command else "epoch")
        process.send_signal(signal.SIGTERM) if to_command else os.kill(snakemake_of(clone), signal.SIGTERM)
        said = process.communicate(timeout=120)[0]
        assert process.returncode == (143 if to_command else 1), said
        assert "epoch 12/12" not in said and "Finished steps are kept" in said, said
        gone = time.monotonic() + 30
        while processes_of(clone) and time.monotonic() < gone:
            time.sleep(0.2)
        assert not processes_of(clone)
        assert (clone / TARGETS[0]).with_name("checkpoint.safetensors").exists()
    said = (process := graph(clone)).communicate()[0]
    assert process.returncode == 0 and "epoch 1/12" not in said and "epoch 12/12" in said, said
    assert not list((clone / TARGETS[0]).parent.glob("checkpoint*"))


def test_a_notebook_runs_with_a_long_folder_for_temporary_files_and_another_project_s_kernel(tmp_path, monkeypatch):
    long = tmp_path / ("a" * 60) / ("b" * 60)
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    long.mkdir(parents=True)
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "a.py").write_text("print('of the user')")
    for name, folder in (("TMPDIR", long), ("JUPYTER_PATH", kernel.parents[1]), ("IPYTHONDIR", startup.parents[1])):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('ran')")]), tmp_path / "a.ipynb")
    monkeypatch.chdir(ROOT)
    assert execute.main([str(tmp_path / "a.ipynb"), str(tmp_path / "out.ipynb")]) == 0
    monkeypatch.setattr(execute, "_short_folder", lambda: str(long))  # where /tmp can't be written either
    assert execute.main([str(tmp_path / "a.ipynb"), str(tmp_path / "out.ipynb")]) == 0


def test_a_disk_without_locks_is_named_with_what_to_do(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    said = r"without file locks \(Function not implemented\).*the option flock"
    with pytest.raises(HeldError, match=said), hold(tmp_path, wait=0.3):
        pass


def test_a_notebook_by_hand_on_the_published_profile_changes_nothing(monkeypatch):
    monkeypatch.delenv("GRAPH_PID", raising=False)
    profile = read_profile(PUBLISHED)
    files = {path: path.stat().st_mtime_ns for path in (OUTPUTS / PUBLISHED).rglob("*")}
    tables.save_table(tables.read_table(profile, "table_1"), profile, "table_1")
    tables.save_finding("another", profile, "classification")
    assert {path: path.stat().st_mtime_ns for path in (OUTPUTS / PUBLISHED).rglob("*")} == files
    monkeypatch.setenv("GRAPH_PID", "1")
    assert not runs.only_looked_at(profile.folder) and runs.only_looked_at(Path("elsewhere")) is False


def test_an_environment_without_pip_is_made_anew(tmp_path):
    """The line of run_all.sh's set-up that decides it, with a stand-in for the Python that would make it."""
    lines = iter((ROOT / "run_all.sh").read_text().splitlines())
    line = next(line.strip() for line in lines if "-m venv" in line)
    line += f" {next(lines).strip()}"  # what it says where that fails
    broken = tmp_path / ".venv" / "bin"
    broken.mkdir(parents=True)
    (broken / "python").write_text("#!/bin/sh\nexit 1\n")
    (broken / "python").chmod(0o755)
    code = f'fail() {{ echo "$@"; exit 1; }}; python=made; made() {{ echo "$@" > made; }}; {line}'
    assert subprocess.run(["bash", "-c", code], cwd=tmp_path).returncode == 0
    assert (tmp_path / "made").read_text() == "-m venv --clear .venv\n"
