"""Loaders on small fixtures in the publishers' own formats, and every kind of bad input."""

import dataclasses
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from support import ROOT

import data
from data import DataError, celeba, chest_xray, common, drawing, files, mnist, pictures, stick_figures

DRAWN = (celeba, chest_xray, stick_figures)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty data/cache of this test's own, and no MCCVAE_DATA."""
    monkeypatch.setattr(common, "CACHE", tmp_path / "cache")
    monkeypatch.delenv("MCCVAE_DATA", raising=False)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def no_network(*_, **__):
    raise OSError("Network is unreachable")


def picture(path, size=(80, 70), mode="L", value=None, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = (
        rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        if value is None
        else np.full((*size[::-1], 3), value, np.uint8)
    )
    Image.fromarray(pixels).convert(mode).save(path)


# --- embedded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", data.MODULES)
def test_embedded_sets_are_made_in_seconds_complete_and_always_the_same(task):
    started = time.perf_counter()
    first = data.load(task, "embedded")
    assert time.perf_counter() - started < 20
    assert first.stand_in == (task != "stick_figures") == ("stand-in data" in first.description)
    for part in (first.train, first.validation, first.test):
        assert part.images.dtype == torch.uint8 and tuple(part.images.shape[1:]) == first.task.image_shape
        assert part.labels.shape == (len(part), len(first.labels)) and set(part.labels.unique().tolist()) == {0, 1}
        for factors, names in ((part.parts, first.part_names), (part.style, first.style_names)):
            assert factors.dtype == torch.float32 and factors.shape == (len(part), len(names))
            assert ((factors >= 0) & (factors <= 1)).all()
        if first.task.exclusive:
            assert (part.labels.sum(1) == 1).all()
    assert first.train.labels.float().mean(0).min() > 0.05
    again = data.load(task, "embedded", images=60)
    # of the digits, the test part comes first
    for name in ("images", "labels", "parts", "style") if task != "mnist" else ():
        assert torch.equal(getattr(again.train, name), getattr(first.train, name)[: len(again.train)])
    assert data.load(task, "embedded", images=60).sha256 == again.sha256 != first.sha256
    names = np.concatenate([first.train.names, first.validation.names, first.test.names])
    assert len(set(names)) == len(names)


def test_drawn_faces_have_the_attributes_of_the_papers_walks():
    assert {"Male", "Eyeglasses"} <= set(data.load("celeba", "embedded", images=60).labels) <= set(celeba.ATTRIBUTES)


@pytest.fixture(scope="module", params=DRAWN, ids=lambda module: module.TASK.name)
def drawn(request):
    """A module that draws, and 1,500 of its images."""
    return request.param, request.param.draw(1500, seed=1)


def test_each_drawn_label_and_part_shows_in_the_picture(drawn):
    """A quadratic reader of coarse features reads them from pictures that it has not seen."""
    from sklearn.decomposition import PCA
    from sklearn.kernel_ridge import KernelRidge

    module, d = drawn
    x = d.images.reshape(1500, -1) / np.float32(255)
    pca = PCA(150, svd_solver="randomized", random_state=0).fit(x[:1200])
    z = pca.transform(x) / np.sqrt(pca.explained_variance_.mean())
    truth = np.concatenate([d.parts, d.labels], 1)
    middle = truth[:1200].mean(0)
    reader = KernelRidge(alpha=1, kernel="poly", degree=2, gamma=1 / 150, coef0=3).fit(z[:1200], truth[:1200] - middle)
    read = reader.predict(z[1200:]) + middle
    r2 = 1 - ((read - truth[1200:]) ** 2).mean(0) / truth[1200:].var(0)
    right = ((read > 0.5) == (truth[1200:] == 1)).mean(0)[len(module.PART_NAMES) :]
    # limbs move, which such a reader sees less well: a convolution does
    floor = 0.4 if module is stick_figures else 0.6
    assert r2[: len(module.PART_NAMES)].min() > floor and right.min() > 0.75


def test_every_label_owns_two_to_four_parts(drawn):
    module, d = drawn
    loaded = data.load(module.TASK.name, "embedded", images=60)
    assert loaded.labels == tuple(module.PARTS)
    assert all(2 <= loaded.part_label.count(label) <= 4 for label in range(len(loaded.labels)))
    for name, label in zip(loaded.part_names, loaded.part_label, strict=True):
        assert name in module.PARTS[loaded.labels[label]]
    names = (*loaded.part_names, *loaded.style_names)
    assert len(set(names)) == len(names) and not set(names) & set(loaded.labels)
    assert d.style.shape[1] == len(loaded.style_names) and (d.style.std(0) > 0.25).all()  # uniform: 0.29


def test_a_drawn_image_is_the_same_whatever_the_count(drawn):
    module, many = drawn
    few, other = module.draw(10, seed=1), module.draw(10, seed=2)
    for name in ("images", "labels", "parts", "style"):
        assert (getattr(few, name) == getattr(many, name)[:10]).all() and (
            getattr(few, name) != getattr(other, name)
        ).any()


def test_stick_figures_labels_are_thresholds_on_their_own_parts_with_a_gap():
    d = stick_figures.draw(600, 3, correlation=0.5)
    for label, name in enumerate(stick_figures.PARTS):
        mine = [i for i, owner in enumerate(stick_figures.PART_LABEL) if owner == label]
        mean = d.parts[:, mine].mean(1)
        assert (d.labels[:, label] == (mean > 0.5)).all() and np.abs(mean - 0.5).min() >= stick_figures.GAP - 1e-6, name
    assert np.ptp(d.parts, 0).min() > 0.95


@pytest.mark.parametrize(("module", "absent"), [(celeba, ("Bangs", "Eyeglasses")), (chest_xray, ("bacteria", "virus"))])
def test_parts_lie_high_under_their_label_and_low_or_at_0_without_it(module, absent):
    d = module.draw(400, 3)
    for part, owner in enumerate(module.PART_LABEL):
        on, off = d.parts[d.labels[:, owner] == 1, part], d.parts[d.labels[:, owner] == 0, part]
        assert 0.6 <= on.min() < 0.63 and 0.97 < on.max() <= 1
        assert (
            off.max() == 0
            if tuple(module.PARTS)[owner] in absent
            else 0 <= off.min() < 0.03 and 0.27 < off.max() <= 0.3
        )
        for other in range(part):
            if module.PART_LABEL[other] == owner:  # within a label its parts vary independently
                both = d.parts[d.labels[:, owner] == 1][:, [part, other]]
                assert abs(np.corrcoef(both.T)[0, 1]) < 0.3


@pytest.mark.parametrize(
    ("module", "label"), [(celeba, "Bangs"), (celeba, "Eyeglasses"), (chest_xray, "bacteria"), (chest_xray, "virus")]
)
def test_only_pictures_with_the_label_show_the_thing(module, label):
    d = module.draw(40, 5)
    position = tuple(module.PARTS).index(label)
    without = np.where(np.equal(module.PART_LABEL, position), np.float32(0), d.parts)
    bare = drawing.painted(module.paint, module.PART_NAMES, without, module.STYLE, d.style)
    changed = (np.abs(bare.astype(int) - d.images) > 20).reshape(40, -1).sum(1)
    on = d.labels[:, position] == 1
    assert changed[on].min() > 20 and changed[~on].max() == 0


@pytest.mark.parametrize("module", [celeba, stick_figures], ids=lambda module: module.TASK.name)
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_labels_have_the_correlation_that_was_asked_for(module, correlation, monkeypatch):
    monkeypatch.setattr(module, "paint", lambda p, s: np.zeros((len(s.x), 1, 1), np.uint8))  # labels and parts only
    d = module.draw(4000, 7, correlation)
    assert np.abs(d.labels.mean(0) - 0.5).max() < 0.03
    measured = np.corrcoef(d.labels.T)[np.triu_indices(len(module.PARTS), 1)]
    assert np.abs(measured - correlation).max() < 0.06
    for part, owner in enumerate(module.PART_LABEL):  # parts follow their own label: the others add nothing to it
        other = (owner + 1) % len(module.PARTS)
        on, differ = d.labels[:, owner] == 1, d.labels[:, owner] != d.labels[:, other]
        assert d.parts[on, part].mean() > d.parts[~on, part].mean() + 0.1
        if correlation:
            assert abs(d.parts[on & differ, part].mean() - d.parts[on & ~differ, part].mean()) < 0.1


@pytest.mark.parametrize("task", ["celeba", "stick_figures"])
def test_test_images_keep_independent_labels_and_the_description_says_so(task):
    plain, given = (data.load(task, "embedded", images=700, correlation=c) for c in (0.0, 0.8))
    assert (
        "correlation" not in plain.description
        and "correlation 0.8 in training and validation, none in test" in given.description
    )
    assert torch.equal(plain.test.images, given.test.images) and torch.equal(plain.test.parts, given.test.parts)
    for part in (given.train, given.validation):
        off_diagonal = np.corrcoef(part.labels.numpy().T)[np.triu_indices(len(given.labels), 1)]
        assert off_diagonal.mean() == pytest.approx(0.8, abs=0.15)
    assert given.summary()["description"] == given.description and given.sha256 != plain.sha256


def test_a_correlation_is_refused_where_labels_are_not_drawn_or_exclude_each_other():
    for task, source in (("mnist", "embedded"), ("chest_xray", "embedded"), ("celeba", "real"), ("mnist", "real")):
        with pytest.raises(DataError, match=r"can't be given a correlation.*celeba \(embedded\), stick_figures"):
            data.load(task, source, correlation=0.5)
    for bad in (-0.1, 1, float("nan")):
        with pytest.raises(DataError, match=r"not in \[0, 1\)"):
            data.load("stick_figures", "embedded", correlation=bad)


def test_stick_figures_are_the_same_by_either_source(monkeypatch):
    monkeypatch.setattr(stick_figures, "COUNT", 70)
    real, embedded = (data.load("stick_figures", source) for source in ("real", "embedded"))
    assert (real.source, embedded.source) == ("real", "embedded") and not real.stand_in and "drawn" in real.description
    assert real.sha256 == embedded.sha256 and torch.equal(real.train.images, embedded.train.images)
    assert [len(part) for part in (real.train, real.validation, real.test)] == [50, 10, 10]
    assert data.load("stick_figures", "real", correlation=0.5).description.endswith("none in test")


def test_stick_figures_stay_inside_the_picture():
    d = stick_figures.draw(300, 9)
    edge = np.concatenate([d.images[:, 0], d.images[:, -1], d.images[:, :, 0], d.images[:, :, -1]], 1).astype(int)
    touched = (np.ptp(edge, 1) > 20).mean()
    assert touched < 0.02


def test_a_line_has_its_width_and_length():
    c = drawing.Canvas(2, side=60, channels=1, background=0.0)
    mask = c.line(-0.5, 0.0, np.array([0.5, 0.0]), np.array([0.0, 0.5]), 0.2, 1.0)
    half = 0.1
    area = (np.array([1.0, np.hypot(0.5, 0.5)]) * 2 * half + np.pi * half**2) * 30**2
    assert mask.sum((1, 2)) == pytest.approx(area, rel=0.02)
    assert c.pixels[0, 30, 30] > 0.9 and c.pixels[0, 50, 30] == 0


def test_photographs_and_digits_have_no_factors(tiny_mnist):
    d = data.load("mnist", "real")
    assert d.train.parts.shape == d.train.style.shape == (50, 0) and d.part_names == d.part_label == d.style_names == ()
    assert d.train.take([3, 1]).parts.shape == (2, 0)


def test_a_label_that_never_changes_is_named():
    d = data.load("chest_xray", "embedded", images=70)
    assert len(d.label_prior) == 3
    labels = d.train.labels.clone()
    labels[:, 2] = 0
    changed = data.Split(d.train.images, labels, d.train.names)
    with pytest.raises(DataError, match=r"the label virus = 0 on every training image"):
        dataclasses.replace(d, train=changed).label_prior  # noqa: B018


def test_taking_images_takes_their_factors():
    part = data.load("stick_figures", "embedded", images=60).train
    taken = part.take([5, 2])
    assert torch.equal(taken.parts, part.parts[[5, 2]]) and torch.equal(taken.style, part.style[[5, 2]])


def test_some_images_of_a_sorted_set_are_of_all_classes_and_always_the_same():
    n = 300
    labels = torch.eye(3, dtype=torch.uint8).repeat_interleave(n // 3, 0)
    part = data.Split(torch.arange(n).reshape(n, 1, 1, 1), labels, np.arange(n))
    some = part.some(30)
    assert len(some) == len(set(some.names)) == 30 and some.labels.sum(0).min() >= 4
    assert (np.sort(some.names) == some.names).all() and (part.some(30).names == some.names).all()
    assert part.some(None) is part and part.some(n) is part


def test_unknown_task_source_and_too_few_images_are_refused():
    for arguments, message in (
        (("cifar", "real"), "no task"),
        (("mnist", "fake"), "no source"),
        (("mnist", "embedded"), "too few"),
    ):
        with pytest.raises(DataError, match=message):
            data.load(*arguments, images=10)


# --- images and caches --------------------------------------------------------------------------------------------


def test_floats_become_uint8_and_bad_values_are_named():
    assert common.as_uint8(np.array([0.0, 0.5, 1.0]), "x").tolist() == [0, 128, 255]
    for bad, message in (
        (np.array([0.1, np.nan]), "NaN at position"),
        (np.array([0.0, 1.5]), "from 0 to 1.5"),
        (np.array([-0.1]), "scale floats"),
        (np.array([3]), "int64"),
    ):
        with pytest.raises(DataError, match=message):
            common.as_uint8(bad, "faces.npz")


def test_resizing_is_antialiased_and_keeps_the_mean():
    stripes = np.zeros((1, 64, 64), dtype=np.uint8)
    stripes[:, :, ::2] = 200
    small = common.resize(stripes, (1, 60, 60)).float()
    assert small.shape == (1, 1, 60, 60) and abs(small.mean() - 100) < 3
    flat = common.resize(np.full((3, 28, 28), 77, dtype=np.uint8), (1, 60, 60))
    assert (flat == 77).all()
    colour = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert (common.resize(colour, (3, 64, 64)).permute(0, 2, 3, 1).numpy() == colour).all()


@pytest.mark.parametrize(
    ("name", "size", "mode", "message"),
    [
        ("a.png", (80, 80), "RGBA", "mode RGBA"),
        ("b.png", (20, 80), "L", "smaller than 64x64"),
        ("c.png", (90, 80), "L", "80x80 is expected"),
    ],
)
def test_an_image_of_another_size_or_mode_is_named(tmp_path, name, size, mode, message):
    picture(tmp_path / name, size, mode)
    with pytest.raises(DataError, match=message) as error:
        pictures.read_image(tmp_path / name, "L", modes=("L", "RGB"), size=(80, 80) if "80x80" in message else None)
    assert name in str(error.value)


def test_an_unreadable_image_is_named(tmp_path):
    picture(tmp_path / "a.jpeg")
    whole = (tmp_path / "a.jpeg").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (tmp_path / "a.jpeg").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.jpeg (can't be read as|is not) an image"):
            pictures.read_image(tmp_path / "a.jpeg", "L", modes=("L",))


def test_a_web_page_or_a_cut_archive_in_place_of_a_zip_is_named(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x" * 1000)
    whole = path.read_bytes()
    files.checked_zip(path, "").close()
    for content, message in (
        (b"<!DOCTYPE html><html>Quota exceeded", "web page"),
        (b"\n <HTML>", "web page"),
        (whole[:300], "cut short"),
        (b"", "cut short"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            files.checked_zip(path, "Get it from there.")
        assert "x.zip" in str(error.value) and "Get it from there." in str(error.value)


def test_a_broken_cache_is_named_and_nothing_is_unpickled(cache, tmp_path):
    path = cache / "x.npz"
    files.write_npz(path, {"a": np.arange(3)})
    whole = path.read_bytes()
    assert files.read_npz(path, ("a",))["a"].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="lacks the array 'b'"):
        files.read_npz(path, ("a", "b"))
    for content in (b"", b"junk", whole[:-40], whole[:50]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.npz can't be read"):
            files.read_npz(path, ("a",))
    evil = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(evil),)

    np.savez(path, a=np.array([Evil()], dtype=object))
    with pytest.raises(DataError, match="can't be read"):
        files.read_npz(path, ("a",))
    assert not evil.exists()


def test_mccvae_data_is_read_first_and_must_be_a_folder(cache, tmp_path, monkeypatch):
    named = tmp_path / "named"
    named.mkdir()
    files.write_npz(named / "x.npz", {"a": np.array([1])})
    files.write_npz(cache / "x.npz", {"a": np.array([2])})
    assert common.cached("x.npz", no_network, ("a",))[0]["a"] == 2
    monkeypatch.setenv("MCCVAE_DATA", str(named))
    arrays, sha256 = common.cached("x.npz", no_network, ("a",))
    assert arrays["a"] == 1 and sha256 == hashlib.sha256((named / "x.npz").read_bytes()).hexdigest()
    monkeypatch.setenv("MCCVAE_DATA", os.path.relpath(named, ROOT))
    monkeypatch.chdir(ROOT / "notebooks")
    assert common.cached("x.npz", no_network, ("a",))[0]["a"] == 1
    (named / "x.npz").write_bytes(b"of the user")
    with pytest.raises(DataError, match="put a whole one in its place, or take it out of that folder"):
        common.cached("x.npz", no_network, ("a",))
    (named / "x.npz").unlink()  # the remedy
    assert common.cached("x.npz", no_network, ("a",))[0]["a"] == 2
    monkeypatch.setenv("MCCVAE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="not a folder"):
        common.cached("x.npz", no_network, ("a",))


# --- MNIST --------------------------------------------------------------------------------------------------------


def idx(array):
    return (
        (0x0800 + array.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
    )


@pytest.fixture
def tiny_mnist(cache, monkeypatch):
    """MNIST's four gz files with 60 and 20 digits, as if published."""
    from torchvision.datasets import MNIST

    rng = np.random.default_rng(0)
    arrays = dict(
        zip(
            mnist.KEYS,
            (
                rng.integers(0, 256, (60, 28, 28), np.uint8),
                np.arange(60, dtype=np.uint8) % 10,
                rng.integers(0, 256, (20, 28, 28), np.uint8),
                np.arange(20, dtype=np.uint8) % 10,
            ),
            strict=True,
        )
    )
    raw = cache / "MNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    for (name, _), key in zip(MNIST.resources, mnist.KEYS, strict=True):
        (raw / name).write_bytes(gzip.compress(idx(arrays[key])))
        resources.append((name, hashlib.md5((raw / name).read_bytes()).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(mnist, "IDX_MD5", {key: hashlib.md5(idx(a)).hexdigest() for key, a in arrays.items()})
    monkeypatch.setattr(mnist, "VALIDATION", 10)
    return arrays, raw


def test_mnist_from_its_published_files(tiny_mnist, cache):
    arrays, _ = tiny_mnist
    d = data.load("mnist", "real")
    assert (len(d.train), len(d.validation), len(d.test)) == (50, 10, 20) and not d.stand_in
    assert d.train.images.shape == (50, 1, 60, 60) and d.test.labels.argmax(1).tolist() == (np.arange(20) % 10).tolist()
    with np.load(cache / "mnist.npz") as file:
        assert all((file[key] == arrays[key]).all() and file[key].dtype == np.uint8 for key in mnist.KEYS)
    assert data.load("mnist", "real", images=50).summary()["n"] == {"train": 50, "validation": 10, "test": 20}


def test_mnist_truncated_or_out_of_reach(tiny_mnist):
    _, raw = tiny_mnist
    name = "t10k-images-idx3-ubyte.gz"
    (raw / name).write_bytes((raw / name).read_bytes()[:100])
    with pytest.raises(DataError, match="could not be downloaded and checked") as error:
        data.load("mnist", "real")
    assert name in str(error.value) and "data/cache/MNIST/raw" in str(error.value)


def test_a_changed_mnist_cache_has_another_checksum(tiny_mnist, cache):
    arrays, _ = tiny_mnist
    changed = arrays | {"x_test": arrays["x_test"] ^ 1}
    files.write_npz(cache / "mnist.npz", changed)
    with pytest.raises(DataError, match="x_test differs from the published MNIST"):
        data.load("mnist", "real")
    files.write_npz(cache / "mnist.npz", arrays | {"y_test": arrays["y_test"] + 9})
    with pytest.raises(DataError, match="from 0 to 9"):
        data.load("mnist", "real")


# --- chest X-rays -------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_chest(cache, monkeypatch):
    """The publisher's folders with 40 training and 9 test images; some persons have several, two files are
    identical."""
    root = cache / "chest_xray"
    number = 0
    for part, count in (("train", 13), ("test", 3)):
        for i in range(count):
            for folder, name in (
                ("NORMAL", f"{'NORMAL2-' if i % 2 else ''}IM-{i // 2:04d}-{i:04d}.jpeg"),
                ("PNEUMONIA", f"person{i // 2}_bacteria_{i}.jpeg"),
                ("PNEUMONIA", f"person{i // 2}_virus_{i}.jpeg"),
            ):
                picture(root / part / folder / name, mode="RGB" if number % 5 == 0 else "L", seed=number)
                number += 1
    picture(root / "train" / "PNEUMONIA" / "person90_virus_90.jpeg", seed=5000)
    (root / "val" / "NORMAL").mkdir(parents=True)
    twin = root / "train" / "PNEUMONIA"
    (twin / "person0_virus_1.jpeg").write_bytes((twin / "person4_virus_8.jpeg").read_bytes())
    monkeypatch.setattr(chest_xray, "COUNTS", {"train": 40, "test": 9})
    return root


def test_chest_xrays_from_the_publishers_folders(tiny_chest, monkeypatch):
    monkeypatch.setattr(chest_xray, "VALIDATION_SHARE", 0.1)
    d = data.load("chest_xray", "real")
    assert d.labels == ("normal", "bacteria", "virus") and len(d.test) == 9
    assert len(d.train) + len(d.validation) == 40
    assert d.test.labels.sum(0).tolist() == [3, 3, 3]
    assert (d.validation.labels.sum(0) > 0).all()
    persons = [{chest_xray.person_of(str(n)) for n in part.names} for part in (d.train, d.validation)]
    assert not persons[0] & persons[1]
    assert "1 groups are byte-identical (1 surplus images)" in d.description
    twins = {"person0_virus_1.jpeg", "person4_virus_8.jpeg"}
    assert len(twins & set(d.train.names)) in (0, 2)
    assert d.label_prior == pytest.approx(tuple(d.train.labels.float().mean(0).tolist()))


def pack(archive, folder, *more):
    """The chest folder as the publisher packs it, with further members."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.jpeg")):
            file.write(path, f"chest_xray/{path.relative_to(folder).as_posix()}")
        for name in more:
            file.writestr(name, b"x")


def test_chest_xrays_from_the_publishers_archive(tiny_chest, cache):
    pack(
        cache / chest_xray.ARCHIVE,
        tiny_chest,
        "chest_xray/../../escaped.jpeg",
        "__MACOSX/chest_xray/._a.jpeg",
        "chest_xray/train/NORMAL/._a.jpeg",
    )
    direct = data.load("chest_xray", "real")
    (cache / "chest_xray_64.npz").unlink()
    shutil.move(tiny_chest, cache / "elsewhere")
    packed = data.load("chest_xray", "real")
    assert torch.equal(direct.train.images, packed.train.images) and list(direct.train.names) == list(
        packed.train.names
    )
    assert direct.sha256 == packed.sha256 and not (cache.parent / "escaped.jpeg").exists()
    assert {path.name for path in cache.iterdir()} == {"elsewhere", chest_xray.ARCHIVE, "chest_xray_64.npz"}


def test_kaggles_copy_and_the_publishers_archive_give_the_same_images(tiny_chest, cache, monkeypatch, capsys):
    """Kaggle moved 16 of the publisher's training images into its validation folder."""
    import kagglehub

    kaggle = cache.parent / "kaggle" / "chest_xray"
    shutil.copytree(tiny_chest, kaggle)
    shutil.move(tiny_chest, cache.parent / "publisher")
    tiny_chest = cache.parent / "publisher"
    assert len(chest_xray.NOT_TRAINED) == 16
    for number, name in enumerate(sorted(chest_xray.NOT_TRAINED)):
        kind = "NORMAL" if name.startswith("NORMAL") else "PNEUMONIA"
        picture(tiny_chest / "train" / kind / name, seed=900 + number)
        picture(kaggle / "val" / kind / name, seed=900 + number)
    monkeypatch.setattr(kagglehub, "dataset_download", lambda _: str(kaggle.parent))
    from_kaggle = data.load("chest_xray", "real")
    assert "left out" not in capsys.readouterr().out
    (cache / "chest_xray_64.npz").unlink()
    pack(cache / chest_xray.ARCHIVE, tiny_chest)
    from_publisher = data.load("chest_xray", "real")
    assert "16 of the published training images are left out" in capsys.readouterr().out
    assert from_kaggle.sha256 == from_publisher.sha256 and len(from_kaggle.train) + len(from_kaggle.validation) == 40


@pytest.mark.parametrize("first", ["archive", "folder"])
def test_a_chest_set_that_is_not_right_is_mended_as_its_message_says(tiny_chest, cache, first):
    whole = shutil.move(tiny_chest, cache.parent / "whole")
    broken = shutil.copytree(whole, cache.parent / "broken")
    (broken / "train" / "PNEUMONIA" / "person90_virus_90.jpeg").unlink()
    if first == "archive":
        pack(cache / chest_xray.ARCHIVE, broken)
    else:
        shutil.move(broken, tiny_chest)
    with pytest.raises(
        DataError, match=r"has 39 images, where the published set has 40.*delete it, download ChestXRay2017\.zip"
    ):
        data.load("chest_xray", "real")
    assert {path.name for path in cache.iterdir()} == {chest_xray.ARCHIVE if first == "archive" else "chest_xray"}
    pack(cache / chest_xray.ARCHIVE, whole)  # a right archive beside a broken folder counts too
    assert len(data.load("chest_xray", "real").train)


def test_kaggles_copy_is_mended_as_its_message_says(tiny_chest, cache, monkeypatch):
    import kagglehub

    whole, root = shutil.move(tiny_chest, cache.parent / "whole"), cache.parent / "versions" / "2"

    def download(_):
        if not root.exists():
            shutil.copytree(whole, root / "chest_xray")
        return str(root)

    monkeypatch.setattr(kagglehub, "dataset_download", download)
    download(None)
    (root / "chest_xray" / "test" / "NORMAL" / "IM-0000-0000.jpeg").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"IM-0000-0000\.jpeg .*delete the folder (.*) and run again: it is downloaded anew"
    ) as error:
        data.load("chest_xray", "real")
    shutil.rmtree(re.search("delete the folder (.*) and run", str(error.value))[1])
    assert len(data.load("chest_xray", "real").test) == 9


def test_persons_and_classes_are_read_from_names():
    assert chest_xray.person_of("person1000_bacteria_2931.jpeg") == chest_xray.person_of("person1000_bacteria_7.jpeg")
    assert chest_xray.person_of("person1000_bacteria_1.jpeg") != chest_xray.person_of("person1000_virus_1.jpeg")
    assert chest_xray.person_of("NORMAL2-IM-0587-0001-0002.jpeg") == chest_xray.person_of("NORMAL2-IM-0587-0001.jpeg")
    assert chest_xray.person_of("IM-0115-0001.jpeg") != chest_xray.person_of("IM-0117-0001.jpeg")


def test_bad_chest_folders_are_named(tiny_chest):
    pneumonia = tiny_chest / "train" / "PNEUMONIA"
    (tiny_chest / "test" / "NORMAL" / "._IM-0000-0000.jpeg").write_bytes(b"macOS puts such files there")
    assert len(data.load("chest_xray", "real").test) == 9
    (common.CACHE / "chest_xray_64.npz").unlink()
    (tiny_chest / "test" / "NORMAL" / "holiday.jpeg").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"has 10 images, where the published set has 9; names that are not the publisher's: holiday\.jpeg",
    ):
        data.load("chest_xray", "real")
    (tiny_chest / "test" / "NORMAL" / "holiday.jpeg").rename(pneumonia / "BACTERIA-1008087-0001.jpeg")
    with pytest.raises(DataError, match=r"BACTERIA-1008087-0001\.jpeg has a name of version 3"):
        data.load("chest_xray", "real")
    (pneumonia / "BACTERIA-1008087-0001.jpeg").unlink()
    (pneumonia / "person91_1.jpeg").write_bytes((pneumonia / "person0_virus_0.jpeg").read_bytes())
    with pytest.raises(DataError, match=r"person91_1\.jpeg.*neither bacteria nor virus"):
        data.load("chest_xray", "real")
    (pneumonia / "person91_1.jpeg").unlink()
    (pneumonia / "person90_virus_90.jpeg").unlink()
    with pytest.raises(DataError, match="has 39 images, where the published set has 40"):
        data.load("chest_xray", "real")
    for path in (tiny_chest / "test" / "PNEUMONIA").glob("*virus*"):
        path.unlink()
    (pneumonia / "person90_virus_90.jpeg").write_bytes((pneumonia / "person0_virus_0.jpeg").read_bytes())
    with pytest.raises(DataError, match="has no image of the class 'virus'"):
        data.load("chest_xray", "real")
    (pneumonia / "person0_bacteria_0.jpeg").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"person0_bacteria_0\.jpeg is not an image"):
        data.load("chest_xray", "real")


@pytest.mark.parametrize("content", [b"<html>login</html>", b"PK\x03\x04cut"])
def test_a_bad_chest_archive_says_how_to_get_it(cache, content):
    (cache / chest_xray.ARCHIVE).write_bytes(content)
    with pytest.raises(DataError, match=chest_xray.PAGE):
        data.load("chest_xray", "real")


def test_chest_xrays_out_of_reach_say_what_to_do(cache, monkeypatch):
    import kagglehub

    monkeypatch.setattr(kagglehub, "dataset_download", no_network)
    with pytest.raises(DataError, match=r"could not be downloaded.*Network is unreachable.*data/cache"):
        data.load("chest_xray", "real")


# --- CelebA -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_celeba(cache, monkeypatch):
    """CelebA's three files with 60 pictures of 178x218."""
    folder = cache / "celeba"
    folder.mkdir()
    names = [f"{i:06d}.jpg" for i in range(1, 61)]
    attributes = ["5_o_Clock_Shadow", *celeba.ATTRIBUTES, "Wearing_Hat"]
    rng = np.random.default_rng(0)
    values = np.where(rng.random((60, len(attributes))) < 0.5, 1, -1)
    rows = [f"{name} " + " ".join(f"{v:2d}" for v in row) for name, row in zip(names, values, strict=True)]
    (folder / "list_attr_celeba.txt").write_text(f"60\n{' '.join(attributes)} \n" + "\n".join(rows) + "\n")
    (folder / "list_eval_partition.txt").write_text(
        "\n".join(f"{n} {0 if i < 40 else 1 if i < 50 else 2}" for i, n in enumerate(names))
    )
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for i, name in enumerate(names):
            picture(cache / "tmp.jpg", (178, 218), "RGB", seed=i)
            archive.write(cache / "tmp.jpg", f"img_align_celeba/{name}")
    monkeypatch.setattr(celeba, "FILES", {name: files.digest(folder / name, "md5") for name in celeba.FILES})
    monkeypatch.setattr(celeba.check_files, "__defaults__", (celeba.FILES,))
    monkeypatch.setattr("torchvision.datasets.CelebA", no_network)
    return folder, values


def test_celeba_from_files_put_there_by_hand(tiny_celeba):
    _, values = tiny_celeba
    d = data.load("celeba", "real")
    assert (
        (len(d.train), len(d.validation), len(d.test)) == (40, 10, 10)
        and d.labels == celeba.ATTRIBUTES
        and len(d.labels) == 18
    )
    assert d.train.images.shape == (40, 3, 64, 64)
    assert (d.train.labels.numpy() == (values[:40, 1:19] == 1)).all()
    assert "60 of 202,599" in d.description


def test_celeba_unpacked_without_its_archive_is_read_from_the_folder(tiny_celeba, cache):
    folder, _ = tiny_celeba
    packed = data.load("celeba", "real")
    (cache / "celeba_64.npz").unlink()
    with zipfile.ZipFile(folder / "img_align_celeba.zip") as archive:
        archive.extractall(folder)
    (folder / "img_align_celeba.zip").unlink()
    assert data.load("celeba", "real").sha256 == packed.sha256
    (cache / "celeba_64.npz").unlink()
    (folder / "img_align_celeba" / "000001.jpg").unlink()
    with pytest.raises(
        DataError, match=r"img_align_celeba lacks 000001\.jpg; unpack img_align_celeba\.zip there again"
    ):
        data.load("celeba", "real")


def test_an_unknown_attribute_is_named_with_those_that_exist(tiny_celeba):
    with pytest.raises(DataError, match=r"no attribute 'Moustache'.*Smiling"):
        celeba.real(("Male", "Moustache"))


def test_celeba_refused_says_exactly_what_to_do(tiny_celeba):
    folder, _ = tiny_celeba
    (folder / "list_eval_partition.txt").unlink()
    with pytest.raises(DataError, match="could not be downloaded") as error:
        data.load("celeba", "real")
    for part in (
        *celeba.FILES,
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "data/cache/celeba",
        "non-commercial",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("img_align_celeba.zip", b"<!DOCTYPE html>Google Drive - Quota exceeded", "web page"),
        ("img_align_celeba.zip", b"PK\x03\x04", "cut short"),
        ("list_attr_celeba.txt", b"60\nMale\n", "another MD5"),
    ],
)
def test_a_bad_celeba_file_is_named(tiny_celeba, name, content, message):
    folder, _ = tiny_celeba
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.load("celeba", "real")
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3\nMale\n000001.jpg 1\n", "rows"),
        ("1\nMale\n000001.jpg 0\n", "values"),
        ("1\nMale Young\n000001.jpg 1\n", "columns"),
        ("", "not CelebA"),
        ("x\ny\n", "not CelebA"),
    ],
)
def test_a_malformed_attribute_list_is_named(tmp_path, text, message):
    (tmp_path / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        celeba.read_attributes(tmp_path / "list_attr_celeba.txt")


def test_a_celeba_picture_of_another_size_is_named_and_nothing_is_unpacked(tiny_celeba):
    folder, _ = tiny_celeba
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for i in range(1, 61):
            picture(folder.parent / "tmp.jpg", (178, 218) if i > 1 else (100, 100), "RGB")
            archive.write(folder.parent / "tmp.jpg", f"img_align_celeba/{i:06d}.jpg")
    with pytest.raises(
        DataError, match=r"img_align_celeba\.zip/img_align_celeba/000001\.jpg is 100x100 pixels, where 178x218"
    ):
        celeba.read_folder(folder)
    assert {p.name for p in folder.iterdir()} == set(celeba.FILES)


def test_a_picture_of_absurd_size_is_refused_before_it_is_decoded(tmp_path):
    Image.new("L", (8_000, 8_000)).save(tmp_path / "huge.png")
    started = time.perf_counter()
    with pytest.raises(DataError, match=r"huge\.png has 8000x8000 pixels, more than 50,000,000"):
        pictures.read_image(tmp_path / "huge.png", "L", modes=("L",))
    assert time.perf_counter() - started < 0.1


def test_an_archive_that_unpacks_to_absurd_sizes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 1_000_000)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(2_000_000, np.uint8))
    with pytest.raises(DataError, match=r"bomb\.npz would unpack to 2,000,[0-9]+ bytes"):
        files.read_npz(tmp_path / "bomb.npz", ("x",))
    monkeypatch.setattr(pictures, "MAX_FILE", 1_000)
    with zipfile.ZipFile(tmp_path / "chest.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("chest_xray/train/NORMAL/a.jpeg", b"0" * 100_000)
    with (
        zipfile.ZipFile(tmp_path / "chest.zip") as archive,
        pytest.raises(DataError, match=r"a\.jpeg has 100,000 bytes, more than 1,000"),
    ):
        pictures.read_image(zipfile.Path(archive, "chest_xray/train/NORMAL/a.jpeg"), "L", modes=("L",))


def test_the_command_line_stops_with_one_message_and_no_traceback(tmp_path):
    environment = os.environ | {"MCCVAE_DATA": str(tmp_path / "nowhere")}
    run = subprocess.run(
        [sys.executable, "-m", "data", "mnist", "real", tmp_path / "x.json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and "MCCVAE_DATA names" in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "x.json").exists()
