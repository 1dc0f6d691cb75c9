"""`./run_all.sh --help`, `<command> --help`, and words that mean nothing: told at once, before anything is set up."""

import os
import subprocess

import pytest
from support import ROOT, __main__

COMMANDS = ("own", "apply", "draw", "repeat", "check", "report", "test", "lab", "demo", "paper", "smoke")


def said(*words, **environment):
    command = [ROOT / "run_all.sh", *words]
    return subprocess.run(command, cwd="/", env=os.environ | environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]], ids=" ".join)
def test_help_names_every_command_and_profile(words):
    done = said(*words)
    assert done.returncode == 0 and done.stderr == ""
    assert all(f"\n    {name} " in done.stdout for name in COMMANDS[:8])
    assert all(profile in done.stdout for profile in __main__.profile_names()[0])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    for words in ([command, "--help"], [command, "-h", "x"]):
        done = said(*words)
        assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith(f"usage: ./run_all.sh {command} ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "there is no profile or command 'nonsense'"),
        (["../profiles/smoke"], "there is no profile or command"),
        (["--frobnicate"], "there is no profile or command '--frobnicate'"),
        (["demo", "--dry-run"], "demo: '--dry-run' means nothing here; options of Snakemake stand after --"),
        (["test", "-k", "x"], "options of pytest stand after --"),
        (["own"], "own: the following arguments are required: IMAGES"),
        (["apply", "outputs"], "apply: the following arguments are required: IMAGES"),
        (["apply", "a", "b", "c", "csv=excel", "e"], "apply: 'e' means nothing here"),
        (["repeat", "a", "b"], "repeat: 'b' means nothing here"),
        (["check", "--seals"], "check: '--seals' means nothing here"),
        (["draw", "a", "--", "x"], "draw: nothing stands after --"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_words_that_mean_nothing_are_one_line(words, message):
    done = said(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.startswith("run_all.sh: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["--", "--dry-run"], ["smoke"], ["own", "a", "k=3"], ["own", "a", "b", "--", "-n"]]
)
def test_words_that_mean_something_are_taken(words):
    assert __main__.read(words)[0] in ("demo", "smoke", "own")
