"""`python -m data TASK SOURCE SUMMARY`: get and check a data set before anything trains on it; its summary goes to SUMMARY (json)."""

import json
import sys
from pathlib import Path

from mccvae_core import write_atomically

from . import DataError, load

if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m data TASK SOURCE SUMMARY")
    task, source, target = sys.argv[1:]
    try:
        text = json.dumps(load(task, source).summary(), indent=1)
        write_atomically(Path(target), f"{text}\n".encode())
    except (DataError, OSError) as error:
        sys.exit(f"data: {task}: {error}")
    print(f"data: {task}: {json.loads(text)['description']}")
