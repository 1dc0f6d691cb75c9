"""What the notebooks share and the tests can reach: settings, run folders, tables, figures. The method is in
mccvae_core.py."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ROOT / "notebooks" / "profiles"
OUTPUTS = ROOT / "outputs"
OWN = "own_"  # how a profile of own images begins
IMAGES = "images.npz"  # these images, beside their profile
EXCEL = "csv_excel"  # an empty file beside them: characteristics.csv is to be written for Excel
COMMANDS = ("own", "apply", "draw", "repeat", "check", "report", "test", "lab", "help")  # of run_all.sh
PUBLISHED = "published"  # the profile whose outputs are tracked
DECIDING = "trained_out"  # that whose runs decide the claims; published in a folder of the published one


def profile_file(name: str, profiles: Path = PROFILES) -> Path:
    """Where the settings of a profile stand: those of own images lie with what comes of them."""
    return OUTPUTS / name / "profile.yaml" if name.startswith(OWN) else profiles / f"{name}.yaml"


def why_no_profile(name: str) -> str | None:
    """Why a profile can't have a name, which is a folder's, a word of a command and of the shell; None: it can."""
    if not re.fullmatch(r"\w[\w-]{0,99}", name):
        return "a name is made of letters, digits, _ and -, begins with none of -, and has at most 100 characters"
    if name in COMMANDS:
        return f"{name} is a command of ./run_all.sh"
    return "names with this end are for profiles changed by hand" if name.endswith("-by-hand") else None


def profile_names(profiles: Path = PROFILES) -> tuple[list[str], dict[str, str]]:
    """The profiles that can be given by name, those of own images last; and of the others, by name, why they can't."""
    files = [path for path in sorted(profiles.glob("*.y*ml")) if not path.name.startswith(".")]
    own = sorted(OUTPUTS.glob(f"{OWN}*/profile.yaml"))
    names, left = [], {}
    for path, name in [*((path, path.stem) for path in files), *((path, path.parent.name) for path in own)]:
        why = why_no_profile(name)
        if why is None and not path.is_file():
            why = f"{path.name} is no file"
        elif why is None and path.suffix != ".yaml":
            name, why = path.name, "rename it: a profile's file ends in .yaml"
        elif why is None and path.parent == profiles and name.startswith(OWN):
            why = f"names that begin with {OWN} are for own images, made by ./run_all.sh own"
        if why is None:
            names.append(name)
        else:
            left[name] = why
    return names, left


def runs_below(folder: Path) -> Path:
    """Where the runs of a profile with this folder lie: in it; those of the published one in a folder of their own
    there."""
    return folder / "runs" if folder.name == PUBLISHED else folder


if str(ROOT) not in sys.path:  # a notebook's kernel starts in notebooks/; the core and the data sets lie one folder up
    sys.path.insert(0, str(ROOT))
