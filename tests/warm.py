"""A process that has its imports done and forks a child for each command it is given, so that the child can be killed at any moment.

python tests/warm.py      reads one request a line, {"words", "told", "dies_at"}; answers with the child's id, and
                              after one more line with its exit status; until then the id is that child's, even if it has ended
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


class Warm:
    """The process as a test meets it; one child at a time.

    >>> with Warm() as warm:
    ...     warm.begin("finetune", "new:bert-tiny", "reviews.csv", "--out=made")
    ...     warm.send(signal.SIGKILL)
    ...     warm.ended()
    -9
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._child = 0

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def begin(self, *words: Any, told: Path | None = None, dies_at: int | None = None) -> None:
        """Run a command of penjing.

        told      file for its standard error
        dies_at   it kills itself when so many checkpoints are on the disk and half of the next is
        """
        request = {"words": [str(word) for word in words], "told": str(told or os.devnull), "dies_at": dies_at}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        self._child = int(self._process.stdout.readline())

    def send(self, number: int) -> None:
        """Send the child a signal; nothing happens where it has ended by itself."""
        os.kill(self._child, number)

    def ended(self) -> int:
        """Exit status of the child once it has ended; minus the signal that killed it."""
        print(file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def _serve() -> None:
    import sklearn.feature_extraction.text
    import sklearn.linear_model  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    from penjing.engine import appraise, baseline, card, create, deliver, fit, page, teach  # noqa: F401
    from penjing.stages import _frame

    _frame.source_hash()  # now: someone may be at work on the code, and all children are of one
    answers = os.fdopen(os.dup(1), "w")
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os._exit(_run(**json.loads(line)))
            os._exit(70)
        print(child, file=answers, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def _run(words: list[str], told: str, dies_at: int | None) -> int:
    from penjing import cli
    from penjing.engine import checkpoints, gate

    errors = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    gate.warm_up, gate.check = lambda: None, lambda *_: {"difference": 0.0, "memory_bytes": 0}  # 9 s of imports, and not what is tested
    settle, whole = checkpoints.settle, 0

    def dying(file: Any, path: Path) -> None:
        nonlocal whole
        if path.name.startswith("step-") and whole == dies_at:
            file.flush()
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        settle(file, path)
        whole += path.name.startswith("step-")

    checkpoints.settle = dying
    return cli.main(words)


if __name__ == "__main__":
    _serve()
