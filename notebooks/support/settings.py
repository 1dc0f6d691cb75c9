"""Profiles and the parameters of a notebook. Read without torch: the graph, a cluster and the shell
ask too."""

import ast
import dataclasses
from pathlib import Path

import yaml

from data.files import read_limited, reason
from data.messages import quoted, shown
from data.tasks import OWN as OWN_TASK
from data.tasks import SOURCES, TASKS, Task

from . import OUTPUTS, OWN, PROFILES, ROOT, profile_file, profile_names, why_no_profile
from .model_names import OPTIONS, ModelSpec, SettingsError, options_table  # noqa: F401 (whoever reads profiles asks)


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
MAX_PROFILE, MAX_VALUES = 1 << 20, 100_000  # bytes of a profile's file; values that it may hold


def _whole(n, least: int) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= least


def _are_seeds(seeds) -> bool:
    return isinstance(seeds, list) and bool(seeds) and all(_whole(seed, 0) and seed < 2**63 for seed in seeds)


def read_profile(name: str, **changes) -> Profile:
    """A profile by name, with some of its values changed. Raises SettingsError where a value can't be."""
    path = profile_file(name, PROFILES)
    if why_no_profile(name) or not path.exists():
        raise SettingsError(_no_profile(name))
    where = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    try:
        values = _read_yaml(path) | changes
    except (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError, MemoryError) as error:
        raise SettingsError(
            f"{where} can't be read as settings ({shown(' '.join(reason(error).split()))}); correct it{_anew(name)}"
        ) from None
    if set(values) != set(KEYS):
        differs = ", ".join(sorted(shown(key, 60) for key in set(values) ^ set(KEYS)))
        raise SettingsError(f"{where} must hold exactly {', '.join(KEYS)}; it differs in {differs}")
    if str(values["profile"]) != name:
        written = name if yaml.safe_load(name) == name else f'"{name}"'
        raise SettingsError(
            f"{where} must say 'profile: {written}', not {quoted(values['profile'])}: its outputs go "
            "to the folder of that name"
        )
    values["profile"] = name
    for key in ("experiments", "allocation"):
        if not isinstance(values[key], list) or not all(isinstance(part, str) for part in values[key]):
            raise SettingsError(f"{key} must be a list of names, not {quoted(values[key])}")
    for key, check in OF_TASKS.items():
        if isinstance(values[key], dict) and (unknown := set(values[key]) - set(TASKS)):
            raise SettingsError(f"{key} names the task {quoted(min(map(str, unknown)))}; there are: {', '.join(TASKS)}")
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


def _read_yaml(path: Path):
    """What a file of YAML holds. Raises OSError, yaml.YAMLError, and ValueError for anchors that stand for more than
    fits into memory."""
    loader = yaml.SafeLoader(read_limited(path, MAX_PROFILE).decode())
    try:
        if (node := loader.get_single_node()) is None:
            raise ValueError("it is empty")
        if _size(node, {}) > MAX_VALUES:
            raise ValueError(f"its anchors (& and *) stand for more than {MAX_VALUES:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, those behind anchors each time. Raises ValueError for one that holds
    itself."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # while it is counted: what it holds is not to be itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _anew(name: str) -> str:
    """How else a profile of own images is mended."""
    again = f", or delete it and make it anew: ./run_all.sh own IMAGES LABELS name={name.removeprefix(OWN)}"
    return again if name.startswith(OWN) else ""


def _no_profile(name: str) -> str:
    there, left = profile_names(PROFILES)
    if name in left or (why := why_no_profile(name)):
        return f"there is no profile {quoted(name)}: {left.get(name) or why}"
    make = f"; make it: ./run_all.sh own IMAGES LABELS name={name.removeprefix(OWN)}" if name.startswith(OWN) else ""
    return f"there is no profile {quoted(name)}{make}; there are: {', '.join(there)}"


def _check_models(key: str, value) -> None:
    if not (isinstance(value, list | dict) and value and all(isinstance(model, str) for model in value)):
        raise SettingsError(f"models must be a list of names, or seeds by name, not {quoted(value)}")
    for model in value:
        ModelSpec.parse(model)
        if isinstance(value, dict) and not (value[model] is None or _are_seeds(value[model])):
            raise SettingsError(f"the seeds of {model} must be whole numbers from 0 on, not {quoted(value[model])}")


def _check_seeds(key: str, value) -> None:
    if not _are_seeds(value):
        raise SettingsError(f"seeds must be whole numbers from 0 on, not {quoted(value)}")


def _check_correlation(key: str, value) -> None:
    if not (value is None or (isinstance(value, int | float) and 0 <= value < 1)):
        raise SettingsError(f"correlation must lie in [0, 1), not {quoted(value)}")


def _check_number(key: str, value) -> None:
    if not (value is None or _whole(value, 1)):
        raise SettingsError(f"{key} must be a whole number above 0, or nothing for the task's own, not {quoted(value)}")


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
        raise SettingsError(f"experiments must be among {', '.join(EXPERIMENTS)}, not {quoted(values['experiments'])}")
    allocates = "allocation" in values["experiments"]
    if not set(values["allocation"]) <= set(TASKS) or bool(values["allocation"]) != allocates:
        raise SettingsError(
            f"allocation must name the tasks of the experiment allocation, of {', '.join(TASKS)}, "
            f"and none without it, not {quoted(values['allocation'])}"
        )
    if values["source"] not in SOURCES:
        raise SettingsError(f"source must be one of {', '.join(SOURCES)}, not {quoted(values['source'])}")
    mine = isinstance(values["models"], dict) and OWN_TASK.name in values["models"]
    if mine != (values["source"] == "own"):
        raise SettingsError(
            f"models names the task {OWN_TASK.name!r} if and only if the source is 'own', "
            f"not {quoted(values['source'])}"
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
