"""`python notebooks/support/page.py NOTEBOOK PAGE`: an executed notebook as one self-contained HTML page, whole or not at all."""

import sys
from pathlib import Path

from nbconvert import HTMLExporter

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def main(notebook: Path, page: Path) -> int:
    exporter = HTMLExporter(template_name="report", extra_template_basedirs=[str(TEMPLATES)])
    html, _ = exporter.from_filename(str(notebook))
    try:
        page.write_text(html, encoding="utf-8")
        return 0
    except OSError as error:
        page.unlink(missing_ok=True)
        print(f"\nFAILED: {page} was not written\n  {error.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
