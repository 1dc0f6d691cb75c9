"""Snakemake's options as run_all.sh is given them: which only show something, and which this project sets itself.

`python notebooks/support/commands/options.py [options]`: the exit status is 0 if something is made with these options,
else 1."""

import re
import sys

OURS = ("--config", "--configfile", "--configfiles", "--snakefile", "--directory")
SHOWS = (
    "--dry-run", "--dryrun", "--summary", "--detailed-summary", "--list", "--list-rules", "--list-target-rules",
    "--dag", "--rulegraph", "--filegraph", "--d3dag", "--lint", "--version", "--help", "--list-input-changes",
    "--list-params-changes", "--list-code-changes",
)  # fmt: skip
SHORT = {
    "n": "--dry-run", "S": "--summary", "D": "--detailed-summary", "l": "--list", "h": "--help", "v": "--version",
    "C": "--config", "s": "--snakefile", "d": "--directory", "e": "--executor",
}  # fmt: skip
FLAGS = "npFkSDlthv"  # one-letter options without a value, which can be written together: -np


def options_of(words: list[str]) -> set[str]:
    """The long names of the options, also of those that are cut short (--direc) or written together (-np)."""
    found = set()
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--"):
            known = [one for one in (*OURS, *SHOWS) if len(name) > 3 and one.startswith(name)]
            found |= {name} if name in known else {name, *known}
        elif re.match(r"-[A-Za-z]", name):
            for letter in name[1:]:
                found |= {SHORT[letter]} if letter in SHORT else set()
                if letter not in FLAGS:
                    break  # what follows is its value
    return found | ({"--dry-run"} if "--dryrun" in found else set())


def without_cores(words: list[str]) -> bool:
    """Whether no core is to be used: Snakemake would wait for one for ever."""
    spelt = re.findall(r"(?:^|\0)(?:--cores|--jobs|-c|-j)(?:=|\0)?(-?\d+)(?=$|\0)", "\0".join(words))
    return any(int(number) < 1 for number in spelt)


if __name__ == "__main__":
    sys.exit(int(bool(options_of(sys.argv[1:]) & set(SHOWS))))
