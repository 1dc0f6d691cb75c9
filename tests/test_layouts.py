"""Folders and tables as people have them: classes by folder or by name, words for yes and no, Excel's files, groups and
parts."""

import shutil

import numpy as np
import pytest
from PIL import Image
from support.commands import own as command
from support.settings import SettingsError

from data import DataError, own, pictures
from data.layout import Options, listing


def draw(path, seed, size=(48, 40), colour=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if colour else size
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for i in range(60):
        draw(tmp_path / "images" / f"im{i:02d}.png", i)
    return tmp_path / "images"


def table(folder, columns: dict, **options):
    """labels.csv with these columns of 60 entries, the pictures' names first unless `names` is among them."""
    columns = ({} if "names" in columns else {"names": [f"im{i:02d}.png" for i in range(60)]}) | columns
    separator = options.get("separator", ",")
    lines = [separator.join(columns), *(separator.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path = folder.parent / "labels.csv"
    path.write_bytes(
        (options.get("before", "") + options.get("end", "\n").join(lines)).encode(options.get("encoding", "utf-8"))
    )
    return path


def read(folder, columns=None, *, form=None, **options):
    """Labels by name, and all remarks."""
    path = table(folder, columns, **(form or {})) if columns else None
    arrays, remarks = own.gather(folder, path, Options(**options))
    return dict(zip(arrays["labels"].tolist(), arrays["y"].T.tolist(), strict=True)), "\n".join(remarks), arrays


def asked(folder, columns=None, *, form=None, **options):
    with pytest.raises(DataError) as error:
        read(folder, columns, form=form, **options)
    return str(error.value)


CYCLE = lambda *values: [values[i % len(values)] for i in range(60)]  # noqa: E731


# --- columns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("no", "yes"),
    [
        ("no", "yes"),
        ("N", "y"),
        ("False", "TRUE"),
        ("negative", "Positive"),
        ("FALSCH", "WAHR"),
        ("0,0", "1,0"),
        ("-1", "1"),
    ],
)
def test_words_for_yes_and_no(folder, no, yes):
    labels, said, _ = read(folder, {"ill": CYCLE(no, yes, yes, "NA")}, form={"separator": ";"})
    assert labels == {"ill": CYCLE(0, 1, 1, -1)} and ("-1 is read as 0" in said) == (no == "-1")


def test_classes_by_name_become_a_label_each_and_two_become_one(folder):
    labels, said, arrays = read(folder, {"animal": CYCLE("dog", "Cat", "cow", "cat ")})
    assert labels == {"animal Cat": CYCLE(0, 1, 0, 1), "animal cow": CYCLE(0, 0, 1, 0), "animal dog": CYCLE(1, 0, 0, 0)}
    assert "Column animal: classes Cat 30, cow 15, dog 15; one categorical label." in said
    assert own.dataset(arrays).task.exclusive
    labels, _, arrays = read(folder, {"animal": CYCLE("dog", "cat", ""), "out": CYCLE(0, 1)})
    assert labels["animal dog"] == CYCLE(1, 0, -1) and not own.dataset(arrays).task.exclusive
    labels, said, _ = read(folder, {"state": CYCLE("normal", "abnormal")})
    assert labels == {"state abnormal": CYCLE(0, 1)} and "is 1 for abnormal" in said
    assert list(read(folder, {"x": CYCLE("smoker", "nonsmoker")})[0]) == ["x smoker"]


def test_numbers_are_asked_for_a_threshold_and_the_remedies_work(folder):
    whole = {"age": range(60)}
    assert (
        "column age: numbers from 0 to 59; add continuous=age to learn the number itself, or threshold=age:30"
        in asked(folder, whole)
    )
    assert read(folder, whole, continuous=("age",))[0] == {"age": list(range(60))}
    ages = {"age": [f"{i},5" for i in range(60)]}
    labels, *_ = read(folder, ages, form={"separator": ";"}, threshold={"age": 30.5})
    assert labels == {"age": [int(i >= 30) for i in range(60)]}
    digits = {"digit": CYCLE(7, 1, 3)}
    assert "threshold=digit:3 to make it binary, 1 from there on, or classes=digit" in asked(folder, digits)
    assert list(read(folder, digits, classes=("digit",))[0]) == ["digit 1", "digit 3", "digit 7"]
    signs = {"edema": CYCLE(-1, 0, 1)}
    assert "add unknown=-1, or threshold=edema:1 if it is no" in asked(folder, signs)
    assert read(folder, signs, unknown=("-1",))[0] == {"edema": CYCLE(-1, 0, 1)}
    assert read(folder, signs, threshold={"edema": 1})[0] == {"edema": CYCLE(0, 0, 1)}


def test_texts_that_are_no_classes_and_entries_that_may_be_are_asked_for(folder):
    notes = {"ill": CYCLE(0, 1), "note": [f"seen {i}" for i in range(60)]}
    said = asked(folder, notes)
    assert (
        "column note: 60 different texts, as 'seen 0'" in said
        and "add group=note; else name the columns of labels: labels=a,b" in said
    )
    assert read(folder, notes, labels=("ill",))[0] == {"ill": CYCLE(0, 1)}
    damage = {"damage": CYCLE("none", "mild", "severe")}
    assert (
        "column damage: 'none' may be a class or stand for what is not known; add classes=damage or unknown=none"
        in asked(folder, damage)
    )
    assert "damage none" in read(folder, damage, classes=("damage",))[0]
    assert read(folder, damage, unknown=("none",))[0] == {"damage severe": CYCLE(-1, 0, 1)}


# --- names of files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["im{:02d}", "IM{:02d}.PNG", "images/im{:02d}.png", r"C:\data\im{:02d}.png", "./im{:02d}.png"]
)
def test_names_with_and_without_folder_and_ending(folder, form):
    arrays = read(folder, {"names": [form.format(i) for i in range(60)], "a": CYCLE(0, 1)})[2]
    assert arrays["names"].tolist() == [f"im{i:02d}.png" for i in range(60)]


def test_names_that_may_be_several_files_are_asked_for(folder):
    columns = {"names": [f"im{i:02d}" for i in range(60)], "a": CYCLE(0, 1)}
    for sub in ("one", "two"):
        shutil.copytree(folder, folder.parent / "images" / sub, ignore=shutil.ignore_patterns("one"))
    assert read(folder, columns)[2]["names"][3] == "im03.png"
    shutil.copy(folder / "im03.png", folder / "im03.bmp")
    assert "row 5: im03 may be im03.bmp or im03.png; write the folder or the ending too" in asked(folder, columns)
    for i in range(60):
        (folder / f"im{i:02d}.png").unlink()
    said = asked(folder, columns)
    assert (
        "row 2: im00 may be one/im00.png or two/im00.png; write the folder" in said
        and "names more may be several files each" in said
    )
    columns["names"] = [f"two/im{i:02d}" for i in range(60)]
    assert read(folder, columns)[2]["names"][0] == "two/im00.png"


def test_the_column_of_names_is_found_or_asked_for(folder):
    names = [f"im{i:02d}.png" for i in range(60)]
    columns = {"names": CYCLE(0, 1), "picture": names}
    labels, said, _ = read(folder, columns)
    assert labels == {"names": CYCLE(0, 1)} and "The pictures' names are in the column picture." in said
    columns |= {"again": names[::-1]}
    assert "no entry of the column names is a file in the folder; add file=picture or file=again" in asked(
        folder, columns
    )
    labels, *_ = read(folder, columns, file="again", labels=("names",))
    assert labels == {"names": CYCLE(0, 1)}
    labels, said, _ = read(folder, {"": range(60)} | {"names": names, "a": CYCLE(0, 1)})
    assert labels == {"a": CYCLE(0, 1)} and "has no name and holds numbers of rows: it was left out" in said


# --- files of spreadsheets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("before", ["", "sep=;\r\n", "SEP=;\r\n"])
def test_excels_files(folder, encoding, before):
    draw(folder / "Zoë.png", 99)
    names = ["Zoë.png", *(f"im{i:02d}.png" for i in range(1, 60))]
    columns = {"names": names, "krank": CYCLE("ja", "nein"), "größe": CYCLE("0,5", "1,5"), " ": [""] * 60}
    form = {"separator": ";", "encoding": encoding, "before": before, "end": "\r\n"}
    labels, said, arrays = read(folder, columns, form=form, threshold={"größe": 1})
    assert labels == {"krank": CYCLE(1, 0), "größe": CYCLE(0, 1)} and arrays["names"][0] == "Zoë.png"
    assert ("labels.csv is not UTF-8" in said and "Windows-1252 (Latin-1)" in said) == (encoding == "cp1252")


# --- groups and parts ---------------------------------------------------------------------------------------------


def test_parts_that_a_column_says_are_kept_and_missing_ones_are_drawn_by_group(folder):
    columns = {
        "a": CYCLE(0, 1),
        "set": ["train"] * 36 + ["Val"] * 12 + ["test"] * 12,
        "who": [f"p{i // 3}" for i in range(60)],
    }
    assert read(folder, columns, split="set", group="who")[2]["part"].tolist() == [0] * 36 + [1] * 12 + [2] * 12
    columns["set"] = ["train"] * 48 + ["test"] * 12
    part = read(folder, columns, split="set", group="who")[2]["part"]
    assert (
        (part[48:] == 2).all()
        and set(part[:48]) == {0, 1}
        and all(len(set(part[i : i + 3])) == 1 for i in range(0, 60, 3))
    )
    columns["set"] = ["train"] * 47 + ["test"] * 13
    said = read(folder, columns, split="set", group="who")[1]
    assert (
        "1 image for the test with a copy, or another of the group, in another part, as im47.png and im45.png" in said
    )
    columns["set"] = ["fit"] + ["train"] * 47 + ["test"] * 12
    assert "row 2, column set: 'fit' is not train, validation or test" in asked(
        folder, columns, split="set", group="who"
    )
    columns["set"] = CYCLE(0, 1, 2)
    assert read(folder, columns, split="set", labels=("a",))[2]["part"].tolist() == CYCLE(0, 1, 2)


def test_train_and_test_folders_are_kept_with_a_table(folder):
    for i in range(60):
        target = folder / ("train" if i < 45 else "test") / f"im{i:02d}.png"
        target.parent.mkdir(exist_ok=True)
        (folder / f"im{i:02d}.png").rename(target)
    arrays = read(folder, {"a": CYCLE(0, 1)})[2]
    assert (
        set(arrays["part"][:45]) == {0, 1}
        and set(arrays["part"][45:]) == {2}
        and arrays["names"][59] == "test/im59.png"
    )


# --- class folders ------------------------------------------------------------------------------------------------


def classes_of(tmp_path, *names, each=30, below=""):
    for number, name in enumerate(names):
        for i in range(each):
            draw(tmp_path / name / below.format(i // 3) / f"{i}.png", 100 * number + i)
    return tmp_path


def test_class_folders_need_no_table(tmp_path):
    folder = classes_of(tmp_path / "two", "healthy", "ill")
    (folder / "ill" / "notes.txt").write_text("no picture")
    labels, said, arrays = read(folder)
    assert (
        labels == {"ill": [0] * 30 + [1] * 30}
        and "Class folders: healthy 30, ill 30; the label ill is 1 for ill." in said
    )
    assert arrays["names"][0] == "healthy/0.png" and "1 other file in the folder, as ill/notes.txt" in said
    folder = classes_of(tmp_path / "three", "a", "b", "c", "unlabelled", each=20)
    labels, *_, arrays = read(folder)
    assert list(labels) == ["a", "b", "c"] and labels["b"] == [0] * 20 + [1] * 20 + [0] * 20 + [-1] * 20
    assert (arrays["part"][60:] == 0).all() and not arrays["exclusive"]
    assert arrays["choice"].tolist() == ["class"] * 3 and "choice" not in read(tmp_path / "two")[2]


def test_parts_and_patients_among_class_folders(tmp_path):
    folder = classes_of(tmp_path / "over", "train/cat", "train/dog", "test/cat", "test/dog", each=20)
    labels, said, arrays = read(folder)
    assert list(labels) == ["dog"] and "folders called train and test are kept" in said
    assert all(
        (part == 2) == name.startswith("test/") for part, name in zip(arrays["part"], arrays["names"], strict=True)
    )
    folder = classes_of(tmp_path / "under", "cat/train", "cat/test", "dog/train", "dog/test", each=20)
    assert list(read(folder)[0]) == ["dog"] and set(read(folder)[2]["part"]) == {0, 1, 2}
    folder = classes_of(tmp_path / "patients", "cat", "dog", below="p{}")
    arrays = read(folder, group="folder")[2]
    assert len(set(arrays["group"])) == 20 and arrays["group"][0] == "cat/p0"
    assert all(len(set(arrays["part"][i : i + 3])) == 1 for i in range(0, 60, 3))


def test_folders_that_say_too_little_are_asked_for(tmp_path, folder):
    said = asked(folder)
    assert "has no sub-folders named as classes, so give a table of labels too" in said
    (folder / "labels.csv").write_text("file,a")
    assert f"labels.csv may be it: ./run_all.sh own {folder} {folder}/labels.csv" in asked(folder)
    mixed = classes_of(tmp_path / "mixed", "a", "b")
    draw(mixed / "loose.png", 1)
    assert (
        "1 image in no class folder, as loose.png; move them to their classes, or to a folder called unlabelled"
        in asked(mixed)
    )
    assert "labels= is about a table, and none was given" in asked(mixed, labels=("a",))
    (mixed / "unlabelled").mkdir()
    (mixed / "loose.png").rename(mixed / "unlabelled" / "loose.png")
    assert read(mixed)[2]["y"].ravel().tolist() == [0] * 30 + [1] * 30 + [-1]


# --- pictures -----------------------------------------------------------------------------------------------------


def test_ways_to_make_a_picture_square(tmp_path):
    pixels = np.zeros((50, 150, 3), np.uint8)
    pixels[:, 50:100] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    pad, crop, stretch = (
        pictures.read_picture(tmp_path / "a.png", fit=fit).pixels[..., 0] for fit in ("pad", "crop", "stretch")
    )
    assert pad.shape == crop.shape == stretch.shape == (64, 64)
    assert (crop[2:-2, 2:-2] == 200).all() and (stretch[:, 25:39] == 200).all() and not stretch[:, :18].any()
    assert (pad[24:40, 25:39] == 200).all() and len(np.unique(pad[:20])) == 1 and 0 < pad[0, 0] < 200
    Image.new("L", (3000, 2), 90).save(tmp_path / "thin.png")
    assert (pictures.read_picture(tmp_path / "thin.png").pixels == 90).all()


# --- the command --------------------------------------------------------------------------------------------------


def test_all_wrong_options_are_told_at_once_and_before_pictures_are_read(folder, monkeypatch):
    monkeypatch.setattr(own, "read_pictures", lambda *_, **__: pytest.fail("pictures were read"))
    words = [
        "epoch=3",
        "seeds=-1",
        "k=hat:2",
        "fit=squash",
        "threshold=50",
        "group=whom",
        "models=resnet",
        "name=My set",
        "batch_size=x",
    ]
    with pytest.raises(SettingsError) as error:
        command.gather(folder, table(folder, {"a": CYCLE(0, 1), "age": range(60)}), words)
    said = str(error.value)
    for part in (
        "'epoch=3': no option",
        "seeds must be",
        "fit must be pad, crop or stretch, not 'squash'",
        "threshold=50: '50' is not <column>:<number>",
        "group=whom: the table has no such column",
        "no model 'resnet'",
        "name must be a word",
        "batch_size must be",
        "column age: numbers from 0 to 59",
    ):
        assert part in said, part


def test_a_listing_is_made_without_a_look_into_pictures(tmp_path):
    for i in range(60):
        path = tmp_path / ("a" if i % 2 else "b") / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    listed = listing(tmp_path, None, Options(), problems := [])
    assert not problems and len(listed.files) == 60 and listed.labels == ["b"]
    with pytest.raises(DataError, match="55 pictures more that can't be read"):
        own.gather(tmp_path)
