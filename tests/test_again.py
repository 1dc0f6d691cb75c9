"""The same seed on the same machine: the same weights, metrics and tables, in processes that share nothing."""

import io
import json

import pandas as pd
from test_faults import python

SCORES = """
    import sys; from pathlib import Path
    import torch; torch.set_num_threads(1)
    from support import runs, settings, training
    from support.experiments import characteristics, classification, objective, reconstruction, task_judges
    from support.show import tables
    settings.Profile.folder = property(lambda self: Path(sys.argv[1]))
    task_judges.JUDGE_STEPS = 200
    profile = settings.read_profile("smoke", images=140, epochs=2, models=["mccvae-rb300-k3"])
    data = runs.load_data(profile, "stick_figures")
    trained = [training.train(profile, "stick_figures", model, 0, data) for model in profile.models]
    judge = task_judges.train_judge(data)
    scores = characteristics.score_all(trained, {"stick_figures": data}, {"stick_figures": judge})
    scores |= {"table_1": classification.accuracy_table(trained, "test")}
    scores |= {"table_3": reconstruction.loss_table(trained)}
    scores |= {"audit": objective.audit_table(data, {run.spec.title: run.model() for run in trained}, draws=3)}
    for name, table in scores.items():
        tables.save_table(table, profile, name)
"""


def test_the_same_seed_gives_the_same_weights_metrics_and_tables(tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    for process in [python(SCORES, folder) for folder in folders]:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    files = [
        {str(path.relative_to(folder)): path for path in folder.rglob("*.*") if path.is_file()} for folder in folders
    ]
    assert set(files[0]) == set(files[1]) and sum(name.endswith(".csv") for name in files[0]) == 7 + 1
    for name, path in files[0].items():
        one, two = path.read_bytes(), files[1][name].read_bytes()
        if name.endswith(("history.csv", "table_3.csv")):
            one, two = (without_seconds(file) for file in (one, two))
        elif name.endswith("run.json"):
            one, two = (
                {k: v for k, v in json.loads(file).items() if k not in ("seconds", "sha256")} for file in (one, two)
            )
        elif "checkpoint" not in name:  # it holds the seconds
            assert len(one) > 100
        if "checkpoint" not in name:
            assert one == two, name


def without_seconds(table: bytes) -> str:
    return pd.read_csv(io.BytesIO(table), dtype=str).drop(columns="seconds").to_csv()
