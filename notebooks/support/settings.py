"""Profiles, models by name, and the parameters of a notebook. Read without torch: the graph, a cluster and the shell
ask too."""

import ast
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from data.tasks import CHEST_XRAY, SOURCES, TASKS, Task
from data.tasks import OWN as OWN_TASK

from . import OUTPUTS, OWN, PROFILES, profile_file

if TYPE_CHECKING:
    from data import Dataset
    from mccvae_core import ModelConfig, Objective


class SettingsError(Exception):
    """A parameter, profile or model name is not usable; the message says which and what would be."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """One file of notebooks/profiles, or of own images. Every value but the source: one for all tasks, or {task:
    value}; of epochs, batch_size and images None is the task's own (images: all of them). A task's models are a list,
    each with the seeds of `seeds`, or {model: its seeds, None for those}; a task that a profile does not name has no
    models, and a list is not meant for own images. correlation: of a drawn set's labels in training, None: none.
    experiments: the notebooks that compare the runs; allocation: the tasks on which that experiment trains its
    models."""

    profile: str
    source: str
    models: list | dict
    seeds: list | dict
    epochs: int | dict | None
    batch_size: int | dict | None
    images: int | dict | None
    correlation: float | dict | None
    experiments: list
    allocation: list

    @property
    def folder(self) -> Path:
        """Where this profile's runs, tables, figures and report go; with other data or batches than its file says, a
        folder beside it."""
        file = read_profile(self.profile)
        by_hand = any(
            getattr(self, key) != getattr(file, key) for key in ("source", "batch_size", "images", "correlation")
        )
        return OUTPUTS / (f"{self.profile}-by-hand" if by_hand else self.profile)

    def given(self, key: str, task: str):
        """What the profile itself says of a task; None: nothing."""
        value = getattr(self, key)
        return value.get(task) if isinstance(value, dict) else value

    def value(self, key: str, task: Task):
        """seeds, epochs, batch_size, images or correlation of a task: the profile's, else the task's own."""
        value = self.given(key, task.name)
        return getattr(task, key, None) if value is None else value

    def runs(self, task: Task) -> list[tuple[str, int]]:
        """(model, seed) of every run of a task, in the profile's order."""
        listed = [] if task.name == OWN_TASK.name else self.models
        models = self.models.get(task.name, []) if isinstance(self.models, dict) else listed
        seeds = models if isinstance(models, dict) else dict.fromkeys(models)
        return [
            (model, seed)
            for model, mine in seeds.items()
            for seed in (self.value("seeds", task) if mine is None else mine)
        ]


EXPERIMENTS = ("classification", "reconstruction", "intervention", "objective", "characteristics", "allocation")
KEYS = tuple(field.name for field in dataclasses.fields(Profile))


def _whole(n, least: int) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= least


def _are_seeds(seeds) -> bool:
    return isinstance(seeds, list) and bool(seeds) and all(_whole(seed, 0) and seed < 2**63 for seed in seeds)


def read_profile(name: str, **changes) -> Profile:
    """A profile by name, with some of its values changed. Raises SettingsError where a value can't be."""
    path = profile_file(name, PROFILES)
    if not re.fullmatch(r"\w+", name) or not path.exists():
        raise SettingsError(_no_profile(name))
    try:
        values = yaml.safe_load(path.read_text()) | changes
    except (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{path.name} can't be read as settings ({error})") from None
    if set(values) != set(KEYS):
        differs = ", ".join(sorted(map(str, set(values) ^ set(KEYS))))
        raise SettingsError(f"{path.name} must hold exactly {', '.join(KEYS)}; it differs in {differs}")
    if values["profile"] != name:
        raise SettingsError(
            f"{path.name} must say 'profile: {name}', not {values['profile']!r}: its outputs go "
            "to the folder of that name"
        )
    for key in ("experiments", "allocation"):
        if not isinstance(values[key], list) or not all(isinstance(part, str) for part in values[key]):
            raise SettingsError(f"{key} must be a list of names, not {values[key]!r}")
    for key, check in OF_TASKS.items():
        if isinstance(values[key], dict) and (unknown := set(values[key]) - set(TASKS)):
            raise SettingsError(f"{key} names the task {min(map(str, unknown))!r}; there are: {', '.join(TASKS)}")
        for value in values[key].values() if isinstance(values[key], dict) else [values[key]]:
            check(key, value)
    _check_together(values)
    profile = Profile(**values)
    for task in TASKS.values():
        try:
            profile.runs(task)
        except TypeError:
            raise SettingsError(f"seeds names none for {task.name}, which has models") from None
    return profile


def _no_profile(name: str) -> str:
    there = [path.stem for path in PROFILES.glob("*.yaml")]
    there += [path.parent.name for path in OUTPUTS.glob(f"{OWN}*/profile.yaml")]
    make = f"; make it: ./run_all.sh own IMAGES LABELS name={name.removeprefix(OWN)}" if name.startswith(OWN) else ""
    return f"there is no profile {name!r}{make}; there are: {', '.join(sorted(there))}"


def _check_models(key: str, value) -> None:
    if not (isinstance(value, list | dict) and value and all(isinstance(model, str) for model in value)):
        raise SettingsError(f"models must be a list of names, or seeds by name, not {value!r}")
    for model in value:
        ModelSpec.parse(model)
        if isinstance(value, dict) and not (value[model] is None or _are_seeds(value[model])):
            raise SettingsError(f"the seeds of {model} must be whole numbers from 0 on, not {value[model]!r}")


def _check_seeds(key: str, value) -> None:
    if not _are_seeds(value):
        raise SettingsError(f"seeds must be whole numbers from 0 on, not {value!r}")


def _check_correlation(key: str, value) -> None:
    if not (value is None or (isinstance(value, int | float) and 0 <= value < 1)):
        raise SettingsError(f"correlation must lie in [0, 1), not {value!r}")


def _check_number(key: str, value) -> None:
    if not (value is None or _whole(value, 1)):
        raise SettingsError(f"{key} must be a whole number above 0, or nothing for the task's own, not {value!r}")


OF_TASKS = {  # values that tasks can have each their own: what one of them may be
    "models": _check_models,
    "seeds": _check_seeds,
    "epochs": _check_number,
    "batch_size": _check_number,
    "images": _check_number,
    "correlation": _check_correlation,
}


def _check_together(values: dict) -> None:
    """Values that must fit one another."""
    if not set(values["experiments"]) <= set(EXPERIMENTS):
        raise SettingsError(f"experiments must be among {', '.join(EXPERIMENTS)}, not {values['experiments']!r}")
    allocates = "allocation" in values["experiments"]
    if not set(values["allocation"]) <= set(TASKS) or bool(values["allocation"]) != allocates:
        raise SettingsError(
            f"allocation must name the tasks of the experiment allocation, of {', '.join(TASKS)}, "
            f"and none without it, not {values['allocation']!r}"
        )
    if values["source"] not in SOURCES:
        raise SettingsError(f"source must be one of {', '.join(SOURCES)}, not {values['source']!r}")
    mine = isinstance(values["models"], dict) and OWN_TASK.name in values["models"]
    if mine != (values["source"] == "own"):
        raise SettingsError(
            f"models names the task {OWN_TASK.name!r} if and only if the source is 'own', not {values['source']!r}"
        )


def notebook_profile(namespace: dict) -> Profile:
    """The profile that a notebook's globals name, with those of its values that the notebook or papermill set itself.

    Called in the cell after the parameters. Under papermill, whose injected cell is the second one, a parameter that
    is neither declared in the first cell nor a profile's key raises SettingsError (papermill itself only warns).
    """
    cells = namespace.get("In", [])
    if len(cells) > 2 and cells[2].startswith("# Parameters\n"):
        declared, injected = (_assigned(cell) for cell in cells[1:3])
        if unknown := injected - declared - set(KEYS):
            raise SettingsError(
                f"unknown parameter {', '.join(sorted(unknown))}; "
                f"this notebook takes {', '.join(sorted(declared | set(KEYS)))}"
            )
    changes = {key: namespace[key] for key in KEYS if namespace.get(key) is not None and key != "profile"}
    return read_profile(namespace["profile"], **changes)


def _assigned(cell: str) -> set[str]:
    return {
        target.id
        for node in ast.parse(cell).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


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
    sigmoids: int = 1

    BASES = ("vae", "cvae", "ccvae", "ccvae_more_style", "mccvae")
    TITLES = ("VAE", "conditional VAE", "CCVAE", "CCVAE more style", "MCCVAE")

    @classmethod
    def parse(cls, name: str) -> "ModelSpec":
        """Raises SettingsError for a name that is none."""
        options = "".join(rf"(?:-{option}(?P<{field}>{pattern}))?" for option, (field, pattern, *_) in OPTIONS.items())
        match = re.fullmatch(rf"(?P<base>[a-z_]+){options}", name)
        if not match or match["base"] not in cls.BASES:
            known = "\n".join(f"  -{name}{option.examples[0]}: {option.about}" for name, option in OPTIONS.items())
            raise SettingsError(
                f"there is no model {name!r}; there are {', '.join(cls.BASES)}, and behind it, only "
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
        ours = [f"-{option}" for option in "tp" if self._differs(OPTIONS[option].field)]
        if ours and self.label_weight is None:
            raise SettingsError(
                f"{self.name!r}: {ours[0]} needs the estimator rao-blackwell; put -rb<label weight> before it"
            )
        if self.start_std and self.start != "ones":
            raise SettingsError(f"{self.name!r}: -r and -d are two starts of the same weights; name one of them")
        of_labels = ("rb", "k", "f", "r", "y", "d", "c")
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
        words |= {"dlinear": "nn.Linear's start", "c2": "two classes"}
        base, *options = self.name.split("-")
        return ", ".join([self.TITLES[self.BASES.index(base)], *(words.get(option, option) for option in options)])

    @property
    def kind(self) -> str:
        """Which class of the core."""
        return {"vae": "VAE", "cvae": "ConditionalVAE"}.get(self.base, "MCCVAE")

    @property
    def has_blocks(self) -> bool:
        """Whether each of the task's own labels has latents, as pictures, effects and claims take it."""
        return self.kind == "MCCVAE" and self.classes is None

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
        style = task.more_style_dim if self.base == "ccvae_more_style" else task.style_dim
        style = style if self.style_dim is None else self.style_dim
        if self.sigmoids > 1 and task.likelihood != "bernoulli":
            raise SettingsError(f"-s2 is for a Bernoulli likelihood; {task.title} has a {task.likelihood} one")
        likelihood = task.likelihood + ("-two-sigmoids" if self.sigmoids > 1 else "")
        k = k * labels if len(k) == 1 else k
        prior = data.label_prior if self.label_prior is None else self.label_prior
        return ModelConfig(task.image_shape, k, style, likelihood, prior, self.start_std, self.block_prior, self.start)
