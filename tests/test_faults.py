"""Kills, broken files, full disks and hostile files: nothing is lost, nothing hangs, and one line says what happened.

CI tries each a few times; `./run_all.sh test -- --long tests/test_faults.py` as often as tests/README.md says.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from conftest import RUN_FILES
from support import ROOT, settings, training, weights
from support.settings import read_profile

import mccvae_core as core
from data.files import HeldError, hold

TRAINING = """
    import json, os, random, signal, sys, time
    from pathlib import Path
    import torch
    import mccvae_core as core
    torch.set_num_threads(1)
    from support import weights
    weights.CHECKPOINT_SECONDS = 0.3
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (160, 1, 60, 60), generator=rng).to(torch.uint8)
    labels = torch.nn.functional.one_hot(torch.arange(160) % 2, 2).to(torch.uint8)

    def train(folder):
        model = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (1, 2), 2, "bernoulli", 0.5), 0)
        keeper = weights.CheckpointKeeper(folder / "c.safetensors", {"a": 1})
        history = core.fit(model, images, labels, core.Objective("rao-blackwell", 9.0), batch_size=16, epochs=4, seed=1,
                           labelled_fraction=0.5, keeper=keeper).history
        weights.save_model(folder / "m.safetensors", model)
        return json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in history])
"""
KILLS = """
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])

    def start():
        pid = os.fork()  # torch is imported once
        if not pid:
            (folder / "history").write_text(train(folder))
            os._exit(0)
        return pid

    def outcome():
        return (folder / "history").read_text(), (folder / "m.safetensors").read_bytes()

    started = time.monotonic()
    assert os.waitpid(start(), 0)[1] == 0
    seconds, wanted, rng, done, trainings = time.monotonic() - started, outcome(), random.Random(0), 0, 0
    while done < kills:
        for file in folder.iterdir():
            file.unlink()
        status = None
        while status != 0:
            pid, until = start(), time.monotonic() + rng.uniform(0.02, 0.6) * seconds
            status = None
            while status is None:
                there, code = os.waitpid(pid, os.WNOHANG)
                if there:
                    status = code
                elif time.monotonic() > until:
                    os.kill(pid, signal.SIGKILL)
                    done, status = done + 1, os.waitpid(pid, 0)[1]
                time.sleep(0.002)
            assert status in (0, signal.SIGKILL), status
        trainings += 1
        assert outcome() == wanted
    print(done, trainings)
"""


def python(code: str, *arguments, **options):
    """A process of its own that runs code, with this project's modules."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'notebooks'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_a_training_killed_at_any_moment_ends_as_one_that_was_not(tmp_path, often, counts):
    training = textwrap.dedent(TRAINING).replace("epochs=4", f"epochs={often(4, 24)}")
    said, errors = python(training + textwrap.dedent(KILLS), tmp_path, counts.kills).communicate()
    kills, trainings = map(int, said.split()) if said else pytest.fail(errors)
    assert kills >= counts.kills and trainings >= 1


def test_a_folder_has_one_holder_who_is_named_and_a_killed_one_holds_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from data.files import hold\nwith "
        "hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = python(code, tmp_path)
    assert process.stdout.readline() == "held\n"
    (tmp_path / ".weights.1.part").write_text("half")
    with (
        pytest.raises(HeldError, match=rf"is in use by process {process.pid} on .* since 20"),
        hold(tmp_path, wait=0.3),
    ):
        pass
    assert (tmp_path / ".weights.1.part").exists()
    process.kill()
    process.communicate()
    with hold(tmp_path, wait=0.3):
        assert [p.name for p in tmp_path.iterdir()] == [".lock"]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def profile(tmp_path, monkeypatch):
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / self.profile))
    return read_profile("smoke", images=70, epochs=1)


def test_every_broken_file_of_a_run_is_named_and_the_run_made_again(profile, capsys, often):
    run = training.train(profile, "stick_figures", "mccvae", 0)
    files = {p.name: p.read_bytes() for p in run.folder.iterdir()}
    written = {"run.json", "metrics.json", "model.safetensors", "best.safetensors", "history.csv"}
    assert set(files) == written | {"checkpoint.safetensors"}
    for name in sorted(written):
        offsets = np.linspace(0, len(files[name]) - 2, often(2, 20)).astype(int)
        for offset in offsets:
            for file, content in files.items():
                (run.folder / file).write_bytes(content)
            (run.folder / name).write_bytes(files[name][:offset])
            capsys.readouterr()
            # its checkpoint is there: evaluated again, not trained
            again = training.train(profile, "stick_figures", "mccvae", 0)
            assert "trained again" in capsys.readouterr().out, (name, offset)
            assert (
                again.metrics == run.metrics
                and (run.folder / "model.safetensors").read_bytes() == files["model.safetensors"]
            )


def test_a_truncated_checkpoint_is_never_taken_for_whole(profile, often):
    run = training.train(profile, "stick_figures", "mccvae", 0)
    path = run.folder / "checkpoint.safetensors"
    whole = path.read_bytes()
    model = run.model()
    state = core.TrainingState(model, torch.optim.Adam(model.parameters()), torch.zeros(50), torch.Generator())
    rng = random.Random(1)
    for offset in np.linspace(0, len(whole) - 1, often(5, 20)).astype(int):
        path.write_bytes(whole[:offset])
        with pytest.raises(weights.CheckpointError, match="checkpoint"):
            weights.load_checkpoint(path, state, None)
        flipped = bytearray(whole)
        flipped[rng.randrange(8, len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(weights.CheckpointError, match="checkpoint"):
            weights.load_checkpoint(path, state, None)


def test_a_checkpoint_of_other_settings_is_named_set_aside_and_not_loaded(profile, capsys):
    run = training.train(profile, "stick_figures", "mccvae-e1", 0)
    aside, record = run.folder / "checkpoint.aside.safetensors", run.folder / "run.json"
    old = (run.folder / "checkpoint.safetensors").read_bytes()
    record.unlink()
    changed = read_profile("smoke", images=70, epochs=1, batch_size=16)
    training.train(changed, "stick_figures", "mccvae-e1", 0)
    said = capsys.readouterr().out
    assert "batch_size 32 there, 16 here" in said and "set aside as checkpoint.aside.safetensors" in said
    assert aside.read_bytes() == old


def limited(size):
    """Files of this process can't grow over `size` bytes: what a full disk does in the middle of a write."""

    def set_limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return set_limit


def test_a_disk_that_fills_up_under_a_checkpoint_keeps_the_last_and_names_the_file(tmp_path):
    train = textwrap.dedent(TRAINING) + "\nprint(train(Path(sys.argv[1])))"
    process = python(train, tmp_path)
    while not (tmp_path / "c.before.safetensors").exists():
        time.sleep(0.02)
    process.kill()
    process.communicate()
    process = python(train, tmp_path, preexec_fn=limited(100_000))
    _, said = process.communicate()
    assert process.returncode == 1 and "c.safetensors was not written, and is as it was before" in said.splitlines()[-1]
    left = {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")}
    assert "c.before.safetensors" in left and left <= {"c.safetensors", "c.before.safetensors"}
    process = python(train, tmp_path)
    assert process.communicate()[0] and process.returncode == 0


def test_a_full_disk_leaves_no_half_of_any_table_or_figure(tmp_path):
    code = """
        import sys; from pathlib import Path; from data.files import write_atomically
        try:
            write_atomically(Path(sys.argv[1]) / "table.csv", b"x" * 10_000)
        except OSError as error:
            print(error)
    """
    (tmp_path / "table.csv").write_bytes(b"old")
    process = python(code, tmp_path, preexec_fn=limited(4_096))
    said, _ = process.communicate()
    assert "File too large" in said and "table.csv was not written" in said
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"] and (tmp_path / "table.csv").read_bytes() == b"old"


def test_a_full_disk_leaves_no_half_page_and_says_so_in_a_line(tmp_path):
    notebook, page = tmp_path / "a.ipynb", tmp_path / "a.html"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("word " * 2_000)]), notebook)
    for size, status in ((1_000, 1), (10_000_000, 0)):
        command = [sys.executable, ROOT / "notebooks/support/commands/page.py", notebook, page]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited(size))
        assert done.returncode == status and page.exists() == (status == 0), done.stderr
        assert not status or (f"{page} was not written" in done.stderr and "Traceback" not in done.stderr)
    assert {path.name for path in tmp_path.iterdir()} == {"a.ipynb", "a.html"} and "word word" in page.read_text()


# --- the graph --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the working tree with a profile of one short training."""
    root = tmp_path_factory.mktemp("faults") / "clone"
    left_out = shutil.ignore_patterns(
        "outputs", ".venv", ".git", "cache", ".snakemake", "__pycache__", ".pytest_cache", ".ruff_cache"
    )
    shutil.copytree(ROOT, root, ignore=left_out)
    profile = (
        (root / "notebooks/profiles/smoke.yaml")
        .read_text()
        .replace("smoke", "brief")
        .replace("epochs: 2", "epochs: 12")
    )
    profile = yaml.safe_load(profile) | {"models": {"stick_figures": ["mccvae"]}}
    (root / "notebooks/profiles/brief.yaml").write_text(yaml.safe_dump(profile))
    return root


TARGETS = ["outputs/brief/stick_figures/mccvae/seed0/train.ipynb"]


def graph(clone):
    """The graph as its user starts it: able to be interrupted, which a process begun in a shell's background is not."""
    environment = os.environ | {"VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX", "")}
    return subprocess.Popen(
        [clone / "run_all.sh", "brief", "--", *TARGETS], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def until(process, text):
    """What a process prints, up to the line that has the text."""
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(said)


def results(clone):
    def strip(path):
        record = json.loads(path.read_text())
        # that of a history has its seconds in it
        return {k: v for k, v in record.items() if k not in ("seconds", "sha256")}

    folders = [(clone / target).parent for target in TARGETS]
    return [(strip(f / "run.json"), strip(f / "metrics.json"), (f / "model.safetensors").read_bytes()) for f in folders]


def processes_of(clone):
    """Processes that work in the clone, as far as the system shows them in /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(clone) in os.readlink(path / "cwd"):
                found.append(path.name)
        except OSError:
            pass
    return found


def test_outputs_that_can_not_be_written_stop_the_graph_in_a_line(clone):
    (clone / "outputs").symlink_to("/sys/kernel")  # not to be written, by root neither
    said = (process := graph(clone)).communicate()[0]
    (clone / "outputs").unlink()
    assert process.returncode == 1 and "can't be written" in said and "Traceback" not in said, said


def test_a_graph_killed_or_interrupted_goes_on_where_it_stood(clone, often):
    process = graph(clone)
    said = until(process, "epoch 3/12")
    second = graph(clone)  # two at once
    assert "is in use by process" in second.communicate()[0] and second.returncode == 1
    rng, wanted, kills = random.Random(2), None, 0
    while True:
        said = process.communicate()[0]
        assert process.returncode == 0, said
        wanted = wanted or results(clone)
        assert results(clone) == wanted
        assert {p.name for p in (clone / TARGETS[0]).parent.iterdir()} == RUN_FILES
        if kills >= often(2, 10):
            return
        shutil.rmtree(clone / "outputs/brief/stick_figures")
        process = graph(clone)
        until(process, f"epoch {rng.randint(1, 9)}/12")
        os.kill(snakemake_of(clone), signal.SIGKILL) if kills % 2 == 0 else os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[0]
        assert process.returncode == (1 if kills % 2 == 0 else 130), said
        gone = time.monotonic() + 30
        while processes_of(clone) and time.monotonic() < gone:
            time.sleep(0.2)
        assert not processes_of(clone)
        kills += 1
        process = graph(clone)
        if kills % 2 == 0:
            until(process, "epoch")


def test_a_broken_run_is_named_and_made_again_by_the_graph(clone):
    said = (process := graph(clone)).communicate()[0]
    assert process.returncode == 0, said
    wanted, path = results(clone), (clone / TARGETS[0]).with_name("model.safetensors")
    path.write_bytes(path.read_bytes()[:200])
    said = (process := graph(clone)).communicate()[0]
    assert process.returncode == 0 and "train the run again. That is done now" in said and "epoch 12/12" in said, said
    assert results(clone) == wanted


def snakemake_of(clone):
    """The holder of the profile's outputs."""
    return int((clone / "outputs/brief/.lock").read_text().split()[1])
