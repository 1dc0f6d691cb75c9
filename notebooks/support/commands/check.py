"""`python -m support.commands.check HERE [FOLDER]`: prove an outputs folder, the published one where none is named;
HERE is where the command was given.

Every file is held against its checksum, in its run's record and in checksums.txt; figures against the pictures in
pages; tables, findings and verdicts are computed again from the records; of one run a task the scores are computed
again from its weights, where the data are at hand. Nothing in the folder changes. The exit status is 0 if all is as it
was written, 1 if something differs, with a line for each, 2 if the folder can't be checked.

`python -m support.commands.check HERE FOLDER --seal` writes FOLDER/checksums.txt anew, after runs, scores or weights
were published on purpose."""

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import torch

import mccvae_core as core
from data import TASKS, DataError
from data.files import digest, reason

from .. import DECIDING, OUTPUTS, PUBLISHED, code_identity, runs, weights
from ..measures import scores
from ..runs import Run, RunError
from ..settings import Profile, SettingsError, read_profile
from . import checked_tables, checksums

TOLERANCE = {"accuracy": 0.002, "loss, nats": 0.5, "PSNR, dB": 0.02}
SHOWN = 40  # of the differences


@dataclasses.dataclass(frozen=True)
class Elsewhere(Profile):
    """A profile whose outputs lie in another folder."""

    at: Path

    @property
    def folder(self) -> Path:
        return self.at


def check(folder: Path, profile: Profile) -> list[str]:
    """What differs in the outputs folder of a profile, a line each; says of each part how much was looked at."""
    names, faults = checksums.listing(folder)
    faults += _told("checksums", checksums.against_sums(folder, names))
    faults += _told("pictures", _pictures(folder, names))
    with tempfile.TemporaryDirectory() as elsewhere:
        copy = Path(elsewhere, PUBLISHED if (folder / "runs").is_dir() else folder.name)
        for name in names:
            if Path(name).parts[0] not in ("figures", "notebooks", "benchmarks", "report.html", "details.html"):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, copy / name)
        there = Elsewhere(
            **{field.name: getattr(profile, field.name) for field in dataclasses.fields(Profile)}, at=copy
        )
        faults += _told("records", _records(there, vouched=(folder / checksums.SUMS).exists()))
        faults += _told("tables", checked_tables.against_records(there, folder / "tables"))
        faults += _told("verdicts", checked_tables.against_scores(there, folder / DECIDING / "tables"))
        faults += _told("scores", _scores(there))
        return list(dict.fromkeys(fault.replace(str(copy), str(folder)) for fault in faults))


def _told(what: str, found: tuple[str, list[str]]) -> list[str]:
    about, faults = found
    print(f"{what}: {about}; {len(faults) or 'none'} differ{'s' if len(faults) == 1 else ''}", flush=True)
    return faults


# --- pictures ---


class _Pictures(HTMLParser):
    """A page's PNG pictures, in `found`: by their alt text sha256 of each."""

    def __init__(self, page: str):
        super().__init__()
        self.found: dict[str, set[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        kind, _, content = (given.get("src") or "").partition(",")
        if tag == "img" and kind == "data:image/png;base64":
            png = base64.b64decode(content)
            self.found.setdefault(given.get("alt", ""), set()).add(hashlib.sha256(png).hexdigest())


def _pictures(folder: Path, names: list[str]) -> tuple[str, list[str]]:
    """The files of figures against what stands in pages under their alt text."""
    files: dict[str, dict[str, str]] = {}  # alt text -> name -> sha256
    shown: dict[str, set[str]] = {}
    faults = []
    for name in names:
        try:
            if name.endswith(".html"):
                for alt, pngs in _Pictures((folder / name).read_text(encoding="utf-8")).found.items():
                    shown.setdefault(alt, set()).update(pngs)
            elif Path(name).parent.name == "figures" and name.endswith(".png"):
                alt = json.loads((folder / name).with_suffix(".json").read_bytes())["alt"]
                files.setdefault(alt, {})[name] = digest(folder / name)
        except (OSError, ValueError, TypeError, KeyError) as error:
            faults.append(f"{name}, or its .json, can't be read as what it should be ({reason(error)})")
    in_pages = {alt: mine for alt, mine in files.items() if alt in shown}
    for alt, mine in in_pages.items():
        if shown[alt] != set(mine.values()):
            faults.append(f"{', '.join(mine)}: another picture stands in a page under the same alt text")
    compared, others = (sum(map(len, some.values())) for some in (in_pages, files))
    return f"{compared} compared with those in pages, {others - compared} stand in none", faults


# --- records ------------------------------------------------------------------------------------------------------


def _records(profile: Profile, vouched: bool) -> tuple[str, list[str]]:
    """Every run's record and what it says of its files. vouched: a checksum elsewhere stands for records of before they
    held any."""
    below, faults, old = runs.runs_below(profile.folder), [], 0
    asked = {runs.run_folder(profile, *run) for run in runs._asked(profile, None)}
    found = sorted(path.parent for path in profile.folder.rglob("run.json"))
    for folder in found:
        try:
            if vouched and "sha256" not in json.loads((folder / "run.json").read_bytes()):
                old += 1
                continue
            run = runs.read_run(folder)
            if any((folder / name).exists() for name in (runs.WEIGHTS, runs.BEST_WEIGHTS)):
                run.check_weights()
            if runs.is_published(profile.folder) and folder.is_relative_to(below) and folder not in asked:
                faults.append(f"{folder} is no run of the profile {profile.profile}")
        except (RunError, OSError, ValueError, TypeError, RecursionError) as error:
            faults.append(
                str(error) if isinstance(error, RunError) else f"{folder / 'run.json'} can't be read ({reason(error)})"
            )
    faults += [f"{folder} is missing, a run of the profile {profile.profile}" for folder in sorted(asked - set(found))]
    decide = {folder for folder in found if folder.is_relative_to(runs.deciding_folder(profile.folder) or below)}
    faults += [fault for folder in sorted(asked & set(found) | decide) for fault in _half_weights(folder)]
    return f"{len(found)} runs" + (f", {old} of them without checksums of their own" if old else ""), faults


def _half_weights(folder: Path) -> list[str]:
    """Whether a run's published weights, if there are any, are of a model with its latents."""
    half = runs.published_weights(folder)
    if not half.exists() or not runs.is_published(folder.parents[3]):
        return []
    try:
        record, model = runs.read_run(folder).record, weights.load_model(half)
    except RunError:
        return []  # told already
    except weights.CheckpointError as error:
        return [str(error)]
    has = {"characteristics": list(model.config.characteristics), "style_dim": model.config.style_dim}
    return [f"{half} has {key} {value}, its run {record[key]}" for key, value in has.items() if value != record[key]]


# --- scores -------------------------------------------------------------------------------------------------------


def _scores(profile: Profile) -> tuple[str, list[str]]:
    """Scores of one run a task, of its first MCCVAE, on the test part, from the weights that are there."""
    faults, done, left = [], [], []
    deciding = runs.deciding_folder(profile.folder)
    beside = [task for task in TASKS if deciding is not None and (deciding / task).is_dir()]
    for task in dict.fromkeys([*(task for task, *_ in runs._asked(profile, None)), *beside]):
        try:
            there = runs.first_runs(profile, task, characteristics=True)
            run = next((run for run in there if run.spec.base == "mccvae"), there[0] if there else None)
            if run is None:
                left.append(f"{task} (no weights)")
                continue
            data = runs.load_data(profile, task)
            if other := code_identity._data_differences(run.record["data"], data.summary()):
                left.append(f"{task} ({other[0]})")
                continue
            done.append(f"{task}/{run.spec.name}/seed{run.record['seed']}")
            faults += _evaluated(run, data)
        except DataError as error:
            left.append(f"{task} ({str(error).splitlines()[0].partition(',')[0]})")
        except (RunError, weights.CheckpointError, FileNotFoundError) as error:
            faults.append(str(error))
    about = f"computed again of {', '.join(done) or 'no run'}"
    return about + (f"; left out: {', '.join(left)}" if left else ""), faults


def _evaluated(run: Run, data) -> list[str]:
    """A line for each score of a run that its weights don't give within TOLERANCE."""
    model, images, labels = run.model(), data.test.images, data.test.labels
    wanted = run.metrics_of_weights()["test"]
    read = scores.classification_scores(core.predict(model, images), labels, exclusive=data.task.exclusive)
    batches = zip(images.split(512), labels.split(512), strict=True)
    psnr = torch.cat([scores.image_psnr(core.reconstruct(model, x, y).cpu(), core.to_images(x)) for x, y in batches])
    found = {
        "accuracy": read["accuracy"],
        "loss, nats": core.evaluate_loss(model, images, labels, core.BOUND, seed=0)["loss_alpha0"],
    }
    found["PSNR, dB"] = psnr.mean().item()
    recorded = {
        "accuracy": wanted.get("accuracy"),
        "loss, nats": wanted["bound"]["loss_alpha0"],
        "PSNR, dB": wanted.get("psnr"),
    }
    return [
        f"{run.folder / 'metrics.json'}: test {name} {recorded[name]}, its weights give {value:.6g}"
        for name, value in found.items()
        if recorded[name] is not None and not abs(value - recorded[name]) <= TOLERANCE[name]
    ]


def profile_of(folder: Path) -> Profile:
    """The profile whose outputs these are. Raises SettingsError."""
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder; name an outputs folder, say outputs/published")
    return read_profile(PUBLISHED if (folder / "runs").is_dir() else folder.name)


def main(here: str, *words: str) -> int:
    folder = (
        Path(here, *[word for word in words if word != "--seal"][:1])
        if set(words) - {"--seal"}
        else OUTPUTS / PUBLISHED
    )
    profile = profile_of(folder)
    if "--seal" in words:
        checksums.seal(folder)
        return 0
    os.environ["MCCVAE_DOWNLOAD"] = "never"
    faults = check(folder, profile)
    lines = [f"  {fault}" for fault in faults[:SHOWN]] + [f"  ... and {len(faults) - SHOWN} more"] * (
        len(faults) > SHOWN
    )
    print(*lines, sep="\n", end="\n" if lines else "")
    print(f"{folder}: {f'{len(faults)} differences' if faults else 'all that was checked is as it was written'}.")
    return int(bool(faults))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sys.exit(main(*sys.argv[1:]))
        except (SettingsError, OSError) as error:
            print(f"run_all.sh: check: {error}", file=sys.stderr)
            sys.exit(2)
    sys.exit(130)
