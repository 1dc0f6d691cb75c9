"""`python notebooks/support/commands/graph.py PROFILE [snakemake options]`: become Snakemake on a profile's graph,
alone on its outputs.

`report` for the profile makes everything but the runs of the published profile anew, from their records; nothing is
trained or downloaded.

The lock of outputs/<profile> goes with this process: killed in whatever way, it is free again, and what was
half-written is swept when the next one takes it. Exits with 3, saying why, where the profile or its outputs can't be
used."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in its background without it

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks")]

try:
    from data import DataError, own
    from data.files import HeldError, take
    from data.messages import plain
    from support import IMAGES, OUTPUTS, PUBLISHED, runs
    from support.commands import cluster
    from support.commands.options import OURS, SHOWS, options_of, without_cores
    from support.settings import SettingsError, read_profile
except ModuleNotFoundError as error:
    print(f"run_all.sh: {error.name} is missing; `git status` names files that are, `git restore` brings them back")
    sys.exit(3)

SWEPT = ("tables", "figures", "notebooks")
REPORT = "report"
SOURCES = (
    "mccvae_core.py",
    "data/*.py",
    "notebooks/*.ipynb",
    "notebooks/support/**/*.*",
    "notebooks/templates/**/*.*",
    "README.md",
)


def main(arguments: list[str]) -> None:
    """Does not return."""
    name, *options = arguments
    given = options_of(options)
    from_records = name == REPORT
    name = PUBLISHED if from_records else name
    os.chdir(ROOT)
    if without_cores(options):
        sys.exit(_stop("no step can run without a core; give --cores 1 or more, or leave it out for all"))
    if reserved := given & set(OURS):
        sys.exit(_stop(f"{min(reserved)} is this project's own; a profile of your own goes into notebooks/profiles"))
    try:
        profile = read_profile(name)
        folder = profile.folder
        if profile.source == "own":
            own.read_arrays(OUTPUTS / name / IMAGES)
        elif not options and set(profile.experiments) & set(runs.COMPARING):  # with options perhaps a target alone
            runs.compared(profile)
        shows = bool(given & set(SHOWS))  # touches nothing
        lock = None if shows else take(folder, wait=1)
        for part in (part for sub in SWEPT for part in ([] if shows else (folder / sub).glob(".*.part*"))):
            part.unlink(missing_ok=True)
    except (SettingsError, DataError, HeldError) as error:
        sys.exit(_stop(str(error)))
    except OSError as error:
        sys.exit(
            _stop(f"{error.filename or 'outputs'} can't be written ({error.strerror}); get the right to, and run again")
        )
    if unusable := _no_folder(ROOT / ".snakemake"):
        sys.exit(_stop(unusable))
    if not shows:
        os.set_inheritable(lock.fileno(), True)
        if late := _from_the_future(folder):
            sys.exit(_stop(late))
    clustered, dry = given & {"--profile", "--workflow-profile", "--executor"}, "--dry-run" in given
    settings = [f'profile="{name}"', *["from_records=true"] * from_records]
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        "Snakefile",
        "--config",
        *settings,
        "--nolock",
        "--quiet",
        "rules" if shows else "all",
    ]
    command += cluster.options(profile) if clustered else ["--cores", "all"]
    if from_records:
        command += ["--forceall"]
        os.environ["MCCVAE_DOWNLOAD"] = "never"
    command += [
        "--rerun-incomplete",
        *options,
    ]  # targets may come first in options, so nothing that takes several values last
    for why in [] if shows or from_records else runs.sweep(profile):
        print(plain(f"run_all.sh: {why}"), file=sys.stderr, flush=True)
    if shows:
        sys.exit(_shown(command, plan=bool(clustered and dry)))
    os.execvp(command[0], command)


def _no_folder(path: Path) -> str | None:
    """Why Snakemake can't keep its notes there, None where it can."""
    if path.is_dir():
        return None if os.access(path, os.W_OK) else f"{path} can't be written; get the right to, and run again"
    if path.exists() or path.is_symlink():
        return f"{path} is no folder, and Snakemake keeps its notes there; delete it, and run again"
    return None


def _shown(command: list[str], plan: bool) -> int:
    """Run Snakemake where it only shows something; its exit status. It works in a folder of links, since it makes some
    of its own beside the graph even then. plan: shows what would be asked of a cluster."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="mccvae-") as name:
        stage = Path(name)
        _link(ROOT, stage, without=(".snakemake", ".git", ".venv"))
        if (ROOT / ".snakemake").is_dir():
            (stage / ".snakemake").mkdir()
            _link(ROOT / ".snakemake", stage / ".snakemake", without=("log", "iocache", "locks"))
        os.environ |= {"XDG_CACHE_HOME": f"{name}/.cache", "PYTHONDONTWRITEBYTECODE": "1"}
        return _plan(command, stage) if plan else subprocess.run(command, cwd=stage).returncode


def _link(folder: Path, to: Path, without: tuple[str, ...]) -> None:
    """The folders in a folder as links, its files as copies of the same age: a link has an age of its own."""
    for path in folder.iterdir():
        if path.is_dir() and path.name not in without:
            (to / path.name).symlink_to(path)
        elif path.is_file():
            shutil.copy2(path, to / path.name)


def _from_the_future(folder: Path) -> str | None:
    """What to say where a file from which something is made is newer than this machine's clock; Snakemake would delete
    what is made of it."""
    files = [*(path for pattern in SOURCES for path in ROOT.glob(pattern)), *folder.rglob("*.*")]
    late = sorted(path for path in files if path.is_file() and path.stat().st_mtime > time.time() + 1)
    if not late:
        return None
    names = [str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path) for path in late]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"{', '.join(names[:3])}{more}: changed later than now ({time.strftime('%Y-%m-%d %H:%M')}), "
        "as by another machine's clock, so that what is "
        f"made of it would count as old and be deleted. Set the clock right, or: touch {' '.join(names)}"
    )


def _plan(command: list[str], folder: Path) -> int:
    """Shows what a dry run in a folder would ask of a cluster; its exit status."""
    words = [part for part in command if part not in ("--quiet", "rules")]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    print(cluster.plan(done.stdout + done.stderr) if done.returncode == 0 else done.stderr)
    return done.returncode


def _stop(why: str) -> int:
    print(plain(f"run_all.sh: {why}"), file=sys.stderr)
    return 3


if __name__ == "__main__":
    main(sys.argv[1:])
