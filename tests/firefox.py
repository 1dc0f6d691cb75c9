"""Firefox without a window, driven over WebDriver BiDi (its own remote protocol), enough to read a page and move it."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import websocket

PROGRAMS = ("firefox-esr", "firefox")  # as Debian and others name it
SECONDS = 60


class Page:
    """A page that is open: `evaluate` its script, and `errors`, what it logged as an error so far."""

    def __init__(self, address: str):
        self.socket, self.number, self.errors = _connected(address), 0, []
        self.command("session.new", capabilities={})
        self.command("session.subscribe", events=["log.entryAdded"])
        self.context = self.command("browsingContext.getTree")["contexts"][0]["context"]

    def command(self, method: str, **params):
        """What a command returns. Raises RuntimeError with what Firefox says where it fails."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            said = json.loads(self.socket.recv())
            if said.get("method") == "log.entryAdded" and said["params"]["level"] == "error":
                self.errors.append(said["params"]["text"])
            if said.get("id") == self.number:
                if said["type"] == "error":
                    raise RuntimeError(f"{method}: {said['message']}")
                return said["result"]

    def open(self, file: Path) -> None:
        self.command("browsingContext.navigate", context=self.context, url=file.as_uri(), wait="complete")

    def evaluate(self, expression: str):
        """The value of a script that gives JSON; a promise is waited for."""
        text = f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"
        target = {"context": self.context}
        found = self.command("script.evaluate", expression=text, target=target, awaitPromise=True)
        if found["type"] == "exception":
            raise RuntimeError(found["exceptionDetails"]["text"])
        return json.loads(found["result"]["value"])


@contextlib.contextmanager
def firefox(folder: Path) -> Iterator[Page]:
    """Firefox with a profile of its own in the folder. Raises FileNotFoundError where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise FileNotFoundError("no Firefox: install it (Debian: apt-get install firefox-esr)")
    command = [program, "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield Page(f"ws://127.0.0.1:{_port(folder / 'WebDriverBiDiServer.json')}/session")
        finally:
            process.kill()


def _port(file: Path) -> int:
    """Where Firefox listens, which it writes into its profile once it does."""
    for _ in range(10 * SECONDS):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            return json.loads(file.read_text())["ws_port"]
        time.sleep(0.1)
    raise TimeoutError(f"Firefox does not listen after {SECONDS} s")


def _connected(address: str) -> websocket.WebSocket:
    return websocket.create_connection(address, timeout=SECONDS, suppress_origin=True)  # others than its own it refuses
