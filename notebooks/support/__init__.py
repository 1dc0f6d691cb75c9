"""What the notebooks share and the tests can reach: settings, run folders, tables, figures. The method is in mccvae_core.py."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # a notebook's kernel starts in notebooks/; the core and the data sets lie one folder up
    sys.path.insert(0, str(ROOT))
