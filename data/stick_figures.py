"""Stick figures: drawn images whose labels are known to have several parts, for seeing whether a model finds them.

A label is 1 where the mean of its own parts is above 1/2: `tall` figures have long legs, torso and neck, or two of them
very long. The real set and the embedded one are the same drawings; they stand in for no other data."""

import numpy as np

from . import tasks
from .common import Dataset
from .drawing import Canvas, Drawing, correlate, drawn_dataset, not_in_test, owners, painted, uniforms

PARTS = {
    "tall": ("leg", "torso", "neck"),
    "broad": ("shoulders", "hips"),
    "open": ("arm_raise", "elbow", "stance"),
    "long_armed": ("upper_arm", "forearm"),
}
PART_NAMES, PART_LABEL = owners(PARTS)
STYLE = ("x", "y", "line_width", "tilt", "brightness", "background")
TASK = tasks.STICK_FIGURES
COUNT = 4_200
# no label's mean is nearer to its threshold 1/2, so a label can be read where its parts are read within 0.03
GAP = 0.03
MEAN = np.array(
    [[(owner == label) / PART_LABEL.count(label) for label in range(len(PARTS))] for owner in PART_LABEL], np.float32
)


def clear(numbers: np.ndarray) -> bool:
    """Whether no label of a figure is near its threshold; its parts come first among its numbers."""
    return np.abs(numbers[: len(PART_LABEL)] @ MEAN - 0.5).min() >= GAP


def draw(n: int, seed: int, correlation=0.0) -> Drawing:
    """n figures at 60x60; any two labels have this correlation, one number or one for each figure (n,).

    Parts and style are uniform in [0, 1] and independent, but for the gap about the thresholds: with correlation 0 it
    gives two parts of the same label a correlation of 0.12, of three 0.07. To get a label's other value, its parts are
    mirrored, u -> 1 - u."""
    widths = (len(PART_LABEL), len(STYLE), 1, len(PARTS))
    parts, style, shared, copies = uniforms(n, seed, 4, widths, keep=clear)
    labels = parts @ MEAN > 0.5
    wanted = correlate(labels, shared, copies, correlation)
    parts = np.where((labels != wanted)[:, PART_LABEL], 1 - parts, parts)
    return Drawing(painted(paint, PART_NAMES, parts, STYLE, style), wanted.astype(np.uint8), parts, style)


def paint(p, s) -> np.ndarray:
    """Pictures, uint8 (n, 60, 60), of parts p and style s, each a named column (n,) in [0, 1]. 1/30 of a length is a
    pixel."""
    c = Canvas(len(s.x), side=60, channels=1, background=0.2 * s.background)
    width, colour = 0.05 + 0.04 * s.line_width, (0.7 + 0.3 * s.brightness)[:, None]
    tilt = np.radians(12 * s.tilt - 6)
    # of the middle of the hips, about which the figure is tilted
    ahead, down = 0.1 * s.x - 0.05, 0.12 + 0.1 * s.y - 0.05

    def place(x, y):
        return ahead + x * np.cos(tilt) - y * np.sin(tilt), down + x * np.sin(tilt) + y * np.cos(tilt)

    def limb(start, length, angle):
        """Stroke from a joint, at `angle` degrees from straight down; its other end."""
        x, y = start
        end = x + length * np.sin(np.radians(angle)), y + length * np.cos(np.radians(angle))
        c.line(*place(*start), *place(*end), width, colour)
        return end

    hips, shoulders = (0 * s.x, 0 * s.x), (0 * s.x, -(0.27 + 0.27 * p.torso))
    chin = limb(hips, 0.27 + 0.27 * p.torso + 0.03 + 0.2 * p.neck, 180)
    c.ellipse(*place(chin[0], chin[1] - 0.1), 0.12, 0.12, colour)
    for side in (-1, 1):
        hip = limb(hips, 0.05 + 0.14 * p.hips, 90 * side)
        limb(hip, 0.33 + 0.33 * p.leg, side * (3 + 30 * p.stance))
        shoulder = limb(shoulders, 0.1 + 0.2 * p.shoulders, 90 * side)
        # never in line with the shoulders, nor the forearm with the upper arm: joints can be seen
        raised = 20 + 60 * p.arm_raise
        elbow = limb(shoulder, 0.14 + 0.29 * p.upper_arm, side * raised)
        hand = limb(elbow, 0.14 + 0.24 * p.forearm, side * (raised + 40 + 70 * p.elbow))
        c.ellipse(*place(*elbow), 0.075, 0.075, colour)
        c.ellipse(*place(*hand), 0.075, 0.075, colour)
    return c.uint8()[..., 0]


def real(correlation: float = 0.0) -> Dataset:
    """The figures, as `embedded` has them: there is no other set."""
    return _dataset("real", COUNT, correlation)


def embedded(count: int | None = None, correlation: float = 0.0) -> Dataset:
    """Drawn figures, made in seconds."""
    return _dataset("embedded", COUNT if count is None else count, correlation)


def _dataset(source: str, count: int, correlation: float) -> Dataset:
    drawing = draw(count, 0, not_in_test(correlation, count))
    description = f"{count:,} drawn stick figures with {len(PARTS)} labels of 2 or 3 parts each, all parts known"
    return drawn_dataset(TASK, source, False, drawing, PARTS, STYLE, description, "stick figure", correlation)
