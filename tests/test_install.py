"""`pip install .` gives the core, and nothing else, to whoever imports it elsewhere."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from support import ROOT


def test_the_installed_core_is_imported_from_anywhere(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "mccvae_core.py"):
        shutil.copy(ROOT / name, source)
    for name in ("data", "notebooks", "tests"):  # which setuptools must not take for packages
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    build = "from setuptools import build_meta; build_meta.build_wheel('..')"  # what pip calls; offline
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("mccvae-*.whl"))) as wheel:
        assert [name for name in wheel.namelist() if ".dist-info/" not in name] == ["mccvae_core.py"]
        wheel.extractall(tmp_path / "site")
    seen = subprocess.run(
        [sys.executable, "-c", "import mccvae_core; print(mccvae_core.__file__)"],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert seen.stdout.strip() == str(tmp_path / "site" / "mccvae_core.py"), seen.stderr
