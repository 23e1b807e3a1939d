"""The waist: what a task is, and the few shapes that stages, methods and engines hand to each other.

Training, measuring, compressing, explaining and serving meet a model only through a Task, so a new task gets them all.

Letters   N entries of a batch, B rows of a batch (B <= N: a long row may give several entries), C classes
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    import numpy
    import torch
    from sklearn.base import BaseEstimator

    from penjing.core.examples import Examples

Example = dict[str, Any]
"""One row: plain values; media as `core.media.Media`, decoded when asked."""


class Batch(NamedTuple):
    """What a model sees at once.

    inputs    exactly the keywords of model.forward, tensors (N, ...)
    targets   what the loss needs: tensors or lists of dicts; empty when serving
    rows      (N,) int64, which row each entry belongs to; the entries of one row stay together
    origin    for each entry what decoding needs beside outputs and no forward takes: offsets of tokens, size of an image; also when serving
    """

    inputs: dict[str, Any]
    targets: dict[str, Any]
    rows: "torch.Tensor"
    origin: Sequence[Any] = ()


class RowLoss(NamedTuple):
    """The loss of each row before any mean, so that accumulation, packing and ranks stay exact.

    total     (B,) sum of the row's losses; differentiable
    count     (B,) how many targets (labels, tokens) that sum is over
    """

    total: "torch.Tensor"
    count: "torch.Tensor"  # type: ignore[assignment]  # hides tuple.count, which nobody needs here

    def mean(self) -> "torch.Tensor":
        """() loss for each target."""
        count = self.count.sum()
        return self.total.sum() / count.where(count > 0, 1)  # counts may be weights below 1


class Prediction(NamedTuple):
    """One row's answer: `value` in the words of the data, `score` the model's confidence in [0, 1] where it has one."""

    value: Any
    score: float | None = None


class Task(ABC):
    """One way of asking a model: how rows become batches, what the loss is, how outputs become answers.

    labels    the answers this model knows, in the order of its outputs; empty where answers are open
    head      one of `heads`
    """

    auto_model: ClassVar[Any]
    """The Auto class of transformers that loads a model for this task."""
    auto_processor: ClassVar[Any]
    """The Auto class of transformers that loads its tokenizer or processor."""
    media: ClassVar[str]
    """"text", "image" or "sound": which families fit."""
    columns: dict[str, type]
    """Columns of the data and the type of their values; `target_columns` may be absent when serving."""
    target_columns: ClassVar[tuple[str, ...]] = ("label",)
    primary: str
    """The metric that floors and comparisons speak of; higher is better."""
    errors: tuple[str, ...] = ()
    """Metrics in units of the target, where lower is better; all others are shares, where higher is."""
    heads: ClassVar[tuple[str, ...]] = ()
    """Kinds of answer that a row may have in this task, the usual one first; empty where there is but one."""
    problem_type: str | None = None
    """What config.json calls the kind of answer."""
    at_limit: ClassVar[str] = "what was longer has been cut"
    """What became of rows that `fills_window` counts, for a note."""
    question: ClassVar[tuple[str, str] | None] = None
    """In the Python of a card: what its processor is asked, and told beside it; None for what is usual for the media."""
    answer: ClassVar[str | None] = None
    """In the same code: what prints the answer that `inputs` and `logits` give, with {label} for the label of output i; None as above."""
    stages: ClassVar[tuple[str, ...]] = ("finetune", "distill", "prune", "quantize", "shrink", "evaluate", "compare", "predict")

    def __init__(self, labels: Sequence[str] = (), head: str | None = None):
        self.labels = list(labels)

    @property
    def decision(self) -> dict[str, float]:
        """What config.json says of how outputs become answers, beside the labels: a threshold; empty where nothing is open."""
        return {}

    def of(self, config: Mapping[str, Any]) -> "Task":
        """This task with the decision that a model's config.json holds, or the usual one."""
        return self

    def ways(self) -> "Sequence[Task]":
        """This task with every decision that is worth a try on tune rows; of these `decode` is asked about one and the same outputs."""
        return [self]

    @property
    def outputs(self) -> list[str]:
        """What the model's outputs are called in config.json."""
        return self.labels

    @classmethod
    def guess_head(cls, label: type) -> str | None:
        """The kind of answer that fits a target column which holds text (str) or lists (set); None where there is but one."""
        return None

    @classmethod
    def input_columns(cls) -> dict[str, type]:
        """The columns that must be there when serving."""
        return {name: kind for name, kind in cls.columns.items() if name not in cls.target_columns}

    @classmethod
    def adapt(cls, examples: "Examples") -> "tuple[Examples, dict[int, str]]":
        """The rows with the columns of this task where they can be made of others, and why some cannot be used: row -> place and reason."""
        return examples, {}

    def row_of(self, text: str) -> Example:
        """The row that asks about a text which somebody typed."""
        return {next(iter(self.input_columns())): text}

    def texts(self, example: Example) -> list[str]:
        """What of a row is text, from which a new tokenizer learns."""
        return [example[name] for name, kind in self.input_columns().items() if kind is str]

    @abstractmethod
    def encode(self, example: Example, processor: Any) -> dict[str, Any] | list[dict[str, Any]]:
        """One row as the model's entries; no label needed, so that serving makes the same call. A list for windows or pairs."""

    @abstractmethod
    def collate(self, encoded: Sequence[dict[str, Any]], processor: Any) -> Batch:
        """Entries of equal or different length as one batch; each entry carries its row number as "row"."""

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> RowLoss:
        """Loss of each row; logits arrive in their own dtype and are upcast here."""

    @abstractmethod
    def logits(self, outputs: Any, batch: Batch) -> "tuple[torch.Tensor, torch.Tensor]":
        """(M, C) distributions and (M,) the row of each: what distillation, divergence and calibration compare.

        Those of one row stand together, rows in the order of the batch. Where C is 1 they are numbers, compared by squared error.
        """

    @abstractmethod
    def decode(self, outputs: Any, batch: Batch, processor: Any) -> list[Prediction]:
        """The answers of a batch, one for each of its B rows, in their order; tokens become text by the processor."""

    @abstractmethod
    def score(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, float]:
        """Metrics over aligned lists, in [0, 1] where the field does so; pure."""

    @abstractmethod
    def target(self, outputs: Any, batch: Batch, part: int | None = None) -> "torch.Tensor":
        """(B,) the differentiable number that an explanation explains; `part` picks a token, box or region."""

    def predict(self, model: Callable[..., Any], batch: Batch, processor: Any) -> list[Prediction]:
        """Answers of a batch, however many calls of the model they take; generative tasks decode step by step here."""
        return self.decode(model(**batch.inputs), batch, processor)

    def per_row(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[float] | None:
        """The primary metric of each row where it is a mean over rows, else None; then floors are proven by bootstrap."""
        return None

    def scorer(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> "Callable[[numpy.ndarray], Mapping[str, float]]":
        """`score` of the rows whose indices it is given, each maybe several times: what a bootstrap calls a thousand times."""
        return lambda rows: self.score([predictions[i] for i in rows], [examples[i] for i in rows])

    def confusion(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[list[int]] | None:
        """Counts (C, C) of rows, or of their words, row the true label, column the answer; None where these have not just one label."""
        return None

    def labels_of(self, example: Example) -> list[str]:
        """The labels that the target of a row names; reads target columns only."""
        return [example[self.target_columns[0]]]

    def truth(self, example: Example) -> Any:
        """The right answer, in the form that `Prediction.value` has."""
        return example[self.target_columns[0]]

    def off(self, prediction: Prediction, example: Example) -> float:
        """How far an answer is from the truth; 0 is right, 1 wrong where nothing lies between."""
        return float(prediction.value != self.truth(example))

    def usual(self, examples: Sequence[Example]) -> Any:
        """The answer that scores best where no row is looked at; None where there is none."""
        return None

    def scale(self, examples: Sequence[Example]) -> tuple[float, float] | None:
        """Mean and standard deviation of the numbers to be learnt; None where labels are."""
        return None

    def length(self, encoded: dict[str, Any]) -> int:
        """What an entry costs of the token budget."""
        return 1

    def prior(self, examples: Sequence[Example]) -> list[float] | None:
        """The logits that do best where no row is looked at, for a fresh head to begin with; None where zeros will do."""
        return None

    def fills_window(self, encoded: dict[str, Any], processor: Any) -> bool:
        """Whether an entry is as long as the model can take, so that the rest of the row may have been cut."""
        return self.media == "text" and self.length(encoded) == processor.model_max_length

    def learn_labels(self, examples: Sequence[Example]) -> list[str]:
        """The labels that occur in `examples`, numbers in their order, words in theirs."""
        found = {str(label) for example in examples for label in self.labels_of(example)}
        try:
            return sorted(found, key=float)
        except ValueError:
            return sorted(found)

    def facts(self, examples: Sequence[Example]) -> dict[str, Any]:
        """What a new model must know of the data: image size, channels ...; the families say which they read."""
        return {}

    def baseline(self, rows: int) -> "BaseEstimator | None":
        """The simplest thing that works on so many rows, unfitted: a scikit-learn pipeline from examples to what `truth` gives."""
        return None

    def details(self, value: Any, example: Example) -> dict[str, Any]:
        """What else an answer says of its row, for programs; `told`, where it is there, is the answer as people read it."""
        return {}

    def show(self, example: Example) -> dict[str, str]:
        """A row as a reader of the report sees it: {"text": ...} or {"image": data URI}."""
        return {"text": str({name: example[name] for name in self.input_columns()})}


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of a model are, by role; every entry is a path as in `model.get_submodule`.

    embedding     token or patch embedding
    blocks        the repeated blocks, in order
    linears       for each block, its linear layers
    feed_forward  for each block, (the linears that widen, the linear that narrows)
    channels      groups of channels that only change together: for convolutional and recurrent networks
    head          the modules above the body, a pooler among them: what is learnt anew for new labels
    depth, width  names of the config entries that say how many blocks and how wide the feed-forward part is
    """

    embedding: str | None = None
    blocks: tuple[str, ...] = ()
    linears: tuple[tuple[str, ...], ...] = ()
    feed_forward: tuple[tuple[tuple[str, ...], str], ...] = ()
    channels: tuple["ChannelGroup", ...] = ()
    head: tuple[str, ...] = ()
    depth: str | None = None
    width: str | None = None


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are one and the same along a residual stream or between two layers.

    setting   (config entry, index in its list) that holds their number
    tensors   (name of a parameter or buffer, its dimension), every place where these channels are counted; a dimension that holds all of
              them several times, one set after the other (the gates of a recurrent cell), is so many times as long
    scores    names of the tensors, with the channels in dimension 0, whose size says how much a channel matters
    repeat    for a dimension that holds each channel several times in a row (a flattened map): tensor name -> times
    """

    setting: tuple[str, int]
    tensors: tuple[tuple[str, int], ...]
    scores: tuple[str, ...]
    repeat: dict[str, int] = field(default_factory=dict)
