"""The law of every task found in the folder: what the waist promises, held against rows made here."""

import json

import numpy
import PIL.Image
import pytest
import torch

from penjing.core.collate import ROW
from penjing.core.contracts import Batch, Prediction, Task
from penjing.core.find import find, names
from penjing.core.image import Image
from penjing.core.runtime import Runtime
from penjing.core.sound import Sound
from penjing.engine import create
from penjing.engine.asked import asked, row
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.load import suits
from penjing.engine.reasons import methods_for

LABELS = ["no", "yes", "maybe"]
SMALLEST = {"text": "bert-tiny", "image": "resnet-tiny", "sound": "cnn-tiny"}


TARGETS = {
    str: lambda i: LABELS[i % len(LABELS)],
    set: lambda i: LABELS[: i % 3] if i % 4 else [],
    float: lambda i: 7 + 1.5 * i,
}
LEARNT = [name for name in names("tasks") if "finetune" in find("tasks", name).TASK.stages]
KINDS_OF_ANSWER = [(name, head) for name in LEARNT for head in find("tasks", name).TASK.heads or (None,)]


def name_of(answer: tuple[str, str | None]) -> str:
    """What a test of a kind of answer is called."""
    return "-".join(filter(None, answer))


def smallest(kind: type[Task]) -> str:
    """A small size that is built for a task."""
    fitting = [size for size, family in create.sizes().items() if kind.media in find("families", family).MEDIA]
    return next(size for size in [SMALLEST[kind.media], *fitting] if suits(create.of_size(size), kind))


def rows(task: type[Task] | Task, num_rows: int = 6):
    """Rows for a task's columns, made from their types."""
    draw = numpy.random.default_rng(0)
    values = {
        "text": lambda i: f"word{i} " * (1 + i),
        "image": lambda i: Image(draw.integers(0, 255, (8, 8), dtype=numpy.uint8), f"image {i}"),
        "audio": lambda i: Sound(draw.standard_normal(2000 + 400 * i).astype("float32") / 10, f"sound {i}"),
        "label": lambda i: TARGETS[task.columns["label"]](i),
        "tokens": lambda i: [f"word{j}" * (1 + j % 2) for j in range(2 + i)],
        "question": lambda i: f"where is word{i}?",
        "context": lambda i: f"here {_answer(i)} and there {i}",
        "answers": lambda i: {"text": [_answer(i)], "answer_start": [5]} if i % 3 else {"text": [], "answer_start": []},
        "sentence1": lambda i: f"word{i} " * (1 + i),
        "sentence2": lambda i: f"another {i} " * (1 + i % 2),
        "score": lambda i: 0.5 * i,
        "translation": lambda i: [f"wort{i} " * (2 + i)],
        "summary": lambda i: [f"word {i} " * (1 + i), "in short"],
        "tags": lambda i: [LABELS[(i + j) % len(LABELS)] for j in range(2 + i)],
    }
    return [{name: values[name](i) for name in task.columns} for i in range(num_rows)]


def _answer(i: int) -> str:
    return f"word{i} " * i + "it is"


@pytest.fixture(params=KINDS_OF_ANSWER, ids=name_of, scope="module")
def made(request):
    """(task, examples, model, processor) for each task that models are trained for, and each kind of answer it gives."""
    name, head = request.param
    kind = find("tasks", name).TASK
    examples = rows(kind(head=head))
    task = kind(kind(head=head).learn_labels(examples), head)
    loaded = create.create(smallest(kind), task, examples, Runtime())
    return loaded.task, examples, loaded.model, loaded.processor


def batch_of(task, examples, processor, labelled=True) -> Batch:
    keep = [name for name in task.columns if labelled or name not in task.target_columns]
    encoded = []
    for i, example in enumerate(examples):
        entries = task.encode({name: example[name] for name in keep}, processor)
        encoded += [{**entry, ROW: i} for entry in (entries if isinstance(entries, list) else [entries])]
    return task.collate(encoded, processor)


@pytest.mark.parametrize("name", names("tasks"))
def test_the_file_says_what_data_metric_and_explanation_are(name):
    module = find("tasks", name)
    assert all(word in module.__doc__ for word in ("Data ", "Metric ", "Explain "))
    assert module.TASK.__module__ == module.__name__


def test_encoding_needs_no_label_and_gives_the_same_inputs_without_it(made):
    task, examples, _, processor = made
    with_label, without = (batch_of(task, examples, processor, labelled) for labelled in (True, False))
    assert not task.target_columns or (with_label.targets and not without.targets)
    for name, value in with_label.inputs.items():
        if not name.startswith("decoder_"):  # which is shown the answer
            torch.testing.assert_close(value, without.inputs[name])


def test_inputs_are_exactly_keywords_of_the_models_forward(made):
    task, examples, model, processor = made
    batch = batch_of(task, examples, processor)
    outputs = model(**batch.inputs)
    assert all(outputs[name].isfinite().all() for name in task.reads)
    assert batch.rows.dtype == torch.int64 and len(batch.rows) == len(next(iter(batch.inputs.values())))


def test_the_loss_is_per_row_and_does_not_depend_on_the_other_rows(made):
    task, examples, model, processor = made
    model.eval()
    whole = batch_of(task, examples, processor)
    together = task.loss(model(**whole.inputs), whole)
    assert together.total.shape == together.count.shape == (len(examples),)
    if task.interact:
        return  # as it says
    for i in range(len(examples)):
        alone = batch_of(task, examples[i : i + 1], processor)
        one = task.loss(model(**alone.inputs), alone)
        torch.testing.assert_close(one.total[0], together.total[i], atol=1e-4, rtol=1e-4)


def test_the_loss_of_bf16_logits_is_computed_in_fp32(made):
    task, examples, model, processor = made
    batch = batch_of(task, examples, processor)
    outputs = model(**batch.inputs)
    for name in task.reads:
        outputs[name] = outputs[name].bfloat16()
    assert task.loss(outputs, batch).total.dtype == torch.float32


def test_distributions_name_the_row_they_belong_to(made):
    task, examples, model, processor = made
    batch = batch_of(task, examples, processor)
    logits, owners = task.logits(model(**batch.inputs), batch)
    assert logits.ndim == 2 and len(owners) == len(logits)
    assert set(owners.tolist()) == set(range(len(examples)))


def test_every_row_gets_one_answer_in_the_words_of_the_data(made):
    task, examples, model, processor = made
    batch = batch_of(task, examples, processor, labelled=False)
    answers = task.together(task.predict(TorchBackend(model), batch, processor))
    assert len(answers) == len(examples)
    assert all(type(answer.value) is type(task.truth(example)) for answer, example in zip(answers, examples))
    for answer in answers if not task.open_answers else ():
        assert set(task.labels_of({task.target_columns[0]: answer.value})) <= set(task.labels)
    assert all(json.dumps(task.details(answer.value, example)) for answer, example in zip(answers, examples))
    assert all(answer.score is None or 0 <= answer.score <= 1 for answer in answers)


def test_perfect_answers_score_one_and_scoring_twice_gives_the_same(made):
    task, examples, _, _ = made
    perfect = [Prediction(task.truth(example)) for example in examples]
    scores = task.score(perfect, examples)
    assert task.primary in scores and scores == task.score(perfect, examples)
    best = {name: float(name not in task.errors or name == "perplexity") for name in scores}
    assert scores == pytest.approx(best)
    assert all(task.off(answer, example) == 0 for answer, example in zip(perfect, examples))


def test_scores_of_drawn_rows_are_those_of_the_rows_themselves(made):
    task, examples, _, _ = made
    answers = [Prediction(task.truth(example)) for example in reversed(examples)]
    drawn = numpy.array([0, 0, 3, 5, 2, 3, 3])
    again = task.score([answers[i] for i in drawn], [examples[i] for i in drawn])
    assert task.scorer(answers, examples)(drawn) == pytest.approx(again)


def test_no_answer_that_is_given_to_every_row_scores_better_than_the_usual_one(made):
    task, examples, _, _ = made
    usual = task.usual(examples)
    if usual is None:
        pytest.skip("answers of this task cannot be given without looking")
    best = task.score([Prediction(usual)] * len(examples), examples)[task.primary]
    assert all(task.score([Prediction(task.truth(e))] * len(examples), examples)[task.primary] <= best + 1e-9 for e in examples)


def test_the_primary_metric_is_the_mean_of_the_rows_where_a_task_says_so(made):
    task, examples, _, _ = made
    answers = [Prediction(task.truth(examples[0])) for _ in examples]
    each = task.per_row(answers, examples)
    assert each is None or numpy.mean(each) == pytest.approx(task.score(answers, examples)[task.primary])


def test_what_explains_is_one_differentiable_number_a_row(made):
    task, examples, model, processor = made
    batch = batch_of(task, examples, processor)
    target = task.target(model(**batch.inputs), batch)
    assert target.shape == (len(examples),) and target.requires_grad


def test_an_answer_is_explained_by_every_method_that_fits_the_model(made):
    task, examples, model, processor = made
    if "explain" not in task.stages:
        return
    example = task.asked({name: examples[3][name] for name in task.input_columns()})
    if "asked" in example:
        example = task.row_of(f"word3 {processor.mask_token} word2")
    batch = batch_of_asked(task, example, processor)
    (answer,) = task.predict(TorchBackend(model), batch, processor)
    one = row(model, task, task.answered(example, answer.value or "word"), processor)
    seen = asked(model, task, one, processor)
    with torch.no_grad():
        whole = seen.answer(seen.seen).item()
    fitting = methods_for(seen)
    assert {"integrated-gradients", "occlusion"} <= {*fitting} and numpy.isfinite(whole)
    for name in set(fitting) - {"shapley"}:  # which asks as occlusion does, only more often
        method = find("methods.explain", name)
        words = {"steps": 8} if name == "integrated-gradients" else {"samples": 4} if name == "smooth-gradient" else {}
        scores = method.apply(seen, method.Options(**words))
        assert scores.shape == (len(one.units),) and scores.isfinite().all(), name


def batch_of_asked(task, example, processor) -> Batch:
    encoded = task.encode(example, processor)
    return task.collate([{**entry, ROW: 0} for entry in (encoded if isinstance(encoded, list) else [encoded])], processor)


def test_the_baseline_learns_and_answers_in_labels(made):
    task, examples, _, processor = made
    truths, read = [task.truth(example) for example in examples], examples
    if task.self_supervised:
        read = [task.encode(example, processor) for example in examples]
    answers = [Prediction(value) for value in task.baseline(len(examples)).fit(read, truths).predict(read)]
    assert set(task.score(answers, examples)) == set(task.score([Prediction(value) for value in truths], examples))


@pytest.mark.parametrize("name", [name for name in LEARNT if not find("tasks", name).TASK.open_answers])
def test_labels_that_are_numbers_are_sorted_as_numbers(name):
    task = find("tasks", name).TASK()
    examples = rows(task)
    shaped = list if task.columns[task.target_columns[0]] is list else "".join
    given = [{**example, task.target_columns[0]: shaped([str(label)])} for example, label in zip(examples, (10, 9, 2, 1, 2, 10))]
    assert task.learn_labels(given) == ["1", "2", "9", "10"]


def test_a_row_can_be_shown_to_a_reader(made):
    task, examples, _, _ = made
    shown = task.show(examples[0])
    assert shown.keys() <= {"text", "image"} and all(isinstance(value, str) and value for value in shown.values())


def test_images_of_other_sizes_and_colours_fit_one_batch():
    task = find("tasks", "image-classification").TASK(LABELS)
    pixels = numpy.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=numpy.uint8)
    mixed = [
        {"image": Image(pixels), "label": "no"},
        {"image": Image(numpy.asarray(PIL.Image.fromarray(255 - pixels).convert("L"))), "label": "yes"},
    ]
    loaded = create.create("resnet-tiny", task, mixed, Runtime())
    assert batch_of(task, mixed, loaded.processor).inputs["pixel_values"].shape[:2] == (2, 3)
    grey = create.create("resnet-tiny", task, mixed[1:], Runtime())
    assert batch_of(task, mixed, grey.processor).inputs["pixel_values"].shape[:2] == (2, 1)
    assert task.baseline(2).fit(mixed, ["no", "yes"]).predict(mixed).tolist() == ["no", "yes"]


def test_accuracy_and_macro_f1_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score

    draw = numpy.random.default_rng(0)
    task = find("tasks", "text-classification").TASK(["a", "b", "c", "never"])
    for num_rows in (1, 7, 200):
        said, true = (draw.choice(["a", "b", "c"], num_rows).tolist() for _ in range(2))
        found = task.score([Prediction(label) for label in said], [{"label": label} for label in true])
        assert found["accuracy"] == pytest.approx(accuracy_score(true, said))
        assert found["macro_f1"] == pytest.approx(f1_score(true, said, average="macro", zero_division=0))
