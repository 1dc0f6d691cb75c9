"""What the notebooks share and the tests can reach: settings, run folders, tables, figures. The method is in
mccvae_core.py."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ROOT / "notebooks" / "profiles"
OUTPUTS = ROOT / "outputs"
OWN = "own_"  # how a profile of own images begins
IMAGES = "images.npz"  # these images, beside their profile
EXCEL = "csv_excel"  # an empty file beside them: characteristics.csv is to be written for Excel
PUBLISHED = "published"  # the profile whose outputs are tracked
DECIDING = "trained_out"  # that whose runs decide the claims; published in a folder of the published one


def profile_file(name: str, profiles: Path = PROFILES) -> Path:
    """Where the settings of a profile stand: those of own images lie with what comes of them."""
    return OUTPUTS / name / "profile.yaml" if name.startswith(OWN) else profiles / f"{name}.yaml"


def runs_below(folder: Path) -> Path:
    """Where the runs of a profile with this folder lie: in it; those of the published one in a folder of their own
    there."""
    return folder / "runs" if folder.name == PUBLISHED else folder


if str(ROOT) not in sys.path:  # a notebook's kernel starts in notebooks/; the core and the data sets lie one folder up
    sys.path.insert(0, str(ROOT))
