"""The cells of the data-set notebooks that use the core by hand, and the checks of their exercises."""

import time

import nbformat
import pytest
import torch
from support import ROOT
from support.experiments import exercises

import mccvae_core as core
from data import MODULES


@pytest.fixture(scope="module", params=MODULES)
def notebook(request):
    """What the cells by hand and the exercises of a notebook leave, as committed, around an untrained model.

    What the checks say is in `checked`, the processor's seconds in `took`."""
    cells = nbformat.read(ROOT / "notebooks" / f"{request.param}.ipynb", as_version=4).cells
    code = {cell.id: cell.source for cell in cells if cell.cell_type == "code"}
    first, second = list(code.values())[:2]
    space, checked = {}, []
    exec(first, space)
    space |= {"profile": "smoke"}
    exec(second, space)
    started = time.process_time()
    for name in (name for name in code if name.startswith(("hand-", "exercise"))):
        if name.endswith("-check"):
            checked.append(eval(code[name], space))
        else:
            exec(code[name], space)
        space.setdefault("trained", space["untrained"])
    space |= {"checked": checked, "took": time.process_time() - started}
    return space


def test_the_cells_run_as_committed_within_seconds_and_no_answer_is_given_away(notebook):
    assert notebook["took"] < 5
    assert [checked.right for checked in notebook["checked"]] == [False] * 3
    assert all(checked._repr_markdown_().startswith("**Not yet.** ") for checked in notebook["checked"])


def test_the_terms_add_up_to_the_loss(notebook):
    for terms in notebook["losses"].values():
        added = sum(terms[name] for name in ("reconstruction", "kl_style", "characteristics", "log_qyz", "weighting"))
        assert added - terms["log_qyx"] - terms["log_py"] == pytest.approx(terms["loss"], rel=1e-5)


def test_right_answers_are_right(notebook):
    model, label, block, codes = (notebook[name] for name in ("subject", "label", "block", "codes"))
    first, second = model.classifier_weight[block].tolist()
    steps = exercises.steps(model, label, codes, [1 / first, 0.0], [second, -first])
    w = (notebook["log_qyz"] - notebook["log_qyx"]).exp()
    weights = exercises.weights(w, notebook["log_qyz"], notebook["log_qyx"])
    swapped = [notebook["z_a"].clone(), notebook["z_b"].clone()]
    swapped[0][block], swapped[1][block] = notebook["z_b"][block], notebook["z_a"][block]
    swap = exercises.swap(model, label, (notebook["z_a"], notebook["z_b"]), tuple(swapped))
    assert steps.right and weights.right and swap.right, (steps, weights, swap)
    assert w.mean().item() == pytest.approx(1, abs=0.02) and f"The mean of w is {w.mean():.3f} ± " in weights.why


def test_no_answer_stops_a_notebook(notebook):
    model, label, codes = (notebook[name] for name in ("subject", "label", "codes"))
    draws, given = notebook["log_qyz"], notebook["log_qyx"]
    pair = (notebook["z_a"], notebook["z_b"])
    nothing = torch.full((2, len(codes[0])), torch.nan)
    for answer in (None, "one", [1.0], [float("nan")] * 2, nothing, torch.ones(3), [[1, 2], [3]], core):
        assert not exercises.steps(model, label, codes, answer, answer).right
        assert not exercises.weights(answer, draws, given).right
        assert not exercises.swap(model, label, pair, answer).right
        assert not exercises.swap(model, label, pair, (answer, answer)).right
    assert not exercises.steps(model, label, codes, [1.0, 0.0], [0.0, 0.0]).right
    assert not exercises.weights(draws.exp(), draws, given).right


def test_a_model_without_a_block_leaves_the_exercises_to_the_untrained_one(notebook):
    untrained = notebook["untrained"]
    single = core.build_model("MCCVAE", core.ModelConfig((1, 60, 60), (1, 2), 1, "bernoulli", 0.5), seed=0)
    assert exercises.with_blocks(single, untrained, 0).config == untrained.config
    assert exercises.with_blocks(single, untrained, 1).config == single.config
    plain = core.build_model("VAE", single.config, seed=0)
    assert exercises.with_blocks(plain, untrained, 0).config == untrained.config
