"""What runs on a device without float64, as Apple's MPS, and how precisions are kept apart."""

import contextlib
import dataclasses
import json
import weakref

import pytest
import torch
from support import machine, runs, training
from support.measures import blocks, gradients, scores
from support.settings import read_profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import mccvae_core as core


class NoFloat64(TorchDispatchMode):
    """Stands for a device that has no float64: what came from a model or an image lies on it until `.cpu()` brings it
    back."""

    def __init__(self):
        super().__init__()
        self.there = weakref.WeakValueDictionary()

    def put(self, tensor):
        self.there[id(tensor)] = tensor
        return tensor

    def has(self, tensor):
        return self.there.get(id(tensor)) is tensor

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        if any(self.has(tensor) for tensor in tensors):
            for value in tree_flatten(result)[0]:
                if isinstance(value, torch.Tensor):
                    assert value.dtype != torch.float64, f"{function} makes float64 on the device"
                    self.put(value)
        return result


@contextlib.contextmanager
def device_without_float64():
    """Models and images are put on such a device inside a with block."""
    mode, to, to_images, cpu = NoFloat64(), torch.nn.Module.to, core.to_images, torch.Tensor.cpu

    def module_to(self, *args, **kwargs):
        moved = to(self, *args, **kwargs)
        for tensor in (*moved.parameters(), *moved.buffers()):
            mode.put(tensor)
        return moved

    with pytest.MonkeyPatch.context() as patch, mode:
        patch.setattr(torch.nn.Module, "to", module_to)
        patch.setattr(core, "to_images", lambda *args: mode.put(to_images(*args)))
        patch.setattr(
            torch.Tensor, "cpu", lambda self: cpu(self).detach().clone() if not mode.has(self) else host(self)
        )

        def host(tensor):
            copy = torch.empty_like(tensor, requires_grad=False)
            with torch.no_grad():
                mode.there.pop(id(tensor))
                copy.copy_(tensor.detach())
            mode.put(tensor)
            mode.there.pop(id(copy), None)
            return copy

        yield mode


def test_the_stand_in_refuses_float64_and_lets_it_be_on_the_host():
    with device_without_float64() as mode:
        x = mode.put(torch.ones(3))
        with pytest.raises(AssertionError, match="float64 on the device"):
            (x * 2).double()
        assert (x * 2).cpu().double().sum().item() == 6


@pytest.fixture
def profile(tmp_path, monkeypatch):
    smoke = read_profile("smoke")
    monkeypatch.setattr(type(smoke), "folder", property(lambda self: tmp_path))
    return dataclasses.replace(smoke, epochs=1, images=60)


@pytest.mark.parametrize("model", ["mccvae", "vae"])
def test_training_and_every_measure_of_it_need_no_float64_on_the_device(profile, model):
    data = runs.load_data(profile, "mnist")
    with device_without_float64():
        run = training.train(profile, "mnist", model, 0, data)
    assert run.record["epochs"] == 1


def test_the_audit_and_the_blocks_need_no_float64_on_the_device(small_data, small_config):
    images, labels = small_data
    with device_without_float64():
        model = core.build_model("MCCVAE", small_config, seed=0).to("cpu")
        audit = gradients.gradient_audit(model, images[:8], labels[:8], draws=2)
        assert audit["official"]["norm"]["encoder"] > 0
        assert blocks.separation(blocks.block_coordinates(model, 1)) >= 0
        assert scores.picture_scores(model, images[:8], labels[:8])["psnr"] > 0


def test_a_cuda_card_is_asked_for_the_same_numbers_each_time(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("deterministic", False), ("benchmark", True), ("allow_tf32", True)):
        monkeypatch.setattr(torch.backends.cudnn, name, value)
    assert machine.choose_device().type == "cuda"
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32


def test_runs_of_two_precisions_are_not_compared(profile):
    profile = dataclasses.replace(profile, models={"mnist": ["vae-e1"]}, seeds=[0, 1])
    data = runs.load_data(profile, "mnist")
    for seed in profile.seeds:
        run = training.train(profile, "mnist", "vae-e1", seed, data)
    assert len(runs.read_runs(profile, tasks=["mnist"])) == 2
    record = json.loads((run.folder / "run.json").read_text())
    other = next(precision for precision in core.PRECISIONS if precision != record["precision"])
    (run.folder / "run.json").write_text(json.dumps(record | {"precision": other}))
    with pytest.raises(runs.RunError, match="mnist runs were computed in bf16 and float32, which can't be compared"):
        runs.read_runs(profile, tasks=["mnist"])
    (run.folder / "run.json").unlink()  # the remedy: delete one precision's, train again
    training.train(profile, "mnist", "vae-e1", 1, data)
    assert len(runs.read_runs(profile, tasks=["mnist"])) == 2


def test_images_stay_on_the_device_where_they_lie():
    there = core.to_images(torch.zeros(2, 1, 4, 4, dtype=torch.uint8, device="meta"))
    assert (there.device.type, there.dtype) == ("meta", torch.float32)
    assert core.to_images(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "meta").device.type == "meta"
