"""The explorer in a real browser: its pictures are PyTorch's, every control does what it says, by mouse and by
keyboard; and its widget."""

import base64
import dataclasses
import io
import json

import nbformat
import numpy as np
import pytest
import torch
from conftest import page_of, without_browser
from PIL import Image
from support import settings
from support.commands import page
from support.measures import block_effects, blocks
from support.report import explorer

import mccvae_core as core
from data import TASKS, Dataset
from data.common import Split

SHAPES = {  # image_shape, characteristics, style latents, exclusive, block prior, likelihood
    "faces": ((3, 64, 64), (2,) * 18, 45, False, "diagonal", "laplace"),
    "chests": ((1, 60, 60), (2, 2, 2), 7, True, "diagonal", "bernoulli"),
    "single": ((1, 64, 64), (1,) * 4, 5, True, "diagonal", "bernoulli-two-sigmoids"),
    "unequal": ((3, 60, 60), (2, 1, 3), 3, False, "full", "laplace"),
}
GREY_LEVELS = 2
STEP_MS = 100  # of a step, which decodes the latents and encodes the picture
CLOSE = 1e-3  # of what is encoded, as a share of its largest value


def random_model(shape, characteristics, style, block_prior, likelihood, seed=0):
    """An MCCVAE whose pictures use the whole range of grey, whose labels depend on all their characteristics."""
    config = core.ModelConfig(shape, characteristics, style, likelihood, 0.5, start_std=1.0, block_prior=block_prior)
    model = core.build_model("MCCVAE", config, seed).eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in model.decoder.layers:
            if hasattr(layer, "weight"):
                layer.weight.mul_(2.2)
        model.classifier_bias.normal_()
        model.prior_raw_scale.normal_()
        if block_prior == "full":
            model.prior_lower.normal_()
    return model


def random_data(name, shape, labels, exclusive):
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (14, *shape), generator=rng, dtype=torch.uint8)
    y = torch.arange(14) % labels
    y = (
        torch.nn.functional.one_hot(y, labels).to(torch.uint8)
        if exclusive
        else torch.randint(0, 2, (14, labels), generator=rng)
    )
    split = Split(images, y, np.array([f"{i}.png" for i in range(14)]))
    names = tuple(f"label {i + 1} <b>" for i in range(labels))
    task = dataclasses.replace(
        TASKS["celeba"], name=name, title=f"Random {name}", labels=names, exclusive=exclusive, image_shape=shape
    )
    return Dataset(task, "embedded", True, names, "random", split, split, split, "0" * 64)


def payload(data, model, title):
    return explorer.payload(data.task, data.summary(), explorer.starts_table(data, model), model, title)


@pytest.fixture(scope="module")
def models():
    return {name: random_model(shape, k, style, *more) for name, (shape, k, style, _, *more) in SHAPES.items()}


@pytest.fixture(scope="module")
def datasets():
    return {name: random_data(name, shape, len(k), exclusive) for name, (shape, k, _, exclusive, *_) in SHAPES.items()}


@pytest.fixture(scope="module")
def page_file(models, datasets, tmp_path_factory):
    """A report of four explorers, made as the report is made."""
    folder = tmp_path_factory.mktemp("page")
    html = [explorer.section(payload(datasets[name], models[name], "MCCVAE, seed 0")) for name in SHAPES]
    cell = nbformat.v4.new_code_cell("report.explorers(settings, trained)")
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": text}) for text in html]
    return page_of(folder, [nbformat.v4.new_markdown_cell("# A report\n\n## Explorer"), cell])


@pytest.fixture(scope="module")
def shared(open_page, page_file):
    """One tab for the tests of this file: opening four explorers anew for each would take most of the time."""
    tab = open_page(page_file, viewport={"width": 1400, "height": 900})
    tab.evaluate("Object.values(window.explorers).forEach((explorer) => explorer.open())")
    yield tab
    assert not tab.errors and all(url.startswith(("file:", "data:")) for url in tab.requests)
    tab.context.close()


@pytest.fixture
def tab(shared):
    """The tab with every explorer at its first label and start."""
    shared.bring_to_front()
    again = "e.open().choose(0); e.open().begin(0); e.open().draw();"
    shared.evaluate(f"Object.values(window.explorers).forEach((e) => {{ {again} }})")
    return shared


def test_on_paper_there_is_no_explorer(shared):
    shown = shared.locator(".explorer:visible")
    assert shown.count() == len(SHAPES)
    shared.emulate_media(media="print")
    assert shown.count() == 0
    shared.emulate_media(media="screen")
    assert shown.count() == len(SHAPES)


def test_the_label_of_the_paper_s_first_walk_is_chosen_at_first(models, datasets):
    name = next(iter(SHAPES))
    data, walks = datasets[name], {9: ("two", {"label 2 <b>": 1}), 10: ("one", {"label 1 <b>": 1})}
    walked = dataclasses.replace(data, task=dataclasses.replace(data.task, walks=walks))
    assert payload(walked, models[name], "MCCVAE")["first"] == 1
    assert payload(data, models[name], "MCCVAE")["first"] == 0  # its walks are of labels that it lacks


SHOWN = """(task) => { // the canvas as base64, every label's probability in percent by latents and by the picture
  const part = document.querySelector(`[data-task="${task}"]`), canvas = part.querySelector(".explorer-now canvas");
  const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const percents = (kind) => [...part.querySelectorAll(kind)].map((node) => parseInt(node.textContent));
  return [btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")), percents(".explorer-chance"),
    percents(".explorer-read")];
}"""


def pixels(text):
    """The canvas (H, W, 3) from its base64."""
    flat = np.frombuffer(base64.b64decode(text), np.uint8)
    side = int((len(flat) / 4) ** 0.5)
    return flat.reshape(side, side, 4)[..., :3].astype(float)


def latents(tab, task):
    """z after the next frame, by when the page has taken a step."""
    script = "(task) => new Promise((done) => requestAnimationFrame(() => done([...window.explorers[task].open().z])))"
    return np.array(tab.evaluate(script, task))


def state(tab, task):
    """z, the canvas (H, W, 3) and every label's probability in percent, after the next frame."""
    z, (text, chances, _) = latents(tab, task), tab.evaluate(SHOWN, task)
    return z, pixels(text), chances


def section(tab, task):
    return tab.locator(f'section[data-task="{task}"]')


# --- the page -------------------------------------------------------------------------------------------------


def test_the_page_opens_without_a_network_and_makes_an_explorer_when_it_comes_near(open_page, page_file):
    tab = open_page(page_file, viewport={"width": 1400, "height": 600})
    section(tab, "faces").locator("canvas").first.wait_for()
    assert section(tab, "unequal").locator("canvas").count() == 0
    section(tab, "unequal").locator("button", has_text="Open the explorer").focus()
    section(tab, "unequal").locator("canvas").first.wait_for()
    assert tab.evaluate("document.activeElement.closest('section').dataset.task") == "unequal"
    assert not tab.errors and tab.requests == [page_file.as_uri()]
    tab.context.close()


def test_without_scripts_the_page_says_where_the_sliders_are(open_page, page_file):
    tab = open_page(page_file, java_script_enabled=False)
    assert "in a browser with scripts" in section(tab, "faces").inner_text()
    tab.context.close()


def test_the_script_holds_nothing_that_jinja_reads():
    for name in ("explorer.js", "explorer.css"):
        text = (page.TEMPLATES / "report" / name).read_text()
        assert not any(bracket in text for bracket in ("{{", "{%", "{#")) and "</script" not in text


@pytest.mark.parametrize("task", SHAPES)
def test_the_picture_is_pytorchs_within_two_grey_levels(tab, models, task):
    model, rng = models[task], torch.Generator().manual_seed(2)
    z = 1.5 * torch.randn(20, model.config.latent_dim, generator=rng)
    script = (
        f"([task, rows]) => rows.map((z) => {{ const e = window.explorers[task].open(); "
        f"e.move(z); e.draw(); return ({SHOWN})(task); }})"
    )
    pictures, chances, read = zip(*tab.evaluate(script, [task, z.tolist()]), strict=True)
    shown, largest = np.stack([pixels(text) for text in pictures]), {}
    for kind, reference in (("half", explorer.half_precision(model)), ("full", model)):
        with torch.no_grad():
            wanted = 255 * reference.decode(z).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
            p = 100 * model.label_logits(model.split(z)[0]).sigmoid().numpy()
        # pictures that could differ
        assert np.ptp(wanted) > (50 if model.config.likelihood == "bernoulli-two-sigmoids" else 150)
        largest[kind] = np.abs(shown - wanted).max()
    with torch.no_grad():
        half = explorer.half_precision(model)
        again = 100 * block_effects.own_reading(half)(half.decode(z)).numpy()
    print(
        f"{task}: largest difference in grey levels, to half precision {largest['half']:.2f}, "
        f"to full precision {largest['full']:.2f}"
    )
    assert largest["half"] <= 0.51 and largest["full"] <= GREY_LEVELS  # a canvas holds whole levels
    assert np.abs(p - np.array(chances)).max() <= 0.51
    assert np.abs(again - np.array(read)).max() <= 0.6  # a whole per cent
    assert task == "single" or np.ptp(again) > 5


@pytest.mark.parametrize("task", SHAPES)
def test_what_is_encoded_in_the_page_is_what_the_core_encodes(tab, models, datasets, task):
    images = core.to_images(datasets[task].test.images)
    script = "([task, rows]) => rows.map((x) => [...window.explorers[task].open().encode(Float32Array.from(x))])"
    flat = images.permute(0, 2, 3, 1).flatten(1).tolist()
    encoded = np.array(tab.evaluate(script, [task, flat]))
    with torch.no_grad():
        half = explorer.half_precision(models[task]).encode(images).loc.numpy()
        full = models[task].encode(images).loc.numpy()
    away = [np.abs(encoded - wanted).max() / np.abs(wanted).max() for wanted in (half, full)]
    print(f"{task}: encoded, away from half precision {away[0]:.1e}, from full precision {away[1]:.1e}")
    assert away[0] < 1e-5 and away[1] < CLOSE


def test_a_step_takes_at_most_a_hundred_milliseconds(tab):
    metrics = tab.context.new_cdp_session(tab)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})

    def seconds():  # of the page's thread: what other programs take meanwhile does not count
        return next(m["value"] for m in metrics.send("Performance.getMetrics")["metrics"] if m["name"] == "ThreadTime")

    steps, before = 60, seconds()
    tab.evaluate(
        """(steps) => { const e = window.explorers.faces.open();
          for (let i = 0; i < steps; i++) { e.z[i] += 0.1; e.draw(); } }""",
        steps,
    )
    took = 1000 * (seconds() - before) / steps
    print(f"a step: {took:.1f} ms")
    assert took <= STEP_MS


@pytest.mark.parametrize("task", SHAPES)
def test_every_slider_changes_the_picture_and_its_own_labels_probability_alone(tab, models, task):
    model = models[task]
    owner = model.owner.tolist() + [None] * model.config.style_dim
    moved = tab.evaluate(
        """(task) => { const e = window.explorers[task].open(), about = [];
          for (const input of document.querySelectorAll(`[data-task="${task}"] input[data-latent]`)) {
            e.move(e.start.z); e.draw();
            const before = [...e.z], chances = e.chances(), pixels = e.nowPixels;
            input.value = input.valueAsNumber > 100 ? 0 : 200;
            input.dispatchEvent(new Event("input")); e.draw();
            about.push([Number(input.dataset.latent), before.flatMap((v, i) => v === e.z[i] ? [] : [i]),
              e.chances().flatMap((p, i) => p === chances[i] ? [] : [i]),
              Math.max(...pixels.map((v, i) => Math.abs(v - e.nowPixels[i])))]);
          } return about; }""",
        task,
    )
    assert sorted(latent for latent, *_ in moved) == list(range(model.config.latent_dim))
    for latent, changed, labels, levels in moved:
        assert changed == [latent] and labels == ([] if owner[latent] is None else [owner[latent]]) and levels > 1


def ends_of(tab, task):
    """Lower and upper end of each single latent's slider."""
    script = """(task) => window.explorers[task].open().sliders.filter(({ handle }) => handle.latent !== false)
      .map(({ handle }) => [handle.latent, handle.ends])"""
    return dict(tab.evaluate(script, task))


@pytest.mark.parametrize("task", SHAPES)
def test_along_moves_the_label_as_the_block_says_and_across_leaves_it(tab, models, datasets, task):
    model, z = models[task], torch.tensor(latents(tab, task))
    starts = torch.tensor([s["z"] for s in payload(datasets[task], model, "MCCVAE")["starts"]])
    half = explorer.half_precision(model)
    script = """([task, label, j]) => { const e = window.explorers[task].open(), z = e.start.z.slice();
      const own = e.sliders.map(({ handle }) => handle).filter((handle) => handle.latent === false);
      const handle = own.filter(({ latents }) => latents[0] === e.blocks[label][0])[j];
      handle.set(z, 1.5); return [[...z], handle.get(z), handle.name, handle.range]; }"""
    for label, k in enumerate(model.config.characteristics):
        own = block_effects.order_across(half, blocks.block_coordinates(half, label), starts)
        block = list(own.latents)
        a, r = own.decompose(z[block])
        marks = own.decompose(own.means)[0].tolist()
        for j in range(k):
            moved, value, name, (low, high) = tab.evaluate(script, [task, label, j])
            moved, kept = torch.tensor(moved), np.delete(np.arange(len(z)), block)
            now, rest = own.decompose(moved[block])
            assert value == pytest.approx(1.5) and torch.equal(moved[kept], z[kept])
            if j == 0:
                assert name == "along" and now.item() == pytest.approx(1.5, abs=1e-5)
                assert torch.allclose(rest, r, atol=1e-5)
                assert [low, high] == pytest.approx([min(marks) - 2, max(marks) + 2], abs=1e-5)
            else:
                assert name.startswith("across") and now.item() == pytest.approx(a.item(), abs=1e-5)
                assert own.across_coordinates(rest)[j - 1].item() == pytest.approx(1.5, abs=1e-5)
                assert own.logit(moved[block]).item() == pytest.approx(own.logit(z[block]).item(), abs=1e-5)


def test_sliders_reach_over_the_conditional_prior_and_further_where_the_start_lies_outside(tab, models):
    model = models["faces"]
    ends = ends_of(tab, "faces")
    z = latents(tab, "faces")
    for latent in range(model.config.latent_dim):
        characteristic = latent < model.config.characteristic_dim
        low, high = sorted(core.characteristic_range(model, latent)) if characteristic else (-2, 2)
        assert ends[latent] == pytest.approx([min(low, z[latent]), max(high, z[latent])], abs=1e-5)


def test_style_sliders_come_by_importance(tab, models, datasets):
    first = (
        section(tab, "faces")
        .locator(".explorer-style input[type=range]")
        .evaluate_all("(all) => all.map((i) => +i.dataset.latent)")
    )
    content = payload(datasets["faces"], models["faces"], "MCCVAE")
    assert first == [latent for latent, _ in content["style"]]
    changes = [change for _, change in content["style"]]
    assert changes == sorted(changes, reverse=True) and len(set(changes)) == 45
    z = torch.tensor([start["z"] for start in content["starts"]])
    low, high = z.clone(), z.clone()
    low[:, first[0]], high[:, first[0]] = -2, 2
    with torch.no_grad():
        half = explorer.half_precision(models["faces"])
        change = (half.decode(high) - half.decode(low)).abs().mean().item() * 255
    assert change == pytest.approx(changes[0], rel=1e-4)


@pytest.fixture
def single(tab):
    """The tab with the chests' single latents to be moved."""
    box = section(tab, "chests").get_by_label("single latents")
    box.check()
    yield tab
    box.uncheck()


def test_the_pad_moves_both_latents_by_mouse_and_by_keys(single):
    tab = single
    pad = section(tab, "chests").locator(".explorer-pad:visible")
    assert pad.get_attribute("aria-label") == "label 1 <b>: latent 1 to the right, latent 2 up"
    before, picture, _ = state(tab, "chests")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    at = (8 + 0.25 * 120) / (120 + 2 * 8)  # a quarter from the left and from the top inside the rim
    tab.mouse.move(box["x"] + at * box["width"], box["y"] + at * box["height"])
    tab.mouse.down()
    tab.mouse.up()
    after, moved, _ = state(tab, "chests")
    ends = ends_of(tab, "chests")
    shares = [(after[i] - ends[i][0]) / (ends[i][1] - ends[i][0]) for i in (0, 1)]
    assert (
        shares == pytest.approx([0.25, 0.75], abs=0.02)
        and np.array_equal(before[2:], after[2:])
        and (moved != picture).any()
    )
    pad.focus()
    for key, latent, sign in (
        ("ArrowLeft", 0, -1),
        ("ArrowRight", 0, 1),
        ("ArrowUp", 1, 1),
        ("Shift+ArrowDown", 1, -1),
    ):
        tab.keyboard.press(key)
        z = latents(tab, "chests")
        assert np.sign(z - after)[latent] == sign and (z != after).sum() == 1, key
        after = z
    assert pad.get_attribute("aria-valuetext") == " and ".join(f"{v:.2f}".replace("-", "−") for v in after[:2])


def test_the_pad_goes_along_to_the_right_and_across_upwards(tab):
    pad = section(tab, "chests").locator(".explorer-pad:visible")
    assert pad.get_attribute("aria-label") == "label 1 <b>: along to the right, across up"
    script = "window.explorers.chests.open().chances()[0]"
    before = tab.evaluate(script)
    pad.focus()
    tab.keyboard.press("Shift+ArrowUp")
    assert tab.evaluate(script) == pytest.approx(before, abs=1e-9)
    tab.keyboard.press("Shift+ArrowRight")
    assert tab.evaluate(script) > before + 0.01


def test_a_label_is_chosen_from_the_list_or_from_its_row(tab):
    part = section(tab, "faces")
    assert part.locator("fieldset:visible legend").all_inner_texts() == ["label 1 <b>"]
    part.get_by_label("Label to move").select_option(index=6)
    assert part.locator("fieldset:visible legend").all_inner_texts() == ["label 7 <b>"]
    row = part.get_by_role("button", name="label 18 <b>", exact=True)
    row.click()
    assert part.locator("fieldset:visible legend").all_inner_texts() == ["label 18 <b>"]
    assert row.get_attribute("aria-pressed") == "true" and part.locator("tr button[aria-pressed=true]").count() == 1
    assert part.get_by_label("Label to move").evaluate("(select) => select.selectedIndex") == 17


def test_reset_of_a_label_and_of_all(tab):
    start, picture, chances = state(tab, "chests")
    tab.evaluate("() => { const e = window.explorers.chests.open(); e.move(e.z.map((v) => v + 0.5)); }")
    moved = latents(tab, "chests")
    section(tab, "chests").get_by_label("Label to move").select_option(index=1)
    section(tab, "chests").get_by_role("button", name="Reset label 2 <b>").click()
    z = latents(tab, "chests")
    assert np.array_equal(z[2:4], start[2:4]) and np.array_equal(np.delete(z, [2, 3]), np.delete(moved, [2, 3]))
    section(tab, "chests").get_by_role("button", name="Reset all").click()
    z, again, same = state(tab, "chests")
    assert np.array_equal(z, start) and np.array_equal(again, picture) and same == chances


def test_swap_takes_one_labels_characteristics_from_the_other_image(tab, models):
    start = latents(tab, "unequal")
    section(tab, "unequal").get_by_label("Swap with").select_option(index=3)
    other = np.array(tab.evaluate("[...window.explorers.unequal.open().starts[3].z]"))
    section(tab, "unequal").get_by_label("Label to move").select_option(index=2)
    section(tab, "unequal").get_by_role("button", name="Swap label 3 <b> with the other image").click()
    z = latents(tab, "unequal")
    wanted, _ = core.swap_characteristics(models["unequal"], torch.tensor(start), torch.tensor(other), [2])
    assert np.array_equal(z, wanted.numpy()) and not np.array_equal(start[3:6], other[3:6])


@pytest.mark.parametrize("task", ["chests", "unequal"])
def test_a_sample_has_the_conditional_priors_mean_and_covariance(tab, models, task):
    model = models[task]
    if task == "chests":
        section(tab, task).get_by_label("Sample with").select_option(index=1)
        y = torch.tensor([[0.0, 1.0, 0.0]])
    else:
        section(tab, task).locator("summary", has_text="Labels of the sample").click()
        section(tab, task).get_by_role("checkbox").nth(2).check()
        y = torch.tensor([[0.0, 0.0, 1.0]])
    section(tab, task).get_by_role("button", name="New sample").click()
    chosen = section(tab, task).get_by_label("Start from").evaluate("(select) => select.selectedOptions[0].textContent")
    assert chosen == f"sample 1: label {2 if task == 'chests' else 3} <b>"
    draws = tab.evaluate(
        "(task) => Array.from({ length: 4000 }, () => [...window.explorers[task].open().drawSample().z])", task
    )
    draws = torch.tensor(draws)
    own, style = model.split(draws)
    prior = model.conditional_prior(y)
    whitening = model.prior_whitening(0), model.prior_whitening(1)
    assert torch.allclose(own.mean(0), prior.loc[0], atol=0.2 * prior.scale.max().item())
    factor = torch.diag(prior.scale[0])
    if whitening[0] is not None:
        rows = model.owner  # each block by its own label's value
        white = torch.where((y[0][rows] > 0.5)[:, None], whitening[1], whitening[0])
        factor = factor @ torch.linalg.inv(white)
    covariance = factor @ factor.T
    scale = covariance.diag().sqrt()
    assert torch.allclose(own.T.cov() / scale / scale[:, None], covariance / scale / scale[:, None], atol=0.12)
    assert abs(style.mean().item()) < 0.06 and style.std().item() == pytest.approx(1, abs=0.05)


# --- a picture of one's own -----------------------------------------------------------------------------------


def read_file(tab, task, content, name="mine.png"):
    part = section(tab, task)
    part.locator(".explorer-own").evaluate("(details) => { details.open = true; }")
    part.get_by_label("A picture file").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


@pytest.mark.parametrize(("task", "size"), [("faces", (64, 64)), ("chests", (60, 60)), ("chests", (217, 150))])
def test_a_picture_file_is_encoded_as_the_core_would(tab, models, task, size):
    rng = np.random.default_rng(3)
    colours = np.kron(rng.integers(0, 256, (10, 10, 3)), np.ones((30, 30, 1))).astype(np.uint8)
    picture = Image.fromarray(colours).resize(size)
    content = io.BytesIO()
    picture.save(content, "PNG")
    read_file(tab, task, content.getvalue())
    section(tab, task).locator(".explorer-status", has_text="Read your picture mine.png: label").wait_for()
    channels, side, _ = models[task].config.image_shape
    wanted = picture.convert("RGB" if channels == 3 else "L").resize((side, side), Image.BILINEAR)
    given = np.array(tab.evaluate("(task) => [...window.explorers[task].open().start.given]", task))
    assert np.abs(255 * given - np.asarray(wanted, float).ravel()).max() <= 1.01  # Pillow rounds on its way
    image = torch.tensor(given, dtype=torch.float32).reshape(1, side, side, channels).permute(0, 3, 1, 2)
    with torch.no_grad():
        code = models[task].encode(image).loc[0].numpy()
    z = latents(tab, task)
    assert np.abs(z - code).max() < CLOSE * np.abs(code).max()
    assert section(tab, task).locator(".explorer-yours canvas").is_visible()
    tab.evaluate("(task) => window.explorers[task].open().begin(0)", task)
    assert not section(tab, task).locator(".explorer-yours canvas").is_visible()


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(tab):
    before = latents(tab, "chests")
    read_file(tab, "chests", b"no picture", "notes.txt")
    section(tab, "chests").locator(".explorer-status", has_text="notes.txt can't be read as a picture.").wait_for()
    assert np.array_equal(latents(tab, "chests"), before)


def test_a_drawing_is_encoded_and_can_go_over_the_picture(tab):
    part = section(tab, "chests")
    part.locator(".explorer-own").evaluate("(details) => { details.open = true; }")
    paper = part.get_by_role("img", name="The drawing")
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    tab.mouse.move(box["x"] + 40, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] - 40, box["y"] + box["height"] / 2, steps=4)
    tab.mouse.up()
    part.get_by_role("button", name="Read the drawing").click()
    given = np.array(tab.evaluate("[...window.explorers.chests.open().start.given]")).reshape(60, 60)
    assert given[30, 30] == 1 and given[5].max() == 0 and given[30, 1] == 0
    tab.evaluate("window.explorers.chests.open().begin(0)")
    now = tab.evaluate("[...window.explorers.chests.open().nowPixels]")
    part.get_by_role("button", name="Draw over the picture").click()
    part.get_by_role("button", name="Read the drawing").click()
    given = 255 * np.array(tab.evaluate("[...window.explorers.chests.open().start.given]"))
    assert np.abs(given - now).mean() < 10  # the field is no whole multiple of 60 pixels
    part.get_by_role("button", name="Clear").click()
    part.get_by_role("button", name="Read the drawing").click()
    assert not np.any(tab.evaluate("[...window.explorers.chests.open().start.given]"))


def test_the_picture_is_saved_as_it_is_shown(tab):
    _, shown, _ = state(tab, "unequal")
    with tab.expect_download() as download:
        section(tab, "unequal").get_by_role("button", name="Save picture").click()
    assert download.value.suggested_filename == "unequal.png"
    saved = Image.open(download.value.path())
    assert saved.size == (480, 480) and np.array_equal(np.asarray(saved.convert("RGB"))[::8, ::8], shown)


def test_a_skip_link_leads_past_an_explorer(tab):
    tab.evaluate("window.explorers.chests.open().startSelect.focus()")
    link = section(tab, "chests").get_by_role("link", name="Past this explorer")
    link.focus()
    assert link.bounding_box()["x"] >= 0
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('section')?.dataset.task") == "single"


def test_the_vector_is_copied_or_stands_in_a_field(open_page, page_file):
    for allowed in (True, False):
        tab = open_page(page_file)
        if allowed:
            tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        else:
            tab.add_init_script("navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))")
            tab.reload()
        tab.evaluate("window.explorers.chests.open()")
        section(tab, "chests").get_by_role("button", name="Copy vector").click()
        section(tab, "chests").locator(
            ".explorer-status", has_text="copied" if allowed else "stands in a field"
        ).wait_for()
        field = section(tab, "chests").get_by_label("The vector, to copy")
        text = tab.evaluate("navigator.clipboard.readText()") if allowed else field.input_value()
        assert field.is_visible() != allowed
        z = latents(tab, "chests")
        assert json.loads(text) == pytest.approx(z.tolist(), abs=1e-6)
        tab.context.close()


def test_the_difference_is_shown_and_the_change_is_told_once_it_rests(tab):
    part = section(tab, "chests")
    button = part.get_by_role("button", name="Difference")
    button.click()
    assert part.locator(".explorer-start figcaption").inner_text() == "difference, white: 0"
    slider = part.locator("fieldset input[type=range]:visible").first
    slider.focus()
    for _ in range(3):
        tab.keyboard.press("PageUp")
        tab.keyboard.press("PageDown")
    tab.keyboard.press("Home")
    part.locator(".explorer-status", has_text="label 1 <b> by its latents from").wait_for()
    said = part.locator(".explorer-status").inner_text()
    assert said.startswith("label 1 <b> by its latents from ") and "label 2 <b> by its" not in said
    assert "0.0 grey" not in said
    assert (
        button.get_attribute("aria-pressed") == "true"
        and "white: 0" not in part.locator(".explorer-start figcaption").inner_text()
    )
    button.click()
    assert part.locator(".explorer-start figcaption").inner_text() == "start"


def test_everything_can_be_done_with_the_keyboard_alone(open_page, page_file):
    tab = open_page(page_file, viewport={"width": 1400, "height": 900})
    reached, done = [], {}
    tab.evaluate("window.explorers.chests.open()")
    tab.evaluate("window.explorers.chests.open().startSelect.focus()")
    while tab.evaluate("document.activeElement.closest('section')?.dataset.task") == "chests" and len(reached) < 80:
        what = tab.evaluate(
            "(document.activeElement.getAttribute('aria-label') ?? "
            "document.activeElement.labels?.[0]?.textContent ?? "
            "document.activeElement.textContent).trim()"
        )
        before = latents(tab, "chests")
        kind = tab.evaluate("document.activeElement.type ?? document.activeElement.tagName")
        if kind in ("range", "svg") and what != "Width of the pen":
            tab.keyboard.press("ArrowRight")
            if np.array_equal(latents(tab, "chests"), before):
                tab.keyboard.press("ArrowLeft")  # it stood at its end
            done[what] = not np.array_equal(latents(tab, "chests"), before)
        elif kind == "SUMMARY":
            tab.keyboard.press("Enter")
        elif what == "label 3 <b>":
            chosen = tab.evaluate("window.explorers.chests.open().label")
            tab.keyboard.press("Enter")
            done[what] = (chosen, tab.evaluate("window.explorers.chests.open().label")) == (0, 2)
        reached.append(what)
        tab.keyboard.press("Tab")
    assert all(done.values()) and len(done) >= 3 + 2
    for name in (
        "Start from",
        "Swap with",
        "Sample with",
        "New sample",
        "Reset all",
        "Difference",
        "Copy vector",
        "Save picture",
        "A picture file",
        "Read the drawing",
        "Label to move",
        "single latents",
        "Reset label 1 <b>",
        "Swap label 1 <b> with the other image",
    ):
        assert name in reached, (name, reached)
    assert sum(what.startswith("style") for what in reached) == 7
    tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(open_page, page_file, scheme):
    from axe_playwright_python.sync_playwright import Axe

    tab = open_page(page_file, color_scheme=scheme, reduced_motion="reduce", viewport={"width": 1400, "height": 900})
    tab.evaluate("Object.values(window.explorers).forEach((explorer) => explorer.open())")
    tab.evaluate("document.querySelectorAll('.explorer details').forEach((details) => { details.open = true; })")
    section(tab, "chests").get_by_role("button", name="Difference").click()
    found = Axe().run(tab).response
    assert not found["violations"], [
        (v["id"], v["nodes"][0]["html"][:200], v["nodes"][0].get("failureSummary")) for v in found["violations"]
    ]
    assert len(found["passes"]) > 20
    tab.context.close()


def test_nothing_overflows_at_360_pixels_and_the_picture_stays_in_sight(open_page, page_file):
    tab = open_page(page_file, viewport={"width": 360, "height": 700})
    tab.evaluate("Object.values(window.explorers).forEach((explorer) => explorer.open())")
    tab.evaluate("document.querySelectorAll('.explorer details').forEach((details) => { details.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    for task in SHAPES:
        section(tab, task).get_by_role("button", name="Reset label 1 <b>").scroll_into_view_if_needed()
        box = section(tab, task).locator(".explorer-now canvas").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] < 350, task
    tab.context.close()


def test_without_a_browser_tests_are_skipped_but_fail_where_continuous_integration_runs(monkeypatch):
    monkeypatch.delenv("MCCVAE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        without_browser()
    monkeypatch.setenv("MCCVAE_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        without_browser()
    assert "export MCCVAE_BROWSER=required" in (page.TEMPLATES.parents[1] / ".ci" / "run").read_text()


# --- in Python ------------------------------------------------------------------------------------------------


def test_a_payload_is_json_without_a_picture_and_refuses_what_the_page_could_not_show(models, datasets):
    content = payload(datasets["chests"], models["chests"], "MCCVAE")
    again = json.loads(json.dumps(content, allow_nan=False))
    assert set(again["starts"][0]) == {"name", "z"} and len(again["starts"]) == explorer.STARTS
    assert again["starts"][0]["name"].startswith("test image 1: label 1")
    q = core.posterior(explorer.half_precision(models["chests"]), datasets["chests"].test.images[:1])
    assert again["starts"][0]["z"] == pytest.approx(q.loc[0].tolist(), rel=1e-5)
    broken = core.build_model("MCCVAE", models["chests"].config, 0)
    with torch.no_grad():
        broken.decoder.layers[0].weight[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"decoder.layers.0.weight reaches 1e\+05, beyond half precision"):
        payload(datasets["chests"], broken, "MCCVAE")


def test_html_in_names_stays_text(datasets, models):
    content = payload(datasets["chests"], models["chests"], "MCCVAE") | {"title": "<script>alert(1)</script>"}
    assert explorer.section(content).count("<script") == 1


def test_the_first_mccvae_of_each_task_else_the_first_with_characteristics_is_chosen_at_its_lowest_seed():
    def run(task, model, seed):
        return dataclasses.make_dataclass("Run", ["record", "spec"])(
            {"task": task, "model": model, "seed": seed}, settings.ModelSpec.parse(model)
        )

    trained = [
        run("mnist", "ccvae", 0),
        run("mnist", "mccvae", 3),
        run("mnist", "mccvae", 1),
        run("mnist", "mccvae-k3", 0),
        run("celeba", "vae", 0),
        run("celeba", "ccvae_more_style", 2),
        run("celeba", "ccvae_more_style", 1),
        run("celeba", "ccvae", 0),
        run("chest_xray", "cvae", 0),
    ]
    assert explorer.chosen(trained) == [trained[6], trained[2]]


@pytest.mark.parametrize("kind", ["VAE", "ConditionalVAE", "MCCVAE"])
def test_the_widget_moves_a_model_of_every_kind(models, datasets, kind):
    import ipywidgets

    config = models["chests"].config
    model = models["chests"] if kind == "MCCVAE" else core.build_model(kind, config, 0)
    box = explorer.widget(model, datasets["chests"])
    (start, picture, said), folds = box.children[0].children, box.children[1]
    sliders = [slider for group in folds.children for slider in group.children]
    assert len(sliders) == config.latent_dim + (config.labels if kind == "ConditionalVAE" else 0)
    assert all(slider.style.description_width == "initial" for slider in sliders)  # a latent's whole name
    assert folds.titles[0] == {"VAE": "style", "ConditionalVAE": "labels", "MCCVAE": "label 1 <b>"}[
        kind
    ] and isinstance(start, ipywidgets.Dropdown)
    before, text = picture.value, said.value
    sliders[0].value = sliders[0].max if sliders[0].value < sliders[0].max else sliders[0].min
    assert (
        bytes(before).startswith(b"\x89PNG") and picture.value != before and (said.value != text) == (kind == "MCCVAE")
    )
    start.value = 2
    third = picture.value
    start.value = 0
    assert picture.value == before and third != before


def test_a_categorical_label_s_values_sum_to_one_move_and_are_drawn(open_page, tmp_path):
    kinds, prior = ("categorical", "binary"), ((0.2, 0.3, 0.5), 0.5)
    config = core.ModelConfig((1, 60, 60), (4, 1), 3, "bernoulli", prior, label_kinds=kinds)
    model = core.build_model("MCCVAE", config, 0).eval()
    with torch.no_grad():
        model.value_loc.mul_(4)
    data = random_data("classes", (1, 60, 60), 4, exclusive=False)
    cell = nbformat.v4.new_code_cell("report.explorers(settings, trained)")
    html = explorer.section(payload(data, model, "MCCVAE, seed 0"))
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": html})]
    tab = open_page(page_of(tmp_path, [nbformat.v4.new_markdown_cell("# A report\n\n## Explorer"), cell]))
    z = tab.evaluate("() => { const e = window.explorers.classes.open(); return [...e.z]; }")
    said = tab.evaluate("() => window.explorers.classes.open().chances()")
    assert said == pytest.approx(model.read_labels(model.split(torch.tensor(z))[0]).tolist(), abs=1e-5)
    assert sum(said[:3]) == pytest.approx(1)
    along = """(label) => { const e = window.explorers.classes.open(), z = e.start.z.slice();
      e.panels[label].ways[0].pad.all[0].set(z, 1.5); return [...z]; }"""
    for label in range(3):  # towards a value and away from the others
        own = blocks.block_coordinates(model, label)
        _, r = own.decompose(torch.tensor(z)[:4])
        now, rest = own.decompose(torch.tensor(tab.evaluate(along, label))[:4])
        assert now.item() == pytest.approx(1.5, abs=1e-5) and torch.allclose(rest, r, atol=1e-5)
        assert own.logit(own.compose(torch.tensor(1.5), r)) > own.logit(own.compose(torch.tensor(0.5), r))
    draw = """(wanted) => { const e = window.explorers.classes.open(); e.wanted = () => [...wanted];
      return Array.from({ length: 200 }, () => [...e.drawSample().z]); }"""
    for label in (0, 2):
        drawn = torch.tensor(tab.evaluate(draw, [int(i == label) for i in range(4)]))
        torch.testing.assert_close(drawn[:, :4].mean(0), model.value_loc[label, :4].detach(), atol=0.5, rtol=0)
    anything = torch.tensor(tab.evaluate(draw, [0, 0, 0, 1]))[:, :4]
    nearest = torch.cdist(anything, model.value_loc[:3, :4].detach()).argmin(1)
    assert set(nearest.tolist()) == {0, 1, 2}
    assert not tab.errors
    tab.context.close()
