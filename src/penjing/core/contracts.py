"""The waist: what a task is, and the few shapes that stages, methods and engines hand to each other.

Training, measuring, compressing, explaining and serving meet a model only through a Task, so a new task gets them all.

Letters   N entries of a batch, B rows of a batch (B <= N: a long row may give several entries), C classes
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from penjing.core.errors import OptionError

if TYPE_CHECKING:
    import numpy
    import torch
    from sklearn.base import BaseEstimator

    from penjing.core.examples import Examples

Example = dict[str, Any]
"""One row: plain values; media as `core.media.Media`, decoded when asked."""


IMPOSSIBLE = -1e4
"""A logit of no chance at all, and finite: what has it is in no divergence."""


class Batch(NamedTuple):
    """What a model sees at once.

    inputs    exactly the keywords of model.forward, tensors (N, ...)
    targets   what the loss needs: tensors or lists of dicts; empty when serving
    rows      (N,) int64, which row each entry belongs to; the entries of one row stay together
    origin    for each entry what decoding needs beside outputs and no forward takes: offsets of tokens, size of an image; also when serving
    told      (N, T) bool, the positions of a text whose outputs are asked for; None where all are, or where a text has one output
    fresh     whether the rows are as one epoch alone sees them, so that nothing that is known of them by number holds
    labelled  (N,) bool, the entries whose targets hold; None where all do
    """

    inputs: dict[str, Any]
    targets: dict[str, Any]
    rows: "torch.Tensor"
    origin: Sequence[Any] = ()
    told: "torch.Tensor | None" = None
    fresh: bool = False
    labelled: "torch.Tensor | None" = None


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


class Model(Protocol):
    """A model that answers, in memory or as the artefact of an engine."""

    def __call__(self, **inputs: Any) -> Any:
        """Outputs as tasks read them (`.logits`), computed without gradients."""
        ...

    def generate(self, batch: Batch, processor: Any) -> list[str]:
        """What it writes for each of the N entries of a batch, token by token; without the prompt and what follows the end.

        Raises ModelError where this engine cannot.
        """
        ...


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
    reads: ClassVar[tuple[str, ...]] = ("logits",)
    """What it reads of a model's outputs, by their names in transformers: an engine's artefact gives it, and parity is checked on it."""
    interact: ClassVar[bool] = False
    """Whether the loss of a row depends on the other rows of its batch; then a batch is computed whole, by one rank."""
    fixed: ClassVar[tuple[str, ...]] = ()
    """Input columns that no augmentation may change, as targets are places in them."""
    usable: ClassVar[str] = ""
    """What a row is like that `adapt` can use, for the error of one that it cannot."""
    columns: dict[str, type]
    """Columns of the data and the type of their values; `target_columns` may be absent when serving."""
    target_columns: ClassVar[tuple[str, ...]] = ("label",)
    primary: str
    """The metric that floors and comparisons speak of; higher is better."""
    errors: tuple[str, ...] = ()
    """Metrics in units of the target, where lower is better; all others are shares, where higher is."""
    of_the_whole: ClassVar[tuple[str, ...]] = ()
    """Metrics that rows drawn anew say nothing of, so that they have no interval."""
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
    embeds: ClassVar[bool] = False
    """Whether its answer to a text is a vector, near those of texts that mean the same."""
    needs: ClassVar[tuple[str, str] | None] = None
    """The library that its metrics come from and the extra that installs it; None for one that is always there."""
    unknown_label: ClassVar[str] = "pass --new-head to finetune to learn a new set of labels"
    """What else than correcting a row helps against a label that this task does not know."""
    taught: ClassVar[str | None] = None
    """The task of a student that learns from its answers, where that is another; None where it is the same."""
    generates: ClassVar[bool] = False
    """Whether its answers are written token by token (`Model.generate`)."""
    open_answers: ClassVar[bool] = False
    """Whether there are no labels to learn and to check: any text, or place in one, may be right."""
    self_supervised: ClassVar[bool] = False
    """Whether a text is its own target, so that a model can be pretrained: `target_columns` is empty, quality is measured by showing the
    model the text, the baseline learns from `encode`d rows, and `stream` and `block` are there."""
    draws: ClassVar[bool] = False
    """Whether `encode` draws something: a training row then carries the key of it as `draw`, another in each epoch."""
    stages: ClassVar[tuple[str, ...]] = ("finetune", "distill", "prune", "quantize", "shrink", "evaluate", "compare", "predict", "explain")

    def __init__(self, labels: Sequence[str] = (), head: str | None = None):
        self.labels = list(labels)

    @property
    def decision(self) -> dict[str, Any]:
        """What config.json says of how outputs become answers, beside the labels: a threshold; empty where nothing is open."""
        return {}

    def of(self, config: Mapping[str, Any]) -> "Task":
        """This task with the decision that a model's config.json holds, or the usual one."""
        return self

    def ways(self) -> "Sequence[Task]":
        """This task with every decision that is worth a try on tune rows; of these `decode` is asked about one and the same outputs."""
        return [self]

    def learn_decision(self, examples: Sequence[Example]) -> "Task":
        """This task with what its ways need to know of training rows."""
        return self

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
        """The row that asks about a text which somebody typed; where a row has several columns that is a JSON object of them.

        Raises OptionError for any other text then.
        """
        columns = [*self.input_columns()]
        if len(columns) == 1:
            return {columns[0]: text}
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(found.get(name), str) and found[name].strip() for name in columns):
            raise OptionError(
                f"this model reads {' and '.join(columns)}, and {text[:60]!r} is not both",
                wanted=json.dumps(dict.fromkeys(columns, "...")),
                fix="pass such a line of JSON in quotes, many of them on standard input (-), or a file with these columns",
            )
        return {name: found[name] for name in columns}

    def asked(self, example: Example) -> Example:
        """A row of a file as a model is asked about it, without its answer and whatever else stands there."""
        return {name: example[name] for name in self.input_columns() if name in example}

    @classmethod
    def judged_by(cls) -> tuple[str, ...]:
        """The columns that `score` reads of a row, where it has them."""
        return cls.target_columns

    @classmethod
    def told_apart_by(cls, examples: "Examples") -> list[str]:
        """The columns that say whether two rows are the same: of these roles are drawn, and leaks are looked for."""
        return list(cls.input_columns())

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

        Those of one row stand together, rows in the order of the batch. Where C is 1 they are numbers, compared by squared error. C may
        differ from batch to batch; what cannot be the answer (a token of padding) has the logit IMPOSSIBLE.
        """

    @abstractmethod
    def decode(self, outputs: Any, batch: Batch, processor: Any) -> list[Prediction]:
        """The answers of a batch, one for each of its B rows, in their order; tokens become text by the processor."""

    @abstractmethod
    def score(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, float]:
        """Metrics over aligned lists, in [0, 1] where the field does so; pure."""

    def read_texts(self, example: Example) -> dict[str, Any]:
        """The texts of a row, or lists of words, whose words an explanation speaks of; by what they are called, in their order."""
        return {name: example[name] for name in self.input_columns() if name in example}

    def answered(self, example: Example, value: Any) -> Example:
        """A row with the answer in it, where that must stand there to be explained: an answer that is written token by token."""
        return {**example, self.target_columns[0]: self.as_target(value)} if self.generates else example

    def choice(self, outputs: Any, batch: Batch) -> "torch.Tensor":
        """(M,) which of its C the model answers in each of the distributions of `logits`; below 0 where it answers nothing there."""
        return self.logits(outputs, batch)[0].argmax(-1)

    def target(self, outputs: Any, batch: Batch, part: int | None = None, choice: "torch.Tensor | None" = None) -> "torch.Tensor":
        """(B,) the differentiable number that an explanation explains: the logits of what is answered, summed over the parts of a row.

        part      one of them alone: a label of many, a word, a token
        choice    what to explain in each distribution; where it is None what is answered, which may change with the input
        """
        logits, rows = self.logits(outputs, batch)  # (M, C), (M,)
        chosen = self.choice(outputs, batch) if choice is None else choice
        told = chosen >= 0
        return of_rows(logits[told].float().gather(-1, chosen[told, None])[:, 0], rows[told.to(rows.device)], batch, part)

    def predict(self, model: Model, batch: Batch, processor: Any) -> list[Prediction]:
        """Answers of a batch, however many calls of the model they take; generative tasks decode step by step here."""
        return self.decode(model(**batch.inputs), batch, processor)

    def beside(self, config: Any) -> dict[str, Any]:
        """What other libraries want to know of a model that transformers does not: JSON by file name, written beside its weights."""
        return {}

    def together(self, predictions: list[Prediction]) -> list[Prediction]:
        """The answers to all rows that are asked about, where an answer depends on which others there are; as they are otherwise."""
        return predictions

    def per_row(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[float] | None:
        """The primary metric of each row where it is a mean over rows, else None; then floors are proven by bootstrap."""
        return None

    def at_stake(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> float:
        """What another model can lose of the primary metric on one of n rows, times n: 1 where a row is right or wrong."""
        return 1.0

    def scorer(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> "Callable[[numpy.ndarray], Mapping[str, float]]":
        """`score` of the rows whose indices it is given, each maybe several times: what a bootstrap calls a thousand times."""
        return lambda rows: self.score([predictions[i] for i in rows], [examples[i] for i in rows])

    def signature(self, examples: Sequence[Example]) -> str | None:
        """How the metrics are counted on these rows, as their library writes it; None where their names say all."""
        return None

    def confusion(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[list[int]] | None:
        """Counts (C, C) of rows, or of their words, row the true label, column the answer; None where these have not just one label."""
        return None

    def labels_of(self, example: Example) -> list[str]:
        """The labels that the target of a row names, none where answers are open; reads target columns only."""
        return [] if self.open_answers else [example[self.target_columns[0]]]

    def truth(self, example: Example) -> Any:
        """The right answer, in the form that `Prediction.value` has."""
        return example[self.target_columns[0]]

    def as_target(self, value: Any) -> Any:
        """An answer in the form of the target column, for rows where it stands for the truth."""
        return value

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

    def stream(self, examples: Sequence[Example], processor: Any) -> list[list[int]]:
        """Of a self-supervised task: the tokens by which each row joins the stream of text that a model is pretrained on."""
        raise NotImplementedError

    def block(self, tokens: "numpy.ndarray", processor: Any, draw: Sequence[int]) -> dict[str, Any]:
        """Of the same: a piece of that stream, and one token more, as an entry.

        draw    the key of what is drawn in it
        """
        raise NotImplementedError

    def details(self, value: Any, example: Example) -> dict[str, Any]:
        """What else an answer says of its row, for programs; `told`, where it is there, is the answer as people read it."""
        return {}

    def show(self, example: Example) -> dict[str, str]:
        """A row as a reader of the report sees it: {"text": ...} or {"image": data URI}."""
        return {"text": str({name: example[name] for name in self.input_columns()})}


def of_rows(each: "torch.Tensor", rows: "torch.Tensor", batch: Batch, part: int | None = None) -> "torch.Tensor":
    """(B,) sums over the parts of each row of a batch, or its `part`th.

    each    (M,) numbers, those of a row together, rows in the order of the batch
    rows    (M,) the row of each
    """
    import torch

    order = torch.unique_consecutive(batch.rows).to(each.device)
    places = (rows.to(each.device)[:, None] == order).int().argmax(1)
    if part is not None:
        nth = torch.arange(len(each), device=each.device) - torch.searchsorted(places, places)
        each = each * (nth == part)
    return torch.zeros(len(order), dtype=each.dtype, device=each.device).index_add(0, places, each)


@dataclass(frozen=True)
class Units:
    """Parts that a config counts, of which some may go: neurons, heads, channels.

    settings  config entries that say how many -> how much of each entry one unit is
    total     how many there are in a set
    sets      units that are chosen by themselves: (path of the module that reads them, its tensors); of each tensor its name and the
              dimension in which they are counted
    repeat    for a dimension that holds each unit several times in a row (the numbers of a head): tensor name -> times
    fixed     config entries that would else follow from these, or are compared with them, as they are
    free      whether the config can say another number of them, all else as it is
    """

    settings: dict[str, int] = field(default_factory=dict)
    total: int = 0
    sets: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    repeat: dict[str, int] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    free: bool = False


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of a model are, by role; every entry is a path as in `model.get_submodule`.

    embedding     token or patch embedding
    blocks        the repeated blocks, in order
    linears       for each block, its linear layers
    feed_forward  for each block, (the linears that widen, the linear that narrows)
    attention     for each block, its attention to its own tokens: (what makes queries, keys, values, and what reads the heads again)
    channels      groups of channels that only change together: for convolutional and recurrent networks
    head          the modules above the body, a pooler among them: what is learnt anew for new labels
    depth         config entries that say how many blocks there are -> these blocks: one for each stack of them
    width         config entries that say how wide the feed-forward part is
    heads         the heads of attention, a set for each attention of each block
    hidden        the channels of the residual stream, one set; where it is not `free` the heads of all attentions are as wide in all
    """

    embedding: str | None = None
    blocks: tuple[str, ...] = ()
    linears: tuple[tuple[str, ...], ...] = ()
    feed_forward: tuple[tuple[tuple[str, ...], str], ...] = ()
    attention: tuple[tuple[str, str, str, str], ...] = ()
    channels: tuple["ChannelGroup", ...] = ()
    head: tuple[str, ...] = ()
    depth: dict[str, tuple[str, ...]] = field(default_factory=dict)
    width: tuple[str, ...] = ()
    heads: Units = field(default_factory=Units)
    hidden: Units = field(default_factory=Units)


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
