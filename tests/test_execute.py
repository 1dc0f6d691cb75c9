"""The graph's way to run a notebook: one retry for a lost kernel, none for a failing cell, few lines about either."""

import nbformat
import pytest
from nbclient.exceptions import DeadKernelError
from support import ROOT
from support.commands import execute


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """papermill replaced by a list of outcomes, one for each call; the output path and the list of calls."""
    calls, outcomes = [], []

    def run(source, target, parameters, **options):
        calls.append((source, parameters, options))
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        (ROOT / target).write_text("{}")

    monkeypatch.setattr(execute.papermill, "execute_notebook", run)
    monkeypatch.chdir(ROOT)
    return tmp_path / "out.ipynb", calls, outcomes


ARGUMENTS = [str(ROOT / "notebooks" / "mnist.ipynb")]


def test_a_lost_kernel_is_started_once_more(fake, capsys):
    output, calls, outcomes = fake
    outcomes += [DeadKernelError("Kernel died"), None]
    assert execute.main([*ARGUMENTS, str(output), "seed=3", "model=ccvae-rb100"]) == 0
    assert len(calls) == 2 and output.exists() and calls[0][1] == {"seed": 3, "model": "ccvae-rb100"}
    assert calls[0][0] == "notebooks/mnist.ipynb" and "starting it once more" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [DeadKernelError("Kernel died"), RuntimeError("Kernel didn't respond in 120 seconds")]
)
def test_a_kernel_lost_twice_fails_in_words(fake, capsys, error):
    output, calls, outcomes = fake
    outcomes += [error, error]
    assert execute.main([*ARGUMENTS, str(output)]) == 1
    said = capsys.readouterr().err
    assert (
        len(calls) == 2
        and not output.exists()
        and "FAILED: notebooks/mnist.ipynb" in said
        and "the kernel did not run" in said
    )


def test_a_failing_cell_is_not_tried_again(monkeypatch, tmp_path, capsys):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('once')\n1 / 0")])
    source = tmp_path / "broken.ipynb"
    nbformat.write(notebook, source)
    monkeypatch.chdir(ROOT)
    assert execute.main([str(source), str(tmp_path / "out.ipynb")]) == 1
    captured = capsys.readouterr()
    assert "ZeroDivisionError: division by zero" in captured.err and "Traceback" not in captured.err
    assert (tmp_path / "out.unfinished.ipynb").exists() and not (tmp_path / "out.ipynb").exists()
