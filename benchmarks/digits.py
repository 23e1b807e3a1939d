"""The demo, `penjing run digits`, from an empty folder: minutes, quality beside the SVC, bytes and latency of the proven child.

python benchmarks/digits.py [--out FOLDER]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import conditions, interval, shrunk, table

from penjing.core.report import Report


def main() -> None:
    """Run the recipe in a process of its own and print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where to leave what the recipe writes; a temporary folder if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        start = time.perf_counter()
        command = [sys.executable, "-m", "penjing", "run", "digits", "--out", str(folder), "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        minutes = (time.perf_counter() - start) / 60
        small = Report.read(folder / "digits" / "small")
    assert small and small.baseline
    svc = small.baseline["measures"]
    rows = [
        ["whole demo", f"{minutes:.1f} minutes", "≤ 4 minutes on 2 cores"],
        ["teacher, accuracy on the proof rows", interval(small.before["accuracy"]), "≥ 98.5 %, and not below the SVC"],
        ["SVC on the same rows", f"{interval(svc['accuracy'])}; {svc['bytes'].value:,} bytes, {svc['latency_ms'].value:.2f} ms", ""],
        *shrunk(small, "floor 3 points", "≥ 15×", "≥ 3×"),
    ]
    print(f"## digits\n\n{conditions()}\n\n{table(['what', 'measured', 'bar'], rows)}")


if __name__ == "__main__":
    main()
