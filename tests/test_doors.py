"""What comes in from outside: pictures that start programs, pipes and devices, folders without rights, names and tables
of other programs."""

import contextlib
import os
import resource
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import records, runs, settings, weights
from support.commands import apply, execute
from support.commands import own as command

import mccvae_core as core
from data import DataError, celeba, chest_xray, common, copies, example, files, layout, messages, own, pictures

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n"


@pytest.fixture
def folder(tmp_path):
    """60 grey pictures of noise and a table of two labels beside them."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (66, 70), dtype=np.uint8)).save(tmp_path / "images" / f"{i}.png")
    table(tmp_path / "images", [[f"{i}.png", str(i % 2), ["", "0", "1"][i % 3]] for i in range(60)])
    return tmp_path / "images"


def table(folder, rows, header=("file", "a", "b"), before=""):
    path = folder.parent / "labels.csv"
    path.write_bytes((before + "\n".join(",".join(row) for row in [header, *rows])).encode())
    return path


def rows():
    return [[f"{i}.png", str(i % 2), ["", "0", "1"][i % 3]] for i in range(60)]


def said_of(folder, **options):
    """What `gather` ends with, or else its remarks."""
    try:
        return "\n".join(own.gather(folder, folder.parent / "labels.csv", layout.Options(**options))[1])
    except DataError as error:
        return str(error)


@contextlib.contextmanager
def within(seconds):
    """Fails where what is inside waits for ever."""

    def rung(*_):
        raise AssertionError(f"it hangs: {seconds} s are over")

    signal.signal(signal.SIGALRM, rung)
    signal.alarm(seconds)
    yield
    signal.alarm(0)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of a grey model, as `apply` finds it."""
    model = core.build_model("MCCVAE", core.ModelConfig((1, 64, 64), (1, 1), 2, "bernoulli", 0.5), 0)
    monkeypatch.setattr(runs.Run, "model", lambda self: model)
    monkeypatch.setattr(
        apply, "find_run", lambda path: runs.Run(path, {"model": "mccvae", "data": {"labels": ["a", "b"]}}, {}, None)
    )
    return tmp_path


# --- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        EPS,
        b"\xc5\xd0\xd3\xc6" + b"\0" * 26 + EPS,
        b"#define x_width 9\n#define x_height 9\nstatic char x_bits[] = {\n0};",
    ],
)
@pytest.mark.parametrize("door", ["own", "apply", "a published set", "an archive"])
def test_a_file_of_another_format_called_png_starts_no_program(folder, run, monkeypatch, capsys, content, door):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen.__init__", started)
    monkeypatch.setattr("os.system", started)
    path = folder / "7.png"
    path.write_bytes(content)
    if door == "own":
        assert "row 9: 7.png is not an image that can be read (PNG, JPEG, TIFF," in said_of(folder)
    elif door == "apply":
        apply.main(["new", str(run), "run", "images", "out.csv"])
        assert (
            "7.png is not an image that can be read" in capsys.readouterr().out
            and len((run / "out.csv").read_text().splitlines()) == 60
        )
    else:
        if door == "an archive":
            shutil.make_archive(str(run / "a"), "zip", folder)
            path = pictures.zipfile.Path(run / "a.zip", "7.png")
        with pytest.raises(DataError, match=r"7\.png is not an image that can be read"):
            pictures.read_image(path, "L", modes=("L",))


def test_every_format_that_is_named_is_read(tmp_path):
    grey = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (70, 1))
    for name in ("a.png", "a.jpg", "a.tif", "a.bmp", "a.gif", "a.webp", "a.pgm", "a.jp2", "a.avif"):
        Image.fromarray(grey).save(tmp_path / name)
        found = pictures.read_picture(tmp_path / name, fit="stretch")
        assert own.is_grey(found.pixels) and not found.several and not found.dark
        assert np.abs(found.pixels[..., 0].mean(0) - np.linspace(0, 255, 64)).max() < 12, name


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_saved_as_16_are_remarked_on_by_own_and_by_apply(folder, run, capsys, bits):
    for name in ("7.png", "8.png"):
        Image.fromarray(
            np.linspace(0, 2**bits - 1, 64 * 64).astype(np.uint16).reshape(64, 64)[:: 1 if name == "7.png" else -1]
        ).save(folder / name)
    _, remarks = own.gather(folder, folder.parent / "labels.csv")
    wanted = "2 pictures nearly black, as 7.png: 16 bits are taken to use their whole range"
    assert wanted in "\n".join(remarks)
    apply.main(["new", str(run), "run", "images", "out.csv"])
    assert wanted in capsys.readouterr().out


def test_noise_of_lossy_files_is_no_colour_and_one_coloured_picture_of_many_is_named(folder):
    picture = np.repeat(np.asarray(Image.open(folder / "7.png"))[..., None], 3, 2).astype(int)
    noise = np.random.default_rng(1).integers(-4, 5, picture.shape)
    Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8)).save(folder / "7.png")
    arrays, remarks = own.gather(folder, folder.parent / "labels.csv")
    assert arrays["x"].ndim == 3 and remarks[0].startswith("60 images, grey")
    Image.new("RGB", (70, 70), "red").save(folder / "8.png")
    arrays, remarks = own.gather(folder, folder.parent / "labels.csv")
    assert arrays["x"].ndim == 4 and "Only 1 picture in colour, as 8.png" in remarks[1]


def test_large_pictures_are_not_decoded_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "IN_FLIGHT", budget := pictures.Budget(1_000_000))
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1_000_000)
    most, lock, transpose = [0], threading.Lock(), pictures.ImageOps.exif_transpose

    def watched(image):
        with lock:
            most[0] = max(most[0], 1_000_000 - budget.free)
        return transpose(image)

    monkeypatch.setattr(pictures.ImageOps, "exif_transpose", watched)
    for i in range(12):
        Image.new("L", (800, 900 if i % 2 else 90), i).save(tmp_path / f"{i}.png")
    read = list(pictures.read_pictures([tmp_path / f"{i}.png" for i in range(12)]))
    assert [int(picture.pixels.max()) for picture in read] == list(range(12)) and 720_000 <= most[0] <= 1_000_000
    assert budget.free == 1_000_000


def test_a_picture_far_too_large_is_named_without_a_warning(folder):
    import subprocess
    import sys

    Image.new("1", (10_000, 10_001)).save(folder / "7.png")
    code = "import sys; from data import own; print(*own.gather(*map(own.Path, sys.argv[1:]))[1])"
    arguments = [sys.executable, "-c", f"import support; {code}", folder, folder.parent / "labels.csv"]
    done = subprocess.run(arguments, cwd=settings.PROFILES.parent, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    assert "Left out: row 9: 7.png has 10000x10001 pixels, more than 50,000,000; make it smaller" in done.stdout


# --- what is no file ------------------------------------------------------------------------------------------------


def test_pipes_and_devices_are_named_and_not_waited_for(folder, run, capsys):
    (folder / "7.png").unlink()
    os.mkfifo(folder / "7.png")
    with within(20):
        assert "row 9: 7.png can't be read as an image (it is a pipe, not a file)" in said_of(folder)
        apply.main(["new", str(run), "run", "images", "out.csv"])
    assert "7.png can't be read as an image (it is a pipe, not a file)" in capsys.readouterr().out
    (folder / "7.png").unlink()
    (folder / "7.png").symlink_to("/dev/zero")
    with within(20):
        assert "row 9: 7.png can't be read as an image (it is a device, not a file)" in said_of(folder)


@pytest.mark.parametrize(("target", "kind"), [(None, "a pipe"), ("/dev/zero", "a device"), ("/tmp", "a folder")])
def test_a_table_that_is_no_file_is_named(folder, target, kind):
    path = folder.parent / "labels.csv"
    path.unlink()
    path.symlink_to(target) if target else os.mkfifo(path)
    with within(20):
        assert f"labels.csv can't be read (it is {kind}, not a file); give the table" in said_of(folder)


def test_a_table_is_read_up_to_a_size(folder, monkeypatch):
    monkeypatch.setattr("data.labels.MAX_TABLE", 100)
    assert "labels.csv can't be read (it has more than 100 bytes)" in said_of(folder)


def test_caches_and_archives_that_are_no_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "CACHE", tmp_path)
    monkeypatch.delenv("MCCVAE_DATA", raising=False)
    for name in ("x.npz", chest_xray.ARCHIVE):
        os.mkfifo(tmp_path / name)
    with within(20):
        with pytest.raises(DataError, match=r"x\.npz can't be read as npz \(it is a pipe, not a file\)"):
            common.cached("x.npz", lambda _: {}, ("a",))
        with pytest.raises(DataError, match=r"ChestXRay2017\.zip .*\(it is a pipe, not a file\)"):
            chest_xray._download(tmp_path)


def as_nobody(call):
    """What a call returns in a process without root's rights, or the text of its DataError."""
    out, back = os.pipe()
    if not (child := os.fork()):
        with contextlib.suppress(PermissionError):
            os.setuid(65534)
        try:
            said = str(call())
        except DataError as error:
            said = str(error)
        os.write(back, said.encode())
        os._exit(0)
    os.close(back)
    os.waitpid(child, 0)
    with os.fdopen(out) as file:
        return file.read()


def test_a_folder_without_rights_is_named_with_the_reason(folder):
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        elsewhere = Path(shutil.copytree(folder, Path(name, "images")))
        shutil.copy(folder.parent / "labels.csv", name)
        (elsewhere / "sub").mkdir()
        shutil.copy(elsewhere / "9.png", elsewhere / "sub")
        (elsewhere / "sub").chmod(0o300)
        try:
            assert (
                f"the folder {elsewhere}/sub can't be read (Permission denied); get the right to read it"
                in as_nobody(lambda: said_of(elsewhere))
            )
            elsewhere.chmod(0o300)
            assert f"the folder {elsewhere} can't be read (Permission denied)" in as_nobody(lambda: said_of(elsewhere))
        finally:
            elsewhere.chmod(0o755)
            (elsewhere / "sub").chmod(0o755)
        (elsewhere / "7.png").chmod(0)
        assert "7.png can't be read as an image (Permission denied)" in as_nobody(lambda: said_of(elsewhere))
        (elsewhere / "7.png").chmod(0o644)
        own.gather(elsewhere, Path(name, "labels.csv"))  # as the messages say


def test_names_that_a_spreadsheet_would_run_are_said_or_made_harmless(folder, run, capsys):
    (folder / "7.png").rename(folder / "=cmd.png")
    apply.main(["new", str(run), "run", "images", "out.csv"])
    said = capsys.readouterr().out
    assert (
        "1 names begin with =, +, - or @, as =cmd.png: a spreadsheet would run them; csv=excel makes them harmless."
        in said
    )
    apply.main(["new", str(run), "run", "images", "excel.csv", "csv=excel"])
    assert "a spreadsheet would run" not in capsys.readouterr().out
    text = (run / "excel.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbffile;a probability;") and b"\n'=cmd.png;0," in text
    plain, excel = apply.pd.read_csv(run / "out.csv"), apply.pd.read_csv(run / "excel.csv", sep=";", decimal=",")
    assert np.allclose(plain.iloc[:, 1:], excel.iloc[:, 1:]) and excel["file"][0].endswith("0.png")


# --- names and tables -----------------------------------------------------------------------------------------------


def test_names_that_are_not_text_are_left_out_and_named(folder, run, capsys):
    shutil.copy(folder / "7.png", os.fsencode(folder) + b"/caf\xe9.png")
    shutil.copy(folder / "8.png", folder / "a\x1b[31m\nb.png")
    apply.main(["new", str(run), "run", "images", "out.csv"])
    said = capsys.readouterr().out
    assert "caf\\udce9.png has a name that is not text in UTF-8; rename it" in said and "\x1b" not in said
    assert len(apply.pd.read_csv(run / "out.csv")) == 61
    _, remarks = own.gather(folder, folder.parent / "labels.csv")
    assert "2 other files in the folder, as a\\x1b[31m\\nb.png" in "\n".join(remarks)
    "\n".join(remarks).encode()
    assert files.shown("Zoë 7\t") == "Zoë 7\\t"


@pytest.mark.parametrize("empty", ["", "NA", "NaN", "N/A", "#N/A", "<NA>", "null", "None"])
def test_what_other_programs_write_where_nothing_is_known(folder, empty):
    path = table(folder, [[name, a, b or empty] for name, a, b in rows()], before="sep=,\r\n")
    assert own.gather(folder, path)[0]["y"][:3].tolist() == [[0, -1], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("change", "header", "before", "message"),
    [
        (
            lambda i, row: row,
            ("file", "a", "b"),
            "My pictures,,\n",
            "row 1 names one column only, as a title does; remove what stands above",
        ),
        (
            lambda i, row: [row[0], str(i % 3 - 1), row[2]],
            ("file", "a", "b"),
            "",
            "column a: -1 stands for no in some tables and for not",
        ),
        (
            lambda i, row: [f'"{row[0]}' if i == 5 else row[0], *row[1:]],
            ("file", "a", "b"),
            "",
            "row 7 can't be read as CSV (a quotation mark is",
        ),
        (lambda i, row: row, ("file", "a\x1b[2J", "b"), "", r"a label can't be called 'a\x1b[2J'"),
        (
            lambda i, row: [*row, f"p{i // 4}"],
            ("file", "a", "b", "who"),
            "",
            "if it says who is in the picture, add group=who",
        ),
    ],
)
def test_forms_of_tables_that_are_not_taken_say_what_to_change(folder, change, header, before, message):
    table(folder, [change(i, row) for i, row in enumerate(rows())], header, before)
    said = said_of(folder)
    assert message in said and len(said) < 3_000 and said.isascii() and "\x1b" not in said


def test_a_copy_goes_where_the_picture_goes_and_contradictions_are_told(folder):
    for i in range(0, 32, 2):
        shutil.copy(folder / f"{i}.png", folder / f"{i + 1}.png")  # its label a is the other one
    arrays, remarks = own.gather(folder, folder.parent / "labels.csv")
    part = dict(zip(arrays["names"], arrays["part"], strict=True))
    assert all(part[f"{i}.png"] == part[f"{i + 1}.png"] for i in range(0, 32, 2)) and set(part.values()) == {0, 1, 2}
    said = "\n".join(remarks)
    assert "16 pictures more than once, as 1.png, a copy of 0.png: copies go to the same part." in said
    assert "contradict each other, as a: 0 for 0.png, 1 for 1.png; correct one." in said


def test_near_copies_go_where_the_picture_goes_and_strangers_are_not_taken_for_any(folder):
    rng = np.random.default_rng(5)
    for i in range(60):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).resize(
            (120, 120), Image.Resampling.BICUBIC
        )
        coarse.save(folder / f"{i}.png")
    for i in range(0, 24, 2):  # saved again with loss, or smaller and a little brighter
        picture = Image.open(folder / f"{i}.png")
        saved = picture if i % 4 else picture.resize((70, 70)).point(lambda value: min(255, value + 3))
        saved.save(folder / f"{i + 1}.jpg", quality=60)
        (folder / f"{i + 1}.png").unlink()
    table(
        folder,
        [
            [f"{i}.{'jpg' if i < 24 and i % 2 else 'png'}", str(i // 2 % 2 if i > 1 else i), "01"[i % 3 > 0]]
            for i in range(60)
        ],
    )
    arrays, remarks = own.gather(folder, folder.parent / "labels.csv")
    assert all(arrays["part"][i] == arrays["part"][i + 1] for i in range(0, 24, 2))
    said = "\n".join(remarks)
    assert "24 images nearly copies of another, as 0.png and 1.jpg: these go to the same part." in said
    assert "labels of copies contradict each other, as a: 0 for 0.png, 1 for 1.jpg" in said
    noise = Image.open(folder / "3.jpg")
    for i in range(24, 60):  # a film's frames: nearly all alike
        noise.point(lambda value, i=i: min(255, value + i % 3)).save(folder / f"{i}.png")
    _, remarks = own.gather(folder, folder.parent / "labels.csv")
    assert "38 images are nearly copies of one another" in "\n".join(remarks)
    drawn = celeba.draw(400, 7).images
    assert not len(copies.near_pairs(drawn))
    assert not len(copies.near_pairs((drawn // 20).astype(np.uint8)))  # nearly black


def test_the_images_of_a_group_are_in_one_part(folder):
    people = [[*row, f"p{i // 4}" if i < 56 else ""] for i, row in enumerate(rows())]
    path = table(folder, people, ("file", "a", "b", "who"))
    arrays, remarks = own.gather(folder, path, layout.Options(group="who"))
    assert arrays["labels"].tolist() == ["a", "b"] and "14 groups: the images of each are in one part." in remarks
    part = arrays["part"]
    assert arrays["group"].tolist() == [row[-1] for row in people]
    assert all(len(set(part[i : i + 4])) == 1 for i in range(0, 56, 4))
    assert np.allclose(np.bincount(part) / 60, own.SHARES, atol=0.08)
    assert "group=whom: the table has no such column; it has: file, a, b, who" in said_of(folder, group="whom")
    table(folder, [[*row, "p"] for row in rows()], ("file", "a", "b", "who"))
    assert "the images of 1 group leave none for validation; add others" in said_of(folder, group="who")


def test_the_column_of_groups_is_an_option_of_the_command(folder, tmp_path, monkeypatch, capsys):
    for module in (settings, command, settings.profile_file.__globals__["sys"].modules["support"]):
        monkeypatch.setattr(module, "OUTPUTS", tmp_path / "outputs")
    table(folder, [[*row, f"p{i // 4}"] for i, row in enumerate(rows())], ("file", "a", "b", "who"))
    with pytest.raises(DataError, match="group=who"):
        command.main(["/", str(folder), str(folder.parent / "labels.csv")])
    command.main(["/", str(folder), str(folder.parent / "labels.csv"), "group=who"])
    assert "15 groups" in capsys.readouterr().out
    made = tmp_path / "outputs" / "own_images"
    (made / "characteristics.csv").touch()
    command.main(["/", str(folder), str(folder.parent / "labels.csv"), "group=who", "csv=excel"])
    assert {path.name for path in made.iterdir()} == {"images.npz", "profile.yaml", "csv_excel"}
    command.main(["/", str(folder), str(folder.parent / "labels.csv"), "group=who"])
    assert {path.name for path in made.iterdir()} == {"images.npz", "profile.yaml"}
    command.read_words(["person=who"], problems := [])
    assert "group=  the column that says what belongs together" in problems[0]


# --- messages -------------------------------------------------------------------------------------------------------


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(11)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{', '.join([f'*{chr(97 + i)}'] * 9)}]}}\n" for i in range(11)
)
HOSTILE = {
    "a bomb of anchors": (lambda text: BOMB + text, "anchors (& and *) stand for more than 100,000 values"),
    "a bomb of merged keys": (lambda text: MERGES + text, "anchors (& and *) stand for more than 100,000 values"),
    "an anchor in itself": (lambda text: text.replace("seeds: [0]", "seeds: &s [0, *s]"), "anchors"),
    "nested anchors": (
        lambda text: text.replace("seeds: [0]", "seeds: [&a [1, 1, 1], &b [*a, *a], &c [*b, *b]]"),
        "seeds must be whole numbers from 0 on, not [[1, 1, 1], [[",
    ),
    "a long value": (lambda text: text.replace("seeds: [0]", f"seeds: {'7x' * 50_000}"), "seeds must be whole"),
    "a long number": (lambda text: text.replace("seeds: [0]", f"seeds: [0x{'f' * 50_000}]"), "200,000 bits"),
    "a long key": (lambda text: f"? {'k' * 100_000}\n: 1\n{text}", "it differs in k"),
    "a long model": (lambda text: text.replace("[ccvae,", f"[ccvae-k{'9' * 50_000},"), "at most 200 characters"),
    "a long tag": (lambda text: text.replace("seeds: [0]", f"seeds: !{'t' * 100_000} 0"), "can't be read as settings"),
    "control characters": (lambda text: text.replace("seeds: [0]", 'seeds: "\\e[2J\\a"'), r"\x1b[2J\x07"),
    "a large file": (lambda text: text + "#" * (1 << 20), "more than 1,048,576 bytes"),
    "an empty file": (lambda text: "", "it is empty"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_profile_holds_is_quoted_shortly_and_soon(tmp_path, monkeypatch, name):
    change, message = HOSTILE[name]
    text = (settings.PROFILES / "smoke.yaml").read_text().replace("profile: smoke", "profile: bad")
    (tmp_path / "bad.yaml").write_text(change(text))
    monkeypatch.setattr(settings, "PROFILES", tmp_path)
    with within(10), pytest.raises(settings.SettingsError) as error:
        settings.read_profile("bad")
    said = str(error.value)
    assert message in said and max(map(len, said.splitlines())) < 700 and said.replace("\n", "").isprintable(), said


def test_whatever_an_error_quotes_it_is_short_and_printable(folder):
    long = "\x1b[2J" + "x" * 100_000
    for error in (DataError, files.HeldError, settings.SettingsError, weights.CheckpointError, apply.ApplyError):
        said = str(error(f"{long}\n{long}"))
        assert len(said) < 2_100 and said.replace("\n", "").isprintable() and said.startswith("\\x1b[2J")
    assert len(messages.quoted({"a": [long] * 99, "b": long})) < 170
    assert messages.quoted("it's") == '"it\'s"' and messages.quoted([True, 2, None, 0.5]) == "[True, 2, None, 0.5]"
    table(folder, [[long, *labels] for _, *labels in rows()])
    assert max(map(len, said_of(folder).splitlines())) < 500
    table(folder, rows(), ("file", "a" * 100_000, "b"))
    assert "a label can't be called" in (said := said_of(folder)) and max(map(len, said.splitlines())) < 500
    with pytest.raises(ValueError, match="seed must be a whole number") as caught:
        records._test({"seed": [[long] * 99] * 99}, records.VALUES, "")
    assert len(str(caught.value)) < 250


def test_only_profiles_that_can_be_named_are_listed_and_the_others_are_told_with_the_reason(tmp_path, monkeypatch):
    text = (settings.PROFILES / "smoke.yaml").read_text()
    named = ("my-profile", "2024", "007", "1e5", "größe")
    for name in (*named, "with space", "-n", "test", "own_x", "a-by-hand", "x;y", ".hidden", "a\nb"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("profile: smoke", f'profile: "{name}"'))
    (tmp_path / "other.yml").write_text(text)
    os.mkfifo(tmp_path / "pipe.yaml")
    monkeypatch.setattr(settings, "PROFILES", tmp_path)
    names, left = settings.profile_names(tmp_path)
    own_ones = [name for name in names if name.startswith("own_")]
    assert set(names) - set(own_ones) == set(named)
    for name in named:
        assert settings.read_profile(name).profile == name
    wrong = {"with space": "letters, digits, _ and -", "test": "is a command", "own_x": "for own images"}
    wrong |= {"-n": "begins with none", "pipe": "is no file", "x;y": "letters", "a-by-hand": "changed by hand"}
    for name, why in wrong.items():
        assert why in left[name]
        with pytest.raises(settings.SettingsError, match="a pipe" if name == "pipe" else why):
            settings.read_profile(name)
    assert "ends in .yaml" in left["other.yml"] and ".hidden" not in left
    (tmp_path / "other.yml").rename(tmp_path / "other.yaml")  # the remedy
    assert "other" in settings.profile_names(tmp_path)[0]
    assert execute.parameter("profile", "007") == ("profile", "007") and execute.parameter("seed", "7") == ("seed", 7)


# --- full disks -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def files_of_at_most(size):
    """What a disk does that fills up: no file grows over `size` bytes."""
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_under_drawn_faces_is_named_and_nothing_is_in_the_way_of_the_next_try(tmp_path):
    with files_of_at_most(1_500), pytest.raises(OSError, match=r"drawn was not made \(.*too large.*\); make room"):
        example.draw(tmp_path / "drawn", 20, 5)
    assert not (tmp_path / "drawn").exists()
    example.draw(tmp_path / "drawn", 20, 5)
    assert len(list((tmp_path / "drawn" / "images").iterdir())) == 20


def test_a_full_disk_under_own_images_is_named_and_the_next_try_works(folder, tmp_path, monkeypatch):
    for module in (settings, command, settings.profile_file.__globals__["sys"].modules["support"]):
        monkeypatch.setattr(module, "OUTPUTS", tmp_path / "outputs")
    words = ["/", str(folder), str(folder.parent / "labels.csv")]
    with files_of_at_most(100_000), pytest.raises(DataError, match=r"images\.npz was not written.*make room"):
        command.main(words)
    assert not list((tmp_path / "outputs" / "own_images").iterdir())
    command.main(words)
    assert {path.name for path in (tmp_path / "outputs" / "own_images").iterdir()} == {"images.npz", "profile.yaml"}
