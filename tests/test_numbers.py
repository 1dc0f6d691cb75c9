"""Labels that are numbers, the whole way of one's own images: table, data set, training, report, walks, apply."""

import html
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support import ROOT, runs, settings, training
from support.commands import apply
from support.commands import own as command
from support.experiments import data_set
from support.measures import quantities
from support.report import explorer, own_numbers, own_report
from support.settings import ModelSpec, SettingsError
from support.show import figures, tables, walks

import mccvae_core as core
from data import DataError, own, stick_figures
from data.continuous import Unit, strata
from data.layout import Options

CM = (0.33, 0.27, 0.2)  # what leg, torso and neck add to a stick figure's height, as `stick_figures.paint` draws it


def heights(drawing):
    """Of drawn figures, in cm to one digit: 120 to 200."""
    return np.round(120 + 100 * drawing.parts[:, :3] @ CM, 1)


@pytest.fixture(scope="module")
def figures_60(tmp_path_factory):
    """60 stick figures as files, their drawing, and a table: a height for two in three, whether they are broad."""
    folder, drawing = tmp_path_factory.mktemp("sticks"), stick_figures.draw(60, 5)
    (folder / "images").mkdir()
    for i, pixels in enumerate(drawing.images):
        Image.fromarray(pixels).save(folder / "images" / f"im{i:02d}.png")
    known = ["" if i % 3 == 0 else f"{value}" for i, value in enumerate(heights(drawing))]
    write(folder, height=known, broad=["NA" if i % 7 == 0 else value for i, value in enumerate(drawing.labels[:, 1])])
    return folder, drawing


@pytest.fixture(scope="module")
def gathered(figures_60):
    return own.gather(figures_60[0] / "images", figures_60[0] / "labels.csv")[0]


def write(folder, separator=",", **columns):
    """labels.csv of 60 images with these columns."""
    rows = zip([f"im{i:02d}.png" for i in range(60)], *columns.values(), strict=True)
    lines = [separator.join(["file", *columns]), *(separator.join(map(str, row)) for row in rows)]
    path = folder / "labels.csv"
    path.write_text("\n".join(lines))
    return path


def labels_of(figures_60, tmp_path, columns, separator=",", **options):
    """`listing` of a table with these columns: labels and kinds, values, problems, remarks."""
    problems = []
    path = write(tmp_path, separator, **columns)
    found = own.listing(figures_60[0] / "images", path, Options(**options), problems)
    return list(zip(found.labels, found.kinds, strict=True)), found.y, "\n".join(problems), "\n".join(found.remarks)


CYCLE = lambda *values: [values[i % len(values)] for i in range(60)]  # noqa: E731


# --- the table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("comma", [False, True])
def test_numbers_with_a_fraction_are_a_label_by_themselves(figures_60, tmp_path, comma):
    cells = ["NA" if i % 4 == 0 else f"{150 + i / 2}" for i in range(60)]
    cells = [cell.replace(".", ",") for cell in cells] if comma else cells
    labels, y, problems, said = labels_of(figures_60, tmp_path, {"size": cells, "b": CYCLE(0, 1)}, ",;"[comma])
    assert labels == [("size", "continuous"), ("b", "binary")] and not problems
    assert np.isnan(y[::4, 0]).all() and y[1, 0] == 150.5 and y[59, 0] == 179.5
    assert (
        "Column size: numbers from 150.5 to 179.5, learnt as they are (threshold=size:165 makes them binary)." in said
    )


ASKED = [  # a column; what is said of it; options that help, if any do
    (range(60), "age: numbers from 0 to 59; add continuous=age to learn the number itself, or threshold=age:30 to make",
     {"continuous": ("age",)}),
    (CYCLE(4, 8, 15), "add continuous=age to learn the number itself, or threshold=age:8 to make it binary, 1 from "
     "there on, or classes=age", {"continuous": ("age",)}),
    (CYCLE(1.5, 2.5), "age: numbers from 1.5 to 2.5; add threshold=age:2.5 to make", {"threshold": {"age": 2.5}}),
    (CYCLE(1.5, 2.5, 3, 4, 5, 6, "old"), "'old' among numbers; add unknown=old if it stands", {"unknown": ("old",)}),
    (CYCLE(1.5, 2.5, 3, 4, 5, 6, "inf"), "'inf' among numbers; add unknown=inf if it stands", {"unknown": ("inf",)}),
    (CYCLE(1.5, 2, 3, 4, 5, 6, "9" * 400), "among numbers; correct it, or leave it empty", {}),
    (CYCLE(37.5), "column age: 37.5 wherever it is known (60 times), so there is nothing to learn; remove it", {}),
    (CYCLE("1,234", "980", "2,500"), "'1,234' may be 1234 or 1.234; write it so, without a comma", {}),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "words", "help_"), ASKED, ids=lambda value: str(value)[:20])
def test_what_is_ambiguous_is_asked_for_and_the_remedies_work(figures_60, tmp_path, cells, words, help_):
    columns = {"age": cells, "b": CYCLE(0, 1)}
    assert words in labels_of(figures_60, tmp_path, columns, ";")[2]
    if help_:
        labels, _, problems, _ = labels_of(figures_60, tmp_path, columns, ";", **help_)
        assert not problems and labels[0] == ("age", "binary" if "threshold" in help_ else "continuous")


def test_asked_numbers_with_a_text_among_them_name_its_row(figures_60, tmp_path):
    columns = {"age": ["inf", *range(59)]}
    said = labels_of(figures_60, tmp_path, columns, continuous=("age",))[2]
    assert "row 2, column age: 'inf' is no number; add unknown=inf if it stands for what is not known" in said
    problems = []
    command.layout.read_options({"continuous": "age", "threshold": "age:50"}, problems)
    assert problems == ["continuous=age and threshold=age: leave one out"]
    said = labels_of(figures_60, tmp_path, {"b": CYCLE(0, 1)}, continuous=("age",))[2]
    assert "continuous=age: the table has no such column; it has: file, b" in said


# --- the data set -------------------------------------------------------------------------------------------------


def test_standardisation_is_undone_exactly_and_kept_with_the_data(figures_60, gathered, tmp_path):
    drawing, arrays = figures_60[1], gathered
    command.write_npz(tmp_path / "images.npz", arrays)
    data = own.read(tmp_path / "images.npz")
    unit, truth = data.unit(0), dict(zip(arrays["names"].tolist(), heights(drawing), strict=True))
    assert data.kinds == ("continuous", "binary") and data.units[1] is None and data.label_prior[0] == 0.5
    values = []
    for split in (data.train, data.validation, data.test):
        for name, y in zip(split.names.tolist(), split.labels[:, 0].tolist(), strict=True):
            if not np.isnan(y):
                assert round(unit.undone(y), 9) == truth[name] and abs(unit.undone(y) - truth[name]) < 1e-12 * 200
                values.append(y)
    assert len(values) == 40 and max(values) > 1 and min(values) < -1
    train = data.train.labels[:, 0]
    train = train[~train.isnan()]
    assert abs(train.mean()) < 1e-12 and abs(train.std(unbiased=False) - 1) < 1e-12
    assert (unit.undone(train).min(), unit.undone(train).max()) == pytest.approx((unit.low, unit.high))
    summary = data.summary()
    assert summary["kinds"] == ["continuous", "binary"] and Unit(**summary["units"][0]) == unit
    metres = own.dataset(arrays | {"y": arrays["y"] / [100, 1], "mean": arrays["mean"] / 100, "sd": arrays["sd"] / 100})
    assert metres.content != data.content and metres.unit(0).text(metres.unit(0).undone(0)) == f"{unit.mean / 100:.2f}"
    with pytest.raises(DataError, match="don't fit together"):
        np.savez(tmp_path / "bad.npz", **arrays | {"sd": -arrays["sd"]})
        own.read_arrays(tmp_path / "bad.npz")


def test_sets_without_numbers_hold_nothing_new(figures_60, tmp_path):
    path = write(tmp_path, b=CYCLE(0, 1, ""))
    arrays, _ = own.gather(figures_60[0] / "images", path)
    data = own.dataset(arrays)
    assert tuple(arrays) == own.KEYS and arrays["y"].dtype == np.int8 and data.train.labels.dtype == torch.float32
    assert data.kinds == ("binary",) and not {"kinds", "units"} & set(data.summary())


def test_low_and_high_numbers_are_in_every_part_and_a_constant_one_in_training_is_refused(figures_60, tmp_path):
    y = np.random.default_rng(0).exponential(size=(200, 1))
    part = own.split(strata(y, ["continuous"]))
    for p in range(3):
        assert abs(np.mean(y[part == p] > np.median(y)) - 0.5) < 0.1
    columns = {"size": [30.5] * 30 + [40.5 + i for i in range(30)], "set": ["train"] * 30 + ["test"] * 30}
    with pytest.raises(DataError, match=r"size is 30.5 on every training image, so there is nothing to learn"):
        own.gather(figures_60[0] / "images", write(tmp_path, **columns), Options(split="set"))


def test_values_are_told_to_a_tenth_of_the_sd():
    told = [Unit(mean, sd, mean - sd, mean + sd).text(mean) for mean, sd in ((171.26, 9), (0.01234, 0.002), (5e9, 1e8))]
    assert told == ["171.3", "0.0123", "5.0e+09".replace("5.0", "5")] and Unit(0, 50, -1, 1).text(-3.2) == "−3"
    assert Unit(10, 2, 9, 20).ends == (-0.5, 2.0)


@pytest.mark.parametrize("model", ["ccvae", "vae", "cvae", "mccvae-rb5-t3", "mccvae-rb5-pfull", "mccvae-rb5-dlinear"])
def test_models_that_can_not_learn_numbers_say_so(gathered, model):
    data = own.dataset(gathered)
    with pytest.raises(SettingsError, match=r"give these columns a threshold|is for labels of 0 and 1"):
        ModelSpec.parse(model).config(data)
    assert ModelSpec.parse("mccvae-rb5-r0.1").config(data).label_kinds == ("continuous", "binary")


# --- measures -----------------------------------------------------------------------------------------------------


def test_intervals_hold_the_true_error_about_95_times_of_100_and_groups_widen_them():
    rng, held = np.random.default_rng(0), 0
    for _ in range(60):
        y = rng.normal(size=60)
        low, high = quantities.intervals(y + rng.normal(size=60), y, 0.0)["error"]
        held += low <= np.sqrt(2 / np.pi) <= high
    assert held >= 52
    off, groups = np.repeat(rng.normal(size=20), 10), np.repeat(np.arange(20), 10)
    y = rng.normal(size=200)
    wide, narrow = (quantities.intervals(y + off, y, 0.0, of)["error"] for of in (groups, None))
    assert np.ptp(wide) > 1.5 * np.ptp(narrow)


def test_scores_are_numpys_and_none_where_there_is_nothing_to_say():
    rng = np.random.default_rng(1)
    read, y = rng.normal(size=(2, 50)) * 9 + 170
    found = quantities.scores(read, y, 171.0)
    assert found["error"] == pytest.approx(np.abs(read - y).mean())
    assert found["gain"] == pytest.approx(np.abs(y - 171).mean() - found["error"])
    assert found["correlation"] == pytest.approx(np.corrcoef(read, y)[0, 1])
    assert quantities.scores(read[:0], y[:0], 0.0) == dict.fromkeys(quantities.SCORES)
    assert quantities.scores(read[:1], y[:1], 0.0)["correlation"] is None
    assert quantities.intervals(read[:1], y[:1], 0.0) == {} and "correlation" not in quantities.intervals(
        read, y * 0, 0.0
    )
    unit, nothing = Unit(170, 9, 150, 190), np.full(9, np.nan)
    row = own_numbers.number_scores(nothing * 0, nothing, "age", unit, None)
    assert own_numbers.shown_scores(pd.DataFrame([row], dtype=object), {"age": unit})["error"].tolist() == ["–"]
    assert own_numbers.too_little(row, nothing, unit)[0].startswith("age: known of no test image")


def test_the_predicted_spread_is_that_of_draws():
    config = core.ModelConfig((1, 64, 64), (2, 1), 1, "bernoulli", 0.5, 0.3, label_kinds=("continuous", "binary"))
    model = core.build_model("MCCVAE", config, 0)
    images = torch.randint(0, 256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    q, noise = core.posterior(model, images), torch.Generator().manual_seed(0)
    z = q.loc + q.scale * torch.randn(20_000, *q.loc.shape, generator=noise)
    with torch.no_grad():
        u = model.label_logits(model.split(z)[0])[..., 0]
        drawn = u + model.reading_scale()[0] * torch.randn(u.shape, generator=noise)
    torch.testing.assert_close(drawn.std(0), quantities.predicted_sd(model, q)[:, 0], rtol=0.02, atol=0)


# --- the whole way ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(figures_60, tmp_path_factory):
    """The profile, its run of two epochs and what was printed; outputs of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        outputs = tmp_path_factory.mktemp("outputs")
        for module in (
            settings,
            command,
            runs,
            own_report,
            settings.profile_file.__globals__["sys"].modules["support"],
        ):
            patch.setattr(module, "OUTPUTS", outputs)
        folder = figures_60[0]
        command.main(
            ["/", str(folder / "images"), str(folder / "labels.csv"), "epochs=2", "name=sticks", "style_dim=3"]
        )
        profile = settings.read_profile("own_sticks")
        run = training.train(profile, "own", *profile.runs(own.TASK)[0])
        yield profile, run, outputs / "own_sticks"


def test_training_and_its_records_speak_of_numbers_in_their_unit(trained):
    profile, run, _ = trained
    data = runs.load_data(profile, "own")
    scores = run.metrics["test"]["numbers"]["height"]
    read = data.unit(0).undone(core.predict(run.model(), data.test.images)[:, 0].double())
    y = data.unit(0).undone(data.test.labels[:, 0])
    assert scores["error"] == pytest.approx((read - y).abs().nanmean().item()) and scores["n"] == (~y.isnan()).sum()
    assert 0 <= run.metrics["test"]["accuracy"] <= 1 and run.history["error of height"].between(1, 60).all()
    assert run.record["data"]["units"][0]["sd"] == data.unit(0).sd
    assert "height: mean absolute error" in data_set.scores_of(run).index
    assert re.search(r"height is read with a mean absolute error of \d+\.\d", data_set.finding(run, data))
    assert "from 1" in data_set.known_table(data).iloc[0, 1] and "of them 1" in data_set.known_table(data).iloc[1, 1]
    assert training.train(profile, "own", run.record["model"], 0).record == run.record  # read, not trained again


def test_the_report_has_errors_with_intervals_and_no_nan(trained, monkeypatch):
    profile, run, _ = trained
    shown = []
    for module in (own_report, tables, figures):
        monkeypatch.setattr(module, "display", lambda thing, **_: shown.append(getattr(thing, "data", "")))
    report = own_report.OwnReport(profile, [run, run])
    for section in ("opening", "counts", "reading", "calibration", "mistakes", "walks", "models", "provenance"):
        getattr(report, section)()
    text = html.unescape(re.sub(r'"data:[^"]*"', "", "\n".join(map(str, shown))))
    assert not re.search(r"\bnan\b|\bNone\b", text, re.IGNORECASE)
    for words in ("always the training mean", "The largest errors of numbers", "height: given 1", "known of only",
                  "inside 1.96 sd", "error of height", "height, from 1"):  # fmt: skip
        assert words in text, words
    table = tables.read_table(profile, "numbers").iloc[0]
    assert table["error_low"] < table["error"] < table["error_high"] and table["label"] == "height"
    assert tables.read_table(profile, "labels")["label"].tolist() == ["broad"]


def test_the_explorer_reads_numbers_between_the_ends_of_their_unit(trained):
    profile, run, _ = trained
    data, model = runs.load_data(profile, "own"), run.model()
    about = run.record["data"]
    content = explorer.payload(data.task, about, explorer.starts_table(data, model), model, "MCCVAE")
    ends, unit = content["numbers"], data.unit(0)
    assert ends[1] is None and (ends[0]["low"], ends[0]["high"]) == unit.ends and ends[0]["digits"] == unit.places
    assert ends[0]["first"] == unit.undone(unit.ends[0])
    assert any(re.search(r": height 1\d\d", start["name"]) for start in content["starts"])
    for value, prior in enumerate(content["prior"]):
        y = torch.tensor([unit.ends[value], float(value)])
        mean = [latent for of_label in prior for latent in of_label["mean"]]
        assert mean == pytest.approx(model.conditional_prior(y).loc.tolist())


def test_a_walk_goes_from_low_to_high_and_names_its_values(trained, monkeypatch):
    profile, run, _ = trained
    data, model, drawn = runs.load_data(profile, "own"), run.model(), {}
    monkeypatch.setattr(walks.figures, "show", lambda fig, text, alt, **_: drawn.update(fig=fig, text=text))
    walks.walk_figure(1, data, {"MCCVAE": model}, profile, save=False)
    low, high = (data.unit(0).text(data.unit(0).undone(end)) for end in data.unit(0).ends)
    titles = [ax.get_title() for ax in drawn["fig"].axes]
    assert titles[0] == "start" and (titles[1], titles[walks.STEPS]) == (low, high)
    assert f"height, from {low} to {high}" in drawn["text"]
    walk = walks._walk(model, data, core.posterior(model, data.test.images[:1]).loc[0], {0: 1}, None)
    torch.testing.assert_close(walk.probabilities[[0, -1], 0], torch.tensor(data.unit(0).ends))


def test_characteristics_and_apply_give_numbers_in_their_unit(trained, figures_60):
    _, run, out = trained
    folder, drawing = figures_60
    apply.write_own("own_sticks")
    found = pd.read_csv(out / "characteristics.csv")
    known = [i % 3 != 0 for i in range(60)]
    assert (
        found["height"].notna().tolist() == known
        and found["height"][known].tolist() == heights(drawing)[known].tolist()
    )
    assert found["height predicted"].between(100, 220).all() and (found["height predicted sd"] > 0).all()
    assert "height probability" not in found and found["broad probability"].between(0, 1).all()
    apply.apply(run, folder / "images", [f"im{i:02d}.png" for i in range(60)], out / "new.csv")
    again = pd.read_csv(out / "new.csv")
    for name in ("height predicted", "height predicted sd", "broad probability"):
        assert np.allclose(again[name], found[name], rtol=1e-4)


def test_stick_figures_height_is_learnt_better_than_the_training_mean():
    drawing = stick_figures.draw(330, 9)
    images, y = torch.from_numpy(drawing.images)[:, None], heights(drawing)
    unit = Unit(y[:300].mean(), y[:300].std(), y[:300].min(), y[:300].max())
    labels = torch.tensor(unit.standardised(y), dtype=torch.float32)[:, None]
    labels[:300:4] = torch.nan
    config = core.ModelConfig((1, 60, 60), (2,), 4, "bernoulli", 0.5, label_kinds="continuous")
    model = core.build_model("MCCVAE", config, 0)
    objective = core.Objective("rao-blackwell", label_weight=900.0)
    core.fit(model, images[:300], labels[:300], objective, batch_size=25, epochs=12, seed=0, learning_rate=1e-3,
             by_turns=False)  # fmt: skip
    read = unit.undone(core.predict(model, images[300:])[:, 0].double().numpy())
    found = quantities.scores(read, y[300:], unit.mean)
    assert found["error"] < 0.7 * found["error_of_mean"] and found["correlation"] > 0.6


def test_the_readme_tells_of_numbers():
    text = (ROOT / "data" / "README.md").read_text()
    assert "`continuous=`" in text and "`age predicted`, `age predicted sd`" in text
