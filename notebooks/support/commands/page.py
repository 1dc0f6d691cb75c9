"""`python notebooks/support/commands/page.py NOTEBOOK PAGE`: an executed notebook as one self-contained HTML page,
whole or not at all.

The page's own scripts are those of SCRIPTS, and those of INLINE, which stand in a cell's output so that they run in
Jupyter too. Its Content-Security-Policy lets no other run."""

import os
import sys
from html.parser import HTMLParser
from pathlib import Path

sys.modules["rfc3987_syntax"] = None  # jsonschema does without: its grammar takes three quarters of nbconvert's import
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nbconvert import HTMLExporter  # noqa: E402
from nbconvert.preprocessors import Preprocessor  # noqa: E402

from support.show import markup  # noqa: E402

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
SCRIPTS = ("page.js", "explorer.js")
INLINE = ("instrument.js",)


class Absent(Preprocessor):
    """Leaves out a cell that has nothing but `report.absent` to show, and the text before it, up to a heading."""

    def preprocess(self, nb, resources):
        kept = []
        for cell in nb.cells:
            outputs = cell.get("outputs", [])
            if outputs and all(output.get("metadata", {}).get("absent") for output in outputs):
                text = True
                while text and kept and kept[-1].cell_type == "markdown":
                    text = not kept.pop().source.startswith("#")
            else:
                kept.append(cell)
        nb.cells = kept
        return nb, resources


class Folded(Preprocessor):
    """Marks the first and the last of the cells that have one `fold` in their metadata: the title that hides them."""

    def preprocess(self, nb, resources):
        titles = [None, *(cell.metadata.get("fold") for cell in nb.cells), None]
        for before, cell, after in zip(titles, nb.cells, titles[2:], strict=False):
            title = cell.metadata.get("fold")
            cell.metadata["fold_begins"] = title is not None and title != before
            cell.metadata["fold_ends"] = title is not None and title != after
        return nb, resources


class Words(HTMLParser):
    """Counts a page's words, but for contents and code: `folded` those seen while all is folded, `unfolded` all."""

    UNSEEN = frozenset(("script", "style", "head", "nav", "math", "svg", ".code", ".skip", ".anchor-link"))

    def __init__(self, page: str):
        super().__init__()
        self.folded = self.unfolded = 0
        self.open: list[tuple[str, bool]] = []  # (tag, whether it is seen) around the place that is read
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag in ("meta", "link", "img", "br", "hr", "input", "col", "source", "wbr"):
            return
        names = {tag, *(f".{name}" for name in (dict(attributes).get("class") or "").split())}
        self.open.append((tag, not names & self.UNSEEN))

    def handle_endtag(self, tag):
        while any(tag == name for name, _ in self.open) and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if all(seen for _, seen in self.open):
            tags, words = [tag for tag, _ in self.open], len(data.split())
            self.unfolded += words
            self.folded += words if "details" not in tags or "summary" in tags else 0


def _read(names: tuple[str, ...]) -> list[str]:
    return [(TEMPLATES / "report" / name).read_text(encoding="utf-8") for name in names]


def main(notebook: Path, page: Path) -> int:
    exporter = HTMLExporter(template_name="report", extra_template_basedirs=[str(TEMPLATES)])
    for preprocessor in (Absent, Folded):
        exporter.register_preprocessor(preprocessor, enabled=True)
    scripts, inline = map(_read, (SCRIPTS, INLINE))
    resources = {"scripts": scripts, "policy": markup.policy(scripts + inline)}
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
