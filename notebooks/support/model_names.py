"""Models by name: what each option of a name means, and the configuration of the core that it stands for. Read without
torch."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from data.messages import PlainError, quoted
from data.tasks import CHEST_XRAY

if TYPE_CHECKING:
    from data import Dataset
    from mccvae_core import ModelConfig, Objective


class SettingsError(PlainError):
    """A parameter, profile or model name is not usable; the message says which and what would be."""


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


LONGEST = 200  # characters of a name, which is a folder's too
NUMBER, WHOLE = r"\d+(?:\.\d+)?", r"[1-9]\d*"


class Option(NamedTuple):
    """An option of a model's name. field: of ModelSpec; pattern, read: of its value; about: what the examples mean."""

    field: str
    pattern: str
    read: Callable
    examples: tuple[str, ...]
    about: str


OPTIONS = {  # in their order in a name
    "rb": Option("label_weight", NUMBER, float, ("100",),
        "the unbiased estimator (`rao-blackwell`) with label weight 100, in place of the official one (`official`)"),
    "k": Option("k", rf"{WHOLE}(?:\.{WHOLE})*", _counts, ("3", "2.1.3"),
        "three latents for every label; or one number for each label of the task: two, one and three"),
    "f": Option("labelled_fraction", r"0?\.\d+", float, ("0.1",), "labels for a tenth of the images"),
    "e": Option("epochs", WHOLE, int, ("3",), "three epochs"),
    "x": Option("rate_factor", NUMBER, float, ("3",), "three times the paper's learning rate"),
    "z": Option("style_dim", r"\d+", int, ("10",), "ten style latents"),
    "r": Option("start_std", NUMBER, float, ("0.5",),
        "classifier and conditional prior start at random, with this spread, so that a block's latents differ"),
    "t": Option("block_penalty", NUMBER, float, ("20",),
        "adds 20 times the total correlation of a block's latents (beyond their label) to the loss; needs `-rb`"),
    "p": Option("block_prior", "full", str, ("full",),
        "a conditional prior with a full covariance inside each block; needs `-rb`"),
    "y": Option("label_prior", r"0?\.\d+", float, ("0.5",), "p(y = 1) is 0.5 for every label, in place of the task's"),
    "d": Option("start", "linear", str, ("linear",),
        "classifier and conditional prior start as nn.Linear's layers, as the paper's words suggest"),
    "c": Option("classes", "2", int, ("2",), "chest X-rays as two classes: one label, *sick*, for bacteria and virus"),
    "v": Option("coding", "one", str, ("one",),
        "labels of which each image has exactly one are the values of one categorical label, with one block of as many "
        "latents as theirs have together; needs `-rb`"),
    "s": Option("sigmoids", "2", int, ("2",), "two sigmoids after the decoder, a slip that the audit of Table 3 tests"),
}  # fmt: skip


def options_table() -> str:
    """The options of a model's name in Markdown, one row per option."""
    rows = ["| option | means |", "| --- | --- |"]
    for name, option in OPTIONS.items():
        examples = ", ".join(f"`-{name}{example}`" for example in option.examples)
        rows.append(f"| {examples} | {option.about} |")
    return "\n".join(rows)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model by its name: `vae`, `cvae`, `ccvae`, `ccvae_more_style` or `mccvae`, then only what differs from its
    defaults, -<option><value> each in the order of OPTIONS. Without -rb the estimator is the official one, alpha 0."""

    base: str
    label_weight: float | None = None  # None: the official estimator
    k: tuple[int, ...] | None = None
    labelled_fraction: float = 1.0
    epochs: int | None = None
    rate_factor: float = 1.0
    style_dim: int | None = None
    start_std: float = 0.0
    block_penalty: float = 0.0
    block_prior: str = "diagonal"
    label_prior: float | None = None  # None: the task's
    start: str = "ones"
    classes: int | None = None  # None: the task's
    coding: str = "coins"  # each label by itself
    sigmoids: int = 1

    BASES = ("vae", "cvae", "ccvae", "ccvae_more_style", "mccvae")
    TITLES = ("VAE", "conditional VAE", "CCVAE", "CCVAE more style", "MCCVAE")

    @classmethod
    def parse(cls, name: str) -> "ModelSpec":
        """Raises SettingsError for a name that is none."""
        if len(name) > LONGEST:
            raise SettingsError(f"there is no model {quoted(name)}: a name has at most {LONGEST} characters")
        options = "".join(rf"(?:-{option}(?P<{field}>{pattern}))?" for option, (field, pattern, *_) in OPTIONS.items())
        match = re.fullmatch(rf"(?P<base>[a-z_]+){options}", name)
        if not match or match["base"] not in cls.BASES:
            known = "\n".join(f"  -{name}{option.examples[0]}: {option.about}" for name, option in OPTIONS.items())
            raise SettingsError(
                f"there is no model {quoted(name)}; there are {', '.join(cls.BASES)}, and behind it, only "
                f"where wanted and in this order,\n{known}"
            )
        values = {field: read(match[field]) for field, _, read, *_ in OPTIONS.values() if match[field] is not None}
        spec = cls(match["base"], **values)
        if spec.name != name:  # a run has one folder
            raise SettingsError(f"there is no model {name!r}; write {spec.name!r}")
        spec._check()
        return spec

    def _check(self):
        if self.rate_factor == 0:
            raise SettingsError(f"{self.name!r}: a learning rate of 0 trains nothing")
        ours = [f"-{option}" for option in "tpv" if self._differs(OPTIONS[option].field)]
        if ours and self.label_weight is None:
            raise SettingsError(
                f"{self.name!r}: {ours[0]} needs the estimator rao-blackwell; put -rb<label weight> before it"
            )
        if self.start_std and self.start != "ones":
            raise SettingsError(f"{self.name!r}: -r and -d are two starts of the same weights; name one of them")
        if self.coding == "one" and (
            no := [f"-{option}" for option in "rtpydc" if self._differs(OPTIONS[option].field)]
        ):
            raise SettingsError(
                f"{self.name!r}: {no[0]} is for labels of 0 and 1, not for a categorical one; leave it out"
            )
        if self.coding == "one" and len(self.k or ()) > 1:
            raise SettingsError(f"{self.name!r}: there is one label, so -k takes one number")
        of_labels = ("rb", "k", "f", "r", "y", "d", "c", "v")
        labels = [f"-{option}" for option in of_labels if self._differs(OPTIONS[option].field)]
        if labels and self.kind != "MCCVAE":
            raise SettingsError(
                f"{self.name!r}: a {self.base} has no latents of labels, so {labels[0]} means nothing for it"
            )

    def _differs(self, field: str) -> bool:
        return getattr(self, field) != type(self).__dataclass_fields__[field].default

    @property
    def name(self) -> str:
        """The folder's name; `parse` reads it back."""
        parts = [self.base]
        for option, (field, *_) in OPTIONS.items():
            if self._differs(field):
                value = getattr(self, field)
                text = (
                    ".".join(map(str, value)) if field == "k" else value if isinstance(value, str) else f"{value:.12g}"
                )
                parts.append(f"{option}{text}")
        return "-".join(parts)

    @property
    def estimator(self) -> str:
        """As `mccvae_core.ccvae_loss` names it."""
        return "official" if self.label_weight is None else "rao-blackwell"

    @property
    def objective(self) -> "Objective":
        """As `mccvae_core.fit` takes it."""
        from mccvae_core import Objective

        return Objective(self.estimator, self.label_weight or 0.0, self.block_penalty)

    @property
    def title(self) -> str:
        """For people."""
        words = {"s2": "two sigmoids", "pfull": "full block prior"}
        words |= {"dlinear": "nn.Linear's start", "c2": "two classes", "vone": "one categorical label"}
        base, *options = self.name.split("-")
        return ", ".join([self.TITLES[self.BASES.index(base)], *(words.get(option, option) for option in options)])

    @property
    def kind(self) -> str:
        """Which class of the core."""
        return {"vae": "VAE", "cvae": "ConditionalVAE"}.get(self.base, "MCCVAE")

    @property
    def has_blocks(self) -> bool:
        """Whether each of the task's own labels has latents, as pictures, effects and claims take it."""
        return self.kind == "MCCVAE" and self.classes is None and self.coding == "coins"

    def check_kinds(self, kinds: Sequence[str]) -> None:
        """Raises SettingsError where a label is not binary and this model can't learn it. kinds: of each label."""
        if set(kinds) == {"binary"}:
            return
        what = "numbers" if "continuous" in kinds else "classes"
        if self.kind != "MCCVAE" or self.label_weight is None:
            other = ", or give these columns a threshold" if what == "numbers" else ""
            raise SettingsError(
                f"{self.name!r}: only mccvae and ccvae by the estimator rao-blackwell, as mccvae-rb<label weight>, "
                f"learn labels that are {what}; name such a model{other}"
            )
        options = "tpd" if what == "numbers" and "categorical" not in kinds else "rtpyd"
        if ours := [f"-{option}" for option in options if self._differs(OPTIONS[option].field)]:
            raise SettingsError(
                f"{self.name!r}: {ours[0]} is for labels of 0 and 1, and here labels are {what}; leave it out"
            )

    def seen(self, data: "Dataset") -> "Dataset":
        """A task's data as this model sees them; with -c2 as two classes. Raises SettingsError for -c2 elsewhere."""
        if self.classes is None:
            return data
        if data.task.name != CHEST_XRAY.name:
            raise SettingsError(f"-c2 is for {CHEST_XRAY.title}; {data.task.title} has no classes to put together")
        from data.chest_xray import two_classes

        return two_classes(data)

    def config(self, data: "Dataset") -> "ModelConfig":
        """Paper section 4: k = 1 and the base style for CCVAE, more style, or k = 2 with the base style for MCCVAE.

        Raises SettingsError where the name does not fit the task."""
        from mccvae_core import ModelConfig

        task, labels = data.task, len(data.labels)
        k = self.k or ((2,) if self.base == "mccvae" else (1,))
        if len(k) not in (1, labels):
            raise SettingsError(
                f"{self.name!r}: {task.title} has {labels} labels here, so -k takes one number or "
                f"{labels}, not {len(k)}"
            )
        k = k * labels if len(k) == 1 else k
        style = task.more_style_dim if self.base == "ccvae_more_style" else task.style_dim
        style = style if self.style_dim is None else self.style_dim
        if self.sigmoids > 1 and task.likelihood != "bernoulli":
            raise SettingsError(f"-s2 is for a Bernoulli likelihood; {task.title} has a {task.likelihood} one")
        likelihood = task.likelihood + ("-two-sigmoids" if self.sigmoids > 1 else "")
        columns = self._columns(data)
        kinds = tuple(data.kinds[at[0]] if len(at) == 1 else "categorical" for at in columns)
        self.check_kinds(kinds)
        prior = data.label_prior if self.label_prior is None else self.label_prior
        if "categorical" in kinds:
            each = prior if isinstance(prior, tuple) else (prior,) * labels
            sums = [sum(each[i] for i in at) for at in columns]
            values = [tuple(each[i] / total for i in at) for at, total in zip(columns, sums, strict=True)]
            prior = tuple(p if len(p) > 1 else each[at[0]] for p, at in zip(values, columns, strict=True))
        k = tuple(sum(k[i] for i in at) for at in columns)
        started = (self.start_std, self.block_prior, self.start)
        return ModelConfig(task.image_shape, k, style, likelihood, prior, *started, label_kinds=kinds)

    def _columns(self, data: "Dataset") -> list[list[int]]:
        """The columns of each label: with -vone those of all labels are one label's."""
        if self.coding == "coins":
            return data.columns
        if not data.task.exclusive:
            raise SettingsError(f"{self.name!r}: -v is for labels of which each image has exactly one")
        return [list(range(len(data.labels)))]
