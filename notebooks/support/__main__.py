"""`python -m support COMMAND ...`: what `./run_all.sh` hands its words to, and the one place where they are read.

`--check` before the command only reads the words. Exit status 0: they can be run; 100: help was given; 2: they mean
nothing, and one line on standard error says which. It needs nothing but Python, so that a mistake is told before
anything is set up. What Snakemake, pytest or JupyterLab are to get stands after `--`.
"""

import argparse
import os
import runpy
import sys
from pathlib import Path

from . import COMMANDS, OWN, profile_file, profile_names

from data.messages import plain, quoted, shown  # isort: skip

HELPED = 100
MAX_COMMENT = 4_000  # characters of a profile in which its comment stands
MODULES = {  # of the commands that are a Python module: what it is called with
    "apply": ("support.commands.apply", "new"),
    "repeat": ("support.commands.repeat",),
    "check": ("support.commands.check",),
    "draw": ("data.example",),
}
BEHIND = {"test": "pytest", "lab": "JupyterLab"}  # of all profiles, report and own: Snakemake


class Words(argparse.ArgumentParser):
    """A parser whose errors are one line; status 0, after help, is HELPED where words are only checked."""

    only_check = False

    def error(self, message):
        name = self.prog.partition(" ")[2]
        help_ = f"{self.prog} --help"
        self.exit(2, plain(f"run_all.sh: {name}{': ' if name else ''}{message}; see {help_}") + "\n")

    def exit(self, status=0, message=None):
        super().exit(HELPED if status == 0 and Words.only_check else status, message)


def about(profile: str) -> str:
    """The comment that a profile begins with."""
    try:
        with profile_file(profile).open(encoding="utf-8") as file:
            lines = file.read(MAX_COMMENT).splitlines()
    except (OSError, UnicodeDecodeError):  # whoever reads it says so
        return ""
    first = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.removeprefix("#").strip() for line in lines[:first])


def behind(command: str) -> str | None:
    """Whose options a command takes."""
    return None if command in MODULES else f"options of {BEHIND.get(command, 'Snakemake')} stand after --"


def parser() -> Words:
    """Of all commands; their words are `IMAGES` and the like."""
    names, left = profile_names()
    out = "".join(f"; left out: {shown(name, 60)}, since {why}" for name, why in left.items())
    top = Words(
        prog="./run_all.sh",
        usage="./run_all.sh [PROFILE or COMMAND] [words] [-- options of Snakemake, pytest or JupyterLab]",
        epilog=f"profiles (without a word: demo): {', '.join(names)}{out}".replace("%", "%%"),
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", prog="./run_all.sh", required=True)

    def add(name: str, help_: str, *words: tuple[str, str], listed: bool = True) -> Words:
        extra = {"help": help_} if listed else {}
        command = commands.add_parser(name, description=help_, epilog=behind(name), **extra)
        command.set_defaults(command=command)
        for word, text in words:
            several = {"nargs": "*", "default": []} if word.endswith("...") else {}
            command.add_argument(word.strip("[]."), help=text, **({"nargs": "?"} if word[0] == "[" else several))
        return command

    for name in names:
        add(name, f"Train, tables, figures and report of the profile {name}. {about(name)}", listed=False)
    images = "a folder of images"
    table = "a CSV file with their labels (without it folders are classes), then options, told in data/README.md"
    add("own", "train on your own images, report, characteristics.csv", ("IMAGES", images), ("LABELS...", table))
    new, out = ("IMAGES", f"{images}, or one image"), ("[OUT.csv]", "the table to write; else characteristics.csv")
    form = ("[csv=excel]", "for a spreadsheet in Europe: semicolons, decimal commas, no name that runs")
    add(
        "apply",
        "what a trained model says of new images",
        ("RUN", "a run's folder, or outputs/own_<name>"),
        new,
        out,
        form,
    )
    add("draw", "draw a folder of images to try own and apply on", ("FOLDER", "a new folder"))
    run = ("RUN", "a run's folder, as outputs/published/runs/<task>/<model>/seed<n>")
    add("repeat", "train a run again from its record, say which scores differ", run)
    folder = ("[FOLDER]", "an outputs folder; without it the published one")
    prove = add("check", "prove an outputs folder: checksums, tables, verdicts, scores", folder)
    prove.add_argument("--seal", action="store_true", help="write its checksums anew")
    add("report", "the published report anew, from the records and weights in outputs/published")
    add("test", "the tests")
    add("lab", "JupyterLab on notebooks/")
    return top


def read(words: list[str]) -> list[str]:
    """The command and its words without what stands after `--`; exits where they mean nothing, or after help."""
    at = words.index("--") if "--" in words else len(words)
    mine = words[:at] or ["demo"]
    mine[0] = "--help" if mine[0] == "help" else mine[0]
    top = parser()
    names, left = profile_names()
    if mine[0] not in ("-h", "--help", *names, *COMMANDS):
        why = f": {left[mine[0]]}" if mine[0] in left else ""
        if mine[0].startswith(OWN) and not why:
            why = f"; make it: ./run_all.sh own IMAGES LABELS name={mine[0].removeprefix(OWN)}"
        top.error(f"there is no profile or command {quoted(mine[0])}{why}")
    parsed, unknown = top.parse_known_args(mine)
    if unknown:
        hint = behind(mine[0])
        parsed.command.error(f"{quoted(unknown[0])} means nothing here{f'; {hint}' if hint else ''}")
    if mine[0] in MODULES and words[at:]:
        parsed.command.error("nothing stands after --")
    return mine


def main(words: list[str]) -> None:
    Words.only_check = words[:1] == ["--check"]
    command, *rest = read(words[1:] if Words.only_check else words)
    if Words.only_check:
        return
    if command not in MODULES:
        sys.exit(f"run_all.sh: {command} is a command of ./run_all.sh, which sets up first")
    here = os.environ.get("MCCVAE_HERE", os.getcwd())
    module, *first = MODULES[command]
    rest = [str(Path(here, rest[0]))] if command == "draw" else [here, *rest]
    sys.argv[1:] = [*first, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
