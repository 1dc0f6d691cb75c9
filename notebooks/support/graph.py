"""`python notebooks/support/graph.py PROFILE [snakemake options]`: become Snakemake on a profile's graph, alone on its outputs.

`report` for the profile makes everything but the runs of the published profile anew, from their records; nothing is trained or downloaded.

The lock of outputs/<profile> goes with this process: killed in whatever way, it is free again, and what was half-written is
swept when the next one takes it. Exits with 3, saying why, where the profile or its outputs can't be used.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks")]

from data.files import HeldError, take  # noqa: E402
from support import PUBLISHED, cluster, runs  # noqa: E402
from support.settings import SettingsError, read_profile  # noqa: E402

SWEPT = ("tables", "figures", "notebooks")
REPORT = "report"


def main(arguments: list[str]) -> None:
    """Does not return."""
    name, *options = arguments
    from_records = name == REPORT
    name = PUBLISHED if from_records else name
    os.chdir(ROOT)
    try:
        profile = read_profile(name)
        folder = profile.folder
        lock = take(folder, wait=1)
        for part in (part for sub in SWEPT for part in (folder / sub).glob(".*.part*")):
            part.unlink(missing_ok=True)
    except (SettingsError, HeldError) as error:
        sys.exit(_stop(str(error)))
    except OSError as error:
        sys.exit(_stop(f"{error.filename or 'outputs'} can't be written ({error.strerror}); get the right to, and run again"))
    os.set_inheritable(lock.fileno(), True)
    given = {option.split("=")[0] for option in options}
    clustered, dry = given & {"--profile", "--workflow-profile", "--executor", "-e"}, given & {"--dry-run", "-n"}
    if reserved := given & {"--config", "-C", "--configfile", "--configfiles", "--snakefile", "-s", "--directory", "-d"}:
        sys.exit(_stop(f"{min(reserved)} is this project's own; a profile of your own goes into notebooks/profiles"))
    settings = [f"profile={name}", *["from_records=true"] * from_records]
    command = ["snakemake", "--snakefile", "Snakefile", "--config", *settings, "--nolock", "--quiet", "rules" if dry else "all"]
    command += cluster.options(profile) if clustered else ["--cores", "all"]
    if from_records:
        command += ["--forceall"]
        os.environ["MCCVAE_DOWNLOAD"] = "never"
    command += ["--rerun-incomplete", *options]  # targets may come first in options, so nothing that takes several values last
    for why in [] if dry or from_records else runs.sweep(profile):
        print(f"run_all.sh: {why}", file=sys.stderr, flush=True)
    if clustered and dry:
        sys.exit(_plan(command))
    os.execvp(command[0], command)


def _plan(command: list[str]) -> int:
    """Shows what a dry run would ask of a cluster; its exit status."""
    done = subprocess.run([part for part in command if part not in ("--quiet", "rules")], capture_output=True, text=True)
    print(cluster.plan(done.stdout + done.stderr) if done.returncode == 0 else done.stderr)
    return done.returncode


def _stop(why: str) -> int:
    print(f"run_all.sh: {why}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    main(sys.argv[1:])
