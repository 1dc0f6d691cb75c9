"""`python notebooks/support/commands/execute.py NOTEBOOK OUTPUT [name=value ...]`: run a notebook with papermill, for
the graph.

What the notebook prints goes to standard output as it comes. OUTPUT appears when all cells have run; where one fails,
the notebook up to there stays beside it as <OUTPUT>.unfinished.ipynb, a few lines say which notebook and what error,
and the exit status is 1. A kernel that was lost is started once more. Interrupted (Ctrl-C) or terminated it stops its
kernel and exits with 130 or 143; so it does when the process of the environment variable GRAPH_PID is gone, so that
nothing is left of a graph that was killed."""

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.modules["rfc3987_syntax"] = None  # jsonschema does without: its grammar takes three quarters of papermill's import

import papermill  # noqa: E402
import yaml  # noqa: E402
from nbclient.exceptions import DeadKernelError  # noqa: E402
from papermill.exceptions import PapermillExecutionError  # noqa: E402
from traitlets.config import Config  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from data.messages import plain  # noqa: E402

QUIET = ["--log-level=50"]  # else a kernel that is shut down may report that as an error
SOCKET = 75  # characters of a folder in which a kernel's sockets can lie: the system takes about 104 for the whole name
SECONDS = 7 * 24 * 3600  # the longest that a cell may take


def execute(notebook: Path, output: Path, parameters: dict, runtime: str) -> None:
    """The kernel's connection lies in the folder `runtime`, as sockets in files: no race for a port, and nobody listens
    in.

    Raises PapermillExecutionError for a cell that fails, DeadKernelError or RuntimeError for a kernel lost twice."""
    for name in ("JUPYTER_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"):  # another project's kernels and modules
        os.environ.pop(name, None)
    os.environ |= {"JUPYTER_RUNTIME_DIR": runtime, "IPYTHONDIR": f"{runtime}/ipython", "JUPYTER_PREFER_ENV_PATH": "1"}
    short = len(os.fsencode(runtime)) <= SOCKET + 20
    sockets = Config({"KernelManager": {"transport": "ipc", "ip": f"{runtime}/kernel"}} if short else {})
    unfinished = output.with_suffix(".unfinished.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    for attempt in (1, 2):
        try:
            papermill.execute_notebook(
                str(notebook), str(unfinished), parameters, kernel_name="python3", cwd=str(ROOT / "notebooks"),
                progress_bar=False,
                stdout_file=sys.stdout, execution_timeout=SECONDS, start_timeout=120, config=sockets,
                extra_arguments=QUIET,
            )  # fmt: skip
            break
        except (DeadKernelError, RuntimeError) as error:
            if attempt == 2 or not (isinstance(error, DeadKernelError) or "ernel" in str(error)):
                raise
            print(
                f"{notebook.name}: the kernel was lost ({str(error).splitlines()[0]}); starting it once more",
                file=sys.stderr,
            )
    os.replace(unfinished, output)


def stop_with(pid: int) -> None:
    """Terminate this process when another one is gone."""

    def watch():
        while _alive(pid):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def terminated(*_) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _short_folder() -> str | None:
    """Where temporary files go: None for the system's folder, /tmp where that one's name is too long for a socket.

    Where /tmp can't be written, the kernel listens on TCP."""
    long = len(os.fsencode(tempfile.gettempdir())) > SOCKET
    return "/tmp" if long and os.access("/tmp", os.W_OK | os.X_OK) else None


def parameter(name: str, value: str) -> tuple[str, object]:
    """A parameter as YAML has its value; a name stays a text, though it is one of digits."""
    return name, value if name in ("profile", "model") else yaml.safe_load(value)


def main(arguments: list[str]) -> int:
    notebook, output = (Path(os.path.relpath(path, ROOT)) for path in arguments[:2])
    os.chdir(ROOT)  # so that the paths that papermill puts into the notebook are relative
    parameters = dict(parameter(*argument.split("=", 1)) for argument in arguments[2:])
    os.environ.pop("JPY_SESSION_NAME", None)  # this kernel is not a live session, wherever it was started from
    about = " ".join(f"{name}={value}" for name, value in parameters.items())
    print(f"{notebook.name} {about}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mccvae-", dir=_short_folder()) as runtime:
        try:
            execute(notebook, output, parameters, runtime)
            return 0
        except PapermillExecutionError as error:
            why = plain(f"cell {error.cell_index}: {error.ename}: {error.evalue}")
        except (DeadKernelError, RuntimeError) as error:
            why = f"the kernel did not run: {error}. If memory ran out, run fewer at once: -- --cores 1"
        except OSError as error:
            why = f"{error}"
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    print(
        f"\nFAILED: {notebook} {about}\n  {why}\n  the notebook up to there: {output.with_suffix('.unfinished.ipynb')}",
        file=sys.stderr,
        flush=True,
    )
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    if "GRAPH_PID" in os.environ:
        stop_with(int(os.environ["GRAPH_PID"]))
    sys.exit(main(sys.argv[1:]))
