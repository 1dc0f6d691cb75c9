"""A page in a real browser: contents that follow, code folded, tables as CSV, figures large; on a telephone, in the
dark, on paper."""

import dataclasses

import nbformat
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import page_of
from support.commands import page
from support.report import explorer, provenance, report, schemes
from support.show import figures, markup, tables

import mccvae_core as core
from data import TASKS

TABLE = pd.DataFrame(
    {
        "task": ["MNIST", "Chest, X-ray"],
        "model": ["CCVAE", 'the "other"'],
        "loss, nats": [1.5, float("nan")],
        "PSNR": ["21.9 ± 0.1", "–"],
    }
)
CSV = 'task,model,"loss, nats",PSNR\nMNIST,CCVAE,1.500,21.9 ± 0.1\n"Chest, X-ray","the ""other""",–,–\n'


def displayed(monkeypatch, module, call):
    """What a call shows, as a notebook's outputs."""
    outputs = []

    def display(value, raw=False, metadata=None):
        data = (
            value
            if raw
            else {"text/html": value.data}
            if hasattr(value, "_repr_html_")
            else {"text/markdown": value.data}
        )
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
        table = displayed(
            patch, tables, lambda: tables.display_table(TABLE, "Table 1", stand_in=True, note=note, csv="tables/t.csv")
        )
        fig = figures.plt.figure(figsize=(12, 3))
        fig.add_subplot().plot([1, 2], [3, 4])
        picture = displayed(
            patch, figures, lambda: figures.show(fig, "Figure 9", "A line that rises from three to four")
        )
        scheme = displayed(patch, schemes, lambda: schemes.display_scheme(5))
    sources = nbformat.v4.new_output(
        "display_data", {"text/html": '<ol class="sources"><li id="source-1">MNIST, data</li></ol>'}
    )
    for title, outputs in (
        ("## Tables", table),
        ("# Results", picture),
        ("## Schemes", scheme),
        ("## Sources", [sources]),
    ):
        cells += [
            nbformat.v4.new_markdown_cell(f"{title}\n\n{long}"),
            nbformat.v4.new_code_cell("print(1)", outputs=outputs),
        ]
    return page_of(folder, cells)


@pytest.fixture(scope="module")
def tab(open_page, page_file):
    tab = open_page(page_file, viewport={"width": 1400, "height": 800})
    yield tab
    assert not tab.errors and all(url.startswith(("file:", "data:")) for url in tab.requests)


def test_contents_mark_the_section_that_is_read(tab):
    assert tab.locator("nav a").all_inner_texts() == ["Tables", "Results", "Schemes", "Sources"]
    for title in ("Results", "Schemes", "Tables"):
        tab.get_by_role("link", name=title, exact=True).click()
        tab.wait_for_function(
            "(title) => document.querySelector('nav [aria-current]')?.textContent === title", arg=title
        )
        assert tab.locator("nav [aria-current]").count() == 1


def test_code_is_folded_away_until_asked_for(tab):
    button = tab.get_by_role("button", name="Show code")
    assert not tab.locator("details.code").first.is_visible()
    button.click()
    assert (
        tab.locator("details.code pre").first.is_visible()
        and tab.locator("#code-button").get_attribute("aria-expanded") == "true"
    )
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
    background, text = tab.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (
        (max(map(int, background[4:-1].split(","))) < 64)
        == (scheme == "dark")
        == (min(map(int, text[4:-1].split(","))) > 200)
    )
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
    assert (
        tab.locator("table").is_visible()
        and tab.locator("main img").count() == 2
        and tab.locator("nav li").count() == 4
    )
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
    text = page_of(tmp_path, cells).read_text()
    assert (
        "Left out" not in text
        and "no experiment" not in text
        and text.count("Kept too") == 2
        and text.count("a result") == 2
    )


def test_a_fold_with_nothing_to_show_takes_its_text_along_and_no_other_heading(tmp_path, monkeypatch):
    gone = displayed(monkeypatch, report, lambda: report.absent("No experiment."))
    fold = {"fold": "A fold"}
    cells = [nbformat.v4.new_markdown_cell("# A page"), nbformat.v4.new_code_cell("first()")]
    cells += [nbformat.v4.new_markdown_cell("## Gone"), nbformat.v4.new_code_cell("claims()", outputs=gone)]
    cells += [
        nbformat.v4.new_code_cell("kept()", outputs=[], metadata=fold),
        nbformat.v4.new_markdown_cell("## Gone too"),
    ]
    cells += [
        nbformat.v4.new_code_cell("finding()", outputs=gone),
        nbformat.v4.new_markdown_cell("lost", metadata=fold),
    ]
    cells += [nbformat.v4.new_code_cell("tables()", outputs=gone, metadata=fold)]
    text = page_of(tmp_path, cells).read_text()
    assert not any(word in text for word in ("Gone", "lost", "experiment"))
    assert "A page" in text and text.count('<details class="fold">') == 1 and "kept" in text


def test_a_report_counts_its_sources_from_one():
    assert provenance.Sources([]).numbers == {} and provenance.Sources([]).note("MNIST", "CCVAE") == ""


# --- text that is not the project's own ------------------------------------------------------------------------------


HOSTILE = (
    "[go](javascript:document.title=1)",
    "![p](http://127.0.0.1:1/x.png)",
    "<script>document.title = 1</script>",
    '"><img src=http://127.0.0.1:1/y.png onerror=document.title=1>',
    "<svg/onload=document.title=1>",
    "*a* __b__ `c` $d$ ~~e~~ | f | # g &amp; &lt;i&gt; <https://example.org> https://example.org",
    "a\n\n# b\n\n- c\n\n<b>d</b>",
    "Zoë’s 7 % (÷ 2) – “x”",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A page on which hostile labels, class names, findings and records stand wherever such text can stand; the texts
    raw on a second page."""
    folder, outputs = tmp_path_factory.mktemp("hostile"), []
    for text in HOSTILE:
        frame = pd.DataFrame({text: [text], "task": [text], "model": [1.0]}, index=[text])
        with pytest.MonkeyPatch.context() as patch:
            outputs += displayed(
                patch, tables, lambda t=text, f=frame: tables.display_table(f, t, stand_in=True, index=True)
            )
            outputs += displayed(patch, figures, lambda t=text: figures.display_png(PNG, t, t))
            outputs += displayed(patch, report, lambda t=text: _findings(t))
            outputs += displayed(patch, report, lambda t=text: report.display(report.HTML(markup.link("a.csv", t))))
        outputs.append(nbformat.v4.new_output("stream", text=text))
    outputs.append(nbformat.v4.new_output("display_data", {"text/html": explorer.section(_payload())}))
    raw = [
        nbformat.v4.new_output("display_data", {kind: text})
        for text in HOSTILE
        for kind in ("text/markdown", "text/html")
    ]
    for name, shown in (("page", outputs), ("raw", raw)):
        cells = [
            nbformat.v4.new_markdown_cell("# A page"),
            nbformat.v4.new_code_cell(f"profile = {HOSTILE[2]!r}", outputs=shown),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
        assert page.main(folder / f"{name}.ipynb", folder / f"{name}.html") == 0
    return folder


def _payload():
    """An explorer whose labels, starts and titles are hostile."""
    task = dataclasses.replace(TASKS["own"], name=HOSTILE[3], title=HOSTILE[0], labels=HOSTILE)
    config = core.ModelConfig((1, 64, 64), (1, 2) * (len(HOSTILE) // 2), 1, "bernoulli", 0.5)
    starts = pd.DataFrame({"start": HOSTILE} | {f"z{i}": 0.0 for i in range(1, config.latent_dim + 1)})
    about = {"stand_in": True, "labels": list(HOSTILE)}
    return explorer.payload(task, about, starts, core.build_model("MCCVAE", config, 0).eval(), HOSTILE[2])


PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU"
    b"\0\0\0\nIDATx\x9cc`\0\0\0\2\0\1H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82"
)


def _findings(text):
    profile = type("P", (), {"experiments": [text], "profile": text})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "read_finding", lambda *_: text)
        report.Report(profile, []).finding(text)
        report.Report(type("P", (), {"experiments": [], "profile": text}), []).has("x")


def test_text_of_others_stands_as_it_is_and_does_nothing(open_page, hostile):
    tab = open_page(hostile / "page.html")
    tab.locator("section.explorer").scroll_into_view_if_needed()
    tab.locator("section.explorer canvas").first.wait_for()
    assert (
        tab.title() == "A page" and not tab.errors and all(url.startswith(("file:", "data:")) for url in tab.requests)
    )
    assert tab.locator("main a:not(.anchor-link, .skip)").evaluate_all(
        "(links) => links.every((a) => a.getAttribute('href') === 'a.csv')"
    )
    assert (
        tab.locator(
            "main img:not([src^='data:image/png']), main svg:not(.explorer-pad), main "
            ".output_html b, main h1 ~ h1, iframe"
        ).count()
        == 0
    )
    said = tab.locator("main").inner_text()
    for text in HOSTILE:
        plain = markup.one_line(text)
        assert tab.locator("caption", has_text=f"{plain} (stand-in data)").count() >= 1, text
        assert said.count(" ".join(plain.split())) >= 6 or said.count(plain) >= 6, text
        assert text in tab.locator("main img").evaluate_all("(images) => images.map((i) => i.alt)")


def test_where_text_of_others_came_in_raw_the_page_runs_and_loads_nothing_of_it(open_page, hostile):
    tab = open_page(hostile / "raw.html")
    links = tab.locator("main a[href^='javascript:']")
    assert links.count() >= 1  # it did come in
    links.first.evaluate("(a) => { a.style.position = 'fixed'; a.style.top = 0; }")
    links.first.click()
    tab.wait_for_timeout(200)
    assert tab.title() == "A page" and any("Content Security Policy" in error for error in tab.errors)
    images = tab.locator("main img:not([src^='data:'])")
    assert images.count() >= 2 and images.evaluate_all("(images) => images.every((i) => i.naturalWidth === 0)")
    assert not any("127.0.0.1" in url for url in tab.requests if not _blocked(tab, url))


def _blocked(tab, url):
    return any(url in error and "Content Security Policy" in error for error in tab.errors)


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\nscript:x",
        "data:text/html,x",
        "http://a/",
        "//a/b",
        "file:///etc",
    ],
)
def test_links_that_may_run_code_or_lead_elsewhere_are_refused(target):
    with pytest.raises(ValueError, match="a page links to files beside it or to https"):
        markup.link(target, "x")
    assert markup.link("runs/a b.json", "<x>") == '<a href="runs/a b.json">&lt;x&gt;</a>'


# --- what is folded
# -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folded(tmp_path):
    """The file of a page with a section whose two cells are folded together, a link into it, and code everywhere."""
    cells = [nbformat.v4.new_markdown_cell("# A page\n\nSeen at once, with [a link](#source-7) in it")]
    shown = [nbformat.v4.new_output("display_data", {"text/html": '<p id="source-7">two words</p>'})]
    for text, outputs in (("one **two** three", []), (None, shown)):
        make = nbformat.v4.new_markdown_cell if text else nbformat.v4.new_code_cell
        cells.append(
            make(text, metadata={"fold": "More <b>"})
            if text
            else make("1 + 1", outputs=outputs, metadata={"fold": "More <b>"})
        )
    cells += [nbformat.v4.new_markdown_cell("## After"), nbformat.v4.new_code_cell("print(2)")]
    return page_of(tmp_path, cells)


def test_cells_of_one_fold_stand_in_one_details_and_no_details_in_another(folded):
    text = folded.read_text()
    assert text.count('<details class="fold">') == 1 and "<summary>More &lt;b&gt;</summary>" in text
    inside = text.partition('<details class="fold">')[2].partition("</details>")[0]
    assert "<details" not in inside and "three" in inside and "two words" in inside and "After" not in inside


def test_words_are_counted_as_they_are_seen(folded):
    words = page.Words(folded.read_text())
    assert words.folded == 10 + 2 + 1  # "A page … in it", "More <b>", "After"
    assert words.unfolded - words.folded == 3 + 2


def test_a_link_into_what_is_folded_opens_it(open_page, folded):
    tab = open_page(folded, viewport={"width": 800, "height": 600})
    assert not tab.get_by_text("two words").is_visible() and not tab.locator("div.code").is_visible()
    tab.get_by_role("link", name="a link").click()
    assert tab.get_by_text("two words").is_visible() and not tab.locator("div.code").is_visible()
    tab.get_by_role("button", name="Show code").click()
    assert tab.locator("div.code").is_visible() and not tab.errors


def test_the_published_report_is_read_in_ten_minutes():
    text = (page.TEMPLATES.parents[1] / "outputs" / "published" / "report.html").read_text()
    if "details.html" not in text:
        pytest.skip("the published report was made before its tables had a page of their own")
    words = page.Words(text)
    assert words.folded <= 2500 and words.unfolded <= 9000 and len(text) <= 15e6
