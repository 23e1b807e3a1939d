"""The law of every method found in the folders, each on a model that it fits."""

import dataclasses
import json
import shutil
from functools import partial

import pytest
import torch

from penjing.core.contracts import Anatomy
from penjing.core.errors import ModelError
from penjing.core.find import find, names
from penjing.core.model_dir import ModelDir
from penjing.core.options import build, flags
from penjing.core.runtime import Runtime
from penjing.engine import create, few_bits, load, rewriting
from penjing.engine.anatomy import anatomy, with_weights
from penjing.engine.batches import Encoded, tokens_of
from penjing.engine.load import quiet_transformers, register_families
from penjing.engine.widths import dissected
from penjing.maths.losses import cross_entropy
from penjing.methods.distill import Functions
from penjing.methods.prune import Shown
from penjing.stages import _frame
from tests.contract.test_tasks import KINDS_OF_ANSWER, LEARNT, name_of, rows, smallest

KINDS = ("finetune", "distill", "prune", "quantize")
EVERY = [(kind, name) for kind in KINDS for name in names(f"methods.{kind}")]


def loaded_for(task_name, head=None):
    kind = find("tasks", task_name).TASK
    examples = rows(kind(head=head), 12)
    return create.create(smallest(kind), kind(kind(head=head).learn_labels(examples), head), examples, Runtime()), examples


def shown(loaded, examples):
    batch = Encoded(examples, loaded.task, loaded.processor).batch(range(len(examples)))
    counted = partial(tokens_of, examples, loaded.task, loaded.processor, True)
    return Shown(loaded.model.state_dict(), [batch], loaded.task.loss, loaded.processor, counted)


def functions_of(loaded):
    parts = anatomy(loaded.model)
    stacks, attention = [*parts.depth.values()] or [parts.blocks], dict(zip(parts.blocks, parts.attention))
    ask = torch.inference_mode()(lambda inputs: loaded.model(**inputs))
    return Functions(ask, loaded.task.loss, loaded.task.logits, False, (stacks, stacks), (attention, attention), [])


def read(task, outputs):
    """What the task reads of a model's outputs."""
    return [outputs[name] for name in task.reads]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_options_are_a_frozen_dataclass_whose_defaults_can_be_built(kind, name):
    options = find(f"methods.{kind}", name).Options
    assert dataclasses.is_dataclass(options) and options.__dataclass_params__.frozen
    assert build(options, {}) == options()


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_flags_of_a_method_never_collide_with_those_of_its_stage(kind, name):
    given = [flag.name for flag in _frame.stage_flags(kind, name)]
    assert len(given) == len(set(given)), sorted(n for n in given if given.count(n) > 1)
    assert all(flag.about for flag in flags(find(f"methods.{kind}", name).Options))


@pytest.mark.parametrize("name", names("methods.finetune"))
@pytest.mark.parametrize("task_name", LEARNT)
def test_what_finetune_trains_becomes_the_plain_architecture_and_only_what_learns_has_a_rate(name, task_name):
    loaded, examples = loaded_for(task_name)
    parts, method = anatomy(loaded.model), find("methods.finetune", name)
    if not method.fits(parts):
        pytest.skip(f"{name} does not fit {loaded.model.config.model_type}")
    shapes = {key: value.shape for key, value in loaded.model.state_dict().items()}
    learner = method.apply(loaded.model, parts, method.Options())
    assert learner.rates and set(learner.rates) <= {key for key, _ in learner.model.named_parameters()}
    assert all(learner.model.get_submodule(path) is not None for path in learner.active)
    batch = Encoded(examples, loaded.task, loaded.processor).batch(range(len(examples)))
    learner.model.eval()
    apart = read(loaded.task, learner.model(**batch.inputs))
    plain = learner.plain().eval()
    assert type(plain) is type(loaded.model) and {key: value.shape for key, value in plain.state_dict().items()} == shapes
    torch.testing.assert_close(read(loaded.task, plain(**batch.inputs)), apart)


@pytest.mark.parametrize("name", names("methods.prune"))
@pytest.mark.parametrize("task_name", LEARNT)
def test_what_prune_leaves_is_smaller_works_and_is_what_the_public_loader_makes_of_its_files(name, task_name, tmp_path):
    loaded, examples = loaded_for(task_name)
    parts, method = dissected(loaded.model), find("methods.prune", name)
    if not method.fits(parts):
        pytest.skip(f"{name} does not fit {loaded.model.config.model_type}")
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    small = method.apply(loaded.model, parts, shown(loaded, examples[:1]), method.Options(keep_share=0.5))
    model = with_weights(loaded.model, small.changes, small.weights, small.generation)
    batch = Encoded(examples, loaded.task, small.processor or loaded.processor).batch(range(len(examples)))
    numbers = [sum(int(p.count_nonzero()) for p in each.parameters()) for each in (model, loaded.model)]
    assert numbers[0] < numbers[1] and 0.01 < small.share <= 1
    found = read(loaded.task, model(**batch.inputs))
    assert all(each.isfinite().all() for each in found)
    register_families()
    with quiet_transformers():
        model.save_pretrained(tmp_path)
        again, told = type(loaded.task).auto_model.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    torch.testing.assert_close(read(loaded.task, again.eval()(**batch.inputs)), found)
    for key, value in loaded.model.state_dict().items():
        torch.testing.assert_close(value, before[key])


@pytest.mark.parametrize("name", names("methods.prune"))
@pytest.mark.parametrize("task_name", LEARNT)
def test_prune_that_keeps_everything_changes_no_answer(name, task_name):
    loaded, examples = loaded_for(task_name)
    parts, method = dissected(loaded.model), find("methods.prune", name)
    if not method.fits(parts):
        pytest.skip(f"{name} does not fit {loaded.model.config.model_type}")
    same = method.apply(loaded.model, parts, shown(loaded, examples), method.Options(keep_share=1.0))
    model = with_weights(loaded.model, same.changes, same.weights, same.generation)
    found = []
    for each, processor in ((model, same.processor or loaded.processor), (loaded.model.eval(), loaded.processor)):
        batch = Encoded(examples, loaded.task, processor).batch(range(len(examples)))
        found.append(read(loaded.task, each(**batch.inputs)))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", names("methods.prune"))
def test_prune_does_not_claim_a_model_that_has_nothing_to_remove(name):
    assert not find("methods.prune", name).fits(Anatomy())


@pytest.mark.parametrize("name", names("methods.distill"))
@pytest.mark.parametrize("answer", KINDS_OF_ANSWER, ids=name_of)
def test_a_student_that_equals_its_teacher_has_nothing_left_to_learn_of_it(name, answer):
    loaded, examples = loaded_for(*answer)
    method = find("methods.distill", name)
    batch = Encoded(examples, loaded.task, loaded.processor).batch(range(len(examples)))
    settings = method.Options(soft_share=1.0)
    try:
        loss = method.apply(loaded.model, loaded.model, functions_of(loaded), settings)
    except ModelError:
        pytest.skip(f"{name} does not fit {loaded.model.config.model_type}")
    outputs = loaded.model(**batch.inputs)
    assert loss(outputs, batch).mean().item() == pytest.approx(0, abs=1e-5)
    loaded.model(**batch.inputs)
    for name, found in zip(loaded.task.reads, read(loaded.task, outputs)):
        outputs[name] = found.detach() + 3 * torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    assert loss(outputs, batch).mean().item() > 1e-3


@pytest.mark.parametrize("name", names("methods.distill"))
def test_without_a_share_for_the_teacher_the_loss_is_the_tasks_own(name):
    loaded, examples = loaded_for("text-classification")
    batch = Encoded(examples, loaded.task, loaded.processor).batch(range(len(examples)))
    method = find("methods.distill", name)
    loss = method.apply(loaded.model, loaded.model, functions_of(loaded), method.Options(soft_share=0.0))
    outputs = loaded.model(**batch.inputs)
    wanted = torch.nn.functional.cross_entropy(outputs.logits, batch.targets["label"])
    torch.testing.assert_close(loss(outputs, batch).mean(), wanted)
    torch.testing.assert_close(cross_entropy(outputs.logits, batch.targets["label"]).mean(), wanted)


@pytest.mark.parametrize("name", [name for name in names("methods.quantize") if "torch" in find("methods.quantize", name).ENGINES])
@pytest.mark.parametrize("task_name", LEARNT)
def test_what_quantize_writes_for_torch_is_smaller_and_transformers_answers_alike_by_it(name, task_name, tmp_path):
    method, (loaded, examples) = find("methods.quantize", name), loaded_for(task_name)
    batch = Encoded(examples, loaded.task, loaded.processor).batch(range(len(examples)))
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    way = rewriting.from_memory(loaded, tmp_path, batch, Runtime(quiet=True))
    try:
        facts = method.rewrite(way, method.Options())
    except ModelError as error:
        pytest.skip(str(error).splitlines()[0])
    way.finish(tmp_path)
    for key, value in loaded.model.state_dict().items():
        torch.testing.assert_close(value, before[key])
    load.save(loaded, tmp_path / "whole")
    for path in (tmp_path / "whole").glob("*.py"):
        shutil.copy(path, tmp_path)
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | facts["config"]))
    small, whole = ModelDir.open(tmp_path), ModelDir.open(tmp_path / "whole")
    model = load.load_model(small, loaded.task, Runtime(), as_stored=True).eval()
    assert small.bytes() < whole.bytes() and facts["bits"] in (4, 8, 16)
    with torch.inference_mode():
        inputs = few_bits.suited(batch.inputs, model)
        found, wanted = (read(loaded.task, each(**given)) for each, given in ((model, inputs), (loaded.model.eval(), batch.inputs)))
    for one, other in zip(found, wanted):
        assert (one.float() - other).square().mean().sqrt() < 0.5 * other.std() + 0.05
