# The graph: which notebook makes which file from which, and what a cluster is asked for. Nothing computes here. Run it by ./run_all.sh [profile].
import contextlib
import functools
import os
import signal
import sys
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, "notebooks")
from support import IMAGES, profile_file, runs_below
from support.commands import cluster

PROFILE = config.get("profile", "demo")
FROM_RECORDS = config.get("from_records", False)  # the runs' tracked records are the start: nothing is trained, no weights are asked for
OUT = f"outputs/{PROFILE}"
RUNS_BELOW = runs_below(Path(OUT)).as_posix()
with open(profile_file(PROFILE)) as file:
    SETTINGS = yaml.safe_load(file)

OWN = SETTINGS["source"] == "own"
TASKS = ("own",) if OWN else ("celeba", "mnist", "chest_xray", "stick_figures")
EXPERIMENTS = SETTINGS["experiments"]
REPORT = "own_report" if OWN else "report"  # own images have one of their own, without the paper
RECORDS = ("run.json", "metrics.json", "history.csv") + (() if FROM_RECORDS else ("model.safetensors",))


of_task = functools.partial(cluster.of_task, SETTINGS)


def stop_jobs(*_):
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(OSError, psutil.Error):  # it has ended meanwhile
            if os.getpgid(child.pid) == os.getpgrp():  # a kernel has a group of its own, and is stopped by its job
                child.send_signal(signal.SIGINT)
    raise KeyboardInterrupt


def runs_of(task):
    """The folders of a task's runs: every model with the profile's seeds, or with its own."""
    models = of_task("models", task) or []
    own = models if isinstance(models, dict) else {}
    return [f"{RUNS_BELOW}/{task}/{model}/seed{seed}" for model in models for seed in own.get(model) or of_task("seeds", task)]


RUNS = [run for task in TASKS for run in runs_of(task) if not FROM_RECORDS or Path(run, "run.json").exists()]
TRAININGS = [] if FROM_RECORDS else [f"{run}/train.ipynb" for run in RUNS]
USED = [task for task in TASKS if runs_of(task)]
ASKED = dict(  # of a cluster, for a notebook that reads every run
    mem_mb=lambda wildcards, attempt: cluster.asked_mb(SETTINGS, USED, attempt),
    runtime=lambda wildcards, attempt: cluster.asked_minutes(cluster.experiment_minutes(SETTINGS, len(RUNS)), attempt),
)

METHOD = ["mccvae_core.py", *[f"data/{name}.py" for name in ("__init__", "__main__", "files", "pictures", "common", "drawing", "celeba", "chest_xray", "mnist", "columns", "labels", "names", "layout", "copies", "own", "stick_figures")]]
TRAINING = [f"notebooks/support/{name}.py" for name in ("__init__", "commands/execute", "settings", "records", "runs", "weights", "machine", "code_identity", "measures/scores", "measures/gradients", "measures/blocks")]
SHOWING = [f"notebooks/support/{name}" for name in ("measures/judge.py", "measures/latents.py", "measures/allocation.py", "measures/block_effects.py", "show/figures.py", "show/tables.py", "experiments/characteristics.py", "experiments/conditional.py", "experiments/lungs.py", "experiments/baselines.py", "experiments/forensics.py", "show/markup.py", "show/style.mplstyle", "paper.yaml")]
OPENING = ("report/report", "report/opening", "claims/decided", "report/forest", "claims/verdicts", "claims/preregistration", "report/claims", "report/schemes", "report/explorer", "report/instrument", "show/mathml", "settings")
DECIDING = [str(path) for path in (Path(OUT, name) for name in ("trained_out/claim_scores.csv", "trained_out/claim_intervals.csv", "claim_scores.csv", "claim_intervals.csv", "baselines.csv")) if path.exists()]
EXECUTE = "GRAPH_PID=$PPID python notebooks/support/commands/execute.py notebooks/{notebook}.ipynb"  # the shell's parent: Snakemake


# Terminated, Snakemake would wait for its jobs; it shall stop them, as when it is interrupted.
onstart:
    signal.signal(signal.SIGTERM, stop_jobs)


# What was trained is known to be whole now.
onsuccess:
    for run in RUNS:
        if Path(run, "run.json").exists() and Path(run, "train.ipynb").exists():
            for checkpoint in Path(run).glob("checkpoint*"):
                checkpoint.unlink()


wildcard_constraints:
    task="|".join(TASKS),
    experiment="|".join(EXPERIMENTS),
    seed=r"\d+",


# Every file by name: of what is missing behind a report that is there, Snakemake asks only for what is named.
rule report:
    input:
        f"{OUT}/report.html",
        lambda wildcards: [*TRAINED, *EXPERIMENT_FILES, *TRAININGS],
        expand(f"{OUT}/notebooks/{{name}}.{{kind}}", name=["report", *EXPERIMENTS], kind=("ipynb", "html")),
        [f"{OUT}/characteristics.csv"] if OWN else [],


localrules:  # short, or in need of a network: never jobs of a cluster
    report,
    data,
    page,
    finish,
    own_characteristics,


if not FROM_RECORDS:

    # Get and check a data set once, before anything trains on it.
    rule data:
        input:
            METHOD,
            images=[f"{OUT}/{IMAGES}"] if OWN else [],
        output:
            f"{RUNS_BELOW}/{{task}}/data.json",
        benchmark:
            f"{OUT}/benchmarks/data-{{task}}.tsv"
        shell:
            f"python -m data {{wildcards.task}} {SETTINGS['source']} {{output}} {{input.images}}"


    rule train:
        input:
            METHOD,
            TRAINING,
            f"{RUNS_BELOW}/{{task}}/data.json",
            notebook="notebooks/{task}.ipynb",
        output:
            notebook=f"{RUNS_BELOW}/{{task}}/{{model}}/seed{{seed}}/train.ipynb",
            records=[f"{RUNS_BELOW}/{{task}}/{{model}}/seed{{seed}}/{name}" for name in RECORDS],
        params:  # those of the profile's values on which a run depends: another seed or model makes no run stale
            settings=lambda wildcards: {key: of_task(key, wildcards.task) for key in ("epochs", "batch_size", "images", "correlation")},
        group:  # the seeds of a model: on a cluster several make a job (graph.py says how many)
            lambda wildcards: f"{wildcards.task}-{wildcards.model}"
        resources:
            mem_mb=lambda wildcards, attempt: cluster.asked_mb(SETTINGS, [wildcards.task], attempt),
            runtime=lambda wildcards, attempt: cluster.asked_minutes(
                cluster.training_minutes(SETTINGS, wildcards.task, wildcards.model), attempt
            ),
        threads: 1  # a run a core: two runs side by side finish sooner than one after the other on two cores (benchmarks/speed.py)
        benchmark:
            f"{OUT}/benchmarks/{{task}}-{{model}}-seed{{seed}}.tsv"
        shell:
            f"{EXECUTE.replace('{notebook}', '{wildcards.task}')} {{output.notebook}} profile={PROFILE} model={{wildcards.model}} seed={{wildcards.seed}}"


# Of own images, what the first model says of each of them.
rule own_characteristics:
    input:
        "notebooks/support/commands/apply.py",
        f"{OUT}/{IMAGES}",
        [f"{run}/{name}" for run in RUNS[:1] for name in RECORDS],
    output:
        f"{OUT}/characteristics.csv",
    shell:
        f"cd notebooks && python -m support.commands.apply table {PROFILE}"


def experiment(name, tables, figures):
    return {
        "notebook": f"{OUT}/notebooks/{name}.ipynb",
        "tables": expand(f"{OUT}/tables/{{table}}", table=[*tables, f"finding_{name}.txt"]),
        "figures": [] if FROM_RECORDS else expand(f"{OUT}/figures/{{figure}}.{{kind}}", figure=figures, kind=("png", "json")),  # those are there, and drawn anew where the data are
    }


CLASSIFICATION = experiment("classification", ["table_1.csv", "table_2.csv"], ["accuracy"])
PICTURES = ["figure_own"] if OWN else ["figure_3", "figure_6", "figure_7", "figure_8"]
RECONSTRUCTION = experiment("reconstruction", ["table_3.csv"], ["loss_terms", *PICTURES])
WALKS = [f"figure_{number}" for number in (range(1, cluster.labels(PROFILE) + 1) if OWN else range(9, 13))]  # of own images one a label
INTERVENTION = experiment("intervention", ["interventions.csv"], WALKS)
OBJECTIVE = experiment(
    "objective",
    ["objective.csv", "weights.csv", "floors.csv", "floor_variants.csv", "encoder.csv", "label_weight.csv", "forensics.csv"],
    ["gradients", "terms_over_training", "encoder", "trade_off"],
)
SEVERAL = [task for task in TASKS if any(model.startswith("mccvae") for model in of_task("models", task) or [])]
DRAWN = [task for task in SEVERAL if task == "stick_figures" or (SETTINGS["source"] == "embedded" and task != "mnist")]
CHARACTERISTICS = experiment(
    "characteristics",
    ["judge.csv", "found.csv", "blocks.csv", "effects.csv", "exchange.csv", "characteristics.csv", "comparison.csv", "conditional.csv", "lungs.csv"],
    [*expand("effects_{task}", task=SEVERAL), *expand("latents_{task}", task=SEVERAL), *expand("parts_{task}", task=DRAWN), *["lungs"] * ("chest_xray" in SEVERAL)],
)
ALLOCATION = experiment("allocation", ["allocation.csv", "allocation_comparison.csv"], [])
FILES = dict(
    classification=CLASSIFICATION,
    reconstruction=RECONSTRUCTION,
    intervention=INTERVENTION,
    objective=OBJECTIVE,
    characteristics=CHARACTERISTICS,
    allocation=ALLOCATION,
)
EXPERIMENT_FILES = [path for name in EXPERIMENTS for path in (*FILES[name]["tables"], *FILES[name]["figures"])]
TRAINED = [f"{run}/{name}" for run in RUNS for name in RECORDS]


rule classification:
    input:
        TRAINED,
        SHOWING,
        "notebooks/classification.ipynb",
    output:
        **CLASSIFICATION,
    resources:
        **ASKED,
    benchmark:
        f"{OUT}/benchmarks/classification.tsv"
    shell:
        f"{EXECUTE.format(notebook='classification')} {{output.notebook}} profile={PROFILE}"


rule reconstruction:
    input:
        TRAINED,
        SHOWING,
        "notebooks/reconstruction.ipynb",
    output:
        **RECONSTRUCTION,
    resources:
        **ASKED,
    benchmark:
        f"{OUT}/benchmarks/reconstruction.tsv"
    shell:
        f"{EXECUTE.format(notebook='reconstruction')} {{output.notebook}} profile={PROFILE}"


rule intervention:
    input:
        TRAINED,
        SHOWING,
        "notebooks/intervention.ipynb",
    output:
        **INTERVENTION,
    resources:
        **ASKED,
    benchmark:
        f"{OUT}/benchmarks/intervention.tsv"
    shell:
        f"{EXECUTE.format(notebook='intervention')} {{output.notebook}} profile={PROFILE}"


rule objective:
    input:
        TRAINED,
        SHOWING,
        "notebooks/objective.ipynb",
    output:
        **OBJECTIVE,
    resources:
        **ASKED,
    benchmark:
        f"{OUT}/benchmarks/objective.tsv"
    shell:
        f"{EXECUTE.format(notebook='objective')} {{output.notebook}} profile={PROFILE}"


rule characteristics:
    input:
        TRAINED,
        SHOWING,
        "notebooks/characteristics.ipynb",
    output:
        **CHARACTERISTICS,
    resources:
        **ASKED,
    priority: 1  # the longest of the experiments first, so that none is left alone at the end
    benchmark:
        f"{OUT}/benchmarks/characteristics.tsv"
    shell:
        f"{EXECUTE.format(notebook='characteristics')} {{output.notebook}} profile={PROFILE}"


# Trains too: the models whose latents its first results allocate.
rule allocation:
    input:
        TRAINED,
        SHOWING,
        "notebooks/allocation.ipynb",
    output:
        **ALLOCATION,
    resources:
        mem_mb=ASKED["mem_mb"],
        runtime=lambda wildcards, attempt: cluster.asked_minutes(cluster.experiment_minutes(SETTINGS, len(RUNS), trains=True), attempt),
    priority: 1
    benchmark:
        f"{OUT}/benchmarks/allocation.tsv"
    shell:
        f"{EXECUTE.format(notebook='allocation')} {{output.notebook}} profile={PROFILE}"


rule report_notebook:
    input:
        TRAINED,
        EXPERIMENT_FILES,
        f"notebooks/{REPORT}.ipynb",
        [f"notebooks/support/{name}.py" for name in (*OPENING, *["report/own_report", "commands/own", "measures/intervals"] * OWN)],
        [f"{OUT}/{IMAGES}"] if OWN else [],
        expand("notebooks/templates/report/instrument.{kind}", kind=("html", "css", "js")),
        "notebooks/support/claims/claims.yaml",
        DECIDING,
    output:
        notebook=f"{OUT}/notebooks/report.ipynb",
        tables=[f"{OUT}/tables/{name}.csv" for name in (("labels",) if OWN else ("claims", "results"))],
    resources:
        **ASKED,
    benchmark:
        f"{OUT}/benchmarks/report.tsv"
    shell:
        f"{EXECUTE.format(notebook=REPORT)} {{output.notebook}} profile={PROFILE}"


# A notebook as one self-contained page.
rule page:
    input:
        "notebooks/support/commands/page.py",
        "notebooks/support/show/markup.py",
        notebook=f"{OUT}/notebooks/{{name}}.ipynb",
        template=expand(
            "notebooks/templates/report/{file}",
            file=("conf.json", "index.html.j2", "page.js", "style.css", "explorer.css", "explorer.js", "instrument.js"),
        ),
    output:
        f"{OUT}/notebooks/{{name}}.html",
    shell:
        "python notebooks/support/commands/page.py {input.notebook} {output}"


# The report comes last: where it stands, everything that it links to stands too.
rule finish:
    input:
        f"{OUT}/notebooks/report.html",
        expand(f"{OUT}/notebooks/{{name}}.html", name=EXPERIMENTS),
        TRAININGS,
    output:
        f"{OUT}/report.html",
    shell:
        "cp {input[0]} {output}"
