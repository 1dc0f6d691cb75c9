"""`./run_all.sh check`: an outputs folder as it was written passes, and one that was tampered with is named, whatever
was changed."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from support import OUTPUTS, PUBLISHED, ROOT, runs, training
from support.commands import check, checked_tables, checksums
from support.settings import SettingsError, read_profile
from support.show import tables

from data.files import digest

RUN = "runs/chest_xray/mccvae/seed1"
SEEDS = {model: [0, 1, 2] for model in ("ccvae", "mccvae", "cvae")}


@pytest.fixture(scope="module")
def profile():
    experiments = ["classification", "reconstruction", "intervention", "characteristics"]
    return read_profile(PUBLISHED, models={"chest_xray": SEEDS}, experiments=experiments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, profile):
    """A small published folder: three models of one task, and the tables that come out of their records."""
    folder, task = tmp_path_factory.mktemp("check") / PUBLISHED, Path("runs/chest_xray")
    for name in [
        *(task / model / f"seed{seed}" for model, seeds in SEEDS.items() for seed in seeds),
        "characteristics/tables",
        "quick/tables",
    ]:
        shutil.copytree(OUTPUTS / PUBLISHED / name, folder / name)
    (folder / "weights").mkdir()
    for name in (
        "weights/chest_xray-ccvae-seed0.safetensors",
        "weights/chest_xray-mccvae-seed0.safetensors",
        task / "judge.csv",
    ):
        shutil.copy(OUTPUTS / PUBLISHED / name, folder / name)
    shutil.copy(OUTPUTS / PUBLISHED / task / "judge.safetensors", folder / task)
    there = check.Elsewhere(**vars(profile), at=folder)
    for make in checked_tables.makers(there).values():
        for name, content in make(there):
            if isinstance(content, str):
                (folder / "tables" / name).write_text(f"{content}\n")
            else:
                tables.save_table(content, there, Path(name).stem)
    checksums.seal(folder)
    return folder


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def a_pipe_for_metrics(folder):
    (folder / RUN / "metrics.json").unlink()
    os.mkfifo(folder / RUN / "metrics.json")


def a_history_gone(folder):
    (folder / RUN / "history.csv").unlink()


def a_row_twice_in_a_table(folder):
    path = folder / "tables" / "table_2.csv"
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[-1])


def a_table_cut_at_a_row(folder):
    path = folder / "tables" / "found.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def a_score_edited_and_its_checksums_too(folder):
    metrics, record = folder / RUN / "metrics.json", folder / RUN / "run.json"
    content = json.loads(metrics.read_text())
    content["test"]["accuracy"] += 0.01
    old = digest(metrics)
    metrics.write_text(json.dumps(content))
    edited(record, old, digest(metrics))
    checksums.seal(folder)


def a_kept_score_edited_and_its_checksum_too(folder):
    path = folder / RUN / "scores" / "found.csv"
    table = pd.read_csv(path)
    table.loc[0, "own"] /= 2
    table.to_csv(path, index=False)
    checksums.seal(folder)


def weights_swapped(folder):
    one, two = (folder / "weights" / f"chest_xray-{model}-seed0.safetensors" for model in ("ccvae", "mccvae"))
    one.rename(aside := one.with_suffix(".aside"))
    two.rename(one)
    aside.rename(two)


def a_run_that_nobody_asked_for(folder):
    shutil.copytree(folder / RUN, folder / RUN.replace("seed1", "seed9"))


def a_record_with_other_epochs(folder):
    edited(folder / RUN / "run.json", '"epochs": 50', '"epochs": 5')


def no_list_of_checksums(folder):
    (folder / checksums.SUMS).unlink()


def a_finding_reworded(folder):
    edited(folder / "tables" / "finding_classification.txt", "points", "dots")


TAMPERED = {
    a_pipe_for_metrics: f"{RUN}/metrics.json can't be read (it is a pipe",
    a_history_gone: f"{RUN}/history.csv is missing",
    a_row_twice_in_a_table: "tables/table_2.csv has 3 rows, the records give 2",
    a_table_cut_at_a_row: "tables/found.csv has ",
    a_score_edited_and_its_checksums_too: "tables/table_2.csv, row 2, accuracy: ",
    a_kept_score_edited_and_its_checksum_too: "tables/found.csv, row ",
    weights_swapped: "weights/chest_xray-mccvae-seed0.safetensors has characteristics [1, 1, 1], its run [2, 2, 2]",
    a_run_that_nobody_asked_for: "seed9 is no run of the profile published",
    a_record_with_other_epochs: f"{RUN}/run.json is not what was written",
    no_list_of_checksums: "checksums.txt is missing",
    a_finding_reworded: "tables/finding_classification.txt is not the finding",
}


@pytest.fixture
def without_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MCCVAE_DATA", str(tmp_path))
    monkeypatch.setenv("MCCVAE_DOWNLOAD", "never")
    monkeypatch.setattr("data.common.CACHE", tmp_path)


def test_a_folder_as_it_was_written_passes_and_says_what_it_left_out(whole, profile, without_data, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert check.check(whole, profile) == []
    said = capsys.readouterr().out
    assert "left out: chest_xray (chest_xray_64.npz is not here" in said and "18 computed again" in said
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_what_was_tampered_with_is_named(whole, profile, without_data, tmp_path, tamper):
    folder = shutil.copytree(whole, tmp_path / "a copy")
    tamper(folder)
    faults = check.check(folder, profile)
    assert any(TAMPERED[tamper] in fault for fault in faults), faults


def test_weights_that_don_t_give_the_recorded_scores_are_named(tmp_path, capsys):
    small = read_profile(
        "smoke", images=70, epochs=1, models={"stick_figures": ["mccvae-e1"]}, seeds=[0], experiments=[], allocation=[]
    )
    there = check.Elsewhere(**vars(small), at=tmp_path / PUBLISHED)
    run = training.train(there, "stick_figures", "mccvae-e1", 0)
    other = training.train(there, "stick_figures", "mccvae-e1", 1, folder=tmp_path / "other")
    half = runs.published_weights(run.folder)
    half.parent.mkdir()
    for trained, fault in ((run, None), (other, "its weights give")):
        check.weights.save_model(half, trained.model().half())
        (run.folder / "model.safetensors").unlink(missing_ok=True)
        (run.folder / "best.safetensors").unlink(missing_ok=True)
        about, faults = check._scores(there)
        assert about == "computed again of stick_figures/mccvae-e1/seed0"
        assert bool(faults) == bool(fault) and all(
            fault in line and "metrics.json: test " in line for line in faults
        ), faults


def run_all(*words, **environment):
    return subprocess.run(
        [ROOT / "run_all.sh", "check", *words], cwd="/", env=os.environ | environment, capture_output=True, text=True
    )


def test_the_published_folder_is_as_it_was_written(tmp_path):
    said = run_all(MCCVAE_DATA=str(tmp_path))
    assert said.returncode == 0 and "all that was checked is as it was written" in said.stdout, (
        said.stdout + said.stderr
    )
    for task, file in (("celeba", "celeba_64"), ("mnist", "mnist"), ("chest_xray", "chest_xray_64")):
        assert f"{task} ({file}.npz is not here" in said.stdout  # a run of each is scored again where its data are


def test_what_can_not_be_checked_is_told(tmp_path):
    said = run_all(str(tmp_path / "none"))
    assert (
        said.returncode == 2
        and "is no folder; name an outputs folder" in said.stderr
        and "Traceback" not in said.stderr
    ), said.stderr
    with pytest.raises(SettingsError, match="there is no profile"):
        check.profile_of(tmp_path)


def test_verdicts_are_those_that_follow_from_the_scores(tmp_path):
    theirs, folder = tmp_path / "theirs", tmp_path / PUBLISHED
    theirs.mkdir()
    shutil.copytree(OUTPUTS / PUBLISHED / "trained_out", folder / "trained_out")
    there = check.Elsewhere(**vars(read_profile(PUBLISHED)), at=folder)
    table = pd.read_csv(folder / "trained_out/tables/verdicts.csv", dtype=str, keep_default_na=False)
    table.to_csv(theirs / "verdicts.csv", index=False)
    assert checked_tables.against_scores(there, theirs) == ("15 computed again from scores", [])
    table.loc[3, "verdict"] = "reversed"
    table.to_csv(theirs / "verdicts.csv", index=False)
    assert checked_tables.against_scores(there, theirs)[1][0].startswith(
        "tables/verdicts.csv, row 4, verdict: reversed"
    )
    (folder / "trained_out/claim_scores.csv").write_text("task\nmnist\n")
    assert "claim_scores.csv has no column" in checked_tables.against_scores(there, theirs)[1][0]


def test_figures_are_held_against_the_pictures_in_pages(tmp_path):
    """Two figures with one alt text, one figure in no page; then another picture, a broken one, a .json that lacks."""
    (tmp_path / "figures").mkdir()
    for name, alt in (("a", "Dots & lines"), ("b", "Dots & lines"), ("c", "none")):
        (tmp_path / f"figures/{name}.png").write_bytes(name.encode())
        (tmp_path / f"figures/{name}.json").write_text(json.dumps({"alt": alt}))
    picture = "<img src='data:image/png;base64,{}' alt='Dots &amp; lines'>"
    page = "".join(picture.format(base64.b64encode(png).decode()) for png in (b"a", b"b"))
    looked = lambda: check._pictures(tmp_path, checksums.listing(tmp_path)[0])  # noqa: E731
    (tmp_path / "report.html").write_text(page)
    assert looked() == ("2 compared with those in pages, 1 stand in none", [])
    (tmp_path / "figures/b.png").write_bytes(b"B")
    assert looked()[1] == ["figures/a.png, figures/b.png: another picture stands in a page under the same alt text"]
    (tmp_path / "report.html").write_text(picture.format("a"))
    (tmp_path / "figures/c.json").unlink()
    assert [fault.partition(",")[0] for fault in looked()[1]] == ["figures/c.png", "report.html"]


def test_the_published_figures_stand_in_the_published_pages():
    folder = OUTPUTS / PUBLISHED
    about, faults = check._pictures(folder, checksums.listing(folder)[0])
    assert faults == [] and int(about.split()[0]) >= 20
