"""What a training tells while it runs."""

import json

import pytest

from penjing.engine.train import train
from penjing.engine.watch import RECENT, Watch, operations
from tests.engine.test_train import started


def steps(state, task, **changes):
    """Endless copies of a first step, changed."""
    first = next(train(state, task.loss))
    number = 0
    while True:
        number += 1
        yield first._replace(number=number, **{name: value(number) if callable(value) else value for name, value in changes.items()})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": 0.7}, "the loss has not fallen in 300 steps: try another --learning-rate (now 0.001)"),
        (
            {"loss": lambda n: 1 / n, "gradient_norm": lambda n: 500.0 if n == 150 else 1.0},
            "the gradient of step 150 is 500 times as large",
        ),
        ({"loss": lambda n: 1 / n, "seconds": 1.0, "waited": 0.25}, "25% of the time is spent waiting for rows"),
        ({"loss": lambda n: 1 / n}, None),
    ],
)
def test_what_is_plainly_wrong_is_said_once(tmp_path, runtime, capsys, changes, said):
    state, task = started("text-classification", runtime)
    watch = Watch(state, tmp_path, quiet=False)
    usual = {"gradient_norm": 1.0, "seconds": 0.1, "waited": 0.0}
    for step, _ in zip(steps(state, task, **{**usual, **changes}), range(4 * RECENT)):
        watch.note(step)
    assert len(watch.hints) == (said is not None) and capsys.readouterr().err.count("hint: ") == (said is not None)
    assert said is None or watch.hints[0].startswith(said)


def test_learning_by_heart_is_said(tmp_path, runtime):
    state, task = started("text-classification", runtime)
    watch = Watch(state, tmp_path, quiet=True)
    for step, _ in zip(steps(state, task, loss=lambda n: 1 / n), range(10)):
        watch.note(step)
    for quality in (0.5, 0.8, 0.795, 0.78, 0.78):
        watch.measured(quality)
    assert not watch.hints
    watch.measured(0.77)
    assert "by heart" in watch.hints[0] and "--patience" in watch.hints[0]


def test_each_step_is_a_line_and_what_will_be_done_again_is_cut_off(tmp_path, runtime):
    state, task = started("text-classification", runtime)
    watch = Watch(state, tmp_path, quiet=True)
    shown = [watch.note(step) for step in train(state, task.loss)]
    lines = [json.loads(line) for line in watch.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, state.steps + 1))
    assert {"loss", "learning_rate", "gradient_norm", "rows", "seconds", "waited"} <= lines[0].keys()
    assert {"loss", "rows/s", "of peak", "memory"} <= shown[-1].keys()
    with watch.path.open("a") as file:
        file.write('{"step": 10, "lo')
    again, _ = started("text-classification", runtime)
    again.number = 4
    assert [json.loads(line)["step"] for line in Watch(again, tmp_path, quiet=True).path.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_training_that_goes_on_remembers_how_it_began(tmp_path, runtime):
    """Else low losses that no longer fall would look like losses that never fell."""
    state, task = started("text-classification", runtime)
    first = next(train(state, task.loss))._replace(gradient_norm=1.0, seconds=0.1, waited=0.0)
    for begun, loss in ((0, 1.0), (2 * RECENT, 0.01)):
        state.number = begun
        watch = Watch(state, tmp_path, quiet=True)
        for number in range(begun + 1, begun + 2 * RECENT + 1):
            watch.note(first._replace(number=number, loss=loss))
    assert not watch.hints


def test_operations_are_six_for_each_weight_of_a_matrix_and_token(runtime):
    """Kaplan et al. 2020, section 2.1: 6 N a token, beside what attention needs; embeddings are looked up and not multiplied."""
    state, _ = started("text-classification", runtime)
    matrices = sum(
        p.numel() for name, p in state.model.named_parameters() if p.ndim == 2 and "embeddings" not in name and "encoder" in name
    )
    assert operations(state) == pytest.approx(6 * matrices, rel=0.1)


@pytest.mark.parametrize(
    ("task_name", "parts", "said"), [("image-classification", 2, 1), ("image-classification", 1, 0), ("text-classification", 2, 0)]
)
def test_parts_of_a_batch_whose_rows_see_each_other_are_said(tmp_path, runtime, task_name, parts, said):
    state, _ = started(task_name, runtime, parts=parts)
    assert sum("batch norm" in hint for hint in Watch(state, tmp_path, quiet=True).hints) == said
