"""The published records: what can be read and made from them alone, without data, weights or training."""

import copy
import dataclasses
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from support import OUTPUTS, PUBLISHED, ROOT, runs, settings, training, weights
from support.commands import publish, repeat
from support.experiments import reconstruction, task_judges
from support.report import provenance
from support.settings import SettingsError, read_profile
from support.show import figures

import mccvae_core as core
from data import TASKS, DataError, load

FOLDER = OUTPUTS / PUBLISHED


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The smoke profile, as if its outputs were those published; in a folder of this test's own."""
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: tmp_path / PUBLISHED))
    return read_profile("smoke", images=70, models={"stick_figures": ["mccvae-e1"]}, seeds=[0, 1])


@pytest.fixture
def without_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MCCVAE_DATA", str(tmp_path))
    monkeypatch.setenv("MCCVAE_DOWNLOAD", "never")
    monkeypatch.setattr("data.common.CACHE", tmp_path)


def test_scores_of_published_runs_are_kept_and_others_are_made(tmp_path):
    made = []

    def make():
        made.append(1)
        return pd.DataFrame({"label": ["5", "1"], "auc": [1 / 3, 0.5]})

    file = tmp_path / PUBLISHED / "runs" / "mnist" / "mccvae" / "seed0" / "scores" / "found.csv"
    first, second = runs.kept(file, make), runs.kept(file, make)
    assert (
        len(made) == 1 and first.equals(second) and list(first["label"]) == ["5", "1"] and first["auc"][0] == 0.333333
    )
    for elsewhere in (
        tmp_path / "demo" / "mnist" / "found.csv",
        tmp_path / PUBLISHED / "mccvae" / "outputs" / "demo" / "found.csv",
    ):
        assert runs.kept(elsewhere, make)["auc"][0] == 1 / 3 and not elsewhere.exists()


def test_published_runs_have_one_judge(published, monkeypatch):
    profile = dataclasses.replace(published, images=70)
    monkeypatch.setattr(task_judges, "JUDGE_EPOCHS", 3)
    first = task_judges.Judges(runs.Datasets(profile))["stick_figures"]
    monkeypatch.setattr(task_judges, "train_judge", None)
    second = task_judges.Judges(runs.Datasets(profile))["stick_figures"]
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_what_is_not_published_is_left_out_and_named(published):
    run = training.train(published, "stick_figures", "mccvae-e1", 0)
    assert [r.folder for r in runs.read_runs(published)] == [run.folder]
    absent = runs.missing(published)
    assert absent == [("stick_figures", "mccvae-e1", 1)]
    text = provenance.missing_text([*absent, ("mnist", "vae", 0), ("mnist", "vae", 2)], there=1)
    assert "1 of 4 runs are here. Missing: Stick figures: MCCVAE, e1 seed 1; MNIST: VAE seeds 0, 2." in text


def test_trained_again_a_published_run_has_new_half_weights_and_no_old_scores(published):
    run = training.train(published, "stick_figures", "mccvae-e1", 0)
    half, scores = runs.published_weights(run.folder), run.folder / "scores"
    assert not half.exists()  # a seed whose weights are not published gets none
    half.parent.mkdir()
    half.write_bytes(b"of an earlier training")
    scores.mkdir()
    again = training.train(dataclasses.replace(published, images=80), "stick_figures", "mccvae-e1", 0)
    assert not scores.exists()
    expected = copy.deepcopy(again.model()).half()
    assert all(
        torch.equal(a.half(), b)
        for a, b in zip(weights.load_model(half).parameters(), expected.parameters(), strict=True)
    )


def test_published_weights_are_taken_though_the_code_is_newer_and_nothing_else_may_differ(
    published, capsys, monkeypatch
):
    run = training.train(published, "stick_figures", "mccvae-e1", 0)
    half = runs.published_weights(run.folder)
    weights.save_model(half, copy.deepcopy(run.model()).half())
    (run.folder / "model.safetensors").unlink()
    monkeypatch.setattr(training.code_identity, "code_version", lambda: "newer")
    capsys.readouterr()
    taken = training.train(published, "stick_figures", "mccvae-e1", 0)
    assert taken.record == run.record and "already trained" in capsys.readouterr().out
    other = training.train(dataclasses.replace(published, images=80), "stick_figures", "mccvae-e1", 0)
    assert other.record["code"] == "newer" and other.record["data"] != run.record["data"]


def test_a_run_repeated_from_its_record_has_the_same_scores_and_other_scores_are_told(published, capsys):
    run = training.train(published, "stick_figures", "mccvae-e1", 0)
    files = lambda: {path: path.read_bytes() for path in published.folder.rglob("*") if path.is_file()}  # noqa: E731
    before = files()
    assert repeat.repeat(run.folder, published) == 0 and files() == before
    assert re.search(r"\nOf \d\d+ scores 0 differ\.", capsys.readouterr().out)
    run.metrics["test"]["accuracy"] += 0.25
    run.metrics["test"]["bound"]["new"] = 1  # a score that records of before don't have
    now = repeat.differences(runs.read_run(run.folder), run)
    assert set(now) == {"test accuracy"} and now["test accuracy"][1] == run.metrics["test"]["accuracy"]


def test_a_run_of_outputs_on_another_disk_is_found(tmp_path, monkeypatch):
    (tmp_path / "disk" / "published" / "runs").mkdir(parents=True)
    (tmp_path / "outputs").symlink_to(tmp_path / "disk")
    monkeypatch.setattr(repeat, "OUTPUTS", tmp_path / "outputs")
    folder = tmp_path / "outputs" / "published" / "runs" / "mnist"
    assert repeat.profile_of(folder.resolve()).profile == "published"
    beside = tmp_path / "disk" / "published" / "trained_out" / "celeba" / "ccvae" / "seed10"
    assert repeat.profile_of(beside).epochs["celeba"] == 200  # of its own profile, not of the one it lies beside
    with pytest.raises(SettingsError, match="does not lie below"):
        repeat.profile_of((tmp_path / "outputs").resolve())


def test_what_can_t_be_repeated_is_told():
    def repeated(*words):
        return subprocess.run([ROOT / "run_all.sh", "repeat", *words], cwd=ROOT, capture_output=True, text=True)

    for words, message in (
        ([], "repeat: the following arguments are required: RUN"),
        (["README.md"], "README.md does not lie below"),
        (["outputs/nothing/mnist/ccvae/seed0"], "there is no profile 'nothing'"),
        (["outputs/published/runs/mnist/ccvae/seed99"], "seed99 is not a run's folder; name one with a run.json"),
    ):
        said = repeated(*words)
        assert said.returncode == 2 and message in said.stderr and "Traceback" not in said.stderr, said.stderr


def test_pictures_are_drawn_of_the_data_that_can_be_had(without_data, capsys, monkeypatch):
    profile = read_profile(PUBLISHED)
    data = runs.Datasets(profile)
    assert list(data.to_draw(["mnist"])) == list(data.to_draw(["mnist"])) == []
    said = capsys.readouterr().out
    assert (
        said.count("MNIST: its pictures are not drawn anew: mnist.npz is not here") == 1
        and "nothing is downloaded" in said
    )
    with pytest.raises(DataError, match=r"mnist\.npz is not here"):
        list(runs.Datasets(read_profile("paper")).to_draw(["mnist"]))


def test_the_published_tables_come_out_of_the_records(tmp_path, without_data, monkeypatch):
    """The experiments' and the report's notebooks, cell by cell, on a copy of the records: as `./run_all.sh report`
    runs them."""
    copied = tmp_path / PUBLISHED
    for folder in FOLDER.iterdir():
        if folder.is_dir() and folder.name not in ("tables", "notebooks"):
            shutil.copytree(folder, copied / folder.name)
    monkeypatch.setattr(settings.Profile, "folder", property(lambda self: copied))
    monkeypatch.setattr("support.show.figures.show", lambda fig, *_, **__: plt.close(fig))
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    monkeypatch.setattr("support.report.explorer.display", lambda what: shown.append(what.data))
    for name in [*read_profile(PUBLISHED).experiments, "details", "report"]:
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        namespace = {}
        for cell in [*code[:1], f"profile = {PUBLISHED!r}", *code[1:]]:
            exec(cell, namespace)
    assert [re.search(r'data-task="(\w+)"', section)[1] for section in shown] == list(runs.PAPER_TASKS)
    names = sorted(path.name for path in (FOLDER / "tables").iterdir())
    assert sorted(path.name for path in (copied / "tables").iterdir()) == names
    for name in names:
        ours, theirs = ((folder / "tables" / name).read_text() for folder in (copied, FOLDER))
        if name.endswith(".csv"):  # numbers to five digits: another processor may round the sixth otherwise
            pd.testing.assert_frame_equal(
                *(pd.read_csv(io.StringIO(text)) for text in (ours, theirs)), rtol=1e-5, atol=1e-9, obj=name
            )
        else:
            assert ours == theirs, name


def test_the_data_readme_s_lines_make_the_published_faces_of_all_of_celeba(tmp_path, monkeypatch):
    """On a CelebA of 12,000 small pictures in another order."""
    split = pd.read_csv(FOLDER / "celeba_split.csv")
    rng, n = np.random.default_rng(0), 12_000
    number = rng.permutation(n) + 1
    names = np.array([f"{i:06d}.jpg" for i in number])
    x = np.zeros((n, 64, 64, 3), np.uint8)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = number % 256, number // 256
    attr, attr_names = rng.integers(0, 2, (n, 18), dtype=np.uint8), np.array(TASKS["celeba"].labels)
    (tmp_path / "data" / "cache").mkdir(parents=True)
    np.savez_compressed(
        tmp_path / "data" / "cache" / "celeba_64.npz",
        x=x,
        attr=attr,
        attr_names=attr_names,
        names=names,
        split=attr[:, 0],
    )
    (tmp_path / "outputs" / PUBLISHED).mkdir(parents=True)
    shutil.copy(FOLDER / "celeba_split.csv", tmp_path / "outputs" / PUBLISHED)
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*celeba_split.*?)```", (ROOT / "data" / "README.md").read_text(), re.DOTALL)[1], {})
    monkeypatch.setenv("MCCVAE_DATA", str(tmp_path / "data" / "cache" / "first_10000"))
    d = load("celeba", "real")
    assert [len(part) for part in (d.train, d.validation, d.test)] == (
        split["split"].value_counts().sort_index()
    ).tolist()
    pixel = d.test.images[:, :2, 0, 0].long()
    assert (pixel[:, 0] + 256 * pixel[:, 1]).tolist() == (np.flatnonzero(split["split"] == 2) + 1).tolist()
    assert np.array_equal(d.test.labels.numpy(), attr[np.argsort(number)][:10_000][split["split"] == 2])


def test_a_set_that_can_t_be_had_is_told_with_the_way_to_name_a_folder(monkeypatch):
    def refused(*_, **__):
        raise DataError("refused")

    monkeypatch.setattr(runs, "load", refused)
    with pytest.raises(DataError, match=r"refused\n.*MCCVAE_DATA=<folder>"):
        runs.load_data(read_profile("paper"), "mnist")
    with pytest.raises(DataError, match=r"refused$"):
        runs.load_data(read_profile("demo"), "mnist")


def test_published_records_are_whole_and_weights_are_theirs():
    profile = read_profile(PUBLISHED)
    deciding = [runs.read_run(file.parent) for file in runs.deciding_folder(profile.folder).glob("*/*/seed*/run.json")]
    trained = {runs.published_weights(run.folder): run for run in [*runs.read_runs(profile), *deciding]}
    files = sorted((FOLDER / "weights").iterdir())
    assert files and set(files) <= set(trained) and sum(path.stat().st_size for path in files) <= 34e6
    for path in files:
        model, record = weights.load_model(path), trained[path].record
        assert (
            list(model.config.characteristics) == record["characteristics"]
            and model.config.style_dim == record["style_dim"]
        )
        best = trained[path].metrics.get("best", {}).get("epoch")
        assert trained[path].epoch_of_weights() in (record["epochs"], best)


def test_pictures_are_drawn_from_the_runs_that_decide_where_their_weights_are_published():
    profile = read_profile(PUBLISHED)
    shown = runs.first_runs(profile, "celeba")
    assert [(run.spec.name, run.record["seed"], run.record["epochs"]) for run in shown] == [
        ("ccvae", 10, 200),
        ("mccvae", 10, 200),
        ("mccvae-rb3072", 10, 200),
    ]
    assert all(run.epoch_of_weights() == run.metrics["best"]["epoch"] < 200 for run in shown)
    assert {run.record["seed"] for run in runs.first_runs(profile, "chest_xray")} == {0}  # none of theirs are kept


def test_a_published_run_by_hand_takes_its_weights_or_names_the_seeds_that_have_some(monkeypatch, capsys):
    monkeypatch.delenv("GRAPH_PID", raising=False)
    profile, found = read_profile(PUBLISHED), runs.read_run(FOLDER / "trained_out/celeba/ccvae/seed10")
    data = load("celeba", "embedded", images=60)
    monkeypatch.setattr(type(data), "summary", lambda self: found.record["data"])
    monkeypatch.setattr(settings.ModelSpec, "config", lambda self, data: found.model().config)
    run = training.train(profile, "celeba", "ccvae", 10, data)
    assert run.metrics == found.metrics["best"] and "published weights, " in capsys.readouterr().out
    with pytest.raises(settings.SettingsError, match="the seed 10, 11 are published; take that, or another profile"):
        training.train(profile, "celeba", "ccvae", 0, data)


def test_published_by_a_command_the_deciding_runs_have_their_records_scores_and_weights(tmp_path):
    source, target = FOLDER / "trained_out", tmp_path / "published"
    shutil.copytree(source, tmp_path / "trained_out")
    run = tmp_path / "trained_out/chest_xray/ccvae/seed10"
    model = core.build_model(
        "MCCVAE", settings.ModelSpec.parse("ccvae").config(load("chest_xray", "embedded", images=60)), 0
    )
    weights.save_model(run / runs.WEIGHTS, model)
    record = json.loads((run / "run.json").read_text())
    record["sha256"] |= {runs.WEIGHTS: hashlib.sha256((run / runs.WEIGHTS).read_bytes()).hexdigest()}
    del record["sha256"][runs.BEST_WEIGHTS]
    (run / "run.json").write_text(json.dumps(record))
    scores = pd.read_csv(source / "claim_scores.csv")
    (target / "trained_out").mkdir(parents=True)
    scores[scores["task"] == "celeba"].to_csv(target / "trained_out/claim_scores.csv", index=False)
    chest = scores["task"].eq("chest_xray") & scores["seed"].eq(10) & scores["model"].eq("ccvae")
    scores[chest].to_csv(tmp_path / "trained_out/claim_scores.csv", index=False)
    assert publish.publish(tmp_path / "trained_out", target, [10]) == ["chest_xray-ccvae-seed10.safetensors"]
    assert len(pd.read_csv(target / "trained_out/claim_scores.csv")) == scores["task"].eq("celeba").sum() + 1
    place = target / "trained_out/chest_xray/ccvae/seed10"
    assert {path.name for path in place.iterdir()} == {"run.json", "metrics.json.gz", "history.csv.gz", "scores"}
    more = target / "trained_out/celeba/vae/seed10"  # without scores of the claims
    assert {path.name for path in more.iterdir()} == {"run.json", "metrics.json.gz", "history.csv.gz"}
    copied = runs.read_run(place)
    assert copied.record == record and copied.epoch_of_weights() == 50 and not copied.model().decoder.training
    assert (copied.folder / "scores/claims.csv.gz").exists()


@pytest.mark.parametrize(("profile_name", "rows"), [(PUBLISHED, ["CCVAE"]), ("quick", ["original", "CCVAE"])])
def test_no_celeba_photograph_is_in_what_is_published(monkeypatch, profile_name, rows):
    # drawn faces in their place
    data = dataclasses.replace(load("celeba", "embedded", images=60), source="real", stand_in=False)
    model = core.build_model("MCCVAE", settings.ModelSpec.parse("ccvae").config(data), seed=0)
    drawn, said = {}, []
    monkeypatch.setattr(figures, "sheet", lambda pictures, *_: drawn.update(pictures))
    monkeypatch.setattr(figures, "show", lambda fig, text, alt, **_: said.append(f"{text} {alt}"))
    reconstruction.reconstructions(data, {"CCVAE": model}, settings.read_profile(profile_name), name="figure_6")
    assert list(drawn) == rows
    assert ("may not be published" in said[0]) == (profile_name == PUBLISHED)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda whole: gzip.compress(whole + b"1"), "metrics.json is not what was written, its checksum differs"),
        (lambda whole: gzip.compress(whole)[:-20], "metrics.json.gz can't be unpacked"),
        (lambda whole: whole, "Not a gzipped file"),
        (lambda whole: gzip.compress(bytes(runs.MAX_RECORD + 1)), "metrics.json.gz holds more than 67,108,864 bytes"),
    ],
)
def test_a_packed_record_is_read_and_a_broken_one_named(tmp_path, content, says):
    folder = tmp_path / "seed10"
    shutil.copytree(FOLDER / "trained_out/mnist/ccvae/seed10", folder)
    found = runs.read_run(folder)
    whole = runs.read_part(folder, "metrics.json")
    (folder / "metrics.json").write_bytes(whole)  # unpacked it is the same
    assert runs.read_run(folder).metrics == found.metrics
    (folder / "metrics.json").unlink()
    (folder / "metrics.json.gz").write_bytes(content(whole))
    with pytest.raises(runs.RunError, match=f"holds no whole record of a run .*{says}"):
        runs.read_run(folder)
