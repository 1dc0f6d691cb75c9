"""`python -m support.commands.own [--dry-run] HERE IMAGES [LABELS] [word=value ...]`: check a folder of own images and
their labels, and make their profile.

HERE: where the command was given. In outputs/own_<name> it leaves images.npz and profile.yaml, from which the graph
goes on; the last line that it prints is the profile's name. With --dry-run it checks all the same, says what it would
write and writes nothing; the last line is then - where the graph has nothing to start from. A mistake is one
message on standard error and exit status 1, and leaves nothing."""

import dataclasses
import math
import re
import sys
from pathlib import Path

import numpy as np
import yaml

from data import DataError, Dataset, layout, own
from data.files import HeldError, hold, write_atomically, write_npz
from data.messages import plain, quoted, shown

from .. import EXCEL, IMAGES, OUTPUTS, OWN, profile_file
from ..records import SPLITS
from ..settings import ModelSpec, SettingsError, read_profile

WORDS = {
    "name": "of the profile: small letters, digits and _ (default: the folder's name)",
    "labels": "the table's columns that are labels, with commas between them (default: all but those below)",
    "file": "the column of the pictures' names (default: the first)",
    "group": "the column that says what belongs together, as a patient: its images stay in one "
    "part; without a table group=folder",
    "split": "the column that says train, validation or test (default: folders called so, else parts are drawn)",
    "classes": "columns whose numbers or texts are names of classes",
    "continuous": "columns whose whole numbers are learnt as they are, as an age is (others are, without this)",
    "threshold": "of a column of numbers the least that is 1: age:50, or age:50,weight:80",
    "unknown": "entries that stand for what is not known, beside NA and nothing: -1,?",
    "sheet": "of an Excel workbook with several sheets, the one that is the table",
    "fit": "how pictures become square: pad (default), crop or stretch",
    "models": "one or more of mccvae and ccvae, with options behind them as notebooks/README.md "
    "lists them (default: mccvae)",
    "k": "latents of each label: 2, or 2.1.3, or smiling:3,glasses:1 and 2 for the others (default: 2)",
    "style_dim": f"style latents (default: {own.TASK.style_dim})",
    "epochs": "default: so many that there are enough steps",
    "batch_size": "default: 32, of more than 4,000 images 128",
    "seeds": "one or more whole numbers (default: 0)",
    "csv": "excel: characteristics.csv with semicolons and decimal commas, names that would run "
    "as formulas made harmless",
}
SMALL, STEPS, EPOCHS = (
    4_000,
    1_500,
    20,
)  # training images that are few; the least steps and the least epochs of a training


def read_words(arguments: list[str], problems: list[str]) -> dict[str, str]:
    """word=value, each word one of WORDS; what is wrong is added to problems."""
    words, wrong = {}, []
    for argument in arguments:
        word, equals, value = argument.partition("=")
        if equals and value and word in WORDS and word not in words:
            words[word] = value
        else:
            wrong.append(quoted(argument))
    if wrong:
        known = "\n".join(f"  {name}=  {about}" for name, about in WORDS.items())
        problems.append(f"{', '.join(wrong)}: no option, or given twice or without a value; there are\n{known}")
    return words


def told(problems: list[str], call, *arguments):
    """What a call returns; None where it raises SettingsError, whose message is added to problems."""
    try:
        return call(*arguments)
    except SettingsError as error:
        problems.append(str(error))
        return None


def whole(words: dict[str, str], word: str, least: int) -> list[int]:
    """The whole numbers of an option, with commas between them; none where it is not given. Raises SettingsError."""
    parts = words[word].split(",") if word in words else []
    if not all(re.fullmatch(r"\d{1,9}", part) and int(part) >= least for part in parts) or len(set(parts)) < len(parts):
        raise SettingsError(f"{word} must be a whole number from {least} on, not {quoted(words[word])}")
    return [int(part) for part in parts]


def one(words: dict[str, str], word: str, least: int) -> int | None:
    """The one whole number of an option; None where it is not given."""
    numbers = whole(words, word, least)
    if len(numbers) > 1:
        raise SettingsError(f"{word} takes one number, not {quoted(words[word])}")
    return numbers[0] if numbers else None


def latents(text: str, labels: tuple[str, ...]) -> tuple[int, ...]:
    """k of an option: one number for all, one for each label, or by the labels' names, where those not named have 2.
    Raises SettingsError."""
    if re.fullmatch(r"[1-9]\d*(\.[1-9]\d*)*", text):
        return tuple(map(int, text.split(".")))
    k = dict.fromkeys(labels, 2)
    for part in text.split(","):
        label, _, number = part.rpartition(":")
        if label not in k or not re.fullmatch(r"[1-9]\d*", number):
            raise SettingsError(
                f"k={shown(text)}: {quoted(part)} is neither a number nor <label>:<number>; "
                f"the labels are {', '.join(labels)}"
            )
        k[label] = int(number)
    return tuple(k.values())


def model_names(words: dict[str, str], labels: tuple[str, ...], channels: int) -> list[str]:
    """The models by their full names. Without -rb they get a label weight of a quarter of the number of pixel values,
    and three times the paper's learning rate, with which a third of the epochs were enough on the drawn faces."""
    names = []
    for name in words.get("models", "mccvae").split(","):
        spec = ModelSpec.parse(name)
        if spec.kind != "MCCVAE" or spec.labelled_fraction < 1 or spec.sigmoids > 1:
            raise SettingsError(f"models: {name} is not for own images; take mccvae or ccvae, without -f and -s")
        if spec.label_weight is None:
            rate = spec.rate_factor if spec.rate_factor != 1 else 3.0
            spec = dataclasses.replace(spec, label_weight=channels * own.RAW_SIDE**2 / 4, rate_factor=rate)
        for word, given in (("k", spec.k), ("style_dim", spec.style_dim)):
            if word in words and given is not None:
                raise SettingsError(f"{word}={words[word]} and models={name} both say it; leave one out")
        if "k" in words and spec.base == "mccvae":
            spec = dataclasses.replace(spec, k=latents(words["k"], labels))
        if "style_dim" in words:
            spec = dataclasses.replace(spec, style_dim=one(words, "style_dim", 0))
        names.append(spec.name)
    return list(dict.fromkeys(names))


def settings_of(words: dict[str, str], data: Dataset, name: str) -> dict:
    """The profile's values. Raises SettingsError."""
    few = len(data.train) <= SMALL
    batch_size = one(words, "batch_size", 1) or (own.TASK.batch_size if few else 4 * own.TASK.batch_size)
    models = model_names(words, data.labels, data.task.image_shape[0])
    for model in models:
        ModelSpec.parse(model).config(data)
    return {
        "profile": name,
        "source": "own",
        "models": {own.TASK.name: models},
        "seeds": whole(words, "seeds", 0) or [0],
        "epochs": one(words, "epochs", 1) or max(EPOCHS, math.ceil(STEPS / math.ceil(len(data.train) / batch_size))),
        "batch_size": batch_size,
        "images": None,
        "correlation": None,
        "experiments": [],  # they compare with the paper; own images have a report of their own
        "allocation": [],
    }


def profile_name(words: dict[str, str], folder: Path) -> str:
    """own_<name>. Raises SettingsError for a name that is no plain word."""
    plain = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_") or "images"
    name = words.get("name", plain)
    if not re.fullmatch(r"[a-z0-9_]{1,60}", name):
        raise SettingsError(f"name must be a word of small letters, digits and _, not {quoted(name)}")
    return OWN + name


def compare(name: str, arrays: dict[str, np.ndarray]) -> tuple[bool, str | None]:
    """Whether these very images are kept already; and a remark if they take the place of others.

    Raises SettingsError where the profile is of images of which less than half is here: it would take another project's
    place."""
    old = _old(OUTPUTS / name / IMAGES)
    if old is None:
        return False, None
    kept = [key for key in (*own.KEYS, *own.MORE) if key in old or key in arrays]
    if all(_equal(old.get(key), arrays.get(key)) for key in kept):
        return True, None
    before, now = ({p.tobytes() for p in each["x"]} for each in (old, arrays))
    if 2 * len(before & now) < len(before):
        raise SettingsError(
            f"outputs/{name} is of other images; give these another name (name=...), or delete that folder"
        )
    return False, f"outputs/{name} had other images or labels: models are trained anew, the report is made again."


def _equal(old: np.ndarray | None, new: np.ndarray | None) -> bool:
    """Whether two arrays hold the same, NaN in the same places; None is no array."""
    both = old is not None and new is not None
    return both and np.array_equal(old, new, equal_nan=old.dtype.kind == new.dtype.kind == "f")


def profile_text(settings: dict) -> bytes:
    return ("# Made by ./run_all.sh own.\n" + yaml.safe_dump(settings, sort_keys=False)).encode()


def _has(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def keep(name: str, arrays: dict[str, np.ndarray], settings: dict) -> str | None:
    """Write images and profile, where they are not there already; a remark if they take the place of others. Raises
    SettingsError, see `compare`."""
    path, text = OUTPUTS / name / IMAGES, profile_text(settings)
    with hold(path.parent, wait=1):
        same, remark = compare(name, arrays)
        try:
            if not same:
                write_npz(path, arrays)
            if not _has(profile_file(name), text):
                write_atomically(profile_file(name), text)
        except OSError as error:
            raise DataError(f"{error.strerror}; make room or get the right to write, and run again") from None
    return remark


def would(name: str, words: dict[str, str], arrays: dict[str, np.ndarray], settings: dict) -> tuple[list[str], bool]:
    """What a dry run says, and whether all that the graph starts from is there already. Raises SettingsError, see
    `compare`."""
    same, remark = compare(name, arrays)
    there = {IMAGES: same, "profile.yaml": _has(profile_file(name), profile_text(settings))}
    lines = [remark] * (remark is not None)
    if lacking := [f"outputs/{name}/{file}" for file, is_there in there.items() if not is_there]:
        runs = len(settings["models"][own.TASK.name]) * len(settings["seeds"])
        lines.append(
            f"It would write {' and '.join(lacking)}, train {runs} model{'s' * (runs > 1)}, and make "
            f"outputs/{name}/report.html and characteristics.csv."
        )
    elif ("csv" in words) != (OUTPUTS / name / EXCEL).exists():
        lines.append(f"It would make outputs/{name}/characteristics.csv anew, in another form.")
    return lines, not lacking


def keep_form(name: str, words: dict[str, str]) -> None:
    """Leave word of how characteristics.csv is to be written; one of another form goes."""
    marker = OUTPUTS / name / EXCEL
    if ("csv" in words) != marker.exists():
        marker.touch() if "csv" in words else marker.unlink()
        (marker.parent / "characteristics.csv").unlink(missing_ok=True)


def _old(path: Path) -> dict[str, np.ndarray] | None:
    try:
        return own.read_arrays(path) if path.exists() else None
    except DataError:  # broken: it is made anew
        return None


def check_words(words: dict[str, str], labels: list[str], kinds: list[str], problems: list[str]) -> None:
    """Everything that the options of training can have wrong, before thousands of pictures are read."""
    if words.get("csv", "excel") != "excel":
        problems.append(f"csv must be excel, or left out, not {quoted(words['csv'])}")
    for word in ("epochs", "batch_size"):
        told(problems, one, words, word, 1)
    told(problems, whole, words, "seeds", 0)
    given = {word: value for word, value in words.items() if word in ("models", "k")}
    if told(problems, one, words, "style_dim", 0) is not None:
        given["style_dim"] = words["style_dim"]
    if labels or "k" not in given or re.fullmatch(r"[\d.]+", given["k"]):
        models = told(problems, model_names, given, tuple(labels), 1) or []
        for model, spec in ((model, ModelSpec.parse(model)) for model in models):
            told(problems, spec.check_kinds, kinds or ["binary"])
            k = spec.k
            if labels and k and len(k) not in (1, len(labels)):
                problems.append(
                    f"{model}: there are {len(labels)} labels, so k takes one number or {len(labels)}, not {len(k)}"
                )


def gather(
    folder: Path, table: Path | None, arguments: list[str]
) -> tuple[str, dict[str, str], dict[str, np.ndarray], list[str]]:
    """The profile's name, the options, and what `data.own.gather` gives. Raises SettingsError with everything that is
    wrong with options, labels and names of files."""
    problems = []
    words = read_words(arguments, problems)
    name = told(problems, profile_name, words, folder)
    options = layout.read_options(words, problems)
    of_data = []
    listed = layout.listing(folder, table, options, of_data)
    check_words(words, *((listed.labels, listed.kinds) if listed else ([], [])), problems)
    if problems:
        both = ["; ".join(problems)] if len(problems) == 1 else ["wrong options:", *(f"  {line}" for line in problems)]
        raise SettingsError("\n".join([*both, *([own.together(of_data, table)] if of_data else [])]))
    if of_data:
        raise DataError(own.together(of_data, table))
    return name, words, *own.read_listed(listed, table, options)


def main(arguments: list[str]) -> None:
    dry = arguments[0] == "--dry-run"
    here, folder, *options = arguments[dry:]
    folder = Path(here) / folder
    table = Path(here) / options.pop(0) if options and not re.match(r"[a-z_]+=", options[0]) else None
    name, words, arrays, remarks = gather(folder, table, options)
    data = own.dataset(arrays)
    settings = settings_of(words, data, name)
    there = True
    if dry:
        said, there = would(name, words, arrays, settings)
        remarks += said
    else:
        remarks.append(keep(name, arrays, settings))
        keep_form(name, words)
        read_profile(name)
    print(*map(plain, filter(None, [*remarks, *of_training(data, settings)])), name if there else "-", sep="\n")


def of_training(data: Dataset, settings: dict) -> list[str]:
    """What is said of the training before it begins."""
    n = {part: len(getattr(data, part)) for part in SPLITS}
    remarks = [f"Images: {n['train']:,} for training, {n['validation']:,} for validation, {n['test']:,} for the test."]
    remarks.append(
        f"Models: {', '.join(settings['models'][own.TASK.name])}; {settings['epochs']} epochs "
        f"in batches of {settings['batch_size']}."
    )
    steps = settings["epochs"] * math.ceil(n["train"] / settings["batch_size"])
    if steps < STEPS:
        remarks.append(
            f"That is {steps:,} steps, and {STEPS:,} or more are usual: leave epochs= out, or "
            "expect a model that has learnt little."
        )
    return remarks


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (DataError, SettingsError, HeldError, OSError) as error:
        sys.exit(plain(f"run_all.sh: own: {error}"))
    except KeyboardInterrupt:
        sys.exit(130)
