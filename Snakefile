# The graph: which notebook makes which file from which, and what a cluster is asked for. Nothing computes here. Run it
# by ./run_all.sh [profile].
import contextlib
import os
import signal
import sys
from pathlib import Path

import psutil

sys.path.insert(0, "notebooks")
from support import IMAGES, catalogue, runs_below, settings
from support.commands import cluster
from support.commands.sources import sources

PROFILE = settings.read_profile(str(config.get("profile", "demo")))
FROM_RECORDS = config.get("from_records", False)  # the runs' tracked records are the start: nothing is trained
OUT = f"outputs/{PROFILE.profile}"
RUNS_BELOW = runs_below(Path(OUT)).as_posix()
OWN = PROFILE.source == "own"
TASKS = [name for name in settings.TASKS if (name == "own") == OWN]
REPORT = "own_report" if OWN else "report"  # own images have one of their own, without the paper
RECORDS = ("run.json", "metrics.json", "history.csv") + (() if FROM_RECORDS else ("model.safetensors",))


def stop_jobs(*_):
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(OSError, psutil.Error):  # it has ended meanwhile
            if os.getpgid(child.pid) == os.getpgrp():  # a kernel has a group of its own, and is stopped by its job
                child.send_signal(signal.SIGINT)
    raise KeyboardInterrupt


ALL_RUNS = {
    task: [f"{RUNS_BELOW}/{task}/{model}/seed{seed}" for model, seed in PROFILE.runs(settings.TASKS[task])]
    for task in TASKS
}
RUNS = [run for task in TASKS for run in ALL_RUNS[task] if not FROM_RECORDS or Path(run, "run.json").exists()]
TRAININGS = [] if FROM_RECORDS else [f"{run}/train.ipynb" for run in RUNS]
TRAINED = [f"{run}/{name}" for run in RUNS for name in RECORDS]
USED = [task for task in TASKS if ALL_RUNS[task]]


def asked(trains=False):
    """Of a cluster, for a notebook that reads every run, and perhaps trains some."""
    minutes = cluster.experiment_minutes(PROFILE, len(RUNS), trains)
    return dict(
        mem_mb=lambda wildcards, attempt: cluster.asked_mb(PROFILE, USED, attempt),
        runtime=lambda wildcards, attempt: cluster.asked_minutes(minutes, attempt),
    )


METHOD = sources("data/__main__.py")
TRAINING = sources("mccvae_core.py", "notebooks/support/training.py", "notebooks/support/commands/execute.py")
SHOWING = [f"notebooks/support/{name}" for name in ("show/style.mplstyle", "paper.yaml")]
PAGES = ("report",) if OWN else ("report", "details")  # beside the experiments
BESIDE = (*expand("{of}claim_{what}.csv", of=("trained_out/", ""), what=("scores", "intervals")), "baselines.csv")
DECIDING = [f"{OUT}/{name}" for name in BESIDE if Path(OUT, name).exists()]
# the shell's parent is Snakemake
EXECUTE = "GRAPH_PID=$PPID python notebooks/support/commands/execute.py notebooks/{notebook}.ipynb"
OF_A_RUN = ("epochs", "batch_size", "images", "correlation")  # values on which a run depends: others make none stale


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
    seed=r"\d+",


# Every file by name: of what is missing behind a report that is there, Snakemake asks only for what is named.
rule report:
    input:
        expand(f"{OUT}/{{name}}.html", name=PAGES),
        lambda wildcards: [*TRAINED, *EXPERIMENT_FILES, *TRAININGS],
        expand(f"{OUT}/notebooks/{{name}}.{{kind}}", name=[*PAGES, *PROFILE.experiments], kind=("ipynb", "html")),
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
            f"python -m data {{wildcards.task}} {PROFILE.source} {{output}} {{input.images}}"


    rule train:
        input:
            TRAINING,
            f"{RUNS_BELOW}/{{task}}/data.json",
            notebook="notebooks/{task}.ipynb",
        output:
            notebook=f"{RUNS_BELOW}/{{task}}/{{model}}/seed{{seed}}/train.ipynb",
            records=[f"{RUNS_BELOW}/{{task}}/{{model}}/seed{{seed}}/{name}" for name in RECORDS],
        params:
            settings=lambda wildcards: {key: PROFILE.given(key, wildcards.task) for key in OF_A_RUN},
        group:  # the seeds of a model: on a cluster several make a job (graph.py says how many)
            lambda wildcards: f"{wildcards.task}-{wildcards.model}"
        resources:
            mem_mb=lambda wildcards, attempt: cluster.asked_mb(PROFILE, [wildcards.task], attempt),
            runtime=lambda wildcards, attempt: cluster.asked_minutes(
                cluster.training_minutes(PROFILE, wildcards.task, wildcards.model), attempt
            ),
        threads: 1  # one run per core: side by side they finish sooner than one after the other (benchmarks/speed.py)
        benchmark:
            f"{OUT}/benchmarks/{{task}}-{{model}}-seed{{seed}}.tsv"
        shell:
            f"{EXECUTE.replace('{notebook}', '{wildcards.task}')} {{output.notebook}} profile={PROFILE.profile}"
            " model={wildcards.model} seed={wildcards.seed}"


# Of own images, what the first model says of each of them.
rule own_characteristics:
    input:
        sources("notebooks/support/commands/apply.py"),
        f"{OUT}/{IMAGES}",
        [f"{run}/{name}" for run in RUNS[:1] for name in RECORDS],
    output:
        f"{OUT}/characteristics.csv",
    shell:
        f"cd notebooks && python -m support.commands.apply table {PROFILE.profile}"


def outputs_of(name, files):
    figures = [] if FROM_RECORDS else files.figures  # those are there, and drawn anew where the data are
    return {
        "notebook": f"{OUT}/notebooks/{name}.ipynb",
        "tables": expand(f"{OUT}/tables/{{table}}", table=[*files.tables, f"finding_{name}.txt"]),
        "figures": expand(f"{OUT}/figures/{{figure}}.{{kind}}", figure=figures, kind=("png", "json")),
    }


FILES = {
    name: outputs_of(name, files)
    for name, files in catalogue.files(PROFILE, cluster.labels(PROFILE.profile) if OWN else 0).items()
}
EXPERIMENT_FILES = [path for name in PROFILE.experiments for path in (*FILES[name]["tables"], *FILES[name]["figures"])]


# The one that trains too, and the longest first, so that none is left alone at the end.
for experiment in settings.EXPERIMENTS:

    rule:
        name:
            experiment
        input:
            TRAINED,
            SHOWING,
            sources(f"notebooks/{experiment}.ipynb"),
        output:
            **FILES[experiment],
        resources:
            **asked(trains=experiment == "allocation" and bool(PROFILE.allocation)),
        priority: int(experiment in ("characteristics", "allocation"))
        params:  # the command is read when it is run, and the loop's name is another then
            notebook=experiment,
        benchmark:
            f"{OUT}/benchmarks/{experiment}.tsv"
        shell:
            f"{EXECUTE.format(notebook='{params.notebook}')} {{output.notebook}} profile={PROFILE.profile}"


rule report_notebook:
    input:
        TRAINED,
        EXPERIMENT_FILES,
        SHOWING,
        sources(f"notebooks/{REPORT}.ipynb"),
        [f"{OUT}/{IMAGES}"] if OWN else [],
        expand("notebooks/templates/report/instrument.{kind}", kind=("html", "css", "js")),
        "notebooks/support/claims/claims.yaml",
        DECIDING,
    output:
        notebook=f"{OUT}/notebooks/report.ipynb",
        tables=[f"{OUT}/tables/labels.csv"] if OWN else [],
    resources:
        **asked(),
    benchmark:
        f"{OUT}/benchmarks/report.tsv"
    shell:
        f"{EXECUTE.format(notebook=REPORT)} {{output.notebook}} profile={PROFILE.profile}"


# What the report leaves out.
rule details_notebook:
    input:
        TRAINED,
        EXPERIMENT_FILES,
        SHOWING,
        sources("notebooks/details.ipynb"),
        "notebooks/support/claims/claims.yaml",
        DECIDING,
    output:
        notebook=f"{OUT}/notebooks/details.ipynb",
        tables=[f"{OUT}/tables/{name}.csv" for name in ("results",)],
    resources:
        **asked(),
    benchmark:
        f"{OUT}/benchmarks/details.tsv"
    shell:
        f"{EXECUTE.format(notebook='details')} {{output.notebook}} profile={PROFILE.profile}"


# A notebook as one self-contained page.
rule page:
    input:
        sources("notebooks/support/commands/page.py"),
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
        expand(f"{OUT}/notebooks/{{name}}.html", name=[*PAGES, *PROFILE.experiments]),
        TRAININGS,
    output:
        expand(f"{OUT}/{{name}}.html", name=PAGES),
    params:
        pages=expand(f"{OUT}/notebooks/{{name}}.html", name=PAGES),
    shell:
        f"cp {{params.pages}} {OUT}/"
