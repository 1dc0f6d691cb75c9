"""One's own images: every fault of a folder and its table at once, the data set, the whole command, and `apply`."""

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support import ROOT, runs, settings, training
from support.commands import apply, cluster
from support.commands import own as command
from support.experiments import classification, reconstruction
from support.report import own_report
from support.settings import SettingsError
from support.show import tables

import data
import mccvae_core as core
from data import DataError, example, own, pictures

# --- a folder and its table ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """60 grey pictures of different sizes, an empty table for them."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(60):
        size = (40 + i, 70)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


def rows(n=60):
    """Rows of a faultless table with the labels a and b, b partly known."""
    return [[f"{i}.png", str(i % 2), ["", "0", "1"][i % 3]] for i in range(n)]


def table(folder, lines, header=("file", "a", "b"), separator=",", encoding="utf-8", end="\n"):
    path = folder.parent / "labels.csv"
    path.write_bytes(end.join(separator.join(line) for line in [header, *lines]).encode(encoding))
    return path


def faults(folder, path):
    """The lines of the message that gather ends with."""
    with pytest.raises(DataError) as error:
        own.gather(folder, path)
    return [line.strip() for line in str(error.value).splitlines()]


def test_every_problem_is_told_at_once_with_row_and_column_in_the_order_of_the_table(folder):
    lines = rows()
    lines[0][1], lines[1][2] = "maybe", "2"
    lines[5], lines[6][0], lines[7] = ["../5.png", "0", "1"], "", ["7.png", "1"]
    lines[8][0] = "9.png"
    said = faults(folder, table(folder, lines))
    assert said[0] == "6 problems (rows and columns of labels.csv, the header being row 1); nothing was made:"
    expected = [
        r"row 2, column a: 'maybe' is not 0, 1, yes, no or empty \(add unknown=maybe if .*\)",
        r"column b: '2' among numbers",
        r"row 7: \.\./5\.png leads out of the folder; .*",
        r"row 8, column file: no file name",
        r"row 9: 2 cells, where row 1 has 3",
        r"row 11: 9\.png is there already, in row 10",
    ]
    expected[1] = (
        r"column b: numbers from 0 to 2; add continuous=b .*, or threshold=b:1 to make it binary, .*, or classes=b .*"
    )
    assert len(said) == 7 and [line for line in expected if not any(re.fullmatch(line, s) for s in said)] == []
    numbers = [int(found[1]) for line in said[1:] if (found := re.match(r"row (\d+)", line))]
    assert numbers == sorted(numbers)


def test_a_bad_picture_and_a_missing_one_are_left_out_and_named_unless_they_are_most(folder):
    lines = rows()
    lines[2][0], lines[3][0] = "none.png", "4.jpeg"
    (folder / "10.png").write_text("no picture")
    whole = (folder / "11.png").read_bytes()
    (folder / "11.png").write_bytes(whole[:200])
    lines[4][0] = "04.png"
    arrays, remarks = own.gather(folder, table(folder, lines))
    said = "\n".join(remarks)
    assert len(arrays["x"]) == len(arrays["y"]) == len(arrays["names"]) == 55 and arrays["names"][2] == "5.png"
    assert arrays["y"].tolist() == [
        [int(a), int(b or -1)] for i, (_, a, b) in enumerate(rows()) if i not in (2, 3, 4, 10, 11)
    ]
    for words in (
        r"Left out: row 4: there is no file none\.png in .*/images\.",
        r"Left out: row 5: there is no file 4\.jpeg in .*; there is 4\.png\.",
        r"Left out: row 12: 10\.png is not an image that can be read \(PNG, JPEG",
        r"Left out: row 13: 11\.png can't be read as an image \(.*\)",
    ):
        assert re.search(words, said), words
    for i in range(12, 50):
        (folder / f"{i}.png").write_text("no picture")
    said = faults(folder, table(folder, rows()))
    assert "35 pictures more that can't be read" in said[1] and "row 12: 10.png is not an image" in said[2]


@pytest.mark.parametrize(
    ("header", "change", "message"),
    [
        (("file", "", "b"), None, r"row 1, column 2: has no name"),
        (("file", "a", "a"), None, r"row 1, column 3: a second column a"),
        (("0.png", "1", "0"), None, r"row 1, column 2: '1' is a value; the first row must hold the columns' names"),
        (("file", "part", "b"), None, r"row 1, column 2: a label can't be called 'part'"),
        (("file", "a", "$b$"), None, r"row 1, column 3: a label can't be called '\$b\$'"),
        (("file", "a", "b"), lambda line: [line[0], "1", line[2]], r"column a: 1 wherever it is known \(60 times\)"),
        (("file", "a", "b"), lambda line: [line[0], line[1], ""], r"column b: never known"),
        (
            ("file", "a", "b"),
            lambda line: [line[0], "", "10"[int(line[1])] if line[0] < "15" else ""],
            r"column a: never known",
        ),
    ],
)
def test_headers_and_labels_that_teach_nothing_are_named(folder, header, change, message):
    lines = [change(line) if change else line for line in rows()]
    assert any(re.match(message, line) for line in faults(folder, table(folder, lines, header)))


def test_too_few_images_and_too_few_labelled_ones_are_refused(folder):
    assert "49 images, and 50 or more are needed" in faults(folder, table(folder, rows(49)))
    few = [[name, a if i < 19 else "", ""] for i, (name, a, _) in enumerate(rows())]
    assert "19 images with a label that is known, and 20 or more are needed" in faults(folder, table(folder, few))


def test_a_folder_and_a_table_that_are_not_there_are_both_named(tmp_path):
    said = faults(tmp_path / "pictures", tmp_path / "labels.csv")
    assert (
        len(said) == 3 and "pictures is not a folder" in said[1] and "labels.csv can't be read (No such file" in said[2]
    )


def test_a_table_that_is_no_csv_is_refused(folder):
    path = table(folder, rows())
    path.write_bytes(b"\0" + path.read_bytes())
    assert "labels.csv is not text; give the CSV file" in faults(folder, path)[1]
    path.write_bytes(b"PK\3\4" + bytes(99))
    assert "can't be read as an Excel workbook (File is not a zip file); save its" in faults(folder, path)[1]
    assert "row 1 has no comma, semicolon or tab" in faults(folder, table(folder, rows(), separator="|"))[1]


def test_problems_that_are_alike_are_told_together(folder):
    said = faults(
        folder,
        table(
            folder,
            [[name, "maybe" if i % 6 == 0 else "yes" if i % 2 else "no", b] for i, (name, _, b) in enumerate(rows())],
        ),
    )
    assert said[0].startswith("6 problems") and len(said) == 7
    assert said[1] == "column a: 5 cells more like these (it has 'maybe' and so on)"
    assert (
        said[2] == "row 2, column a: 'maybe' is not 0, 1, yes, no or empty (add unknown=maybe if it "
        "stands for what is not known)"
    )
    said = faults(folder, table(folder, [[f"x{name}", *labels] for name, *labels in rows()]))
    assert len(said) == 7 and "no file x0.png" in said[2]
    assert said[1] == "the files of 55 rows more are not there either; the folder holds 60 files, as 0.png"


def test_a_long_list_of_problems_is_cut(folder):
    said = faults(folder, table(folder, [["", *labels] for _, *labels in rows()]))
    assert said[0].startswith("60 problems") and len(said) == 52 and said[-1] == "and 10 more"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_spreadsheets_are_read(folder, separator):
    lines = [[f" {name} ", f"{a}.0", b] for name, a, b in rows()]
    lines.insert(7, ["", "", ""])
    path = table(folder, lines, separator=separator, encoding="utf-8-sig", end="\r\n")
    (folder / "sub").mkdir()
    (folder / "59.png").rename(folder / "sub" / "59.png")
    path.write_bytes(path.read_bytes().replace(b"59.png", b"sub\\59.png"))
    Image.new("L", (5, 5)).save(folder / "other.png")
    arrays, remarks = own.gather(folder, path)
    assert arrays["names"][-1] == "sub/59.png" and arrays["y"].tolist()[:3] == [[0, -1], [1, 0], [0, 1]]
    assert arrays["labels"].tolist() == ["a", "b"] and arrays["x"].shape == (60, 64, 64)
    assert "Left out, since nothing names them as images: 1 other file in the folder, as other.png." in remarks


def test_values_of_other_programs_are_read(folder):
    lines = [[name, {"0": "FALSE", "1": "True"}[a], b or "NA"] for name, a, b in rows()]
    arrays, _ = own.gather(folder, table(folder, lines))
    assert arrays["y"].tolist() == own.gather(folder, table(folder, rows()))[0]["y"].tolist()


def test_pictures_that_may_not_be_meant_as_they_are_read_are_remarked_on(folder):
    assert len(own.gather(folder, table(folder, rows()))[1]) == 1
    twelve_bits = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(twelve_bits).save(folder / "7.png")
    pages = [Image.new("L", (9, 9), grey) for grey in (200, 100)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    lines = [*rows()[:-1], ["pages.tif", "1", "0"]]
    _, remarks = own.gather(folder, table(folder, lines))
    assert "1 picture nearly black, as 7.png: 16 bits are taken to use their whole range" in remarks[2]
    assert "1 file with several pages, as pages.tif: the first counts." in remarks[3] and len(remarks) == 4


# --- pictures -----------------------------------------------------------------------------------------------------


def test_pictures_of_every_mode_come_out_the_same(tmp_path):
    grey = np.tile(np.linspace(0, 255, 100).round().astype(np.uint8), (80, 1))
    base, expected = Image.fromarray(grey), None
    alpha = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    files_of = {
        "L.png": base, "RGB.png": base.convert("RGB"), "P.png": base.convert("P"), "RGBA.png": Image.fromarray(alpha),
        "LA.png": base.convert("LA"),
        "16.png": Image.fromarray(grey.astype(np.uint16) * 257), "CMYK.tif": base.convert("RGB").convert("CMYK"),
        "q.jpg": base,
    }  # fmt: skip
    for name, image in files_of.items():
        image.save(tmp_path / name, **({"quality": 95} if name == "q.jpg" else {}))
        found = pictures.read_picture(tmp_path / name).pixels
        expected = found if expected is None else expected
        assert found.shape == (64, 64, 3) and own.is_grey(found), name
        assert np.abs(found.astype(int) - expected).max() <= 4, name
    base.convert("1", dither=Image.Dither.NONE).save(tmp_path / "1.png")
    assert {0, 255} <= set(pictures.read_picture(tmp_path / "1.png").pixels.ravel().tolist())
    alpha[..., 3] = 0
    Image.fromarray(alpha).save(tmp_path / "clear.png")
    assert (pictures.read_picture(tmp_path / "clear.png").pixels == 255).all()


def test_a_cameras_rotation_is_undone_and_the_whole_picture_kept(tmp_path):
    pixels = np.zeros((60, 200, 3), np.uint8)
    pixels[:, 100:] = (250, 10, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: what was right is below
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = pictures.read_picture(tmp_path / "a.png", fit="stretch").pixels
    assert found[40:].min(axis=(0, 1)).tolist() == [250, 10, 10] and not found[:24].any()


def test_what_is_too_large_or_no_picture_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    Image.new("F", (5, 5)).save(tmp_path / "f.tif")
    (tmp_path / "t.png").write_text("text")
    said = list(pictures.read_pictures([tmp_path / name for name in ("a.png", "f.tif", "t.png")]))
    for error, message in zip(said, ("has 20x20 pixels", "floating-point", "not an image"), strict=True):
        assert isinstance(error, DataError) and message in str(error)


# --- the data set -------------------------------------------------------------------------------------------------


def test_every_value_of_a_label_is_in_every_part_and_unlabelled_images_only_train():
    rng = np.random.default_rng(1)
    y = (rng.random((400, 6)) < [0.5, 0.3, 0.1, 0.05, 0.95, 0.02]).astype(np.int8)
    y[:10, 5] = 1
    y[rng.random(y.shape) < 0.4] = own.UNKNOWN
    y[380:] = own.UNKNOWN
    part = own.split(y)
    assert (part[380:] == 0).all() and (own.split(y) == part).all()
    labelled = part[(y != own.UNKNOWN).any(1)]
    assert np.allclose(np.bincount(labelled) / len(labelled), own.SHARES, atol=0.02)
    for column in y.T:
        for value in (0, 1):
            shares = [int((column[part == p] == value).sum()) for p in range(3)]
            assert min(shares) > 0 or sum(shares) < 8, shares
            assert shares[0] >= 0.6 * sum(shares)
    rare = np.zeros((60, 2), np.int8)
    rare[3, 0] = rare[3, 1] = rare[7, 1] = 1
    assert (rare[own.split(rare) == 0].sum(0) > 0).all()


def test_the_data_set_has_nan_where_a_label_is_not_known(folder):
    arrays, _ = own.gather(folder, table(folder, rows()))
    d = own.dataset(arrays)
    assert (
        d.task.image_shape == (1, 64, 64)
        and d.task.likelihood == "bernoulli"
        and d.labels == ("a", "b") == d.task.labels
    )
    assert not d.stand_in and "known of each label: a 60 (50% of them 1), b 40 (50% of them 1)" in d.description
    truth = {name: (a, b) for name, a, b in rows()}
    for part in (d.train, d.validation, d.test):
        for name, (a, b) in zip(part.names, part.labels.tolist(), strict=True):
            assert truth[name] == (f"{a:.0f}", "" if np.isnan(b) else f"{b:.0f}")
    assert len(d.label_prior) == 2 and all(0.3 < p < 0.7 for p in d.label_prior)


def test_one_colour_picture_makes_all_colour(folder):
    Image.new("RGB", (9, 9), (200, 0, 0)).save(folder / "3.png")
    arrays, remarks = own.gather(folder, table(folder, rows()))
    d = own.dataset(arrays)
    assert arrays["x"].shape == (60, 64, 64, 3) and d.task.image_shape == (3, 64, 64) and d.task.likelihood == "laplace"
    assert remarks[0] == "60 images, in colour; 2 labels."


def test_own_images_have_a_source_of_their_own(tmp_path):
    for task, source in (("own", "real"), ("mnist", "own")):
        with pytest.raises(DataError, match="'own' is the one source of the task 'own'"):
            data.load(task, source)
    with pytest.raises(
        DataError, match=r"images\.npz is not there; make it: \./run_all\.sh own IMAGES LABELS name=faces"
    ):
        data.load("own", "own", file=tmp_path / "own_faces" / "images.npz")
    np.savez(
        tmp_path / "a.npz", x=np.zeros((3, 64, 64), np.uint8), y=np.zeros((2, 1)), names=["a"], labels=["b"], part=[0]
    )
    with pytest.raises(DataError, match="don't fit together"):
        own.read(tmp_path / "a.npz")


# --- the profile --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["epoch=3"], r"'epoch=3': no option.*\n  name=  "),
        (["epochs"], "'epochs': no option"),
        (["epochs=3", "epochs=4"], "or given twice"),
        (["epochs", "kk=3"], "'epochs', 'kk=3': no option"),
        (["models=mccvae-k3", "k=2"], "k=2 and models=mccvae-k3 both say it"),
        (["models=ccvae,mccvae-z3", "style_dim=2"], "style_dim=2 and models=mccvae-z3 both say it"),
        (["epochs=0"], "epochs must be a whole number from 1 on"),
        (["epochs=1,2"], "epochs takes one number"),
        (["seeds=0,0"], "seeds must be a whole number"),
        (["style_dim=many"], "style_dim must be"),
        (["name=My faces"], "name must be a word"),
        (["models=vae"], "vae is not for own images"),
        (["models=resnet"], "no model 'resnet'"),
        (["k=c:2"], "'c:2' is neither a number nor <label>:<number>; the labels are a, b"),
        (["k=1.2.3"], "takes one number or 2, not 3"),
    ],
)
def test_options_that_mean_nothing_are_named(folder, words, message):
    table(folder, rows())
    with pytest.raises(SettingsError, match=message):
        command.gather(folder, folder.parent / "labels.csv", words)


def test_options_make_the_models_names_and_enough_steps(folder):
    d = own.dataset(own.gather(folder, table(folder, rows()))[0])
    plain = command.settings_of({}, d, "own_images")
    assert plain["models"] == {"own": ["mccvae-rb1024-x3"]} and plain["seeds"] == [0] and plain["batch_size"] == 32
    assert plain["epochs"] * -(-len(d.train) // 32) >= command.STEPS
    words = command.read_words(
        ["models=mccvae,ccvae,mccvae-rb5", "k=b:3", "style_dim=7", "seeds=0,4", "epochs=9", "batch_size=8"], []
    )
    made = command.settings_of(words, d, "own_x")
    assert made["models"] == {"own": ["mccvae-rb1024-k2.3-x3-z7", "ccvae-rb1024-x3-z7", "mccvae-rb5-k2.3-z7"]}
    assert (made["seeds"], made["epochs"], made["batch_size"]) == ([0, 4], 9, 8)
    assert command.profile_name({}, folder.parent / "My Photos (2)") == "own_my_photos_2"


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """Outputs of this test's own."""
    for module in (
        settings,
        command,
        runs,
        cluster,
        own_report,
        settings.profile_file.__globals__["sys"].modules["support"],
    ):
        monkeypatch.setattr(module, "OUTPUTS", tmp_path / "outputs")
    return tmp_path / "outputs"


def test_the_profile_is_found_beside_its_images_and_other_profiles_train_no_own_images(folder, outputs, capsys):
    command.main(["/", str(folder), str(table(folder, rows())), "epochs=2", "k=3"])
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "own_images" and "Models: mccvae-rb1024-k3-x3; 2 epochs in batches of 32." in said
    profile = settings.read_profile("own_images")
    assert profile.runs(data.TASKS["own"]) == [("mccvae-rb1024-k3-x3", 0)] and profile.folder == outputs / "own_images"
    assert runs.compared(profile) == ("own",) and len(runs.load_data(profile, "own").train) > 40
    assert cluster.images(profile, "own") == 60 and cluster.labels("own_images") == 2
    for path in settings.PROFILES.glob("*.yaml"):
        assert settings.read_profile(path.stem).runs(data.TASKS["own"]) == []
    with pytest.raises(
        SettingsError,
        match=r"no profile 'own_cats'; make it: \./run_all\.sh own IMAGES LABELS name=cats; there are: .*own_images",
    ):
        settings.read_profile("own_cats")
    with pytest.raises(SettingsError, match="if and only if the source is 'own'"):
        settings.read_profile("demo", models={"own": ["ccvae"]})


def test_the_same_images_again_change_nothing_others_take_their_place_and_strangers_do_not(folder, outputs, capsys):
    path = table(folder, rows())
    arguments = ["/", str(folder), str(path)]
    command.main(arguments)
    kept = outputs / "own_images"
    before = {p.name: p.stat().st_mtime_ns for p in kept.iterdir()}
    assert set(before) == {"images.npz", "profile.yaml"}
    command.main(arguments)
    assert {
        p.name: p.stat().st_mtime_ns for p in kept.iterdir()
    } == before and "had other" not in capsys.readouterr().out
    table(folder, [*rows()[:-1], ["59.png", "0", "0"]])
    first = runs.load_data(settings.read_profile("own_images"), "own").sha256
    command.main(arguments)
    assert "outputs/own_images had other images or labels" in capsys.readouterr().out
    assert runs.load_data(settings.read_profile("own_images"), "own").sha256 != first
    assert "steps, and 1,500 or more are usual" not in capsys.readouterr().out
    command.main([*arguments, "epochs=3"])
    assert "That is 6 steps, and 1,500 or more are usual" in capsys.readouterr().out
    for grey, file in enumerate(sorted(folder.iterdir())[5:]):  # a few are still there
        Image.new("L", (8, 8), 3 * grey).save(file)
    with pytest.raises(SettingsError, match="is of other images; give these another name"):
        command.main(arguments)


# --- characteristics ----------------------------------------------------------------------------------------------


def test_characteristics_are_the_posteriors_and_the_classifiers():
    model = core.build_model("MCCVAE", core.ModelConfig((1, 64, 64), (2, 1), 3, "bernoulli", 0.5), 0).eval()
    images = torch.randint(0, 256, (5, 1, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    given = torch.tensor([[0, 1], [1, torch.nan], [torch.nan, 0], [1, 1], [0, 0]])
    found = apply.characteristics(model, ("a", "b"), images, given)
    q, p = core.posterior(model, images), core.predict(model, images)
    names = ["a latent 1", "a latent 2", "b latent 1", "style 1", "style 2", "style 3"]
    assert np.allclose(found[[f"{name} mean" for name in names]], q.loc) and np.allclose(
        found[[f"{name} sd" for name in names]], q.scale
    )
    assert np.allclose(found[["a probability", "b probability"]], p)
    assert found["a"].isna().tolist() == [False, False, True, False, False] and found["b"].tolist()[0] == 1
    assert list(found.columns)[:7] == [
        "a",
        "a probability",
        "a latent 1 mean",
        "a latent 1 sd",
        "a latent 2 mean",
        "a latent 2 sd",
        "b",
    ]


def test_grey_images_with_gaps_train_two_models_whose_tables_and_characteristics_are_whole(
    folder, outputs, monkeypatch
):
    command.main(["/", str(folder), str(table(folder, rows())), "epochs=1", "models=mccvae,ccvae", "style_dim=3"])
    profile = settings.read_profile("own_images")
    trained = [training.train(profile, "own", *run) for run in profile.runs(data.TASKS["own"])]
    assert [run.record["style_dim"] for run in trained] == [3, 3] and trained[0].record["by_turns"] is False
    assert "unlabelled_loss" not in trained[0].history and np.isfinite(trained[0].history["labelled_loss"]).all()
    accuracy, losses = classification.accuracy_table(trained, "test"), reconstruction.loss_table(trained)
    assert (
        accuracy["accuracy"].between(0, 1).all()
        and accuracy["paper"].isna().all()
        and np.isfinite(losses["bound"]).all()
    )
    shown = []
    monkeypatch.setattr(own_report, "display", lambda thing: shown.append(thing.data))
    monkeypatch.setattr(tables, "display", lambda thing: shown.append(thing.data))
    report = own_report.OwnReport(profile, trained)
    for section in (
        report.opening,
        report.counts,
        report.reading,
        report.calibration,
        report.mistakes,
        report.models,
        report.provenance,
    ):
        section()
    text = "\n".join(shown)
    assert "60 images:" in text and "Not known: b 20 images." in text and not re.search(r"paper|\bnan\b", text)
    assert "training images have its rarer value" in text and len(tables.read_table(profile, "labels")) == 2
    apply.write_own("own_images")
    found = pd.read_csv(outputs / "own_images" / "characteristics.csv", dtype={"a": str})
    assert len(found) == 60 and found["b"].isna().sum() == 20 and "a latent 2 mean" in found and "style 3 sd" in found
    assert [column for column in found if found[column].isna().any()] == ["b"] and set(found["a"]) == {"0", "1"}


# --- the commands -------------------------------------------------------------------------------------------------


def run_all(root, *arguments, cwd="/"):
    environment = {k: v for k, v in os.environ.items() if k != "MCCVAE_DATA"}
    environment["VIRTUAL_ENV"] = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX", "")
    return subprocess.run(
        [root / "run_all.sh", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A clone of the project after `own` on 60 drawn faces, given as seen from the folder that they lie in; and that
    folder."""
    root, home = tmp_path_factory.mktemp("clone") / "a folder with spaces", tmp_path_factory.mktemp("home")
    left_out = shutil.ignore_patterns(
        "outputs", ".venv", ".git", "cache", ".snakemake", "__pycache__", ".pytest_cache", ".ruff_cache"
    )
    shutil.copytree(ROOT, root, ignore=left_out)
    example.draw(home / "tiny faces", 60, 8)
    done = run_all(
        root, "own", "tiny faces/images", "tiny faces/labels.csv", "epochs=2", "k=smiling:1", "name=tiny", cwd=home
    )
    assert done.returncode == 0 and not done.stderr, done.stdout[-3000:] + done.stderr[-3000:]
    return root, home, done.stdout


def test_own_trains_reports_and_tells_what_it_has_read(made):
    root, home, said = made
    out = root / "outputs" / "own_tiny"
    for words in (
        "60 images, in colour; 4 labels.",
        "Models: mccvae-rb3072-k1.2.2.2-x3; 2 epochs",
        "epoch 2/2",
        "The report is outputs/own_tiny/report.html",
    ):
        assert words in said
    assert "stand-in" not in said
    record = json.loads((out / "own/mccvae-rb3072-k1.2.2.2-x3/seed0/run.json").read_text())
    assert (
        record["by_turns"] is False
        and record["characteristics"] == [1, 2, 2, 2]
        and record["data"]["labels"] == ["smiling", "glasses", "bangs", "blond"]
    )
    report = (out / "report.html").read_text()
    for words in ("Latent walk, Own images: blond", "Reconstructed test images, Own images", "The surest mistakes"):
        assert words in report
    visible = re.sub(r"<(script|style)[^>]*>.*?</\1>|<[^>]+>", " ", report, flags=re.DOTALL)
    assert "paper" not in visible and "Deviations" not in visible and not re.search(r"\bnan\b", visible)
    assert [path.name for path in (out / "tables").iterdir()] == ["labels.csv"]
    assert pd.read_csv(out / "tables" / "labels.csv")["label"].tolist() == ["smiling", "glasses", "bangs", "blond"]
    assert all(
        str(root) not in path.read_text() and str(home) not in path.read_text()
        for path in out.rglob("*")
        if path.suffix in (".json", ".csv", ".yaml", ".html")
    )


def test_characteristics_csv_has_a_row_an_image_and_what_was_given(made):
    root, home, _ = made
    found = pd.read_csv(root / "outputs/own_tiny/characteristics.csv")
    given = pd.read_csv(home / "tiny faces/labels.csv")
    assert found["file"].tolist() == given["file"].tolist() and set(found["part"]) == {"train", "validation", "test"}
    for label in ("smiling", "glasses", "bangs", "blond"):
        assert found[label].fillna(-1).tolist() == given[label].fillna(-1).tolist()
        assert found[f"{label} probability"].between(0, 1).all() and (found[f"{label} latent 1 sd"] > 0).all()
    assert (
        "smiling latent 2 mean" not in found
        and "bangs latent 2 mean" in found
        and "style 20 sd" in found
        and "style 21 mean" not in found
    )


def test_apply_gives_the_same_numbers_for_the_same_files_and_leaves_out_what_is_no_image(made):
    root, home, _ = made
    folder = home / "again"
    shutil.copytree(home / "tiny faces/images", folder / "sub")
    (folder / "notes.txt").write_text("no image")
    Image.open(folder / "sub/face_0001.png").convert("L").save(folder / "sub/face_0001.png")
    done = run_all(root, "apply", root / "outputs/own_tiny", "again", cwd=home)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert (
        "1 files were left out:\n  notes.txt is not an image" in done.stdout
        and "1 grey pictures were read as colour ones" in done.stdout
    )
    found, before = (
        pd.read_csv(home / "characteristics.csv"),
        pd.read_csv(root / "outputs/own_tiny/characteristics.csv"),
    )
    assert found["file"].tolist() == [f"sub/{name}" for name in before["file"]] and "part" not in found
    numbers = [name for name in found if name != "file"]
    assert set(before.columns) - set(found.columns) == {"part", "smiling", "glasses", "bangs", "blond"}
    assert np.allclose(found[numbers][1:], before[numbers][1:], atol=1e-4)
    again = run_all(root, "apply", root / "outputs/own_tiny", "again", cwd=home)
    assert again.returncode == 1 and "characteristics.csv is there already" in again.stderr
    one = run_all(
        root,
        "apply",
        root / "outputs/own_tiny/own/mccvae-rb3072-k1.2.2.2-x3/seed0",
        "tiny faces/new/face_0061.png",
        "one.csv",
        cwd=home,
    )
    assert one.returncode == 0 and len(pd.read_csv(home / "one.csv")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own"], "own: the following arguments are required: IMAGES"),
        (["own", "nowhere", "nothing.csv"], "nowhere is not a folder"),
        (["own", "tiny faces/images", "tiny faces/labels.csv", "epoch=2"], "'epoch=2': no option"),
        (
            ["own", "tiny faces/images", "tiny faces/labels.csv", "k=hat:2"],
            "the labels are smiling, glasses, bangs, blond",
        ),
        (["apply", "outputs"], "apply: the following arguments are required: IMAGES"),
        (["apply", "nowhere", "tiny faces/new"], "nowhere is not a folder; name that of a run"),
        (["apply", "tiny faces", "tiny faces/new"], "tiny faces holds no finished runs"),
        (["apply", "tiny faces", "nothing"], "nothing is not there"),
        (["apply", "tiny faces", "tiny faces/new", "no/such/folder.csv"], "lies in a folder that is not there"),
        (["draw", "tiny faces"], "is there and not empty"),
    ],
)
def test_mistakes_get_one_message_and_leave_nothing(made, tmp_path, arguments, message):
    root, home, _ = made
    shutil.copytree(home / "tiny faces", tmp_path / "tiny faces")
    before, there = sorted(p.name for p in (root / "outputs").iterdir()), sorted(p.name for p in tmp_path.iterdir())
    done = run_all(root, *arguments, cwd=tmp_path)
    assert done.returncode == 1 + ("required" in message) and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert (
        sorted(p.name for p in (root / "outputs").iterdir()) == before
        and sorted(p.name for p in tmp_path.iterdir()) == there
    )


def test_runs_that_can_not_be_applied_are_named(tmp_path):
    with pytest.raises(apply.ApplyError, match=r"holds 2 finished runs; name one of them:\n.*seed0\n.*seed1"):
        for seed in (0, 1):
            (tmp_path / f"own/ccvae/seed{seed}").mkdir(parents=True)
            (tmp_path / f"own/ccvae/seed{seed}/run.json").write_text("{}")
        apply.find_run(tmp_path)
    with pytest.raises(runs.RunError, match="holds no whole record of a run"):
        apply.find_run(tmp_path / "own/ccvae/seed0")
    with pytest.raises(apply.ApplyError, match="finished runs; name one of them") as error:
        apply.find_run(ROOT / "outputs" / "published")
    assert len(str(error.value).splitlines()) == apply.LISTED + 2
