"""What a table that is larger than memory costs a command: seconds, and the growth of resident memory over what the imports take.

python benchmarks/large.py finetune new:bert-tiny reviews.csv --task text-classification --epochs 0.001 --out FOLDER
"""

import sys
import threading
import time
from pathlib import Path

import penjing.engine.appraise  # what a command imports is not its growth
import penjing.engine.fit  # noqa: F401
from penjing import cli

_EVERY_S = 0.02
_PARTS = {"RssAnon": "its own", "RssFile": "mapped from files, which the system takes back when it likes", "VmRSS": "together"}


def main() -> None:
    """Run the command in this process and print what it held at most."""
    before, peak, done = _resident(), _resident(), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            for name, now in _resident().items():
                peak[name] = max(peak[name], now)

    watcher, start = threading.Thread(target=watch), time.perf_counter()
    watcher.start()
    try:
        status = cli.main(sys.argv[1:])
    finally:
        done.set()
        watcher.join()
    print(f"\n{' '.join(sys.argv[1:3])}: exit status {status}, {time.perf_counter() - start:.0f} s")
    for name, what in _PARTS.items():
        print(f"{name:8} grew by {(peak[name] - before[name]) / 2**30:.2f} GiB to {peak[name] / 2**30:.2f} GiB ({what})")


def _resident() -> dict[str, int]:
    """Bytes of this process in memory now, by kind; Linux only."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if words[0].rstrip(":") in _PARTS}


if __name__ == "__main__":
    main()
