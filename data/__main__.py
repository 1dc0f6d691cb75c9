"""`python -m data TASK SOURCE SUMMARY [FILE]`: get and check a data set before anything trains on it; its summary goes
to SUMMARY (json).

FILE: of own images, where `./run_all.sh own` put them."""

import json
import sys
from pathlib import Path

from . import DataError, load
from .files import write_atomically
from .messages import plain

if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: python -m data TASK SOURCE SUMMARY [FILE]")
    task, source, target, *file = sys.argv[1:]
    try:
        text = json.dumps(load(task, source, file=Path(file[0]) if file else None).summary(), indent=1)
        write_atomically(Path(target), f"{text}\n".encode())
    except (DataError, OSError) as error:
        sys.exit(plain(f"data: {task}: {error}"))
    print(f"data: {task}: {json.loads(text)['description']}")
