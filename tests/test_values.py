"""Records and tables whose values can't be, or that were cut: named when they are read, and nothing is made of them."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support import OUTPUTS, PUBLISHED, runs
from support.commands import apply, check
from support.experiments import classification
from support.runs import RunError
from support.settings import read_profile
from support.show import tables

from data.files import digest

RUN = "runs/mnist/ccvae/seed10"


def unpacked(name, folder):
    """Put a deciding run's records, unpacked, where a published profile's run lies."""
    source, target = OUTPUTS / PUBLISHED / name.replace("runs/", "trained_out/"), folder / name
    target.mkdir(parents=True)
    for part in ("run.json", *runs.PARTS):
        (target / part).write_bytes(runs.read_part(source, part))


@pytest.fixture
def folder(tmp_path):
    """A copy of a published run with its weights in half precision."""
    copy = tmp_path / PUBLISHED
    unpacked(RUN, copy)
    (copy / "weights").mkdir()
    shutil.copy(OUTPUTS / PUBLISHED / "weights/mnist-ccvae-seed10.safetensors", copy / "weights")
    return copy / RUN


def edit(folder, change, name="run.json"):
    """Change a file's content and, of metrics and history, its checksum in the record."""
    path = folder / name
    content = json.loads(path.read_text())
    other = change(content)
    path.write_text(json.dumps(other if isinstance(other, list) else content))
    if name != "run.json":
        edit(folder, lambda record: record["sha256"].update({name: digest(path)}))


WRONG = {
    "a label fewer": (lambda r: r["data"]["labels"].pop(), "names 9 labels and has characteristics of 10"),
    "a label twice": (lambda r: r["data"]["labels"].__setitem__(1, "0"), "labels must be a list of different names"),
    "a label that the task lacks": (lambda r: r["data"]["labels"].__setitem__(0, "ten"), "mnist has no label 'ten'"),
    "a label and its latents fewer": (lambda r: (r["data"]["labels"].pop(), r["characteristics"].pop()), ""),
    "a seed in words": (lambda r: r.update(seed="0"), "seed must be a whole number from 0 on, not '0'"),
    "epochs of another training": (lambda r: r.update(epochs=11), "not one row for each of the 11 epochs"),
    "true for a number": (lambda r: r.update(epochs=True), "epochs must be a whole number above 0, not True"),
    "seconds that are none": (lambda r: r.update(seconds=float("nan")), "must be a number from 0 on, not nan"),
    "another task": (lambda r: r.update(task=["mnist"]), "task must be one of the tasks"),
    "no model": (lambda r: r.update(model="ccvae-q3"), "there is no model 'ccvae-q3'"),
    "data as a text": (lambda r: r.update(data="mnist"), "data must be what was trained on"),
    "no images": (lambda r: r["data"]["n"].update(test=0), "data, n must be images of each part"),
    "checksums as a list": (lambda r: r.update(sha256=[]), "sha256 must be files with their sha256"),
    "a list for a record": (lambda r: [r], "run.json holds no record"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_record_with_a_value_that_can_not_be_is_refused_and_the_value_named(folder, name):
    change, message = WRONG[name]
    edit(folder, change)
    with pytest.raises(RunError) as error:
        runs.read_run(folder).model()
    assert message in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("name", ["a label fewer", "a label and its latents fewer"])
def test_apply_writes_no_table_with_a_record_that_has_a_label_fewer(folder, tmp_path, name):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((60, 60), np.uint8)).save(tmp_path / "pictures" / "a.png")
    words = ["new", str(tmp_path), str(folder), "pictures", "out.csv"]
    edit(folder, WRONG[name][0])
    with pytest.raises(RunError, match=r"labels|characteristics"):
        apply.main(words)
    assert not (tmp_path / "out.csv").exists()
    shutil.copy(OUTPUTS / PUBLISHED / RUN.replace("runs/", "trained_out/") / "run.json", folder)
    apply.main(words)
    assert len(pd.read_csv(tmp_path / "out.csv")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["test"].update(accuracy=1.5), "the test part's accuracy must lie in"),
        (lambda m: m.pop("validation"), "no scores of the validation part"),
        (lambda m: m["train"].update(loss=3), "no loss of the train part"),
    ],
)
def test_metrics_that_can_not_be_are_refused_though_their_checksum_fits(folder, change, message):
    edit(folder, change, "metrics.json")
    with pytest.raises(RunError, match=message):
        runs.read_run(folder)


def test_a_pipe_for_a_record_is_named_and_nothing_waits(folder):
    (folder / "run.json").unlink()
    os.mkfifo(folder / "run.json")
    with pytest.raises(RunError, match="it is a pipe, not a file"):
        runs.read_run(folder)


def test_a_table_cut_short_is_named_wherever_it_was_cut_and_whole_again_read(tmp_path):
    profile = read_profile(PUBLISHED, models={"mnist": {"ccvae": [10, 11], "mccvae": [10]}})
    there = check.Elsewhere(**vars(profile), at=tmp_path / PUBLISHED)
    for model, seed in profile.runs(runs.TASKS["mnist"]):
        unpacked(f"runs/mnist/{model}/seed{seed}", there.folder)
    trained = runs.read_runs(there, tasks=["mnist"])
    table = classification.accuracy_table(trained, "test")
    tables.save_table(table, there, "table_2")
    path = there.folder / "tables" / "table_2.csv"
    whole = path.read_text()
    rows = whole.splitlines(keepends=True)
    for text, message in (
        ("".join(rows[:-1]), "has no row of MNIST, mccvae"),
        (whole[:-9], "its last row is cut short"),
        ("", "cut short"),
    ):
        path.write_text(text)
        with pytest.raises(RunError, match=message):
            tables.read_table(there, "table_2", trained)
    tables.save_table(table, there, "table_2")
    assert len(tables.read_table(there, "table_2", trained)) == 2
