"""Several processes, ranks, that train one model together: each computes its share of every batch, and all move by the same gradient.

The model knows nothing of it. Gradients are summed, not averaged, and divided by the count of targets over all ranks: two ranks with half
of a batch each learn what one with the whole batch would, but for rounding.
"""

import io
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from penjing.core.errors import RankError
from penjing.core.runtime import place_of_rank, place_on_machine, take_place
from penjing.core.stopping import Asked, Stopped, stopping

_PARTS_BYTES = 64 << 20  # of gradients that are summed at once


class Group:
    """The ranks of a training, this one among them; without torchrun and `--ranks` it is alone.

    rank      0 says, measures and saves; the others only compute
    size      how many there are
    device    what they compute on; of several GPUs of a machine each rank has its own
    """

    def __init__(self, device: str):
        self.rank, self.size = place_of_rank()
        self.device = device
        self._wishes: tuple[bool, ...] = (False, False)
        self._agreed = self._wishes
        if self.size > 1 and not dist.is_initialized():
            if device == "cuda":
                torch.cuda.set_device(place_on_machine())
            dist.init_process_group("nccl" if device == "cuda" else "gloo", rank=self.rank, world_size=self.size)

    def share(self, rows: Sequence[int], parts: int = 1) -> list[tuple[list[int], bool]]:
        """This rank's rows of a batch in so many parts, as many on every rank, and whether they count.

        Where there are too few rows it computes the first for nothing.
        """
        mine, most = list(rows[self.rank :: self.size]), -(-len(rows) // self.size)
        size = -(-most // parts)
        cut = [mine[start : start + size] for start in range(0, most, size)]
        return [(each or [rows[0]], bool(each)) for each in cut]

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add up tensors over all ranks, in place; all have the same shapes in the same order."""
        if self.size == 1:
            return
        waiting: list[Tensor] = []
        for tensor in tensors:
            waiting.append(tensor)
            if sum(each.nbytes for each in waiting) >= _PARTS_BYTES:
                _summed(waiting)
                waiting = []
        if waiting:
            _summed(waiting)

    def total(self, *numbers: float) -> list[float]:
        """Numbers added up over all ranks; what they wish goes with them."""
        if self.size == 1:
            return list(numbers)
        held = torch.tensor([*numbers, *self._wishes], dtype=torch.float64, device=self.device)
        dist.all_reduce(held)
        found = held.tolist()
        self._agreed = tuple(wished > 0 for wished in found[len(numbers) :])
        return found[: len(numbers)]

    def agreed(self, stop: bool, save: bool) -> tuple[bool, ...]:
        """Whether any rank wishes to stop, and to save: the same on all of them, at the cost of hearing of it with the next `total`."""
        if self.size == 1:
            return stop, save
        self._wishes = stop, save
        return self._agreed

    def all(self, value: Any) -> list[Any]:
        """The plain values of all ranks, on every rank."""
        found = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(found, value)
        return found

    def from_first(self, value: Any) -> Any:
        """What rank 0 has, on every rank; tensors and plain values."""
        if self.size == 1:
            return value
        file = io.BytesIO()
        torch.save(value if self.rank == 0 else None, file)
        held = [file.getvalue()]
        dist.broadcast_object_list(held, src=0)
        return torch.load(io.BytesIO(held[0]), weights_only=True)

    def leave(self) -> None:
        """Wait for the others where the training is over; all ranks but the first then end."""
        if self.size == 1:
            return
        dist.barrier()
        dist.destroy_process_group()
        if self.rank:
            raise SystemExit(0)


def start(size: int, work: Callable[..., Any], *given: Any) -> None:
    """Run `work` in so many processes of this machine, ranks of one group.

    Raises RankError where one ends before its work is done; the others are stopped. Raises Stopped where a signal asked for it, which is
    passed on to them, once they have ended.
    """
    from torch.multiprocessing.spawn import ProcessException, ProcessRaisedException

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    try:
        with stopping() as asked:
            _wait(torch.multiprocessing.spawn(_work, (size, port, work, given), size, join=False), asked)
            if asked.number is not None:
                raise Stopped(asked.number, "with all ranks; the same command goes on from their last checkpoint, or begins anew")
    except ProcessRaisedException as error:
        told = str(error).strip().splitlines()
        begins = max(i for i, line in enumerate(told) if not line.startswith(" "))  # below the calls of its traceback
        raise RankError(f"rank {error.error_index} stopped: " + "\n".join(told[begins:]).partition(": ")[2]) from error
    except ProcessException as error:
        raise RankError(
            f"rank {error.error_index} died: {error}",
            wanted="all ranks alive",
            fix="run the same command again; it goes on from its last checkpoint",
        ) from error


def _wait(ranks: Any, asked: Asked) -> None:
    """Until all have ended; Ctrl-C reaches them by itself, SIGTERM is passed on."""
    passed_on = False
    while not ranks.join(timeout=1.0):
        if asked.number == signal.SIGTERM and not passed_on:
            passed_on = True
            for process in ranks.processes:
                process.terminate()


def _work(rank: int, size: int, port: int, work: Callable[..., Any], given: Sequence[Any]) -> None:
    take_place(rank, size, port)
    work(*given)


def _summed(tensors: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(piece.view_as(tensor))
