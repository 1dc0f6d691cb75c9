"""Figures 1, 2, 4 and 5 of the paper, drawn anew as vector graphics: two schemes of auto-encoders and two graphical
models."""

import base64
import io

import matplotlib.pyplot as plt
from IPython.display import HTML, Markdown, display
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon

INK, SOFT = "#1d2330", "#586074"
BLUE, ORANGE, GREY = "#dbe8f8", "#fbe6cf", "#eceef3"


def _canvas(width: float, height: float):
    """Axes without frame whose units are inches; the origin is at the lower left."""
    with plt.rc_context({"figure.constrained_layout.use": False}):
        fig = plt.figure(figsize=(width, height))
    ax = fig.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return fig, ax


def _box(ax, x, y, width, height, text, fill=GREY):
    """A rounded box about its middle (x, y)."""
    corner = (x - width / 2, y - height / 2)
    ax.add_patch(
        FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.06", facecolor=fill, edgecolor=INK)
    )
    ax.text(x, y, text, ha="center", va="center", color=INK, fontsize=10)


def _funnel(ax, x, y, width, left, right, text, fill=BLUE):
    """An encoder or decoder: a trapezoid whose sides are `left` and `right` high."""
    corners = [
        (x - width / 2, y - left / 2),
        (x - width / 2, y + left / 2),
        (x + width / 2, y + right / 2),
        (x + width / 2, y - right / 2),
    ]
    ax.add_patch(Polygon(corners, facecolor=fill, edgecolor=INK))
    ax.text(x, y, text, ha="center", va="center", color=INK, fontsize=10)


def _arrow(ax, start, end, *, dashed=False, bend=0.0, colour=INK):
    style = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0, "color": colour, "linewidth": 1.1}
    line = {"linestyle": (0, (4, 3))} if dashed else {}
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **style, **line))


def autoencoder() -> tuple[Figure, str]:
    """Figure 1."""
    fig, ax = _canvas(6.2, 1.6)
    _box(ax, 0.5, 0.8, 0.6, 1.0, "x")
    _funnel(ax, 1.8, 0.8, 1.2, 1.3, 0.6, "encoder")
    _box(ax, 3.1, 0.8, 0.5, 0.6, "z", ORANGE)
    _funnel(ax, 4.4, 0.8, 1.2, 0.6, 1.3, "decoder\np(x|z)")
    _box(ax, 5.7, 0.8, 0.6, 1.0, "x′")
    for start, end in ((0.8, 1.2), (2.4, 2.85), (3.35, 3.8), (5.0, 5.4)):
        _arrow(ax, (start, 0.8), (end, 0.8))
    return (
        fig,
        "From left to right: an image x, the encoder, which narrows, the latent vector z, "
        "the decoder p(x|z), which widens, and the generated image x′.",
    )


def variational_autoencoder() -> tuple[Figure, str]:
    """Figure 2."""
    fig, ax = _canvas(7.6, 2.0)
    _box(ax, 0.5, 1.2, 0.6, 1.0, "x")
    _funnel(ax, 1.8, 1.2, 1.2, 1.3, 0.8, "encoder\nq(z|x)")
    _box(ax, 3.1, 1.5, 0.5, 0.4, "μ")
    _box(ax, 3.1, 0.9, 0.5, 0.4, "σ")
    _box(ax, 4.5, 1.2, 1.2, 0.6, "z = μ + σ ε", ORANGE)
    _funnel(ax, 5.9, 1.2, 1.0, 0.8, 1.3, "decoder\np(x|z)")
    _box(ax, 7.1, 1.2, 0.6, 1.0, "x′")
    _box(ax, 4.5, 0.3, 1.2, 0.36, "ε ~ N(0, 1)")
    arrows = (
        ((0.8, 1.2), (1.2, 1.2)), ((2.4, 1.35), (2.85, 1.5)), ((2.4, 1.05), (2.85, 0.9)), ((3.35, 1.5), (3.9, 1.3)),
        ((3.35, 0.9), (3.9, 1.1)), ((5.1, 1.2), (5.4, 1.2)), ((6.4, 1.2), (6.8, 1.2)), ((4.5, 0.48), (4.5, 0.9)),
    )  # fmt: skip
    for start, end in arrows:
        _arrow(ax, start, end)
    return (
        fig,
        "An image x goes through the encoder q(z|x) to a mean μ and a standard deviation σ; "
        "z = μ + σ ε with ε from a standard normal goes through the decoder p(x|z) to the "
        "generated image x′.",
    )


def _node(ax, x, y, text, fill="white"):
    ax.add_patch(Circle((x, y), 0.3, facecolor=fill, edgecolor=INK))
    ax.text(x, y, text, ha="center", va="center", color=INK, fontsize=10)


def _between(a, b, radius=0.3):
    """The ends of an arrow from circle to circle."""
    length = ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5
    step = (radius * (b[0] - a[0]) / length, radius * (b[1] - a[1]) / length)
    return (a[0] + step[0], a[1] + step[1]), (b[0] - step[0], b[1] - step[1])


def _graphical_model(blocks: list[tuple[str, list[str]]]) -> Figure:
    """Labels above their latents above the image, style at the right; `blocks`: (label, its latents)."""
    xs, x = [], 0.6
    for _, latents in blocks:
        xs.append([x + 0.8 * j for j in range(len(latents))])
        x = xs[-1][-1] + 1.1
    fig, ax = _canvas(x + 0.6 + 1.9, 3.2)
    image, style = ((xs[0][0] + x) / 2, 0.45), (x, 1.55)
    for (label, latents), places in zip(blocks, xs, strict=True):
        middle = (sum(places) / len(places), 2.7)
        if len(latents) > 1:
            corner, size = (places[0] - 0.38, 1.17), (places[-1] - places[0] + 0.76, 0.76)
            ax.add_patch(
                FancyBboxPatch(
                    corner,
                    *size,
                    boxstyle="round,pad=0,rounding_size=0.1",
                    facecolor="none",
                    edgecolor=SOFT,
                    linestyle=":",
                )
            )
        for latent, place in zip(latents, places, strict=True):
            up, down = _between(middle, (place, 1.55)), _between((place, 1.55), image)
            _arrow(ax, *up)
            _arrow(ax, *_between((place, 1.55), middle), dashed=True, bend=0.35, colour=SOFT)
            _arrow(ax, *down)
            _arrow(ax, *_between(image, (place, 1.55)), dashed=True, bend=0.2, colour=SOFT)
            _node(ax, place, 1.55, latent, ORANGE)
        _node(ax, *middle, label, GREY)
    ax.text((xs[-2][-1] + xs[-1][0]) / 2, 2.7, "…", ha="center", va="center", color=INK, fontsize=14)
    _arrow(ax, *_between(style, image))
    _arrow(ax, *_between(image, style), dashed=True, bend=0.2, colour=SOFT)
    _node(ax, *style, "$z_s$", ORANGE)
    _node(ax, *image, "x", GREY)
    for y, words, dashed in ((2.7, "generative\np(z|y), p(x|z)", False), (2.0, "inference\nq(z|x), q(y|z)", True)):
        _arrow(ax, (x + 0.65, y), (x + 1.05, y), dashed=dashed, colour=SOFT if dashed else INK)
        ax.text(x + 1.15, y, words, va="center", color=INK, fontsize=8)
    return fig


def ccvae() -> tuple[Figure, str]:
    """Figure 4."""
    fig = _graphical_model([(f"$y^{i}$", [f"$z_c^{i}$"]) for i in "12"] + [("$y^L$", ["$z_c^L$"])])
    return (
        fig,
        "Graphical model of CCVAE: each label y has one latent of its own, z_c; every z_c "
        "and the style z_s generate the image x; dashed arrows, inference, go from x to all "
        "latents and from each z_c to its label.",
    )


def mccvae() -> tuple[Figure, str]:
    """Figure 5."""
    fig = _graphical_model([(f"$y^{i}$", [f"$z_c^{{{i},{j}}}$" for j in "12"]) for i in "1L"])
    return (
        fig,
        "Graphical model of MCCVAE: as CCVAE's, but each label y has a block of several "
        "latents, here two, which together read it and are drawn from it.",
    )


SCHEMES = {
    1: (autoencoder, "An auto-encoder"),
    2: (variational_autoencoder, "A variational auto-encoder"),
    4: (ccvae, "Graphical model of CCVAE"),
    5: (mccvae, "Graphical model of MCCVAE, k = 2"),
}


def svg(fig: Figure) -> bytes:
    """A figure as SVG; the same bytes for the same figure, letters as outlines."""
    buffer = io.BytesIO()
    with plt.rc_context({"svg.hashsalt": "mccvae"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(fig)
    return buffer.getvalue()


def display_scheme(number: int) -> None:
    """One of SCHEMES with its caption and alt text."""
    draw, title = SCHEMES[number]
    fig, alt = draw()
    source = base64.b64encode(svg(fig)).decode()
    display(
        HTML(f'<div class="scheme"><img alt="Figure {number}. {alt}" src="data:image/svg+xml;base64,{source}"></div>')
    )
    display(Markdown(f"*Figure {number}. {title}*"))
