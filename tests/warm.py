"""A process that has its imports done and forks a child for each command it is given, so that the child can be killed at any moment.

python tests/warm.py      reads one request a line, {"words", "told", "dies_at", "ranks"}; answers with the ids of its children,
                              one a rank, and after one more line with their exit statuses; until then the ids are theirs, even if they
                              have ended
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from penjing.core.runtime import take_place


class Warm:
    """The process as a test meets it; one command at a time.

    >>> with Warm() as warm:
    ...     warm.begin("finetune", "new:bert-tiny", "reviews.csv", "--out=made")
    ...     warm.send(signal.SIGKILL)
    ...     warm.ended()
    -9
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._children: list[int] = []

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def begin(self, *words: Any, told: Path | None = None, dies_at: int | None = None, ranks: int = 1) -> None:
        """Run a command of penjing.

        told      file for its standard error
        dies_at   it kills itself when so many checkpoints are on the disk and half of the next is
        ranks     in so many processes that train together, as torchrun would start them
        """
        request = {"words": [str(word) for word in words], "told": str(told or os.devnull), "dies_at": dies_at, "ranks": ranks}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        self._children = json.loads(self._process.stdout.readline())

    def send(self, number: int, *ranks: int) -> None:
        """Send these ranks a signal, all where none is named; nothing happens to one that has ended by itself."""
        for rank in ranks or range(len(self._children)):
            os.kill(self._children[rank], number)

    def ended(self) -> int:
        """Exit status of the command once all its ranks have ended, that of the first; minus the signal that killed it."""
        print(file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())[0]


def _serve() -> None:
    import sklearn.feature_extraction.text
    import sklearn.linear_model  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    from penjing.engine import appraise, baseline, card, create, deliver, fit, page, teach  # noqa: F401
    from penjing.stages import _frame

    _frame.source_hash()  # now: someone may be at work on the code, and all children are of one
    answers = os.fdopen(os.dup(1), "w")
    while line := sys.stdin.readline():
        request = json.loads(line)
        port, ranks = _free_port(), request.pop("ranks")
        Path(request["told"]).write_bytes(b"")
        children = [_forked(request, rank, ranks, port) for rank in range(ranks)]
        print(children, file=answers, flush=True)
        sys.stdin.readline()
        print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], file=answers, flush=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _forked(request: dict[str, Any], rank: int, ranks: int, port: int) -> int:
    """The id of a child that runs the command as one of its ranks."""
    if child := os.fork():
        return child
    with contextlib.suppress(BaseException):
        if ranks > 1:
            take_place(rank, ranks, port)
        os._exit(_run(**request))
    os._exit(70)


def _run(words: list[str], told: str, dies_at: int | None) -> int:
    from penjing import cli
    from penjing.engine import checkpoints, gate

    errors = os.open(told, os.O_WRONLY | os.O_APPEND)
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    gate.warm_up, gate.check = (
        lambda: None,
        lambda *_, **__: {"difference": 0.0, "memory_bytes": 0},
    )  # 9 s of imports, and not what is tested
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
