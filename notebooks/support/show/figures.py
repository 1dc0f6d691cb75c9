"""How a figure is shown: with its caption and alt text, saved beside them; pictures in rows, labels' names, colours."""

import base64
import io
import json
import math
import re
from collections.abc import Iterable

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from PIL import Image

from data import Dataset
from data.files import write_atomically

from .. import ROOT
from ..runs import only_looked_at
from ..settings import Profile
from .markup import markdown

# "default" first: the user's own matplotlibrc stays out
plt.style.use(["default", "petroff10", ROOT / "notebooks" / "support" / "show" / "style.mplstyle"])
STAND_IN = "stand-in data"


def caption(text: str, data: Dataset) -> str:
    """A caption that says so where the data are a stand-in."""
    return f"{text} ({STAND_IN})" if data.stand_in else text


def show(fig: Figure, text: str, alt: str, *, profile: Profile | None = None, name: str | None = None) -> None:
    """Display a figure with its caption and alt text; with a profile and a name also save figures/<name>.png and
    .json."""
    png = _small_png(fig)
    plt.close(fig)
    if name is not None and not only_looked_at(profile.folder):
        folder = profile.folder / "figures"
        write_atomically(folder / f"{name}.png", png)
        write_atomically(folder / f"{name}.json", json.dumps({"caption": text, "alt": alt}, indent=1).encode())
    display_png(png, text, alt)


def _small_png(fig: Figure) -> bytes:
    """A figure as a PNG of at most 256 colours: a third of the size, and no pixel further from its colour than can be
    seen."""
    drawn, small = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", metadata={"Software": None})
    image = Image.open(drawn).convert("RGB")
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def display_png(png: bytes, text: str, alt: str) -> None:
    """A picture with its alt text, its caption under it."""
    display(
        {"image/png": base64.b64encode(png).decode(), "text/plain": alt}, raw=True, metadata={"image/png": {"alt": alt}}
    )
    display(Markdown(f"*{markdown(text)}*"))


def display_saved(profile: Profile, name: str) -> None:
    """Display a figure that `show` saved. Raises ValueError where its files are broken."""
    path = profile.folder / "figures" / f"{name}.png"
    try:
        about, png = json.loads(path.with_suffix(".json").read_bytes()), path.read_bytes()
        text, alt = about["caption"], about["alt"]
        plt.imread(io.BytesIO(png))
    except (ValueError, TypeError, KeyError, SyntaxError, OSError) as error:
        raise ValueError(f"{path} or the .json beside it is broken ({error}); delete both and run again") from None
    display_png(png, text, alt)


def picture(ax, image: torch.Tensor, **options) -> None:
    """An image (channels, H, W), without axes."""
    ax.imshow(image.detach().cpu().permute(1, 2, 0).squeeze(-1).numpy(), vmin=0, **({"vmax": 1} | options))
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def sheet(rows: dict[str, torch.Tensor], title: str, columns: list[str] | None = None) -> Figure:
    """Rows of images (N, channels, H, W), each with its name at the left, all in one axes: many take twice as long."""
    count = max(len(images) for images in rows.values())
    channels, height, width = next(iter(rows.values())).shape[1:]
    down, across = height + height // 12, width + width // 12  # from one image to the next
    sheet = torch.ones(channels, down * len(rows) - height // 12, across * count - width // 12)
    for r, images in enumerate(rows.values()):
        for c, image in enumerate(images.detach().cpu()):
            sheet[:, r * down : r * down + height, c * across : c * across + width] = image
    fig, ax = plt.subplots(figsize=(0.95 * count + 1.6, 1.0 * len(rows) + 0.5))
    picture(ax, sheet)
    ax.set_yticks([r * down + height / 2 for r in range(len(rows))], list(rows))
    ax.set_xticks([c * across + width / 2 for c in range(len(columns or []))], columns or [])
    ax.tick_params(length=0, labelsize="medium", top=False, labeltop=True, labelbottom=False)
    fig.suptitle(title)
    return fig


def label_text(data: Dataset, y: torch.Tensor) -> str:
    """The names of the labels that are 1, numbers with their value, and with a question mark those that are not
    known."""
    marks, said = {0: None, 1: ""}, []
    for i, (name, value) in enumerate(zip(data.labels, y.tolist(), strict=True)):
        unit = data.unit(i)
        number = unit is not None and not math.isnan(value)
        said.append((name, f" {unit.text(unit.undone(value))}" if number else marks.get(value, "?")))
    return ", ".join(name + mark for name, mark in said if mark is not None) or "none"


def examples(data: Dataset, count: int = 8) -> list[int]:
    """Positions in the test part: classes by turns where labels exclude each other, else the first images."""
    if not data.task.exclusive:
        return list(range(min(count, len(data.test))))
    classes = data.test.labels.argmax(1)
    turn = torch.stack([(classes[:i] == c).sum() for i, c in enumerate(classes)])  # how many of its class came before
    return sorted(range(len(classes)), key=lambda i: (int(turn[i]), int(classes[i])))[:count]


def colours(tasks: Iterable[str], titles: Iterable[str]) -> dict[str, str]:
    """Model's title -> its colour, the same in every figure: the paper's models have the cycle's first, others follow
    in their order. Of two tasks' models that differ only in the label weight, the n-th of each have the same colour,
    since it is scaled to the task's pixels."""
    cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    slots = {title: title for title in ("CCVAE", "CCVAE more style", "MCCVAE", "VAE", "conditional VAE")}
    counted = {}
    for task, title in dict.fromkeys(zip(tasks, titles, strict=True)):
        alike = re.sub(r"rb[\d.]+", "rb", title)
        if title not in slots:
            counted[task, alike] = counted.get((task, alike), 0) + 1
            slots[title] = (alike, counted[task, alike])
    places = {slot: place for place, slot in enumerate(dict.fromkeys(slots.values()))}
    return {title: cycle[places[slot] % len(cycle)] for title, slot in slots.items()}
