"""What TensorBoard shows of a training: a point for each step and each look at the tune rows, some answers, and histograms where asked.

The files are those of the library tensorboard, written by torch's own SummaryWriter.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy
import PIL.Image
import torch
from torch.distributed.tensor import DTensor

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.examples import spread
from penjing.core.progress import say
from penjing.engine.train import State

FOLDER = "tensorboard"
ANSWERS = 8  # tune rows whose answers are shown
MOST_LETTERS = 300  # of a row and of an answer


class Board:
    """The events of one training, in a folder of their own.

    folder     where it lies; points of an earlier attempt that the training will make again are struck out
    task       with `rows`, the tune rows: some of them are shown with their answers
    """

    def __init__(self, folder: Path, state: State, task: Task, rows: Sequence[Example], quiet: bool):
        from torch.utils.tensorboard import SummaryWriter  # an extra, and half a second

        self._state, self._task, self._rows = state, task, rows
        self._histograms = state.options.tensorboard == "histograms"
        self._shown = spread(len(rows), ANSWERS).tolist()
        self._writer = SummaryWriter(folder / FOLDER, purge_step=state.number + 1)
        self._pictures()
        say(f"to watch it: tensorboard --logdir '{folder / FOLDER}'", quiet)

    def point(self, number: int, values: Mapping[str, float]) -> None:
        """Numbers of a step by their names."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)

    def measured(self, number: int, quality: float, predictions: Sequence[Prediction]) -> None:
        """The tune rows were measured after this step, with an answer to each."""
        self.point(number, {f"tune/{self._task.primary}": quality})
        lines = [[self._name(row), *self._words(row), _cell(predictions[row].value), _share(predictions[row].score)] for row in self._shown]
        head = ["row", "what it shows", "label", "answer", "how sure"]
        table = "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines))
        self._writer.add_text("answers to tune rows", table, number)
        for name, weight in self._state.weights.learnt.items() if self._histograms else ():
            for kind, tensor in (("weights", weight), ("gradients", weight.grad)):
                if tensor is not None and (values := _values(tensor)).numel():
                    self._writer.add_histogram(f"{kind}/{name}", values, number)

    def flush(self) -> None:
        """Bring all points to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Write the last point."""
        self._writer.close()

    def _pictures(self) -> None:
        """Rows that are images or sounds, as the report shows them; they stay the same all along."""
        for row in self._shown:
            if uri := self._task.show(self._rows[row]).get("image"):
                picture = PIL.Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
                pixels = torch.from_numpy(numpy.array(picture))
                self._writer.add_image(f"tune rows/{self._name(row)}", pixels, 0, dataformats="HWC")

    def _name(self, row: int) -> str:
        return f"row {row + 1}"

    def _words(self, row: int) -> tuple[str, str]:
        """Its text, where it has one, and the right answer."""
        example = self._rows[row]
        return _cell(self._task.show(example).get("text", "the picture")), _cell(self._task.truth(example))


def _values(tensor: torch.Tensor) -> torch.Tensor:
    """Those that are finite; of a tensor that ranks share this rank's part, of a sparse one its rows."""
    held = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    found = (held.coalesce().values() if held.is_sparse else held).detach().cpu()
    return found[found.isfinite()]


def _cell(value: object) -> str:
    """Some words in a cell of a Markdown table."""
    words = " ".join(str(value).split()).replace("|", "\\|")
    return words if len(words) <= MOST_LETTERS else words[: MOST_LETTERS - 1] + "…"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
