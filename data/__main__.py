"""`python -m data TASK SOURCE SUMMARY`: get and check a data set before anything trains on it; its summary goes to SUMMARY (json)."""

import json
import sys
from pathlib import Path

from . import DataError, load

if __name__ == "__main__":
    task, source, target = sys.argv[1:]
    try:
        text = json.dumps(load(task, source).summary(), indent=1)
    except DataError as error:
        sys.exit(f"data: {task}: {error}")
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(text + "\n")
    print(f"data: {task}: {json.loads(text)['description']}")
