"""How often the proof rows of some data were opened: every look at them makes the next proof worth a little less.

One file a fingerprint, in the cache folder; one line a look.
"""

import json
import time
from pathlib import Path

from penjing.core.runtime import cache_folder


def opened(fingerprint: str, stage: str, model_sha: str) -> int:
    """Record one look at the proof rows; returns how many there were, this one included."""
    path = _path(fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "stage": stage, "model": model_sha}) + "\n"
    with path.open("ab", buffering=0) as file:
        file.write(line.encode())  # one write to an appending file: two processes at once both get their line
    return times(fingerprint)


def times(fingerprint: str) -> int:
    """How many looks are recorded on this machine."""
    path = _path(fingerprint)
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _path(fingerprint: str) -> Path:
    return cache_folder() / "ledger" / f"{fingerprint}.jsonl"
