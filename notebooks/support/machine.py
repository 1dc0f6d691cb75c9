"""Where and in which precision runs are computed: the device, its name, and what it does well."""

import os
import platform
import time
from pathlib import Path

import torch

import mccvae_core as core
from data.files import sync_folder, write_atomically
from data.messages import PlainError, quoted

PRECISION = "precision"  # file in a profile's outputs folder that holds its runs' precision
PROBE_SECONDS = 3.0
WORTH = 1.15  # bf16 must be faster by this factor


class MachineError(PlainError, ValueError):
    """MCCVAE_DEVICE or MCCVAE_PRECISION asks for what is not there; the message names what is."""


def choose_device() -> torch.device:
    """The device that MCCVAE_DEVICE names ("cpu", "cuda", "cuda:1", "mps"); without it CUDA where there, else Apple's
    MPS, else the CPU.

    Raises MachineError for one that is not there: never another in its place."""
    there = (
        [f"cuda:{i}" for i in range(torch.cuda.device_count())] + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    )
    wanted = os.environ.get("MCCVAE_DEVICE") or there[0]
    name = "cuda:0" if wanted == "cuda" else wanted
    if name not in there:
        raise MachineError(
            f"MCCVAE_DEVICE asks for {quoted(wanted)}, which is not on this machine; there are: {', '.join(there)}"
        )
    if name.startswith("cuda"):  # equal seeds, equal weights on the same card; float32 is float32, not TF32's 10 bits
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """The processor's name, for a run's record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        if models := [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]:
            return f"CPU: {models[0]}, {os.cpu_count()} logical cores"
    return f"{device.type}: {platform.processor() or platform.machine()}"


def precision_of(folder: Path, device: torch.device) -> str:
    """The precision of all runs in a profile's outputs folder, "float32" or "bf16".

    The first run decides, by MCCVAE_PRECISION: one of the two, or "auto", which takes what `probe` finds faster. The
    choice is kept in the folder and holds wherever these runs go on. Raises MachineError where MCCVAE_PRECISION is none
    of these, or asks for another precision than the folder's runs have."""
    wanted = os.environ.get("MCCVAE_PRECISION") or "auto"
    if wanted not in ("auto", *core.PRECISIONS):
        raise MachineError(f"MCCVAE_PRECISION must be auto, {' or '.join(core.PRECISIONS)}, not {quoted(wanted)}")
    path = folder / PRECISION
    if not path.is_file():
        _write_once(path, probe(device) if wanted == "auto" else wanted)
    kept = path.read_text().strip()
    if kept not in core.PRECISIONS:
        raise MachineError(f"{path} holds {quoted(kept)}, which is no precision; delete it and run again")
    if wanted not in ("auto", kept):
        raise MachineError(
            f"the runs in {folder.name} are computed in {kept}, and MCCVAE_PRECISION asks for "
            f"{wanted}: runs of both can't be compared. "
            f"Unset MCCVAE_PRECISION to go on in {kept}, or delete {path} and the runs to train them all in {wanted}"
        )
    return kept


def _write_once(path: Path, text: str) -> None:
    """Write a file unless another process has just written it: of two runs that start together one decides."""
    mine = path.with_name(f".{path.name}.{os.getpid()}.part.mine")
    try:
        write_atomically(mine, f"{text}\n".encode())
        os.link(mine, path)
        sync_folder(path.parent)
    except FileExistsError:
        pass
    finally:
        mine.unlink(missing_ok=True)


def probe(device: torch.device, seconds: float = PROBE_SECONDS) -> str:
    """ "bf16" where training steps in it are faster than float32 ones by the factor WORTH, else "float32"; by turns,
    for some seconds."""
    config = core.ModelConfig((1, 60, 60), (2, 2, 2), 7, "bernoulli", 0.5)
    images = torch.randint(0, 256, (64, *config.image_shape), dtype=torch.uint8, device=device)
    labels = torch.zeros(64, config.labels, device=device)
    model = core.build_model("MCCVAE", config, seed=0).to(device)
    spent = {precision: [] for precision in core.PRECISIONS}
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up and len(spent["bf16"]) < 12:
        for precision, times in spent.items():
            started = time.perf_counter()
            with core.computing_in(model, precision):
                loss = core.ccvae_loss(model, core.to_images(images), labels, core.Objective()).loss
            loss.backward()
            loss.item()  # waits for the device
            times.append(time.perf_counter() - started)
    if len(spent["bf16"]) < 2:  # the first step of each is a warm-up
        return "float32"
    fastest = {precision: min(times[1:]) for precision, times in spent.items()}
    return "bf16" if fastest["float32"] > WORTH * fastest["bf16"] else "float32"
