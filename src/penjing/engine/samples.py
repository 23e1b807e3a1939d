"""What models make of a few texts, told in training each time they are measured, and on the card: read sooner than counted."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from penjing.core.contracts import Example, Task
from penjing.core.examples import spread
from penjing.core.generation import Generation
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.runtime import Runtime
from penjing.engine.backends import open_backend
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded
from penjing.engine.load import Loaded, load_processor
from penjing.engine.measure import answer

SHORT = Generation(max_new_tokens=32)
_NUMBER, _LETTERS = 3, 24


class Samples:
    """Texts that a model is asked about, as `penjing predict` asks, and told what it says."""

    def __init__(self, texts: Sequence[str], loaded: Loaded, runtime: Runtime):
        self._texts, self._task, self._runtime = texts, loaded.task, runtime
        self._encoded = Encoded([loaded.task.row_of(text) for text in texts], loaded.task, loaded.processor)

    def __call__(self, model: PreTrainedModel) -> None:
        """Ask the model as it is now."""
        backend = TorchBackend(model, generation=SHORT, seed=self._runtime.seed)
        answers = answer(backend, self._task, self._encoded) if self._texts else []
        for text, said in zip(self._texts, answers):
            say(f"  {' '.join(text.split())} ▸ {' '.join(said.value.split())}", self._runtime.quiet)


def written(bases: Mapping[str, ModelDir], task: Task, rows: Sequence[Example], runtime: Runtime) -> list[dict[str, str]]:
    """How models go on with the beginnings of some rows, for the report: {"text", name of the model: its answer}.

    bases   by their names in the report; those whose engine does not write are left out
    """
    found: list[dict[str, str]] = [{"text": text} for text in beginnings(task, rows)]
    asked = [task.row_of(each["text"]) for each in found]
    for name, base in bases.items():
        if base.writes:
            encoded = Encoded(asked, task, load_processor(base, task))
            for each, said in zip(found, answer(open_backend(base, task, runtime, generation=SHORT), task, encoded)):
                each[name] = said.value
    return found


def beginnings(task: Task, rows: Sequence[Example]) -> list[str]:
    """The first words of some rows, for a task that goes on with them."""
    texts = [task.texts(rows[int(i)])[0].strip()[:_LETTERS] for i in spread(len(rows), _NUMBER)] if task.generates else []
    return [text.rsplit(" ", 1)[0] for text in texts]
