"""The report's body: which models it names how, what its figures hold, what its sentences say of numbers."""

import pandas as pd
import pytest
from support.claims import claim_scores, preregistration
from support.report import body
from support.runs import Run
from support.settings import ModelSpec
from support.show import strips


def a_run(model, seed, accuracy, task="mnist"):
    record = {"task": task, "model": model, "seed": seed}
    metrics = {"test": {"accuracy": accuracy, "majority_accuracy": 0.9, "psnr": 20.0 + seed}}
    return Run(None, record, metrics, None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mccvae", "MCCVAE"),
        ("ccvae_more_style", "CCVAE more style"),
        ("ccvae-rb900-x3", "CCVAE, without bias"),
        ("mccvae-rb900", "MCCVAE, without bias"),
        ("ccvae-x3", None),
        ("ccvae-z10", None),
        ("mccvae-rb900-x3-y0.5", None),
    ],
)
def test_models_have_names_in_words_or_are_left_out(name, words):
    assert body.in_words(ModelSpec.parse(name)) == words


def test_a_panel_per_task_and_a_row_per_model_with_a_dot_per_seed():
    trained = [a_run("ccvae", 0, 0.95), a_run("ccvae", 1, 0.97), a_run("mccvae-rb900-x3", 0, 0.99)]
    trained += [a_run("ccvae-z10", 0, 0.1), a_run("vae", 0, None), a_run("mccvae", 0, 0.8, "chest_xray")]
    mnist, chest = body.accuracy_panels(trained)
    assert [(row.name, row.values) for row in mnist.rows] == [
        ("CCVAE", (0.95, 0.97)),
        ("MCCVAE, without bias", (0.99,)),
    ]
    assert mnist.title == "MNIST: test accuracy per label" and mnist.line[0] == pytest.approx(0.9)
    assert [row.name for row in chest.rows] == ["MCCVAE"]
    assert [row.values for row in body.psnr_panels(trained)[0].rows] == [(20.0, 21.0), (20.0,), (20.0,)]
    assert body.accuracy_panels([]) == []


def test_the_gap_between_the_two_models_has_a_sentence():
    trained = [a_run("ccvae", 0, 0.9), a_run("mccvae", 0, 0.8), a_run("mccvae", 1, 0.9), a_run("vae", 0, 1.0)]
    trained += [a_run("vae", 0, None)]  # it reads no labels
    said = body.gap_sentence(trained, "Test accuracy", body.accuracy_of, 3)
    assert said == "Test accuracy, MCCVAE minus CCVAE: −0.050 on MNIST."
    assert body.gap_sentence(trained[:1], "Test accuracy", body.accuracy_of, 3) == ""


def test_where_a_linear_model_is_ahead_is_said():
    linear = pd.DataFrame({"what": "linear", "task": ["mnist", "celeba"], "models": "ccvae", "accuracy": [0.95, 0.5]})
    panels = body.accuracy_panels([a_run("ccvae", 0, 0.9), a_run("ccvae", 0, 0.9, "celeba")], linear)
    assert body.linear_ahead(panels) == "A linear model with as many numbers is ahead on MNIST."
    assert body.linear_ahead(body.accuracy_panels([a_run("ccvae", 0, 0.9)])) == ""
    seeds = strips.Row("CCVAE", (0.7, 0.9), "#000000")  # one seed lies above the linear model, so none is ahead
    assert body.linear_ahead([strips.Panel("MNIST: x", [seeds, strips.Row(body.LINEAR, (0.85,), "#555555")])]) == ""


def test_what_the_bias_changes_is_paired_over_seeds():
    def run(model, seed, loss, accuracy, task="mnist"):
        made = a_run(model, seed, accuracy, task)
        made.metrics["test"]["bound"] = {"loss_alpha0": loss}
        return made

    trained = [run("mccvae", 0, 500.0, 0.9), run("mccvae", 1, 600.0, 0.9), run("mccvae", 2, 0.0, 0.1)]
    trained += [run("mccvae-rb900", seed, loss, 0.91) for seed, loss in ((0, 490.0), (1, 570.0), (3, 9_999.0))]
    trained += [run("mccvae", 0, 1.0, 0.5, "celeba"), run("mccvae-rb3072", 0, 1.0, 0.5, "celeba")]
    said = "MCCVAE's test loss, PSNR and accuracy change by −20 nats, +0.0 dB, +1.0 points on MNIST (2 pairs)."
    assert body.bias_effect(trained) == (
        f"Trained without bias, by the objective's own gradient and a label weight chosen on validation images, {said}"
    )
    assert body.bias_effect(trained[:3]) == ""


def test_of_tasks_with_deciding_runs_their_readings_stand():
    table = pd.DataFrame({"task_title": ["CelebA", "MNIST"], "model": "mccvae", "model_title": "MCCVAE"})
    table = table.assign(label_own=0.5, label_others=0.5, label_style=0.5)
    about = {"task": "celeba", "model": "mccvae", "seed": 10, "coordinates": "", "label": "", "split": "test"}
    found = {"auc_own": 0.9, "auc_others": 0.8, "auc_style": 0.7, "auc_labels": 0.85, "psnr": 17.0}
    scores = pd.DataFrame([about | {"score": score, "value": value} for score, value in found.items()])
    scores = pd.concat([scores, scores.assign(label="Male", value=0.1)])
    read = body.readings(table, scores)
    assert read[["task_title", "label_own", "label_others", "label_style"]].values.tolist() == [
        ["CelebA", 0.9, 0.8, 0.7],
        ["MNIST", 0.5, 0.5, 0.5],
    ]
    assert body.kept_apart(read) == (
        "On CelebA blocks may be kept apart: other labels' latents tell a label at 0.80 (MCCVAE), the labels at 0.85."
    )
    assert body.kept_apart(table) == ""  # nobody asked what the labels themselves tell
    labels = body.reading_panels(read)[0].rows[-1]
    assert (labels.name, labels.values) == ("the other labels themselves", (0.85,))
    assert body.readings(table, scores[:0]) is table


@pytest.fixture
def scores(tmp_path):
    """Tables of two deciding runs and of one whose seed decides nothing."""
    seed = preregistration.read().tasks["chest_xray"].seeds[0]
    rows = {"along": (0.4, 0.05), "across": (0.1, 0.10)}
    for model, where, kinds in (("mccvae", seed, rows), ("ccvae", seed, ["along"]), ("mccvae", 0, rows)):
        folder = tmp_path / "chest_xray" / model / f"seed{where}" / "scores"
        folder.mkdir(parents=True)
        table = [
            {"weights": weights, "coordinates": kind, "label": label, "split": "test", "score": score, "value": value}
            for weights in ("last", "best")
            for label in ("", "virus")
            for kind in kinds
            for score, value in zip(("change", "pixels"), rows[kind], strict=True)
        ]
        pd.DataFrame(table).assign(made_from="x").to_csv(folder / claim_scores.TABLE, index=False)
    return body.deciding_scores(tmp_path)


def test_what_moves_change_is_read_from_the_deciding_runs_alone(scores):
    label, picture = body.move_panels(scores)
    assert [(row.name, row.values) for row in label.rows] == [
        ("CCVAE, along", (0.4,)),
        ("MCCVAE, along", (0.4,)),
        ("MCCVAE, across", (0.1,)),
    ]
    assert [row.values for row in picture.rows] == [(0.05,), (0.05,), (0.1,)]
    assert "MCCVAE, across: 0.100, 1 seed" in strips.alt(picture)


def test_the_second_latent_in_one_sentence(scores):
    said = body.second_latent(scores)
    assert said.startswith("The second latent is mostly style. ") and "more than along it, and the label less: " in said
    assert said.endswith("2.0 times the pixels and 0.2 times the label on Chest X-ray.")
    strong = scores.assign(value=scores["value"].where(scores["score"] != "change", 0.5))
    assert body.second_latent(strong).startswith(
        "Across the direction that the classifier reads, a label's latents change: 2"
    )


def test_sentences_say_what_their_tables_say():
    rows = [("official", "a", "m", 500.4, 480), ("official", "b", "m", 11844, 10579), ("rao-blackwell", "a", "m", 1, 1)]
    table = pd.DataFrame(rows, columns=["estimator", "task_title", "model_title", "slope", "minus_f"])
    said = body.hidden_weight(table)
    assert "In 2 trained models the hidden weight of a label is 500 to 11,844" in said
    rows = [("MNIST", "mccvae", "MCCVAE", 0.99, 0.98, 0.7), ("MNIST", "ccvae", "CCVAE", 0.5, 0.5, 0.5)]
    read = pd.DataFrame(rows, columns=["task_title", "model", "model_title", *body.SIDES])
    panel = body.reading_panels(read)[0]
    assert [row.name for row in panel.rows][:3] == ["MCCVAE, own latents", "MCCVAE, other labels'", "MCCVAE, style"]
    assert panel.line == (0.5, "chance")
