"""What is wrong with a call is said before its rows are read and long before anything is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow

from penjing.core.contracts import Task
from penjing.core.data import DataOptions, named
from penjing.core.errors import ModelError, OptionError, TaskError, nearest, need
from penjing.core.find import find, names
from penjing.core.generation import Generation
from penjing.core.kinds import KINDS, is_list
from penjing.core.model_dir import BY_WORDS, NEW, ModelDir
from penjing.core.new_text import NewText
from penjing.core.options import spell
from penjing.core.runtime import Runtime, free_bytes, gpus, place_of_rank
from penjing.core.training import Training

GROWING = ("pretrain", "finetune")  # stages that may begin with new:<size>
ZERO_SHOT = "zero-shot-classification"  # the task that --labels stand for
TAUGHT = ("distill", "prune", "quantize", "shrink")  # stages whose trainings have a teacher
FINETUNE, AUGMENT, SEMI, DISTILL, PRUNE = "methods.finetune", "methods.augment", "methods.semi", "methods.distill", "methods.prune"


def task_type(base: ModelDir | str, chosen: str | None, stage: str) -> type[Task]:
    """The task that the user named, else the one that the model was made for.

    Raises TaskError where neither is known, or they do not go together; OptionError for a task that is not there.
    """
    made_for = base.task if isinstance(base, ModelDir) else None
    name, shown = chosen or made_for or (_pretrained_for(str(base)) if stage == "pretrain" else None), base
    if name is None:
        untrained = BY_WORDS if stage in find("tasks", ZERO_SHOT).TASK.stages else "penjing finetune it first"
        fix = "pass --task, to a recipe --set task=TASK" if stage in GROWING else untrained
        raise TaskError(f"{shown} does not say which task it is for", wanted=", ".join(names("tasks")), fix=fix)
    task: type[Task] = find("tasks", name).TASK
    if made_for and find("tasks", made_for).TASK.media != task.media:
        raise TaskError(
            f"{shown} was made for {made_for}, not for {name}", wanted=f"a model that reads {task.media}", fix="leave --task out"
        )
    if stage not in task.stages:
        raise TaskError(f"{stage} makes no sense for {name}", wanted=" or ".join(task.stages), fix="penjing --help tells what each does")
    return task


def _pretrained_for(base: str) -> str | None:
    """The first task for which a model of this size learns from text without labels."""
    from penjing.engine.create import of_size, sizes, suits

    size = base.removeprefix(NEW)
    if size not in sizes():
        raise ModelError(f"no size called {size!r}", wanted=nearest(size, sizes()), fix="penjing families lists them")
    kinds = ((name, find("tasks", name).TASK) for name in names("tasks"))
    return next((name for name, task in kinds if task.self_supervised and suits(of_size(size), task)), None)


def head_of(kind: type[Task], base: ModelDir | str, options: Any, data: str | Path, learns: bool) -> str | None:
    """The kind of answer: the one that the user named or the model gives, else that which fits the target column of the data.

    learns   whether the head of the model is learnt anew

    Raises OptionError for one that the task does not have, that the model does not give, or that other options do not fit.
    """
    head = _head_of(kind, base, options, data, learns)
    if vars(options).get("unlabelled") and "semi" in vars(options) and head != "one-label":
        answers = f"answers that are one label, and these are {head}" if head else "tasks whose answer is one label"
        raise OptionError(f"--unlabelled is for {answers}", wanted="none", fix="leave --unlabelled out")
    if head == "number" and vars(options).get("class_weights", "none") != "none":
        raise OptionError("--class-weights weigh labels, and these answers are numbers", wanted="none", fix="leave --class-weights out")
    if head == "number" and vars(options).get("label_smoothing"):
        raise OptionError(
            "--label-smoothing spreads labels, and these answers are numbers", wanted="none", fix="leave --label-smoothing out"
        )
    return head


def _head_of(kind: type[Task], base: ModelDir | str, options: Any, data: str | Path, learns: bool) -> str | None:
    chosen = vars(options).get("head")
    if chosen and chosen not in kind.heads:
        there = " or ".join(kind.heads)
        raise OptionError(f"--head cannot be {chosen!r} in this task", wanted=there or "none: it has one kind", fix="leave --head out")
    if not kind.heads:
        return None
    if not learns:
        if chosen and chosen != base.head:  # type: ignore[union-attr]
            given = f"{base} answers with {base.head}"  # type: ignore[union-attr]
            raise OptionError(f"--head cannot be {chosen!r}: {given}", wanted=base.head, fix="pass --new-head too")  # type: ignore[union-attr]
        return base.head  # type: ignore[union-attr]
    return chosen or head_of_data(kind, data, options.data)


def head_of_data(kind: type[Task], data: str | Path, options: DataOptions) -> str | None:
    """The kind of answer that fits the target column; None where there is but one."""
    if not kind.heads:
        return None
    rows, column = named(data, options), kind.target_columns[0]
    held = rows.arrow(column).type if column in rows.columns else pyarrow.string()
    return kind.guess_head(set if is_list(held) else float if pyarrow.types.is_floating(held) else str)


def require_possible(stage: str, base: ModelDir | str, options: Any, task: type[Task], makes: bool, runtime: Runtime) -> None:
    """Raise unless the stage can do what its options say with `base`, with the models that they name, and on this machine.

    makes   whether it trains or changes the model
    """
    from penjing.engine.load import require_device

    if task.needs:
        need(*task.needs)
    _require_models(stage, base, options, task, makes, runtime)
    if stage == "prune" and isinstance(base, ModelDir):
        _require_room(base, options, task, runtime)
    _require_computed(stage, options, task)
    _require_learnt(stage, options, task)
    _require_own_rows(options, task)
    if "semi" in vars(options):
        _require_semi(options, task)
    if method := options.method if stage == "distill" else vars(options).get("recovery"):
        from penjing.engine.teach import require_writer

        require_writer(method, task)
    if stage in TAUGHT and vars(options).get("unlabelled"):
        _require_soft(options, task)
    require_device(runtime)
    if generation := vars(options).get("generation"):
        require_written(task, generation)
    if training := vars(options).get("training"):
        _require_augmentations(stage, options, task)
        _require_one_training(stage, options)
        _require_ranks_for_shards(training)
        _require_whole_batches(training, task)
        _require_precision(training.precision, runtime)
        _require_gpus(training.ranks, runtime)
        _require_parts(base, options, task, runtime)


def _require_models(stage: str, base: ModelDir | str, options: Any, task: type[Task], makes: bool, runtime: Runtime) -> None:
    """Raise unless the stage can work with `base` and with every model that its options name: sizes, engines, labels."""
    from penjing.engine.create import check_size
    from penjing.engine.load import require_suited, require_torch

    labels = vars(options).get("labels")
    if labels and isinstance(base, ModelDir):
        require_askable(base, labels)
    if isinstance(base, ModelDir):
        if makes:
            require_torch(base)
            require_suited(base, task, runtime)
        if stage != "finetune" and base.labels is None and not (labels or task.open_answers):
            raise ModelError(f"{base} does not name its labels", wanted="id2label in config.json", fix="penjing finetune it first")
    elif stage in GROWING:
        if stage == "finetune":
            require_pretrained(base, options.method)
        check_size(base.removeprefix(NEW), task())
    else:
        fix = f"penjing finetune {base} DATA --out DIRECTORY makes one"
        raise OptionError(f"{stage} needs a trained model, not {base}", wanted="a model directory", fix=fix)
    for size in vars(options).get("students") or []:
        if not size.startswith(NEW):
            raise OptionError(f"--students cannot be {size!r}", wanted="new:<size>", fix="penjing families lists the sizes")
        check_size(size.removeprefix(NEW), task())
    if "new_text" in vars(options):
        _require_new_text(base, task, options.new_text)
        _require_whole_text(task, options.new_text)
    if "student" in vars(options):
        if options.student is None:
            _require_shape(base, options, task, runtime)
        elif given := [f"--{name}" for name, wanted in options.shape.items() if wanted]:
            flag = " and ".join(given)
            raise OptionError(f"{flag} shape the teacher, and --student names another", wanted="one of them", fix=f"leave {flag} out")
        elif options.student.startswith(NEW):
            check_size(options.student.removeprefix(NEW), find("tasks", task.taught).TASK() if task.taught else task())
        else:
            require_torch(ModelDir.open(options.student, runtime))
    if child := vars(options).get("child"):
        _require_same_labels(base, ModelDir.open(child, runtime))
        _require_reasons(base, options, task, runtime)


def needs_whole(options: Any) -> dict[str, str]:
    """What of a call of prune needs the whole model in memory -> the flags with which nothing does."""
    method, found = find(PRUNE, options.method), {}
    if method.RECOVERS and options.training.epochs:
        found["recovery trains it"] = "--epochs 0"
    if method.LOOKS and options.settings.importance != "magnitude":
        found[f"--importance {options.settings.importance} looks at what it makes of rows"] = "--importance magnitude"
    return found


def _require_room(base: ModelDir, options: Any, task: type[Task], runtime: Runtime) -> None:
    """Raise ModelError for a model without room in memory that would have to be there whole to be pruned so."""
    from penjing.engine import load, rewriting

    needs = needs_whole(options)
    model = load.outline(base, task, runtime)
    if needs and not rewriting.fits(model):
        room = f"it takes {rewriting.needed_bytes(model) / 1e9:,.1f} GB, and {free_bytes() / 1e9:,.1f} are free"
        raise ModelError(
            f"{base} has no room in the memory of this machine ({room}), and {' and '.join(needs)}",
            wanted=f"what is done tensor by tensor: {' '.join(needs.values())}",
            fix=f"pass {' '.join(needs.values())}, or take a machine with more memory",
        )


def require_askable(base: ModelDir, labels: Sequence[str]) -> None:
    """Raise unless `base` can be asked about labels by their words: OptionError for the labels, ModelError for the model."""
    named = find("tasks", ZERO_SHOT).TASK(labels).labels
    if len(set(named)) < max(2, len(named)) or not all(named):
        twice = [label for i, label in enumerate(named) if label in named[:i]]
        problem = f"--labels names {twice[0]!r} twice" if twice else f"--labels cannot be {', '.join(labels)!r}"
        raise OptionError(problem, wanted="two or more, parted by commas, each a word or label=sentence", fix="--labels sports,politics")
    if base.task and find("tasks", base.task).TASK.generates and not find("tasks", base.task).TASK.self_supervised:
        raise ModelError(
            f"{base} answers a text with a text, and --labels ask how near or likely a label is",
            wanted="an encoder, a model of entailment or a language model",
        )
    if base.task and base.labels and not find("tasks", ZERO_SHOT).TASK(labels).of(base.config).entails:
        answers = f"{base} answers with labels of its own: {nearest('', base.labels)}"
        raise ModelError(answers, wanted="an encoder, or a model with an output for entailment", fix="leave --labels out")


def require_pretrained(base: str, method: str) -> None:
    """Raise OptionError for a method of finetune that builds on what a model has learnt, where `base` is new:<size>."""
    if find(FINETUNE, method).PRETRAINED:
        without = [name for name in names(FINETUNE) if not find(FINETUNE, name).PRETRAINED]
        raise OptionError(
            f"--method {method} builds on what a model has learnt, and {base} has learnt nothing",
            wanted=nearest(method, without),
            fix="leave --method out, or name a model directory",
        )


def _require_augmentations(stage: str, options: Any, task: type[Task]) -> None:
    """Raise OptionError for an augmentation that is not there, that changes what this task does not read, or that loses labels.

    The last are for rows that a teacher answers.
    """
    taught = stage in TAUGHT and not vars(options).get("labels")
    for name in options.training.augment or ():
        method = find(AUGMENT, name)
        if method.KIND not in task.input_columns().values():
            raise OptionError(
                f"--augment {name} changes {KINDS[method.KIND].words}, and this task reads {_read_by(task)}",
                wanted=_fitting(task, taught),
                fix="name one of these, or leave --augment out",
            )
        if not method.KEEPS_LABEL and not taught:
            raise OptionError(
                f"--augment {name} changes rows so that their labels need not hold, and these are what is learnt",
                wanted=_fitting(task),
                fix=f"leave {name} out; penjing distill has a teacher that answers such rows",
            )
        if not method.KEEPS_LABEL and (task.open_answers or task.interact):
            why = "compares rows with each other" if task.interact else "is answered with what stands in a row"
            raise OptionError(f"--augment {name} is for labels, and this task {why}", wanted=_fitting(task), fix=f"leave {name} out")


def _require_soft(options: Any, task: type[Task]) -> None:
    """Raise OptionError for rows without labels that a student could learn nothing of."""
    reasons = {
        "with --labels no row needs one": bool(vars(options).get("labels")),
        "rows of this task have none": not task.target_columns,
        "this task compares rows with each other": task.interact,
        "--soft-share 0 learns nothing of the teacher": _learns_nothing_soft(options),
    }
    for reason in (reason for reason, holds in reasons.items() if holds):
        raise OptionError(
            f"--unlabelled is for rows of which a teacher's answers are learnt beside labels, and {reason}",
            wanted="none",
            fix="leave --unlabelled out, or put these rows among DATA",
        )


def _learns_nothing_soft(options: Any) -> bool:
    """Whether distill was told to learn from labels alone."""
    settings = vars(vars(options).get("settings") or options)
    return settings.get("soft_share") == 0 and not find(DISTILL, options.method).WRITES


def _read_by(task: type[Task]) -> str:
    return " and ".join(dict.fromkeys(KINDS[kind].words for kind in task.input_columns().values()))


def _require_own_rows(options: Any, task: type[Task]) -> None:
    """Raise OptionError for what is asked of labels where a task has none, or of single rows where it compares them."""
    given, reasons = vars(options), dict[str, str]()
    if task.open_answers and given.get("class_weights", "none") != "none":
        reasons["--class-weights"] = "weigh labels, and this task has none"
    if task.interact and given.get("agreement"):
        reasons["--agreement"] = "compares two answers to a row, and this task compares rows with each other"
    if task.interact and given.get("label_smoothing"):
        reasons["--label-smoothing"] = "spreads a target over all answers, and this task compares rows with each other"
    if not task.target_columns and given.get("floor_agreement"):
        reasons["--floor-agreement"] = "lets answers of the parent stand for the truth, and here the truth is in the rows"
    if given.get("labels") and (settings := given.get("settings")):  # of distill
        changed = [name for name, value in vars(settings).items() if value != vars(type(settings)())[name]]
        changed += ["method"] if given["method"] != "logits" else []
        reasons |= {spell(name): "is about a teacher's outputs, and with --labels a student learns its answers" for name in changed}
    for flag, reason in reasons.items():
        raise OptionError(f"{flag} {reason}", wanted="none", fix=f"leave {flag} out")


def _require_semi(options: Any, task: type[Task]) -> None:
    """Raise OptionError for a way to learn from rows without labels that is not there, or that the other options do not fit."""
    semi = options.semi
    if not find(SEMI, semi).COMPARES_VIEWS or options.unlabelled is None:
        return
    if not options.training.augment:
        raise OptionError(f"--semi {semi} compares views of a row, and --augment makes none", wanted=_fitting(task), fix="pass --augment")
    own = {"agreement": 0.0, "label_smoothing": 0.0, "class_weights": "none"}
    for flag in (spell(name) for name, none in own.items() if vars(options)[name] != none):
        raise OptionError(f"--semi {semi} has a loss of its own, without {flag}", wanted="one of them", fix=f"leave {flag} out")


def _fitting(task: type[Task], taught: bool = False) -> str:
    """The augmentations for what a task reads; where no teacher answers, those that keep the label."""
    found = {name: find(AUGMENT, name) for name in names(AUGMENT)}
    return ", ".join(n for n, m in found.items() if m.KIND in task.input_columns().values() and (taught or m.KEEPS_LABEL)) or "none of them"


def _require_new_text(base: ModelDir | str, task: type[Task], new_text: NewText) -> None:
    """Raise OptionError for a tokenizer that would not be made, and for positions that the family does not have."""
    from penjing.engine.create import positions_of

    flag = next((spell(name) for name, value in vars(new_text).items() if value is not None), None)
    if flag and (isinstance(base, ModelDir) or task.media != "text"):
        why = "which is made already" if task.media == "text" else f"which reads {task.media}"
        raise OptionError(f"{flag} is not for {base}, {why}", wanted="a new text model, new:<size>", fix=f"leave {flag} out")
    if new_text.positions and new_text.positions not in (kinds := positions_of(str(base).removeprefix(NEW))):
        raise OptionError(
            f"{base} cannot be made with --positions {new_text.positions}",
            wanted=" or ".join(map(repr, kinds)) or "no --positions, as its family has one kind alone",
            fix="penjing families lists who lets choose",
        )


def _require_whole_text(task: type[Task], new_text: NewText) -> None:
    """Raise OptionError for a tokenizer that loses capitals and spaces where a text is to be gone on with."""
    from penjing.engine.load import goes_on

    if new_text.tokenizer == "wordpiece" and goes_on(task):
        raise OptionError(
            "--tokenizer wordpiece loses capitals and spaces, and this model shall write them",
            wanted="'bpe', 'unigram' or 'word'",
            fix="leave --tokenizer out",
        )


def _require_same_labels(base: Any, child: ModelDir) -> None:
    if child.labels != base.labels:
        raise ModelError(
            f"{child} answers with other labels than {base}, or has them in another order: {child.labels}",
            wanted=f"{base.labels}",
            fix="compare a child with the model it was made from",
        )


def _require_shape(base: Any, options: Any, task: type[Task], runtime: Runtime) -> None:
    """Raise unless --layers, --ffn, --heads and --hidden name a smaller teacher."""
    from penjing.engine import load
    from penjing.engine.smaller import shares
    from penjing.engine.widths import dissected

    if task.taught or not any(options.shape.values()):
        shapes = "" if task.taught else ", or --layers, --ffn, --heads and --hidden of the teacher"
        wanted = f"new:<size> or a model directory{shapes}"
        raise OptionError("--student must be given", wanted=wanted, fix="penjing families lists the sizes")
    model = load.outline(base, task, runtime)
    shares(dissected(model), model.config, options.shape)


def _require_reasons(base: Any, options: Any, task: type[Task], runtime: Runtime) -> None:
    """Raise where reasons cannot be compared: TaskError for a task without any, OptionError and ModelError for --noise-floor."""
    if options.noise_floor and not options.reasons:
        raise OptionError("--noise-floor is for --reasons", wanted="both or none", fix="pass --reasons too")
    if options.reasons:
        need("captum", "explain")
        if "explain" not in task.stages:
            raise TaskError(f"answers of {base.task} are not explained", wanted="none", fix="leave --reasons out")
        if options.noise_floor:
            _require_same_labels(base, ModelDir.open(options.noise_floor, runtime))


def _require_computed(stage: str, options: Any, task: type[Task]) -> None:
    """Raise TaskError where a model shall be quantized for an engine that cannot write its answers."""
    elsewhere = stage == "quantize" and "torch" not in find("methods.quantize", options.method).ENGINES
    if task.generates and not task.self_supervised and (elsewhere or vars(options).get("quantize")):
        raise TaskError(
            "engines of quantized models do not write token by token what a model with an encoder and a decoder answers",
            wanted="distill or prune" if stage == "quantize" else f"{stage} without quantizing",
            fix="--method rtn or bf16 is for torch, which writes" if stage == "quantize" else "pass --no-quantize",
        )


def _require_learnt(stage: str, options: Any, task: type[Task]) -> None:
    """Raise TaskError where a model shall learn to be rounded whose weights do not learn step by step."""
    if stage == "quantize" and options.training.epochs and "prune" not in task.stages:
        raise TaskError("models of this task learn nothing step by step", wanted="--epochs 0", fix="leave --epochs out")


def require_written(task: type[Task], generation: Generation) -> None:
    """Raise OptionError for options of writing where a task's answers are not written."""
    flag = next((spell(name) for name, value in vars(generation).items() if value is not None), None)
    if flag and not task.generates:
        writing = [name for name in names("tasks") if find("tasks", name).TASK.generates]
        problem = f"{flag} is for answers that are written token by token, and these are not"
        raise OptionError(problem, wanted=nearest("", writing), fix=f"leave {flag} out")


def _require_precision(asked: str, runtime: Runtime) -> None:
    """Raise OptionError for fp16 and tf32 on a processor, which has no fast products of either."""
    if asked in ("fp16", "tf32") and runtime.device == "cpu":
        raise OptionError(
            f"--precision cannot be {asked} on a processor: it has no fast products of it",
            wanted="'bf16', 'fp32' or 'auto'",
            fix="leave --precision out",
        )


def _require_ranks_for_shards(training: Training) -> None:
    """Raise OptionError where a model shall be shared out and there is one rank, or an optimizer that needs whole matrices."""
    if not training.sharded:
        return
    if max(training.ranks, place_of_rank()[1]) < 2:
        raise OptionError(
            "--sharded leaves each rank a part of the model, and there is one rank", wanted="--ranks 2 or more", fix="leave --sharded out"
        )
    if training.optimizer == "muon":
        raise OptionError(
            "--optimizer muon needs whole matrices, and with --sharded each rank has a part of them",
            wanted="'adamw' or 'sgd'",
            fix="leave --sharded or --optimizer out",
        )


def _require_whole_batches(training: Training, task: type[Task]) -> None:
    """Raise OptionError where a batch whose rows are compared with each other would be computed in parts."""
    flag = "--parts" if training.parts > 1 else "--ranks" if max(training.ranks, place_of_rank()[1]) > 1 else None
    if task.interact and flag:
        raise OptionError(
            f"{flag} would part the rows of a batch, and this task compares them with each other",
            wanted="whole batches",
            fix=f"leave {flag} out; --gradient-checkpointing needs less memory too",
        )


def _require_parts(base: ModelDir | str, options: Any, task: type[Task], runtime: Runtime) -> None:
    """Raise ModelError where a model that shall be trained lacks what the options of training change: dropout, or blocks."""
    training = options.training
    if training.dropout is None and not training.gradient_checkpointing and training.compile != "on":
        return
    from penjing.engine import create, load
    from penjing.engine.anatomy import anatomy
    from penjing.engine.compiling import require_compiler
    from penjing.engine.dropping import require_dropout
    from penjing.engine.recomputing import require_blocks

    learning = [options.student or base] if "student" in vars(options) else [base, *(vars(options).get("students") or [])]
    for name in learning:
        if isinstance(name, str) and name.startswith(NEW):
            model = create.outline(name.removeprefix(NEW))
        else:
            model = load.outline(ModelDir.open(name, runtime), task, runtime)
        if training.dropout is not None:
            require_dropout(model)
        if training.gradient_checkpointing:
            require_blocks(model, anatomy(model).blocks)
        require_compiler(training, anatomy(model).blocks, runtime.device)


def _require_gpus(ranks: int, runtime: Runtime) -> None:
    """Raise OptionError where ranks of this machine are to compute on GPUs, and there are fewer of these."""
    if runtime.device == "cuda" and ranks > max(1, there := len(gpus())):
        raise OptionError(f"--ranks {ranks} need as many GPUs, and torch finds {there}", wanted=f"{there} or fewer", fix="lower --ranks")


def _require_one_training(stage: str, options: Any) -> None:
    """Raise OptionError where several ranks shall train and the stage trains more than once: between two trainings they would part."""
    given = vars(options)
    alone = ("folds", "unlabelled") if stage == "finetune" else ("folds",)
    again = next((f"--{name}" for name in alone if given.get(name)), stage if stage in ("shrink", "sweep") else None)
    if again and max(given["training"].ranks, place_of_rank()[1]) > 1:
        raise OptionError(
            f"--ranks is for one training, and {again} trains more than once",
            wanted="finetune, distill or prune" + (f" without {again}" if again.startswith("--") else ""),
            fix="leave --ranks out",
        )
