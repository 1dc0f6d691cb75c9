"""A page in a real browser: contents that follow, code folded, tables as CSV, figures large; on a telephone, in the dark, on paper."""

import nbformat
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from support import figures, page, report, schemes, tables

TABLE = pd.DataFrame(
    {"task": ["MNIST", "Chest, X-ray"], "model": ["CCVAE", 'the "other"'], "loss, nats": [1.5, float("nan")], "PSNR": ["21.9 ± 0.1", "–"]}
)
CSV = 'task,model,"loss, nats",PSNR\nMNIST,CCVAE,1.500,21.9 ± 0.1\n"Chest, X-ray","the ""other""",–,–\n'


def displayed(monkeypatch, module, call):
    """What a call shows, as a notebook's outputs."""
    outputs = []

    def display(value, raw=False, metadata=None):
        data = value if raw else {"text/html": value.data} if hasattr(value, "_repr_html_") else {"text/markdown": value.data}
        outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata or {}))

    monkeypatch.setattr(module, "display", display)
    call()
    return outputs


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page of three long sections: a table with notes, a figure, a scheme."""
    folder, cells = tmp_path_factory.mktemp("page"), [nbformat.v4.new_markdown_cell("# A page\n\nWhat was asked.")]
    long = "\n\n".join(["A paragraph that takes its place. " * 12] * 12)
    note = lambda task, model: '<sup><a href="#source-1" aria-label="source 1">1</a></sup>'  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        table = displayed(patch, tables, lambda: tables.display_table(TABLE, "Table 1", stand_in=True, note=note, csv="tables/t.csv"))
        fig = figures.plt.figure(figsize=(12, 3))
        fig.add_subplot().plot([1, 2], [3, 4])
        picture = displayed(patch, figures, lambda: figures.show(fig, "Figure 9", "A line that rises from three to four"))
        scheme = displayed(patch, schemes, lambda: schemes.display_scheme(5))
    sources = nbformat.v4.new_output("display_data", {"text/html": '<ol class="sources"><li id="source-1">MNIST, data</li></ol>'})
    for title, outputs in (("## Tables", table), ("# Results", picture), ("## Schemes", scheme), ("## Sources", [sources])):
        cells += [nbformat.v4.new_markdown_cell(f"{title}\n\n{long}"), nbformat.v4.new_code_cell("print(1)", outputs=outputs)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "page.ipynb")
    assert page.main(folder / "page.ipynb", folder / "page.html") == 0
    return folder / "page.html"


@pytest.fixture(scope="module")
def tab(open_page, page_file):
    tab = open_page(page_file, viewport={"width": 1400, "height": 800})
    yield tab
    assert not tab.errors and all(url.startswith(("file:", "data:")) for url in tab.requests)


def test_contents_mark_the_section_that_is_read(tab):
    assert tab.locator("nav a").all_inner_texts() == ["Tables", "Results", "Schemes", "Sources"]
    for title in ("Results", "Schemes", "Tables"):
        tab.get_by_role("link", name=title, exact=True).click()
        tab.wait_for_function("(title) => document.querySelector('nav [aria-current]')?.textContent === title", arg=title)
        assert tab.locator("nav [aria-current]").count() == 1


def test_code_is_folded_away_until_asked_for(tab):
    button = tab.get_by_role("button", name="Show code")
    assert not tab.locator("details.code").first.is_visible()
    button.click()
    assert tab.locator("details.code pre").first.is_visible() and tab.locator("#code-button").get_attribute("aria-expanded") == "true"
    tab.get_by_role("button", name="Hide code").click()
    assert not tab.locator("details.code").first.is_visible()


def test_a_table_is_copied_as_csv_without_its_notes(tab):
    tab.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    tab.get_by_role("button", name="Copy as CSV: Table 1 (stand-in data)").click()
    tab.locator('[role="status"]', has_text="Copied: Table 1").wait_for(state="attached")
    assert tab.evaluate("window.copied") == CSV
    assert tab.locator("caption a").get_attribute("href") == "tables/t.csv"


@pytest.mark.parametrize("alt", ["A line that rises", "Figure 5."])
def test_a_figure_opens_large_by_keyboard_and_gives_the_focus_back(tab, alt):
    opener = tab.locator(f'button.open:has(img[alt^="{alt}"])')
    opener.focus()
    tab.keyboard.press("Enter")
    dialog = tab.locator("dialog.large")
    assert dialog.is_visible() and dialog.locator("img").get_attribute("alt").startswith(alt)
    assert dialog.locator("img").bounding_box()["width"] >= opener.locator("img").bounding_box()["width"]
    tab.keyboard.press("Escape")
    assert not dialog.is_visible() and opener.evaluate("(button) => button === document.activeElement")


def test_a_note_leads_to_its_source(tab):
    tab.locator("td sup a").first.click()
    assert tab.url.endswith("#source-1") and tab.locator("#source-1").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(tab, scheme):
    tab.emulate_media(color_scheme=scheme)
    results = Axe().run(tab)
    assert results.violations_count == 0, results.generate_report()
    background, text = tab.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    assert (max(map(int, background[4:-1].split(","))) < 64) == (scheme == "dark") == (min(map(int, text[4:-1].split(","))) > 200)
    tab.emulate_media(color_scheme="light")


def test_on_a_telephone_nothing_is_wider_than_the_page_and_contents_are_closed(open_page, page_file):
    tab = open_page(page_file, viewport={"width": 360, "height": 740})
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= 360
    assert not tab.locator("nav ol").is_visible()
    tab.get_by_text("Contents").click()
    assert tab.locator("nav ol").is_visible()


def test_on_paper_there_is_the_text_alone(tab):
    tab.emulate_media(media="print")
    assert not tab.locator("nav").is_visible() and not tab.locator("button.copy").first.is_visible()
    assert tab.get_by_role("heading", name="A page").is_visible() and tab.locator("table").is_visible()
    tab.emulate_media(media="screen")


def test_without_scripts_all_of_it_is_there_to_read(open_page, page_file):
    tab = open_page(page_file, java_script_enabled=False)
    assert tab.locator("table").is_visible() and tab.locator("main img").count() == 2 and tab.locator("nav li").count() == 4
    assert tab.locator("details.code").first.is_visible()


def test_the_pages_script_holds_nothing_that_jinja_reads():
    text = (page.TEMPLATES / "report" / "page.js").read_text()
    assert not any(bracket in text for bracket in ("{{", "{%", "{#")) and "</script" not in text


def test_a_section_with_nothing_to_show_is_not_on_the_page(tmp_path, monkeypatch):
    gone = displayed(monkeypatch, report, lambda: report.absent("The profile x has no experiment y."))
    here = [nbformat.v4.new_output("stream", text="a result")]
    cells = [nbformat.v4.new_markdown_cell("# A page"), nbformat.v4.new_code_cell("settings()")]
    for title, outputs in (("## Kept", here), ("## Left out", gone), ("## Kept too", here)):
        cells += [nbformat.v4.new_markdown_cell(title), nbformat.v4.new_code_cell("show()", outputs=outputs)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "page.ipynb")
    assert page.main(tmp_path / "page.ipynb", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text()
    assert "Left out" not in text and "no experiment" not in text and text.count("Kept too") == 2 and text.count("a result") == 2


def test_a_report_counts_its_sources_from_one():
    assert report.Sources([]).numbers == {} and report.Sources([]).note("MNIST", "CCVAE") == ""
