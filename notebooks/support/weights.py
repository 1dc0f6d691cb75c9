"""Tensors on disk, in safetensors files only: models, and the checkpoints of a training.

No pickle is read from a run's folder. Every file is written whole or not at all, with a checksum over its content.
"""

import dataclasses
import hashlib
import json
import os
import time
import warnings
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import mccvae_core as core
from data.files import write_atomically
from data.messages import PlainError, quoted

CHECKPOINT_SECONDS = 60  # between checkpoints within an epoch


class CheckpointError(PlainError):
    """A checkpoint or weights file is broken or belongs to another configuration; the message names file and reason."""


class BrokenCheckpointError(CheckpointError):
    """The file is not what was written."""


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _checksum(tensors: dict[str, Tensor], metadata: dict) -> str:
    """sha256 over names, types, shapes and bytes of the tensors, and over the metadata."""
    h = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        h.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        h.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return h.hexdigest()


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict) -> None:
    """Tensors and metadata, anything that JSON can hold; under one key, since safetensors writes several in random
    order, with their checksum."""
    tensors = _plain(tensors)
    about = json.dumps({"metadata": metadata, "sha256": _checksum(tensors, metadata)})
    write_atomically(path, safetensors.torch.save(tensors, {"about": about}))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            about = json.loads((file.metadata() or {}).get("about", "null"))
        metadata, checksum = about["metadata"], about["sha256"]
        damaged = checksum != _checksum(tensors, metadata)
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        RecursionError,
    ) as error:
        raise BrokenCheckpointError(f"{path} can't be read as safetensors ({error}); delete it and run again") from None
    if damaged:
        raise BrokenCheckpointError(
            f"{path} is damaged: its checksum is not that of its content; delete it and run again"
        )
    return tensors, metadata


def save_model(path: Path, model: core.VAE, **about) -> None:
    """Weights and config in one safetensors file, from which `load_model` rebuilds the model, and what else is said
    `about` them."""
    config = dataclasses.asdict(model.config)
    write_safetensors(path, model.state_dict(), {"kind": type(model).__name__, "config": config, **about})


def epoch_of(path: Path) -> int | None:
    """The epoch after which a file's weights were kept; None where it doesn't say so."""
    return read_safetensors(path)[1].get("epoch")


def load_model(path: Path) -> core.VAE:
    """The model that `save_model` wrote, on the CPU, in evaluation mode. Raises CheckpointError for a file that holds
    none."""
    tensors, metadata = read_safetensors(Path(path))
    try:
        config = core.ModelConfig(**metadata["config"])
        if tensors["encoder.loc.bias"].shape != (config.latent_dim,):  # before anything of that size is made
            raise ValueError(f"it has not the {config.latent_dim} latents of its config")
        model = core.build_model(metadata["kind"], config, seed=0)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} holds no model of this project ({error})") from None
    return model.eval()


def one_before(path: Path) -> Path:
    """Where `save_checkpoint` keeps the checkpoint before that at `path`."""
    return path.with_stem(f"{path.stem}.before")


def save_checkpoint(path: Path, state: core.TrainingState, identity: dict | None) -> None:
    """The whole state and whose it is. The checkpoint that was there is kept beside it, in case that this one gets
    broken.

    Raises core.TrainingError, having written nothing, where weights are not finite."""
    if bad := [name for name, value in state.model.state_dict().items() if not value.isfinite().all()]:
        raise core.TrainingError(
            f"epoch {len(state.history)}: the weights {bad[0]} are not finite numbers; the last checkpoint is kept"
        )
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    for i, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{name}": value for name, value in moments.items()}
    tensors |= {"log_px": state.log_px, "noise": state.noise.get_state()}
    if state.batches:
        labelled, sizes, values = zip(*state.batches, strict=True)
        tensors |= {
            "batches.labelled": torch.tensor(labelled),
            "batches.size": torch.tensor(sizes),
            "batches.values": torch.stack(values),
        }
    best = None
    if state.best is not None:
        best = {"epoch": state.best.epoch, "loss": state.best.loss}
        tensors |= {f"best.{name}": value for name, value in state.best.weights.items()}
    if path.is_file():
        os.replace(path, one_before(path))
    write_safetensors(
        path, tensors, {"history": state.history, "identity": identity, "seconds": state.seconds, "best": best}
    )


def load_checkpoint(path: Path, state: core.TrainingState, identity: dict | None) -> None:
    """Restore the state in place from a checkpoint, or where that is broken from the one before it, with a warning;
    nothing without either.

    Raises CheckpointError, having changed nothing, where all that is there is broken, or where the identity differs
    (the differences are named)."""
    broken = []
    for candidate in filter(Path.is_file, (path, one_before(path))):
        try:
            _restore(candidate, state, identity)
        except BrokenCheckpointError as error:
            broken.append(str(error))
        else:
            if broken:
                warnings.warn(f"{broken[0]}. Training goes on from the one before it, {candidate.name}", stacklevel=2)
                path.unlink()  # it must not take the place of the good one when the next is written
            return
    if broken:
        raise BrokenCheckpointError("; ".join(broken))


def _restore(path: Path, state: core.TrainingState, identity: dict | None) -> None:
    tensors, metadata = read_safetensors(path)
    try:
        history, seconds, best = metadata["history"], metadata["seconds"], metadata["best"]
        theirs, ours = metadata["identity"] or {}, json.loads(json.dumps(identity)) or {}
        different = [
            f"{k} {quoted(theirs.get(k))} there, {quoted(ours.get(k))} here"
            for k in sorted({*theirs, *ours})
            if theirs.get(k) != ours.get(k)
        ]
        moments = {}
        for name in [name for name in tensors if name.startswith("adam.")]:
            _, i, key = name.split(".")
            moments.setdefault(int(i), {})[key] = tensors[name]
        parts = [tensors.get(f"batches.{name}", torch.empty(0)) for name in ("labelled", "size", "values")]
        batches = [
            (bool(labelled), int(n), values.to(state.log_px.device)) for labelled, n, values in zip(*parts, strict=True)
        ]
        torch.Generator(state.noise.device).set_state(tensors["noise"])  # fails here rather than half way
        if best is not None:
            best = {"epoch": int(best["epoch"]), "loss": float(best["loss"])}
        whole = [row["epoch"] for row in history] == list(range(1, len(history) + 1)) and all(
            row["seconds"] >= 0 for row in history
        )
        whole = (
            whole
            and float(seconds) >= 0
            and all(value.isfinite().all() for name, value in tensors.items() if name != "log_px")
        )
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise BrokenCheckpointError(f"{path} is no whole checkpoint ({error} is missing or does not fit)") from None
    if different:
        raise CheckpointError(f"{path} is a checkpoint of another run: {'; '.join(different)}")
    parameters = state.optimizer.param_groups[0]["params"]
    wanted = {f"model.{name}": value.shape for name, value in state.model.state_dict().items()}
    if best is not None:
        wanted |= {f"best.{name}": value.shape for name, value in state.model.state_dict().items()}
    wanted["log_px"] = state.log_px.shape
    for i, moment in moments.items():
        shape = parameters[i].shape if 0 <= i < len(parameters) else None
        wanted |= {
            f"adam.{i}.{key}": shape if key.startswith("exp_avg") else ()
            for key in {*moment, "step", "exp_avg", "exp_avg_sq"}
        }
    unfit = [
        name for name, shape in wanted.items() if name not in tensors or shape is None or tensors[name].shape != shape
    ]
    if unfit or not whole or any(values.shape != (len(core.LOSS_TERMS),) for *_, values in batches):
        raise BrokenCheckpointError(
            f"{path} is no whole checkpoint ({unfit[0] if unfit else 'history'} is missing or does not fit)"
        )
    for i, moment in moments.items():  # in the parameter's own memory format, which the fused Adam takes for granted
        moments[i] = {
            key: torch.empty_like(parameters[i]).copy_(value) if value.ndim else value for key, value in moment.items()
        }
    state.model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    state.optimizer.load_state_dict({"state": moments, "param_groups": state.optimizer.state_dict()["param_groups"]})
    state.log_px.copy_(tensors["log_px"])
    state.noise.set_state(tensors["noise"])
    state.history, state.batches, state.seconds = history, batches, seconds
    if best is not None:
        weights = {
            name[5:]: value.to(state.log_px.device) for name, value in tensors.items() if name.startswith("best.")
        }
        state.best = core.Best(best["epoch"], best["loss"], weights)


class CheckpointKeeper:
    """`fit`'s keeper: the state in a checkpoint file, after each epoch and within a long one every CHECKPOINT_SECONDS.

    Training goes on from the file where it exists. `identity` goes into it; a checkpoint with another one is refused.
    """

    def __init__(self, path: Path, identity: dict | None = None):
        self.path, self.identity, self.saved = Path(path), identity, time.monotonic()

    def restore(self, state: core.TrainingState) -> None:
        """Raises CheckpointError for a checkpoint that is broken or another run's."""
        load_checkpoint(self.path, state, self.identity)
        self.saved = time.monotonic()

    def keep(self, state: core.TrainingState, epoch_done: bool) -> None:
        """Raises TrainingError, having written nothing, where weights are not finite."""
        if epoch_done or time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            save_checkpoint(self.path, state, self.identity)
            self.saved = time.monotonic()
