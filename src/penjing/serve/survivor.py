"""A worker that is killed cannot answer any more: its parent, which holds a copy of every connection, says 503 for it."""

import contextlib
import mmap
import os
import selectors
import signal
import socket
import struct
import threading
from pathlib import Path

from penjing.serve.errors import Refused

_SOCKET, _STATES = "connections.socket", "connections"
_NUMBER = struct.Struct("=I")
_DIED = Refused(503, "the worker that was to answer has died", "worker_died", wanted="the same request once more", later=True)


class Survivor:
    """The parent's side: takes copies of the workers' connections in a thread, as long as it is entered.

    folder   known to the workers
    """

    def __init__(self, folder: Path):
        self._folder, self._selector, self._ended = folder, selectors.DefaultSelector(), False
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / _SOCKET))
        self._listening.listen()
        self._selector.register(self._listening, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Survivor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with socket.socket(socket.AF_UNIX) as wakes:
            wakes.connect(self._listening.getsockname())
            self._thread.join()
        for key in [*self._selector.get_map().values()]:
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _watch(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select():
                if key.data is None:
                    worker = _Worker(self._listening.accept()[0], self._folder)
                    self._selector.register(worker.socket, selectors.EVENT_READ, worker)
                else:
                    self._hear(key.data)

    def _hear(self, worker: "_Worker") -> None:
        if not worker.hear():
            self._selector.unregister(worker.socket)
            worker.died()


class _Worker:
    """What the parent knows of one worker: its connections by their numbers, and which of them wait for the first byte of an answer."""

    def __init__(self, told: socket.socket, folder: Path):
        self.socket, self._folder, self._held = told, folder, dict[int, socket.socket]()
        self._waits: mmap.mmap | None = None

    def hear(self) -> bool:
        """Take one message: its process first, then a number, with a connection that is new, without one that has ended.

        False where the worker has ended.
        """
        told, (*copies,), _, _ = socket.recv_fds(self.socket, _NUMBER.size, 1)
        if not told:
            return False
        (number,) = _NUMBER.unpack(told)
        if self._waits is None:
            self._waits = _states(self._folder, number)
            return True
        if number in self._held:
            self._held.pop(number).close()
        for copy in copies:
            self._held[number] = socket.socket(fileno=copy)
        return True

    def died(self) -> None:
        """Answer those that wait, and hang up on all."""
        for number, connection in self._held.items():
            with contextlib.suppress(OSError), connection:  # its client may have gone
                connection.setblocking(False)
                if (self._waits and self._waits[number]) or _unread(connection):
                    connection.send(_DIED.plain())
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(2**16):  # what was not read would make of the end a reset, which may overtake the answer
                        pass
        self.socket.close()


def _unread(connection: socket.socket) -> bool:
    """Whether a request lies in it that the worker was too busy to see."""
    with contextlib.suppress(BlockingIOError):
        return bool(connection.recv(1, socket.MSG_PEEK))
    return False


class Copies:
    """A worker's side: gives its parent a copy of each connection, and notes in memory that both see which of them wait for an answer.

    folder   where the parent listens
    most     connections that are copied at a time
    """

    def __init__(self, folder: Path, most: int):
        (folder / f"{_STATES}-{os.getpid()}").write_bytes(bytes(most))
        self._waits, self._free = _states(folder, os.getpid()), [*range(most)]
        self._parent = socket.socket(socket.AF_UNIX)
        self._parent.connect(str(folder / _SOCKET))
        self._parent.sendall(_NUMBER.pack(os.getpid()))
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def _end_with_parent(self) -> None:
        """A worker whose parent was killed would else hold the address for ever."""
        with contextlib.suppress(ConnectionError):
            self._parent.recv(1)  # which says nothing; it returns when that is gone
        os.kill(os.getpid(), signal.SIGTERM)

    def opened(self, connection: int) -> int | None:
        """The number under which the parent holds a copy of this open file; None where there is no room for more."""
        if not self._free:
            return None
        number = self._free.pop()
        socket.send_fds(self._parent, [_NUMBER.pack(number)], [connection])
        return number

    def waits(self, number: int | None, whether: bool) -> None:
        """Whether nothing of an answer has been sent yet."""
        if number is not None:
            self._waits[number] = whether

    def closed(self, number: int | None) -> None:
        """The connection has ended."""
        if number is not None:
            self.waits(number, False)
            self._parent.sendall(_NUMBER.pack(number))
            self._free.append(number)


def _states(folder: Path, process: int) -> mmap.mmap:
    """A byte for each connection of a worker."""
    with (folder / f"{_STATES}-{process}").open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)
