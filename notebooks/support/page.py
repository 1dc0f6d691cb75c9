"""`python notebooks/support/page.py NOTEBOOK PAGE`: an executed notebook as one self-contained HTML page, whole or not at all.

The page's own scripts are those of SCRIPTS; its Content-Security-Policy lets no other run.
"""

import os
import sys
from pathlib import Path

from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support import markup

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
SCRIPTS = ("page.js", "explorer.js")


class Absent(Preprocessor):
    """Leaves out a cell that has nothing but `report.absent` to show, and the text before it, its section's heading."""

    def preprocess(self, nb, resources):
        kept = []
        for cell in nb.cells:
            outputs = cell.get("outputs", [])
            if outputs and all(output.get("metadata", {}).get("absent") for output in outputs):
                kept.pop()
            else:
                kept.append(cell)
        nb.cells = kept
        return nb, resources


def main(notebook: Path, page: Path) -> int:
    exporter = HTMLExporter(template_name="report", extra_template_basedirs=[str(TEMPLATES)])
    exporter.register_preprocessor(Absent, enabled=True)
    scripts = [(TEMPLATES / "report" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    resources = {"scripts": scripts, "policy": markup.policy(scripts)}
    html, _ = exporter.from_filename(str(notebook), resources=resources)
    part = page.with_name(f".{page.name}.{os.getpid()}.part")
    try:
        part.write_text(html, encoding="utf-8", errors="backslashreplace")
        os.replace(part, page)
        return 0
    except OSError as error:
        page.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        print(f"\nFAILED: {page} was not written\n  {error.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
