"""Whatever bytes lie in a cache, an archive or a run's folder: each case ends in a result or in an error of our own."""

import contextlib
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import records, runs, weights
from support.settings import ModelSpec, SettingsError, read_profile

import mccvae_core as core
from data import DataError, celeba, chest_xray, common, files, pictures

MANY = settings(
    max_examples=500, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
FEWER = settings(MANY, max_examples=400)


@st.composite
def damaged(draw, whole: bytes):
    """The bytes of a whole file, some of them changed, cut out or put in; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.one_of(st.integers(0, min(400, len(content))), st.integers(0, len(content))))
        kind, piece = (
            draw(st.sampled_from(["change", "cut", "insert", "end"])),
            draw(st.binary(min_size=1, max_size=12)),
        )
        if kind == "change":
            content[at : at + len(piece)] = piece
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 300))]
        elif kind == "insert":
            content[at:at] = piece
        else:
            del content[at:]
    return bytes(content)


def buffer(write) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


NPZ = buffer(
    lambda file: np.savez_compressed(
        file, x=np.arange(600, dtype=np.uint8).reshape(6, 10, 10), y=np.arange(6), names=np.array(["a", "b"])
    )
)
PNG = buffer(lambda file: Image.effect_noise((80, 70), 30).save(file, "PNG"))
JPEG = buffer(lambda file: Image.effect_noise((80, 70), 30).save(file, "JPEG"))
ATTRIBUTES = b"2\nMale Young\n000001.jpg 1 -1\n000002.jpg -1 1\n"


def archive(file):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("chest_xray/train/NORMAL/IM-1.jpeg", JPEG)
        zipped.writestr("chest_xray/train/PNEUMONIA/person1_virus_1.jpeg", JPEG)


ZIP = buffer(archive)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@MANY
@given(content=damaged(NPZ))
def test_caches(folder, content):
    try:
        arrays = files.read_npz(put(folder / "x.npz", content), ("x", "y", "names"))
        assert set(arrays) == {"x", "y", "names"}
        common.check_labelled("x.npz", arrays["x"], arrays["y"], 10, 3)
    except DataError as error:
        assert "x.npz" in str(error)


@MANY
@given(content=st.one_of(damaged(PNG), damaged(JPEG)))
def test_pictures(folder, content):
    try:
        assert pictures.read_image(put(folder / "x.png", content), "L", modes=("L", "RGB")).shape == (64, 64)
    except DataError as error:
        assert "x.png" in str(error)


@MANY
@given(content=damaged(ZIP))
def test_archives(folder, content):
    with pytest.raises(DataError, match=r"x\.zip"):  # it has too few images, or is damaged
        chest_xray.read_archive(put(folder / "x.zip", content))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@MANY
@given(names=st.lists(st.text(st.sampled_from("ab./\\\0 :~"), max_size=12), max_size=4))
def test_nothing_in_an_archive_is_written_to_the_disk(folder, names):
    with zipfile.ZipFile(folder / "x.zip", "w") as zipped:
        zipped.writestr("chest_xray/a.jpeg", b"")
        for name in names:
            zipped.writestr(zipfile.ZipInfo(f"chest_xray/{name}.jpeg"), b"")
    before = set(folder.rglob("*"))
    with pytest.raises(DataError, match=r"x\.zip"):
        chest_xray.read_archive(folder / "x.zip")
    assert set(folder.rglob("*")) == before


@MANY
@given(content=damaged(ATTRIBUTES))
def test_attribute_lists(folder, content):
    try:
        names, values, columns = celeba.read_attributes(put(folder / "list_attr_celeba.txt", content))
        assert values.shape == (len(names), len(columns)) and np.isin(values, (0, 1)).all()
    except DataError as error:
        assert "list_attr_celeba.txt" in str(error)


# --- a run's folder -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(folder):
    """A run's files, by name."""
    config = core.ModelConfig((1, 60, 60), (1, 1), 1, "bernoulli", 0.5)
    model = core.build_model("MCCVAE", config, 0)
    images, labels = torch.zeros(4, 1, 60, 60, dtype=torch.uint8), torch.tensor([[1, 0], [0, 1]] * 2, dtype=torch.uint8)
    path = folder / "run" / "checkpoint.safetensors"
    fit(model, images, labels, batch_size=4, epochs=1, seed=0, checkpoint=path, identity={"a": 1})
    weights.save_model(folder / "run" / "model.safetensors", model)
    scores = {part: {"n": 4, "accuracy": 0.5, "loss": {"loss_alpha0": 1.0}} for part in records.SPLITS}
    contents = {
        "metrics.json": json.dumps(scores).encode(),
        "history.csv": b"epoch,labelled_loss,seconds\n1,2.5,0.1\n2,2.25,0.1\n",
    }
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    n = {part: 4 for part in records.SPLITS}
    data = {"source": "own", "stand_in": False, "description": "two", "labels": ["a", "b"], "n": n, "sha256": "0"}
    record = {
        "task": "own",
        "model": "ccvae",
        "seed": 0,
        "epochs": 2,
        "batch_size": 4,
        "characteristics": [1, 1],
        "style_dim": 1,
        "data": data,
    }
    record |= {"code": "0", "versions": {"torch": "2"}, "device": "CPU", "seconds": 0.2, "sha256": checksums}
    contents["run.json"] = json.dumps(record).encode()
    for name, content in contents.items():
        put(folder / "run" / name, content)
    return {p.name: p.read_bytes() for p in path.parent.iterdir()}


def header_damaged(whole: bytes):
    """safetensors: mostly its header, where all decisions are made."""
    length = 8 + int.from_bytes(whole[:8], "little")
    return damaged(whole[:length]).map(lambda head: head + whole[length:])


@FEWER
@given(data=st.data())
def test_weights(folder, run, data):
    content = data.draw(header_damaged(run["model.safetensors"]))
    try:
        assert weights.load_model(put(folder / "m.safetensors", content)).config.labels == 2
    except weights.CheckpointError as error:
        assert "m.safetensors" in str(error)


@FEWER
@given(data=st.data())
def test_weights_of_other_content_with_a_right_checksum(folder, run, data):
    """What only malice makes: the checksum fits."""
    tensors, metadata = weights.read_safetensors(put(folder / "m.safetensors", run["model.safetensors"]))
    anything = st.recursive(
        st.none() | st.booleans() | st.integers(-3, 10**9) | st.floats() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=4),
    )
    key = data.draw(st.sampled_from([*metadata["config"], "kind", "config"]))
    value = data.draw(anything)
    metadata = metadata | {key: value} if key in metadata else metadata | {"config": metadata["config"] | {key: value}}
    weights.write_safetensors(folder / "m.safetensors", tensors, metadata)
    try:
        weights.load_model(folder / "m.safetensors")
    except weights.CheckpointError as error:
        assert "m.safetensors" in str(error)


@FEWER
@given(data=st.data())
def test_checkpoints(folder, run, data):
    config = core.ModelConfig((1, 60, 60), (1, 1), 1, "bernoulli", 0.5)
    model = core.build_model("MCCVAE", config, 0)
    state = core.TrainingState(model, torch.optim.Adam(model.parameters()), torch.zeros(4), torch.Generator())
    content = data.draw(header_damaged(run["checkpoint.safetensors"]))
    try:
        weights.load_checkpoint(put(folder / "c.safetensors", content), state, {"a": 1})
    except weights.CheckpointError as error:
        assert "c.safetensors" in str(error)


@MANY
@given(data=st.data(), name=st.sampled_from(["run.json", "metrics.json", "history.csv"]))
def test_records(folder, run, data, name):
    for file in ("run.json", "metrics.json", "history.csv"):
        put(folder / "run" / file, run[file])
    put(folder / "run" / name, data.draw(damaged(run[name])))
    try:
        read = runs.read_run(folder / "run")
        assert set(records.RECORD) <= set(read.record) and set(records.SPLITS) <= set(read.metrics)
    except runs.RunError as error:
        assert "run" in str(error)


# --- settings -------------------------------------------------------------------------------------------------


@MANY
@given(
    name=st.one_of(
        st.text(max_size=20),
        st.text(st.sampled_from("mccvae-rbkfezxtps0123456789.e_"), max_size=24).map(lambda tail: f"mccvae{tail}"),
    )
)
def test_model_names(name):
    try:
        assert ModelSpec.parse(name).name == name
    except SettingsError as error:
        assert "model" in str(error) or name in str(error)


@MANY
@given(data=st.data())
def test_profiles(folder, monkeypatch_module, data):
    whole = (Path(runs.ROOT) / "notebooks/profiles/demo.yaml").read_bytes()
    monkeypatch_module.setattr("support.settings.PROFILES", folder)
    put(folder / "x.yaml", data.draw(damaged(whole)))
    with contextlib.suppress(SettingsError):
        assert read_profile("x").source in ("real", "embedded")


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch
