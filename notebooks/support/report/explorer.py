"""The explorer: a model moved by hand. In the report as data for `templates/report/explorer.js`, in a notebook as
ipywidgets."""

import base64
import copy
import io
import json

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, Markdown, display
from PIL import Image

import mccvae_core as core
from data import TASKS, Dataset, Task
from data.continuous import Unit

from .. import runs
from ..measures import block_effects, blocks
from ..settings import Profile
from ..show import figures
from ..show.markup import escaped, markdown

# standard deviations beyond the prior's means that a slider reaches, as `core.characteristic_range` has it
SPREAD = 2.0
STARTS = 12  # test images to start from


def half_precision(model: core.VAE) -> core.VAE:
    """A copy on the CPU whose encoder's and decoder's weights are rounded to half precision: what the page computes
    with.

    Raises ValueError where a weight is beyond half precision's range."""
    rounded = copy.deepcopy(model).cpu().eval()
    for network in ("encoder", "decoder"):
        for name, weight in getattr(rounded, network).state_dict().items():
            if not (half := weight.half()).isfinite().all():
                raise ValueError(
                    f"{network}.{name} reaches {weight.abs().max():.3g}, beyond half precision's 65504; "
                    "train with a smaller rate"
                )
            weight.copy_(half)
    return rounded


@torch.no_grad()
def style_importance(model: core.VAE, z: torch.Tensor, latents: list[int]) -> list[float]:
    """For each of the latents the mean absolute change of a pixel, in grey levels of 255, over the starts z (N, D),
    when it goes from one end of its slider to the other and all else stays."""
    ends = z.expand(2, *z.shape).clone()
    change = []
    for latent in latents:
        ends[..., latent] = torch.tensor([-SPREAD, SPREAD])[:, None]
        low, high = _decode(model, ends)
        change.append(255 * (high - low).abs().mean().item())
        ends[..., latent] = z[:, latent]
    return change


def _decode(model, z):
    """The image mean of latents z (..., D); of a conditional VAE [z | y] (..., Z + L)."""
    return core.VAE.decode(model, z)


def starts_table(data: Dataset, model: core.MCCVAE) -> pd.DataFrame:
    """Test images to start from, a row each, no picture: start, a name; z1, z2, ..., the posterior's mean by the model
    that the page decodes with."""
    index = figures.examples(data, STARTS)
    z = core.posterior(half_precision(model), data.test.images[index]).loc
    names = [f"test image {i + 1}: {figures.label_text(data, data.test.labels[i])}" for i in index]
    return pd.DataFrame({"start": names} | {f"z{latent}": column for latent, column in enumerate(z.T.tolist(), 1)})


def payload(task: Task, about: dict, starts: pd.DataFrame, model: core.MCCVAE, title: str) -> dict:
    """What the page needs of one model, as JSON takes it; about: `Dataset.summary`, as it stands in the run's record;
    starts: `starts_table`.

    first: the label that is chosen at first, of the paper's first walk. latents: the positions of each label's block;
    choices: of each categorical label the positions of its values. ranges: lower and upper end of each characteristic's
    slider. prior: for the label values 0 and 1 of each label the mean (k_i,) of p(z_c|y) and a factor (k_i, k_i), so
    that mean + factor @ N(0, 1) is a draw of its block; 0 of a value of a categorical label stands for its others.
    classifier: of each label weight (k_i,) and bias of its logit. blocks: `_block` of each label. style: for each
    style latent, the most important first, its position in z and its `style_importance`. numbers: `_number` of each
    label, where one is a number; its values 0 and 1 of `prior` are the ends of its unit. encoder, decoder: their
    layers' weights, base64 of little-endian half floats; the encoder's end in the mean of q(z|x). Raises ValueError for
    a model whose weights half precision can't hold.
    """
    model = half_precision(model)
    config, encoder = model.config, (*model.encoder.features, model.encoder.loc)
    z = torch.tensor(starts.drop(columns="start").to_numpy(), dtype=torch.float32)
    style = list(range(config.characteristic_dim, config.latent_dim))
    importance = style_importance(model, z, style)
    units = [unit and Unit(**unit) for unit in about.get("units", [])]
    walked = [name for _, labels in task.walks.values() for name in labels]
    return {
        "task": task.name,
        "title": task.title,
        "model": title,
        "note": figures.STAND_IN if about["stand_in"] else "",
        "labels": about["labels"],
        "first": next((about["labels"].index(name) for name in walked if name in about["labels"]), 0),
        "exclusive": task.exclusive,
        "latents": [core.block_of(model, label) for label in range(config.labels)],
        "choices": [list(range(columns.start, columns.stop)) for columns, _ in model.categorical],
        "image_shape": list(config.image_shape),
        "sigmoids": 2 if config.likelihood == "bernoulli-two-sigmoids" else 1,
        "ranges": [
            sorted(core.characteristic_range(model, latent, SPREAD)) for latent in range(config.characteristic_dim)
        ],
        "style_range": [-SPREAD, SPREAD],
        "style": sorted(zip(style, importance, strict=True), key=lambda pair: -pair[1]),
        "prior": [[_prior(model, label, value, units) for label in range(config.labels)] for value in (0, 1)],
        "blocks": [_block(model, label, z) for label in range(config.labels)],
        "classifier": [_classifier(model, label) for label in range(config.labels)],
        "starts": [{"name": name, "z": row} for name, row in zip(starts["start"], z.tolist(), strict=True)],
        "encoder": [_layer(layer) for layer in encoder if hasattr(layer, "weight")],
        "decoder": [_layer(layer) for layer in model.decoder.layers if hasattr(layer, "weight")],
    } | ({"numbers": [unit and _number(unit) for unit in units]} if units else {})


def _number(unit: Unit) -> dict:
    """The ends of a number's unit: low and high, standardised; first and last, the same in the user's unit; digits
    behind the point, None for four in all."""
    low, high = unit.ends
    ends = {"low": low, "high": high, "first": unit.undone(low), "last": unit.undone(high)}
    return ends | {"digits": unit.places}


@torch.no_grad()
def _prior(model, label, value, units):
    """Mean (k_i,) of p(z_c^i|y_i) at the value, of a number at that end of its unit, and its factor (k_i, k_i)."""
    block = core.block_of(model, label)
    if model.values_of(label) is not None:
        own = blocks.block_coordinates(model, label)
        factor = torch.linalg.cholesky(own.covariances[value])
        return {"mean": own.means[value].tolist(), "factor": factor.tolist()}
    unit = units[label] if units else None
    prior = model.conditional_prior(torch.full_like(model.label_prior, unit.ends[value] if unit else float(value)))
    factor = prior.scale.diag()
    if (whitening := model.prior_whitening(value)) is not None:
        factor = factor @ torch.linalg.inv(whitening)
    return {"mean": prior.loc[block].tolist(), "factor": factor[block][:, block].tolist()}


def _classifier(model, label):
    """Weight (k_i,) and bias of a label's logit; of a categorical label's value, of its softmax's."""
    block = core.block_of(model, label)
    weight = model.classifier_weight if model.values_of(label) is None else model.value_weight[:, label]
    return {"weight": weight[block].tolist(), "bias": model.classifier_bias[label].item()}


def _block(model, label, z):
    """A label's block along its classifier's direction and across it, as `blocks.BlockCoordinates` has it: a block is
    origin (k,) + axes (k, k) @ h, and h = read (k, k) @ (block - origin). The first of h goes along, the others across,
    those that change most pixels at the starts z (N, Z) first. logit: weight (k,) and bias of what it is shaded by."""
    own = block_effects.order_across(model, blocks.block_coordinates(model, label), z)
    axes = torch.cat([own.along[:, None], own.across], dim=1)
    logit = {"weight": own.weight.tolist(), "bias": own.bias}
    return {"origin": own.mean.tolist(), "axes": axes.tolist(), "read": torch.linalg.inv(axes).tolist(), "logit": logit}


def _layer(layer):
    """A linear layer (out, in), a convolution (out, in, 4, 4) or a transposed one (in, out, 4, 4), of stride 2 and
    padding 1."""
    pack = lambda tensor: base64.b64encode(tensor.detach().numpy().astype("<f2").tobytes()).decode()  # noqa: E731
    more = {"output_padding": layer.output_padding[0]} if isinstance(layer, torch.nn.ConvTranspose2d) else {}
    return {"shape": list(layer.weight.shape), "weight": pack(layer.weight), "bias": pack(layer.bias)} | more


def section(content: dict) -> str:
    """A payload as the HTML that explorer.js finds in the page; elsewhere it shows a sentence."""
    about = f"{content['title']}, {content['model']}" + (f" ({content['note']})" if content["note"] else "")
    text = json.dumps(content).replace("<", "\\u003c")  # nothing in it ends the script
    task = escaped(content["task"])
    return (
        f'<section class="explorer" data-task="{task}" aria-label="Explorer: {escaped(about)}">'
        f'<a class="skip" href="#after-explorer-{task}">Past this explorer</a><h3>{escaped(about)}</h3>'
        '<p class="explorer-closed">The sliders are in the report\'s page, opened in a browser with scripts.</p>'
        f'<script type="application/json">{text}</script></section>'
        f'<span id="after-explorer-{task}" tabindex="-1"></span>'
    )


def chosen(trained: list[runs.Run]) -> list[runs.Run]:
    """The run to explore of each task: its first model of base `mccvae`, else its first with characteristics, at its
    lowest seed."""
    runs_of = {task: [run for run in trained if run.record["task"] == task and run.spec.has_blocks] for task in TASKS}
    shown = []
    for mine in filter(None, runs_of.values()):
        model = next((run for run in mine if run.spec.base == "mccvae"), mine[0]).record["model"]
        shown.append(min((run for run in mine if run.record["model"] == model), key=lambda run: run.record["seed"]))
    return shown


def display_explorer(profile: Profile, trained: list[runs.Run]) -> None:
    """The explorer of each task that has a model with characteristics; where none has, the report says so."""
    data, shown = runs.Datasets(profile), chosen(trained)
    for run in shown:
        task, model = run.record["task"], run.model()
        starts = run.scores("starts", lambda task=task, model=model: starts_table(data[task], model))
        title = f"{run.spec.title}, seed {run.record['seed']}, {run.epoch_of_weights()} epochs"
        content = payload(TASKS[task], run.record["data"], starts, model, title)
        display(HTML(section(content)))
    if not shown:
        display(Markdown(f"*The profile {markdown(profile.profile)} has no CCVAE or MCCVAE to explore.*"))


def _handles(data, model, z):
    """What can be moved of latents z (N, D): (group, name, position, lower end, upper end), labels first, then style by
    importance."""
    config, moved = model.config, []
    own = config.characteristic_dim if isinstance(model, core.MCCVAE) else 0
    for label, name in enumerate(data.labels if own else ()):
        block = core.block_of(model, label)
        moved += [
            (name, f"characteristic {j + 1}", latent, *sorted(core.characteristic_range(model, latent)))
            for j, latent in enumerate(block)
        ]
    if isinstance(model, core.ConditionalVAE):
        moved += [("labels", name, config.latent_dim + label, 0.0, 1.0) for label, name in enumerate(data.labels)]
    style = list(range(own, config.latent_dim))
    order = np.argsort(-np.array(style_importance(model, z, style)), kind="stable")
    return moved + [("style", f"style {style[i] - own + 1}", style[i], -SPREAD, SPREAD) for i in order]


@torch.no_grad()
def widget(model: core.VAE, data: Dataset):
    """The same for a notebook: an ipywidgets box of a picture and sliders, which starts at a test image. A VAE has
    style sliders alone, a conditional VAE its labels beside them."""
    import ipywidgets

    model = copy.deepcopy(model).cpu().eval()
    index = figures.examples(data, STARTS)
    z = core.posterior(model, data.test.images[index]).loc
    if isinstance(model, core.ConditionalVAE):
        z = torch.cat([z, data.test.labels[index].float()], 1)
    start = ipywidgets.Dropdown(description="test image", options=[(str(i + 1), n) for n, i in enumerate(index)])
    picture, said, sliders, groups = ipywidgets.Image(width=256, height=256), ipywidgets.HTML(), {}, {}
    for group, name, latent, low, high in _handles(data, model, z):
        low, high = min(low, z[:, latent].min().item()), max(high, z[:, latent].max().item())
        sliders[latent] = ipywidgets.FloatSlider(
            z[0, latent].item(), description=name, min=low, max=high, step=(high - low) / 100,
            style={"description_width": "initial"}, layout=ipywidgets.Layout(width="28rem"),  # names whole
        )  # fmt: skip
        groups.setdefault(group, []).append(sliders[latent])

    @torch.no_grad()
    def draw(_=None):
        moved = torch.tensor([[sliders[latent].value for latent in range(z.shape[1])]])
        picture.value = _png(_decode(model, moved)[0])
        if isinstance(model, core.MCCVAE):
            read = model.read_labels(model.split(moved)[0])[0].tolist()
            units = [data.unit(i) for i in range(len(data.labels))]
            texts = [u.text(u.undone(p)) if u else f"{p:.0%}" for u, p in zip(units, read, strict=True)]
            said.value = "<br>".join(f"{escaped(name)}: {text}" for name, text in zip(data.labels, texts, strict=True))

    def begin(_=None):  # all sliders first, then one picture
        for latent, slider in sliders.items():
            slider.unobserve(draw, "value")
            slider.value = z[start.value, latent].item()
            slider.observe(draw, "value")
        draw()

    for slider in sliders.values():
        slider.observe(draw, "value")
    start.observe(begin, "value")
    draw()
    folds = ipywidgets.Accordion(
        [ipywidgets.VBox(group) for group in groups.values()], titles=tuple(groups), selected_index=0
    )
    return ipywidgets.HBox([ipywidgets.VBox([start, picture, said]), folds])


def _png(image):
    """An image (channels, H, W) in [0, 1] as the bytes of a PNG."""
    buffer = io.BytesIO()
    grey = (255 * image).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(grey.squeeze(-1) if grey.shape[-1] == 1 else grey).save(buffer, "PNG")
    return buffer.getvalue()
