"""What a trained model says of images: each label's probability or number, and the mean and spread of its latents.

`python -m support.commands.apply table PROFILE`: of the images of a profile of own ones,
outputs/PROFILE/characteristics.csv. `python -m support.commands.apply new HERE RUN IMAGES [OUT] [csv=excel]`: of new
images, with the model of a run; HERE is where the command was given."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import mccvae_core as core
from data import DataError, own
from data.continuous import Unit
from data.files import files_below, write_atomically
from data.messages import PlainError, plain, shown
from data.pictures import doubtful, read_pictures

from .. import EXCEL, weights
from ..measures import calibration, quantities
from ..records import SPLITS
from ..runs import Run, RunError, load_data, read_run, read_runs
from ..settings import SettingsError, read_profile

OUT = "characteristics.csv"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet runs
BATCH = 256
LISTED = 10  # finished runs at most that a message names


class ApplyError(PlainError):
    """The model can't be applied; the message says why and what to do."""


def characteristics(
    model: core.MCCVAE,
    labels: tuple[str, ...],
    images: torch.Tensor,
    given: torch.Tensor | None = None,
    units: tuple[Unit | None, ...] = (),
    calibrate: dict[str, list[float]] | None = None,
    choices: tuple[str, ...] = (),
) -> pd.DataFrame:
    """A row for each of uint8 images (N, *image_shape). For each label its value in `given` (N, L; NaN: empty),
    `<label> probability` at the mean of q(z|x), or of a number, by `Dataset.units`, `<label> predicted` and
    `<label> predicted sd`, the mean and spread of q(y|x) in the user's unit, both by the run's calibration where there
    is one; and of each latent of its block `<label> latent <j> mean` and `sd`, those of q(z|x), of the values of a
    categorical label, by `Dataset.choices`, once, by its name; then `style <j> mean` and `sd`."""
    q = core.posterior(model, images, batch_size=BATCH)
    read = model.read_labels(model.split(q.loc)[0]).detach().cpu()
    read = calibration.calibrated(read, model, calibrate)
    spread = quantities.predicted_sd(model, q).cpu() if any(units) else None
    factor = calibrate["spread"] if calibrate else [1.0] * len(labels)
    mean, sd = q.loc.cpu(), q.scale.cpu()
    columns = {}
    for i, label in enumerate(labels):
        unit = units[i] if units else None
        if given is not None:
            values = pd.array(given[:, i].numpy(), dtype="Float64")
            columns[label] = unit.undone(values) if unit else values.astype("Int64")
        if unit:
            columns[f"{label} predicted"] = unit.undone(read[:, i].double())
            columns[f"{label} predicted sd"] = unit.sd * factor[i] * spread[:, i]
        else:
            columns[f"{label} probability"] = read[:, i]
        if any(choices[i : i + 1]) and choices[i + 1 : i + 2] == choices[i : i + 1]:
            continue  # its latents come behind the last of its values
        name = (choices[i] if choices else "") or label
        for j, latent in enumerate(core.block_of(model, i), 1):
            columns |= {f"{name} latent {j} mean": mean[:, latent], f"{name} latent {j} sd": sd[:, latent]}
    for j, latent in enumerate(range(model.config.characteristic_dim, model.config.latent_dim), 1):
        columns |= {f"style {j} mean": mean[:, latent], f"style {j} sd": sd[:, latent]}
    return pd.DataFrame(
        {name: column.numpy() if isinstance(column, torch.Tensor) else column for name, column in columns.items()}
    )


def write(path: Path, table: pd.DataFrame, form: str = "plain") -> list[str]:
    """Six digits of every number; whole, or not at all. form: "plain", or "excel" as Excel in Europe opens it:
    semicolons, decimal commas, a mark of UTF-8, and an apostrophe before names that it would run as formulas. Returns
    remarks."""
    runs_as_formula = table["file"].str.startswith(FORMULA)
    if form == "excel":
        safe = lambda name: f"'{name}" if name.startswith(FORMULA) else name  # noqa: E731
        table = table.assign(file=table["file"].map(safe)).rename(columns=safe)
        write_atomically(path, table.to_csv(index=False, float_format="%.6g", sep=";", decimal=",").encode("utf-8-sig"))
        return []
    write_atomically(path, table.to_csv(index=False, float_format="%.6g").encode())
    risky = [*table["file"][runs_as_formula], *(column for column in table if column.startswith(FORMULA))]
    if not risky:
        return []
    return [
        f"{len(risky):,} names begin with =, +, - or @, as {shown(risky[0])}: a spreadsheet "
        "would run them; csv=excel makes them harmless."
    ]


def write_own(name: str) -> list[str]:
    """characteristics.csv of a profile of own images, by its first model and seed, in the order of their names;
    remarks."""
    profile = read_profile(name)
    data, run, frames = load_data(profile, own.TASK.name), read_runs(profile)[0], []
    model = run.model()
    for part in SPLITS:
        split = getattr(data, part)
        frames.append(
            characteristics(model, data.labels, split.images, split.labels, data.units, run.calibration, data.choices)
        )
        frames[-1].insert(0, "file", split.names)
        frames[-1].insert(1, "part", part)
    form = "excel" if (profile.folder / EXCEL).exists() else "plain"
    return write(profile.folder / OUT, pd.concat(frames).sort_values("file"), form)


def find_run(folder: Path) -> Run:
    """The run of a folder, or the only one below it. Raises ApplyError, RunError."""
    if not folder.is_dir():
        raise ApplyError(f"{folder} is not a folder; name that of a run, or outputs/own_<name>")
    found = (
        [folder]
        if (folder / "run.json").is_file()
        else sorted(path.parent for path in folder.glob("**/seed*/run.json"))
    )
    if len(found) != 1:
        there = "".join(f"\n  {path}" for path in found[:LISTED]) + "\n  ..." * (len(found) > LISTED)
        raise ApplyError(
            f"{folder} holds {len(found) or 'no'} finished runs{'; name one of them:' if found else ''}{there}"
        )
    run = read_run(found[0])
    if run.spec.kind != "MCCVAE":
        raise ApplyError(
            f"{found[0]} is a {run.spec.title}, which has no latents of labels; name the run of a CCVAE or MCCVAE"
        )
    return run


def apply(run: Run, folder: Path, names: list[str], out: Path, form: str = "plain") -> list[str]:
    """Write `out` for the files of a folder; remarks for the user. Raises ApplyError where none of them is an image."""
    model, labels = run.model(), tuple(run.record["data"]["labels"])
    units = tuple(unit and Unit(**unit) for unit in run.record["data"].get("units", ()))
    choices = tuple(run.record["data"].get("choices", ()))
    channels, side, _ = model.config.image_shape
    fit = run.record["data"].get(
        "fit", "stretch"
    )  # what the published sets, and own images before there was a choice, were
    frames, good, pictures, other, remarks = [], [], {}, 0, {}
    bad = [f"{shown(name)} has a name that is not text in UTF-8; rename it" for name in names if not _is_text(name)]

    def flush():
        if pictures:
            pixels = np.stack([picture.pixels for picture in pictures.values()])
            images = own.to_tensor(pixels, channels)
            frames.append(
                characteristics(model, labels, images, units=units, calibrate=run.calibration, choices=choices)
            )
            pictures.clear()

    names = list(filter(_is_text, names))
    for name, picture in zip(names, read_pictures([folder / name for name in names], side, fit), strict=True):
        if isinstance(picture, DataError):
            bad.append(f"{shown(name)} {picture}")
            continue
        good.append(name)
        pictures[name] = picture
        if picture.dark or picture.several:
            remarks[name] = picture
        other += own.is_grey(picture.pixels) == (channels == 3)
        if len(pictures) == BATCH:
            flush()
    flush()
    said = (
        [f"{len(bad):,} files were left out:", *(f"  {line}" for line in bad[:20]), *["  ..."] * (len(bad) > 20)]
        if bad
        else []
    )
    if not good:
        raise ApplyError("\n".join([f"there is no image in {folder}", *said]))
    table = pd.concat(frames, ignore_index=True)
    table.insert(0, "file", good)
    said += write(out, table, form) + doubtful(remarks)
    if other:
        kinds = ("colour", "grey") if channels == 1 else ("grey", "colour")
        said.append(f"{other:,} {kinds[0]} pictures were read as {kinds[1]} ones, as the model takes.")
    return [*said, f"{len(good):,} images, {len(labels)} labels ({', '.join(labels)}): {out}"]


def _is_text(name: str) -> bool:
    """Whether a file's name can be written; the system allows any bytes."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def main(arguments: list[str]) -> None:
    if arguments[0] == "table":
        print(*write_own(arguments[1]), sep="\n", end="")
        return None
    form = "excel" if "csv=excel" in arguments else "plain"
    here, run, images, *out = (word for word in arguments[1:] if word != "csv=excel")
    if len(out) > 1:
        raise ApplyError(f"too many words: {' '.join(out[1:])}")
    out, images = Path(here) / (out[0] if out else OUT), Path(here) / images
    if out.exists() or not out.parent.is_dir():
        why = (
            "is there already; move it, or name another file"
            if out.exists()
            else "lies in a folder that is not there; make it first"
        )
        raise ApplyError(f"{out} {why} (./run_all.sh apply RUN IMAGES OUT.csv [csv=excel])")
    if not images.exists():
        raise ApplyError(f"{images} is not there; name a folder of images, or one image")
    folder, (names, closed) = (images, files_below(images)) if images.is_dir() else (images.parent, ([images.name], {}))
    unread = [
        f"The folder {shown(name)} can't be read ({why}); get the right to read it." for name, why in closed.items()
    ]
    if unread and not names:
        raise ApplyError("\n".join(unread))
    print(*unread, *apply(find_run(Path(here) / run), folder, names, out, form), sep="\n")
    return None


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ApplyError, RunError, SettingsError, DataError, weights.CheckpointError, OSError, ValueError) as error:
        sys.exit(plain(f"run_all.sh: apply: {error}"))
    except KeyboardInterrupt:
        sys.exit(130)
