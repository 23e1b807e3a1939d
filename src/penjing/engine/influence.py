"""Which training rows made a model answer so: those that pushed an answer, and those that it takes for alike.

What is told holds for the last layer alone, at the weights that the training ended with. A step of plain gradient descent on a training
row i moves the logit c of a row j by -(p_i - y_i)_c (a_i · a_j + 1) times the learning rate, where a is what the last layer reads and p - y
how far the chances of i are from its label: that is the push. Alike are rows whose a point the same way.

Letters   n training rows, m rows that are asked about, D numbers that the last layer reads, C labels

Source   Pruthi et al. 2020, "Estimating training data influence by tracing gradient descent", sections 3 and 4.1, with one checkpoint
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
import torch
from torch import nn

from penjing.core.contracts import Example, Task
from penjing.core.errors import TaskError
from penjing.engine.batches import Encoded, measuring_batches
from penjing.engine.load import Loaded
from penjing.engine.measure import BATCH_ROWS, BATCH_TOKENS


class Read(NamedTuple):
    """What the last layer read (n, D) and said (n, C) of some rows."""

    states: numpy.ndarray
    logits: numpy.ndarray


def read(loaded: Loaded, rows: Sequence[Example]) -> Read:
    """What the last layer of a classifier reads of rows and says of them.

    Raises TaskError where an answer is not one label that a linear layer tells from one vector.
    """
    layer, seen = _last(loaded.model, loaded.task), list[torch.Tensor]()
    encoded, found, order = Encoded(rows, loaded.task, loaded.processor, labelled=False), list[Read](), list[int]()
    with layer.register_forward_pre_hook(lambda _, given: seen.append(given[0])), torch.no_grad():
        for chosen in measuring_batches(encoded, BATCH_ROWS, BATCH_TOKENS):
            batch = encoded.batch(chosen)
            logits = loaded.model.eval()(**batch.inputs).logits
            states = seen.pop()
            if states.ndim != 2 or logits.ndim != 2:
                raise _unfit(loaded.task)
            found.append(Read(states.double().cpu().numpy(), logits.double().cpu().numpy()))
            order += chosen
    back = numpy.argsort(order)
    return Read(*(numpy.concatenate(parts)[back] for parts in zip(*found)))


def _last(model: Any, task: Task) -> nn.Module:
    if task.problem_type != "single_label_classification":
        raise _unfit(task)
    fitting = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == len(task.labels)]
    if not fitting:
        raise _unfit(task)
    return fitting[-1]


def _unfit(task: Task) -> TaskError:
    return TaskError(
        "training rows are traced through a last layer that tells one label from one vector, which this model does not have",
        wanted="a torch model of one-label classification",
        fix="leave --among out",
    )


def pushes(asked: Read, trained: Read, truths: Sequence[int], answers: Sequence[int]) -> numpy.ndarray:
    """(m, n) how far each training row pushes the logit of each answer up; below 0 it pulls it down.

    truths    (n,) numbers of the labels that were learnt
    answers   (m,) of the labels that are asked about
    """
    chances = torch.from_numpy(trained.logits).softmax(-1).numpy()
    missed = chances - numpy.eye(chances.shape[1])[list(truths)]  # (n, C)
    return -missed[:, list(answers)].T * (asked.states @ trained.states.T + 1)  # type: ignore[no-any-return]


def likeness(asked: Read, trained: Read) -> numpy.ndarray:
    """(m, n) cosines."""
    first, second = (x.states / numpy.linalg.norm(x.states, axis=1, keepdims=True).clip(1e-12) for x in (asked, trained))
    return first @ second.T  # type: ignore[no-any-return]


def usual_rows(loaded: Loaded, rows: Sequence[Example], answers: Sequence[Any]) -> dict[str, int]:
    """The prototypes of several rows; none for a row alone, and where an answer is not told from one vector."""
    if len(rows) < 2 or not isinstance(loaded.model, nn.Module):
        return {}
    try:
        return prototypes(read(loaded, rows), answers)
    except TaskError:
        return {}


def prototypes(asked: Read, answers: Sequence[str]) -> dict[str, int]:
    """For each answer the row that is nearest to the mean of those with the same answer."""
    found, given = {}, numpy.array(answers)
    for answer in dict.fromkeys(answers):
        rows = numpy.flatnonzero(given == answer)
        states = asked.states[rows]
        found[answer] = int(rows[numpy.linalg.norm(states - states.mean(0), axis=1).argmin()])
    return found


def traced(loaded: Loaded, asked: Sequence[tuple[Example, str]], trained: Sequence[tuple[str, Example]], most: int) -> list[dict[str, Any]]:
    """For each (row, answer) the training rows that push its answer most, and those that are most alike.

    trained   (name, row with its label)
    """
    task, labels = loaded.task, {label: i for i, label in enumerate(loaded.task.labels)}
    theirs, mine = read(loaded, [row for _, row in trained]), read(loaded, [row for row, _ in asked])
    truths = [task.truth(row) for _, row in trained]
    pushed = pushes(mine, theirs, [labels[truth] for truth in truths], [labels[answer] for _, answer in asked])
    alike = likeness(mine, theirs)

    def listed(scores: numpy.ndarray) -> list[dict[str, Any]]:
        best = numpy.argsort(-scores, kind="stable")[:most].tolist()
        return [{"row": trained[i][0], "label": truths[i], "score": round(float(scores[i]), 6), **task.show(trained[i][1])} for i in best]

    return [{"pushed_by": listed(pushed[j]), "nearest": listed(alike[j])} for j in range(len(asked))]
