"""Which rows a student learns from, and of which of them the true labels count."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from penjing.core.contracts import Batch
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError, TaskError
from penjing.core.find import find
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import create, teach
from penjing.engine.augment import augmented
from penjing.engine.batches import Encoded
from tests.contract.test_tasks import LABELS, rows

TASK = find("tasks", "text-classification").TASK


@pytest.fixture(scope="module")
def pair():
    """A teacher and a student of the same task."""
    made = []
    for seed in (0, 1):
        made.append(create.create("bert-tiny", TASK(LABELS), rows(TASK, 24), Runtime(seed=seed, quiet=True)))
    return made


def changed(loaded, strength):
    """The rows as epochs see them with excerpts of so many."""
    options = Training(augment=["excerpts"], augment_strength=strength)
    return Encoded(rows(TASK, 24), loaded.task, loaded.processor, views=augmented(loaded.task, options, 0))


def asked(loaded, batch):
    with torch.no_grad():
        return loaded.model(**batch.inputs)


def test_of_a_row_that_lost_its_label_only_the_teachers_answer_is_learnt(pair):
    teacher, student = pair
    batch = changed(student, 0.5).batch(range(24), 0)
    assert 4 < batch.labelled.sum() < 20
    outputs = asked(student, batch)
    loss = teach.loss_by(teacher, student, "logits", find("methods.distill", "logits").Options(temperature=1.0, soft_share=0.3), [])
    found = loss(outputs, batch)
    p, q = (asked(each, batch).logits.log_softmax(-1) for each in (teacher, student))
    soft = 0.3 * F.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    hard = 0.7 * F.cross_entropy(outputs.logits, batch.targets["label"], reduction="none")
    torch.testing.assert_close(found.total, soft + hard * batch.labelled)
    assert found.count.tolist() == [1] * 24


def test_rows_behind_the_labelled_ones_have_no_hard_loss(pair):
    teacher, student = pair
    batch = Encoded(rows(TASK, 24), student.task, student.processor).batch([3, 20, 9, 10])
    settings = find("methods.distill", "logits").Options(soft_share=0.0)
    found = teach.loss_by(teacher, student, "logits", settings, [], num_known=10)(asked(student, batch), batch)
    wanted = F.cross_entropy(asked(student, batch).logits, batch.targets["label"], reduction="none")
    torch.testing.assert_close(found.total, wanted * torch.tensor([1.0, 0, 1, 0]))


def test_entries_of_a_row_lose_their_label_together():
    """Two windows of row 4 and one of row 7, which is behind the labelled rows."""
    task = SimpleNamespace(loss=lambda outputs, batch: teach.RowLoss(torch.tensor([2.0, 3.0]), torch.tensor([4, 5])))
    batch = Batch({}, {}, torch.tensor([4, 4, 7]))
    found = teach._of_labelled(task, 7)(None, batch)
    assert found.total.tolist() == [2.0, 0.0] and found.count.tolist() == [4, 5]
    found = teach._of_labelled(task, None)(None, batch._replace(labelled=torch.tensor([False, False, True])))
    assert found.total.tolist() == [0.0, 3.0]


@pytest.mark.parametrize(("strength", "times"), [(None, 1), (0.5, 3)])
def test_the_teacher_is_asked_again_where_rows_are_seen_otherwise(pair, strength, times):
    teacher, student = pair
    encoded = changed(student, strength) if strength else Encoded(rows(TASK, 24), student.task, student.processor)
    calls = []
    hook = teacher.model.register_forward_hook(lambda *_: calls.append(1))
    loss = teach.loss_by(teacher, student, "logits", find("methods.distill", "logits").Options(), [])
    for epoch in range(3):
        batch = encoded.batch([5, 6, 7], epoch)
        loss(asked(student, batch), batch)
    hook.remove()
    assert len(calls) == times


def test_a_share_of_the_rows_that_is_the_strength_loses_its_label_and_the_others_stay_as_they_are(pair):
    _, student = pair
    plain = Encoded(rows(TASK, 24), student.task, student.processor).batch(range(24))
    kept = []
    for epoch in range(40):
        batch = changed(student, 0.25).batch(range(24), epoch)
        assert batch.fresh
        kept.append(batch.labelled.float().mean() if batch.labelled is not None else torch.tensor(1.0))
        for row in torch.nonzero(batch.labelled)[:, 0].tolist() if batch.labelled is not None else ():
            there = int(plain.inputs["attention_mask"][row].sum())
            assert batch.inputs["input_ids"][row, :there].tolist() == plain.inputs["input_ids"][row, :there].tolist()
    assert float(torch.stack(kept).mean()) == pytest.approx(0.75, abs=0.05)
    assert plain.labelled is None and not plain.fresh


def test_what_writes_needs_answers_that_are_written_and_prompts(tmp_path):
    with pytest.raises(TaskError, match="sequences is for answers that are written token by token"):
        teach.require_writer("sequences", TASK)
    generation = find("tasks", "text-generation").TASK
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"text": "once upon a time {i}"}}\n' for i in range(30)))
    with pytest.raises(DataError, match=r"rows\.jsonl: these rows have no prompts"):
        teach.require_writer("sequences", generation(), Data.open(tmp_path / "rows.jsonl", DataOptions(), generation))
    teach.require_writer("logits", TASK)


def test_a_convolutional_student_comes_nearer_to_a_teacher_of_attention(tmp_path):
    task = find("tasks", "image-classification").TASK
    examples = Rows(rows(task, 12))
    whole, small = (create.create(size, task(LABELS), examples, Runtime(seed=3, quiet=True)) for size in ("vit-tiny", "cnn-tiny"))
    batch = Encoded(examples, whole.task, whole.processor).batch(range(12))

    def apart():
        p, q = (asked(each, batch).logits.log_softmax(-1) for each in (whole, small))
        return float(F.kl_div(q, p, log_target=True, reduction="batchmean"))

    with torch.no_grad():
        whole.model.classifier.weight.mul_(20)  # an untrained teacher is sure of nothing
    before, settings = apart(), find("methods.distill", "logits").Options(soft_share=1.0)
    data = SimpleNamespace(role=lambda name: examples)
    words = Training(epochs=20, learning_rate=3e-3, precision="fp32")
    teach.teach(whole, small, data, "logits", settings, words, Runtime(threads=1, quiet=True), tmp_path)
    assert apart() < 0.5 * before


class Rows(list):
    """Rows of which some columns can be taken."""

    def only(self, names):
        """All of them."""
        return self
