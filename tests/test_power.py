"""A training whose disk is full at each write in turn, or whose power is cut: it ends as one that was not, or what is
left is refused by name.

Few of each by default; the long versions, for a night: `./run_all.sh test -- --long tests/test_power.py`, where
`--full 1 --cuts 30` say how many, and of the writes each how-manieth."""

import textwrap

import pytest
from test_faults import python

TINY = """
    import json, os, random, shutil, sys
    from pathlib import Path
    os.environ["MCCVAE_PRECISION"] = "float32"
    import torch
    torch.set_num_threads(1)
    from disk import CUT, Disk, take_its_place
    from support import runs, settings, training

    top = Path(sys.argv[1])
    place = top / "disk"  # always the same: a path may stand in what is written
    settings.Profile.folder = property(lambda self: place / self.profile)
    profile = settings.read_profile("smoke", images=70, epochs=2)
    other = settings.read_profile("smoke", images=70, epochs=2, batch_size=16)
    data = runs.load_data(profile, "stick_figures")

    def train(profile, **shim):
        # in a process of its own, which has torch already; the message that it ended with
        into, out = os.pipe()
        if not (pid := os.fork()):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            disk, said = Disk(place, **shim), ""
            try:
                with disk:
                    training.train(profile, "stick_figures", "mccvae-e2", 0, data)
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            os.write(out, json.dumps([said, disk.steps, disk.refusable]).encode())
            os._exit(0)
        os.close(out)
        with os.fdopen(into) as pipe:
            text = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, CUT), status
        return json.loads(text) if status == 0 else None

    run = place / "smoke" / "stick_figures" / "mccvae-e2" / "seed0"

    def outcome():
        record, metrics = (json.loads((run / name).read_text()) for name in ("run.json", "metrics.json"))
        history = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
        timed = history[0].index("seconds")
        record = {key: value for key, value in record.items() if key not in ("seconds", "sha256")}
        weights = [(run / name).read_bytes() for name in ("model.safetensors", "best.safetensors")]
        return record, metrics, [row[:timed] + row[timed + 1 :] for row in history], weights

    def afresh(start=None):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(start, place) if start else place.mkdir()

    afresh()
    said, steps, refusable = train(profile)
    assert not said, said
    wanted = outcome()
    afresh()
    assert train(other)[0] == ""
    shutil.copytree(place, top / "other")  # a finished run of other settings, to be trained anew
"""
FULL = """
    each, done = int(sys.argv[2]), 0
    for n in range(1, refusable + 1, each):
        afresh()
        said, _, _ = train(profile, full_at=n)
        assert "No space left on device" in said and str(place) in said, (n, said)
        assert not list(place.rglob(".*.part*")), n
        if (run / "run.json").exists():
            runs.read_run(run).check_weights()
        again, _, _ = train(profile)
        assert not again and outcome() == wanted, (n, again)
        done += 1
    print(refusable, done)
"""
CUTS = """
    rng, cuts, refused, kept = random.Random(4), int(sys.argv[3]), 0, 0
    first = next(i for i, step in enumerate(steps) if step == ["replace", "checkpoint.safetensors"]) + 2
    for n in range(cuts):
        start = None if n % 2 == 0 else top / "other"
        most = len(steps) - (steps.index(["open", ".lock"]) if start else 0)  # with folders there are fewer
        at = rng.randint(1, most) if n else most - 1
        afresh(start)
        (top / "after").mkdir()
        assert train(profile, cut_at=at, after=top / "after", seed=n) is None, at
        take_its_place(place, top / "after")
        if start is None and at > first + 1:  # what was put on the disk is there
            assert list(run.glob("checkpoint*")) or (run / "run.json").exists(), at
            kept += 1
        said, _, _ = train(profile)
        if said:  # then by a name of its own, with what to do
            assert str(place) in said and said.startswith(("RunError", "CheckpointError", "BrokenCheck")), said
            refused += 1
        else:
            assert outcome() == wanted, at
    print(cuts, refused, kept)
"""


def said_by(code: str, *arguments) -> list[int]:
    said, errors = python(code, *arguments).communicate()
    return list(map(int, said.split())) or pytest.fail(errors)


@pytest.fixture(scope="module")
def told(tmp_path_factory, counts):
    """What both told: one process, since its start takes longest."""
    code = "".join(map(textwrap.dedent, (TINY, FULL, CUTS)))
    return said_by(code, tmp_path_factory.mktemp("power"), counts.full, counts.cuts)


def test_a_disk_that_is_full_at_each_write_in_turn_is_named_and_nothing_half_written_counts(told, counts):
    refusable, done = told[:2]
    assert refusable > 25 and done >= refusable // counts.full


def test_after_a_power_cut_at_any_step_the_run_is_the_same_or_refused_by_name(told, counts):
    cuts, refused, kept = told[2:]
    assert cuts == counts.cuts and kept and refused < cuts / 2
