"""The command line: one command a stage, its flags from the stage's Options. Nothing heavy is imported before a command runs."""

import argparse
import contextlib
import errno
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from penjing.core import find
from penjing.core.errors import OptionError, PenjingError, nearest
from penjing.core.options import Flag, build, flags, spell
from penjing.core.runtime import Runtime, environment, place_of_rank
from penjing.core.stopping import Stopped

STAGES = ("pretrain", "finetune", "cluster", "distill", "prune", "quantize", "shrink", "evaluate", "compare")
ABOUT = "Grow a large model, shrink it, and prove that the small one is as good."
MODEL = ("MODEL", "a model directory, or hf:org/name of the hub")
INPUT = ("INPUT", "a file of rows, an image, a sound, text, or - for standard input")
MODEL_OR_NEW = ("MODEL", "a model directory, hf:org/name of the hub, or new:<size> (penjing families)")
DATA = (
    "DATA",
    "a csv, tsv, jsonl, parquet or txt file, a folder with train, validation and test, a folder of images or sounds, sklearn:digits, or "
    "python:docs",
)
WIDTH = 100


class Shown(Exception):
    """The help of a command, which is its answer."""


class Missed(Exception):
    """What a check says that did not hold."""


class Parser(argparse.ArgumentParser):
    """Errors in penjing's form, without the whole usage before them; help in one column of names and one of sentences."""

    def __init__(self, prog: str, about: str):
        width = min(WIDTH, shutil.get_terminal_size().columns)
        super().__init__(
            prog, description=about, allow_abbrev=False, add_help=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=width),
        )  # fmt: skip
        self.add_argument("-h", "--help", action=_ShowHelp, nargs=0, help="show this")

    def error(self, message: str) -> NoReturn:
        flag, _, said = message.removeprefix("argument ").partition(": ")
        if message.startswith("the following arguments are required"):
            problem = f"{said} must be given"
        else:
            problem = f"{flag} must have a value" if "expected" in said else message
        raise OptionError(problem, wanted=self.usage)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Let it pass: `build` checks values, and its errors name the nearest."""


class _ShowHelp(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise Shown(parser.format_help().rstrip())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns 0 when it did what was asked, 1 where a check of penjing itself did not hold, 2 for a mistake that the user can mend, 128 + the
    signal that stopped it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = words[0] if words and words[0] in COMMANDS else ""
    try:
        print(_run(command, words), flush=True)
        return 0
    except Missed as missed:
        print(missed, flush=True)
        return 1
    except PenjingError as error:
        error.fix = error.fix or f"penjing {command} --help".replace("  ", " ")
        print(f"penjing: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:
        if place_of_rank()[0] == 0:
            print(f"penjing: stopped {stop.told}", file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt:
        print("penjing: stopped; the same command goes on from the last checkpoint, or begins anew where there is none", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes at its end
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        place = error.filename or "what is printed"
        print(
            f"penjing: {place} cannot be written or read: {error.strerror}\n  next    make room, or choose another place", file=sys.stderr
        )
        return 2


def _run(command: str, words: list[str]) -> str:
    if command:
        try:
            return COMMANDS[command](Parser(f"penjing {command}", _about(command)), words[1:])
        except Shown as help:
            return str(help)
    if not words or words in (["-h"], ["--help"]):
        return _top()
    if words[0] == "--version":
        return _version(words[1:])
    if words[0].startswith("-"):
        raise OptionError(f"no command before {words[0]!r}", wanted="penjing COMMAND ..., the options behind the command")
    raise OptionError(f"no command {words[0]!r}", wanted=nearest(words[0], COMMANDS))


def _version(words: list[str]) -> str:
    """Versions, processor and system, as a report of a bug needs them."""
    found = environment()
    if words == ["--json"]:
        return json.dumps(found, ensure_ascii=False, indent=1)
    if words:
        raise OptionError(f"{words[0]!r} is one word too many", wanted="penjing --version [--json]")
    versions = found["versions"]
    instructions = ", ".join(found["instructions"]) or "none of those that penjing looks for"
    lines = [f"penjing {versions.pop('penjing')}", "  with       " + ", ".join(f"{name} {version}" for name, version in versions.items())]
    lines += [f"  system     {found['system']}", f"  processor  {found['processor']}, {found['cores']} cores; {instructions}"]
    return "\n".join([*lines, f"  memory     {found['memory_bytes'] / 2**30:.1f} GiB", *(f"  gpu        {gpu}" for gpu in found["gpus"])])


def _top() -> str:
    width = min(WIDTH, shutil.get_terminal_size().columns)
    told = [textwrap.fill(f"  {name:<10} {_about(name)}", width, subsequent_indent=" " * 13) for name in COMMANDS]
    end = "penjing COMMAND --help tells its options; penjing --version those of the libraries.\npenjing run digits is a good start."
    return "\n".join(["usage: penjing COMMAND ...", "", ABOUT, "", *told, "", end])


def _about(command: str) -> str:
    return find.summary("stages", command) if command in find.names("stages") else _ABOUT[command]


def _common(parser: Parser) -> None:
    group = parser.add_argument_group("of every command")
    group.add_argument("--json", action="store_true", help="print the result for programs")
    _add(group, flags(Runtime))


def _runtime(given: dict[str, Any]) -> Runtime:
    return build(Runtime, {flag.name: given[flag.name] for flag in flags(Runtime) if given[flag.name] is not None})


def _parse(parser: Parser, words: list[str], positional: str = "") -> dict[str, Any]:
    """What was given, by name; options that were not given are None.

    positional   how the usage names what is no option
    """
    parser.usage = f"{parser.prog}{positional} [OPTIONS]"
    given, rest = parser.parse_known_args(words)
    if rest and rest[0].startswith("-"):
        known = [name for action in parser._actions for name in action.option_strings]
        raise OptionError(f"{parser.prog} has no option {rest[0]!r}", wanted=nearest(rest[0].split("=")[0], known))
    if rest:
        raise OptionError(f"{rest[0]!r} is one word too many", wanted=parser.usage)
    return vars(given)


def _stage(command: str) -> Callable[[Parser, list[str]], str]:
    def act(parser: Parser, words: list[str]) -> str:
        from penjing.stages import _frame

        method = _value_of("--method", words)
        known = [flag for flag in _frame.stage_flags(command, method) if flag.name != "child"]
        named = (word.split("=")[0].removeprefix("--").removeprefix("no-") for word in words if word.startswith("--"))
        _frame.require_useful(command, method, (name.replace("-", "_") for name in named))
        makes, compares = command in _frame.MAKERS, command == "compare"
        parser.add_argument("PARENT" if compares else "MODEL", help=(MODEL_OR_NEW if command in ("pretrain", "finetune") else MODEL)[1])
        if compares:
            parser.add_argument("CHILD", help="the model directory that is compared with it")
        parser.add_argument(DATA[0], help=DATA[1])
        if makes:
            parser.add_argument("--out", type=Path, metavar="DIRECTORY", help="where the new model directory is written")
            parser.add_argument("--overwrite", action="store_true", help="replace what is there, once the new one is complete")
            parser.add_argument("--dry-run", action="store_true", help="say what would be done and how long it would take")
        else:
            parser.add_argument("--out", type=Path, metavar="PAGE", help="a page of it: report.html")
        _add_grouped(parser, known, command)
        _common(parser)
        given = _parse(parser, words, {"compare": " PARENT CHILD DATA"}.get(command, " MODEL DATA") + (" --out DIRECTORY" if makes else ""))
        options = {flag.name: given[flag.name] for flag in known if given[flag.name] is not None}
        if compares:
            options["child"] = given["CHILD"]
        model, data, runtime = given["PARENT" if compares else "MODEL"], given["DATA"], _runtime(given)
        if makes and given["dry_run"]:
            from penjing.stages import _dry_run

            plan = _dry_run.plan(command, model, data, given["out"], runtime, options, given["overwrite"])
            return json.dumps(plan, ensure_ascii=False, indent=1) if given["json"] else _dry_run.told(plan)
        extra = {"out": given["out"], **({"overwrite": given["overwrite"]} if makes else {})}
        made = _frame.call(command, model, data, runtime=runtime, **extra, **options)
        report = made[1] if isinstance(made, tuple) else made
        return report.to_json() if given["json"] else _told(report, given["out"], makes)

    return act


def _add_grouped(parser: Parser, known: Sequence[Flag], stage: str) -> None:
    """Flags under the headings of the help: those of the stage itself, then of training, of a new model, of the data, of the method."""
    from penjing.stages._frame import method_names

    for path, title in _TITLES.items():
        if few := [flag for flag in known if flag.path == path]:
            _add(parser.add_argument_group(title) if title else parser, few, method_names(stage))


_TITLES: dict[tuple[str, ...], str] = {
    (): "",
    ("training",): "training",
    ("new_text",): "of a new text model",
    ("generation",): "answers that are written",
    ("data",): "the rows",
    ("settings",): "of this method",
}


def _told(report: Any, out: Path | None, makes: bool) -> str:
    from penjing.engine import card

    look = f"; look at {out / 'report.html'}" if out and makes else ""
    return card.summary(report) + (f"\nwrote {out}{look}" if out else "")


def _value_of(flag: str, words: list[str]) -> str | None:
    """The value that a flag has on the command line: which flags there are depends on --method."""
    for word, following in zip(words, [*words[1:], None]):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1]
    return None


def _add(parser: Any, known: Iterable[Flag], methods: Sequence[str] = ()) -> None:
    """One flag for each field of an Options class; the values stay text, which `build` converts and checks."""
    for flag in known:
        choices = flag.choices or (methods if flag.name == "method" else ())
        notes = [str(note) for note in (flag.bounds, " or ".join(map(str, choices))) if note]
        usual = "" if flag.default is None or flag.kind is bool else f" [{_plain(flag.default)}]"
        text = (flag.about + (f" ({', '.join(notes)})" if notes else "") + usual).replace("%", "%%")
        if flag.kind is not bool:
            shown = _METAVARS.get(flag.kind, flag.name.upper())
            parser.add_argument(spell(flag.name), help=text, metavar=shown, choices=choices or None)
        elif flag.default:
            parser.add_argument(spell(f"no_{flag.name}"), dest=flag.name, action="store_const", const=False, help=f"do not {text}")
        else:
            parser.add_argument(spell(flag.name), action="store_const", const=True, help=text)


_METAVARS = {int: "N", float: "X"}


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _predict(parser: Parser, words: list[str]) -> str:
    parser.add_argument(MODEL[0], help=MODEL[1])
    parser.add_argument(INPUT[0], nargs="+", help=INPUT[1])
    from penjing.stages.predict import Options, predict

    known = list(flags(Options))
    _add_grouped(parser, known, "predict")
    _common(parser)
    given = _parse(parser, words, " MODEL INPUT...")
    options = {flag.name: given[flag.name] for flag in known if given[flag.name] is not None}
    answers = predict(given["MODEL"], given["INPUT"], runtime=_runtime(given), **options)
    if given["json"]:
        return "\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    return "\n".join(map(_line, answers))


def _explain(parser: Parser, words: list[str]) -> str:
    from penjing.stages import _frame
    from penjing.stages.explain import explain

    known = _frame.stage_flags("explain", _value_of("--method", words))
    parser.add_argument(MODEL[0], help=MODEL[1])
    parser.add_argument(INPUT[0], nargs="+", help=INPUT[1])
    parser.add_argument("--out", type=Path, metavar="PAGE", help="a page that shows it: why.html")
    _add_grouped(parser, known, "explain")
    _common(parser)
    given = _parse(parser, words, " MODEL INPUT... [--out why.html]")
    options = {flag.name: given[flag.name] for flag in known if given[flag.name] is not None}
    found = explain(given["MODEL"], given["INPUT"], out=given["out"], runtime=_runtime(given), **options)
    if given["json"]:
        return "\n".join(json.dumps(each, ensure_ascii=False) for each in found)
    from penjing.engine import words as said

    return "\n\n".join(map(said.explained, found)) + (f"\nwrote {given['out']}" if given["out"] else "")


def _line(answer: dict[str, Any]) -> str:
    """An answer as a line: what, how sure, to what."""
    from penjing.engine import words

    sure = [] if answer["score"] is None else [f"{answer['score']:.3f}"]
    return "\t".join((answer.get("told") or words.answer(answer["value"]), *sure, " ".join(answer["input"].split())))


def _serve(parser: Parser, words: list[str]) -> str:
    from penjing.serve import Options, serve

    known = list(flags(Options))
    parser.add_argument(MODEL[0], nargs="+", help=MODEL[1] + "; clients call it by its directory's name")
    _add(parser, known)
    _add(parser.add_argument_group("of every command"), flags(Runtime))
    given = _parse(parser, words, " MODEL...")
    serve(given["MODEL"], runtime=_runtime(given), **{flag.name: given[flag.name] for flag in known if given[flag.name] is not None})
    return "stopped; every request that was accepted has its answer"


def _bench(parser: Parser, words: list[str]) -> str:
    from penjing.serve import bench

    known = list(flags(bench.Options))
    parser.add_argument(MODEL[0], help=MODEL[1])
    parser.add_argument(INPUT[0], nargs="*", help=INPUT[1] + "; made up if nothing is given")
    parser.add_argument("--out", type=Path, metavar="PAGE", help="a page that shows the curve: bench.html")
    _add(parser, [flag for flag in known if not flag.path])
    _add(parser.add_argument_group("of the server that is started"), [flag for flag in known if flag.path])
    _common(parser)
    given = _parse(parser, words, " MODEL [INPUT...]")
    options = {flag.name: given[flag.name] for flag in known if given[flag.name] is not None}
    found = bench.bench(given["MODEL"], given["INPUT"], out=given["out"], runtime=_runtime(given), **options)
    if given["json"]:
        return json.dumps(found, ensure_ascii=False, indent=1)
    return bench.text(found) + (f"\nwrote {given['out']}" if given["out"] else "")


def _card(parser: Parser, words: list[str]) -> str:
    parser.add_argument(MODEL[0], help=MODEL[1])
    parser.add_argument("OTHER", nargs="?", help="another, to see the difference")
    parser.add_argument("--json", action="store_true", help="print the report for programs; a list of two for two models")
    given = _parse(parser, words, " MODEL [OTHER]")
    from penjing.core.model_dir import ModelDir
    from penjing.engine import card

    reports = [card.report_of(ModelDir.open(path)) for path in (given["MODEL"], given["OTHER"]) if path]
    if given["json"]:
        return reports[0].to_json() if len(reports) == 1 else _json_list(reports)
    return card.summary(reports[0]) if len(reports) == 1 else card.difference(*reports)


def _json_list(reports: Iterable[Any]) -> str:
    return "[\n" + ",\n".join(report.to_json() for report in reports) + "\n]"


def _run_recipe(parser: Parser, words: list[str]) -> str:
    parser.add_argument("RECIPE", help="a TOML file, or the name of a bundled recipe: " + ", ".join(_bundled()))
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIRECTORY", help="folder for the outputs [runs]")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and how long it would take")
    parser.add_argument("--set", action="append", default=[], metavar="STEP.OPTION=VALUE", help="change an option of the recipe")
    _common(parser)
    given = _parse(parser, words, " RECIPE")
    runtime = _runtime(given)
    for item in given["set"]:
        if "=" not in item:
            raise OptionError(f"--set cannot be {item!r}", wanted="STEP.OPTION=VALUE, such as small.floor=2.0")
    from penjing.engine import beside, card
    from penjing.stages import _dry_run
    from penjing.stages.run import foresee, run

    changes = dict(item.split("=", 1) for item in given["set"])
    if given["dry_run"]:
        plans = foresee(given["RECIPE"], out=given["out"], changes=changes, runtime=runtime)
        if given["json"]:
            return json.dumps(plans, ensure_ascii=False, indent=1)
        return "\n\n".join(f"── {plan['step']}\n{_dry_run.told(plan)}" for plan in plans)
    done = run(given["RECIPE"], out=given["out"], changes=changes, runtime=runtime)
    if given["json"]:
        return _json_list(report for _, _, report in done)
    first, last = done[0][1].path, done[-1][1].path
    told = [f"── {name}\n{card.summary(report)}" for name, _, report in done]
    compared = beside.text([(name, report) for name, _, report in done])
    told += [f"── beside each other\n{compared}"] if compared else []
    answering = [model.path for _, model, _ in done if model.writes or not find.find("tasks", str(model.task)).TASK.generates]
    following = [f"  open {last.parent / 'report.html'}", f"  penjing card {first} {last}"]
    following += [f"  penjing predict {path} INPUT" for path in answering[-1:]]
    return "\n\n".join(told) + "\n\nnext\n" + "\n".join(following)


def _sweep(parser: Parser, words: list[str]) -> str:
    from penjing.stages import _frame

    known = [flag for flag in _frame.stage_flags("finetune", _value_of("--method", words)) if flag.name != "folds"]
    parser.add_argument(MODEL_OR_NEW[0], help=MODEL_OR_NEW[1])
    parser.add_argument(DATA[0], help=DATA[1])
    parser.add_argument("--vary", action="append", default=[], metavar="OPTION=VALUE,VALUE", help="an option below and its values; "
                        "given again, each value goes with each; optimizer:momentum=sgd:0,sgd:0.9 joins values")  # fmt: skip
    parser.add_argument("--seeds", default="1", metavar="N", help="runs of each variant, each with a seed of its own [1]")
    parser.add_argument("--out", type=Path, metavar="DIRECTORY", help="folder for the best model, the report and every number")
    _add_grouped(parser, known, "finetune")
    _common(parser)
    given = _parse(parser, words, " MODEL DATA --vary OPTION=VALUE,VALUE --out DIRECTORY")
    if given["out"] is None:
        raise OptionError("--out must be given", wanted="a folder for what the sweep writes", fix="pass --out DIRECTORY")
    from penjing.engine import variants
    from penjing.stages.sweep import split, sweep

    options = {flag.name: given[flag.name] for flag in known if given[flag.name] is not None}
    vary, out = split(given["vary"]), given["out"]
    model, found = sweep(given["MODEL"], given["DATA"], vary=vary, out=out, seeds=given["seeds"], runtime=_runtime(given), **options)
    if given["json"]:
        return json.dumps(found, ensure_ascii=False, indent=1, default=str)
    return f"{variants.text(found)}\nwrote {model.path}; look at {out / 'report.html'}"


def _bundled() -> list[str]:
    return sorted(path.stem for path in (Path(__file__).parent / "recipes").glob("*.toml"))


def _check(parser: Parser, words: list[str]) -> str:
    from penjing.stages import check

    known = [flag for flag in flags(check.Options) if flag.name not in ("skip_bad_rows", "alike_labels")]
    parser.add_argument(DATA[0], help=DATA[1])
    _add(parser, known)
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    given = _parse(parser, words, " DATA")
    found = check.check(given["DATA"], **{flag.name: given[flag.name] for flag in known if given[flag.name] is not None})
    return json.dumps(found, ensure_ascii=False, indent=1) if given["json"] else check.told(given["DATA"], found)


def _plan(parser: Parser, words: list[str]) -> str:
    from penjing.stages import plan

    known = list(flags(plan.Options))
    about = "a model directory, a config.json, new:<size>, a published name such as gpt-3-175b, or hf:org/name"
    parser.add_argument("MODEL", nargs="?", help=about)
    parser.add_argument("--check", action="store_true", help="replay every run that plans are graded by, and print the errors")
    parser.add_argument("--measure-here", action="store_true", help="measure this machine, as a row of the table of hardware")
    parser.add_argument("--out", type=Path, metavar="PAGE", help="a page that shows it, on fewer and more devices too: plan.html")
    _add(parser, known)
    _common(parser)
    given = _parse(parser, words, " MODEL --on DEVICES")
    if given["check"]:
        held, said = plan.checked(given["json"])
        if not held:
            raise Missed(said)
        return said
    if given["measure_here"]:
        return plan.measured(given["json"])
    if given["MODEL"] is None:
        raise OptionError("MODEL must be given", wanted=parser.usage)
    options = {flag.name: given[flag.name] for flag in known if given[flag.name] is not None}
    report = plan.plan(given["MODEL"], out=given["out"], runtime=_runtime(given), **options)
    return report.to_json() if given["json"] else plan.told(report) + (f"\nwrote {given['out']}" if given["out"] else "")


def _completion(parser: Parser, words: list[str]) -> str:
    parser.add_argument("SHELL", help="bash, zsh or fish")
    shell = _parse(parser, words, " SHELL")["SHELL"]
    from penjing import completion
    from penjing.stages import _frame

    if shell not in completion.SHELLS:
        raise OptionError(f"no completion for {shell!r}", wanted=nearest(shell, completion.SHELLS))
    methods = {name: [["--method", method] for method in _frame.method_names(name)] for name in STAGES}
    return completion.script(shell, {name: [_declared(name, words) for words in methods.get(name) or [[]]] for name in COMMANDS})


def _declared(command: str, words: Sequence[str]) -> Parser:
    """The parser of a command as `--help` shows it: with all its flags, for the method that `words` choose."""
    parser = Parser(f"penjing {command}", _about(command))
    with contextlib.suppress(Shown):
        COMMANDS[command](parser, [*words, "--help"])
    return parser


def _listing(kind: str) -> Callable[[Parser, list[str]], str]:
    def act(parser: Parser, words: list[str]) -> str:
        parser.add_argument("name", nargs="?", help="tell all of this one: columns, metrics, sources")
        parser.add_argument("--json", action="store_true", help="print the list for programs")
        given = _parse(parser, words)
        from penjing import listing

        if given["name"]:
            return listing.whole(kind, given["name"])
        make, tell = listing.LISTS[kind]
        found = make()
        return json.dumps(found, ensure_ascii=False, indent=1) if given["json"] else tell(found)

    return act


_ABOUT = {
    "serve": "Answer over HTTP: models behind one small server, with a page, OpenAI's routes and metrics.",
    "bench": "Measure how fast a model answers: throughput against latency, start, memory.",
    "card": "Show what is known of a model, or how two differ.",
    "tasks": "List the tasks, or tell all of one.",
    "families": "List the model families and the sizes that can follow new:, or tell all of one.",
    "methods": "List the methods of each stage, or tell all of one.",
    "completion": "Print the script by which a shell completes commands and flags.",
}
COMMANDS: dict[str, Callable[[Parser, list[str]], str]] = {
    **{stage: _stage(stage) for stage in STAGES},
    "predict": _predict,
    "explain": _explain,
    "serve": _serve,
    "bench": _bench,
    "card": _card,
    "run": _run_recipe,
    "sweep": _sweep,
    "check": _check,
    "plan": _plan,
    "tasks": _listing("tasks"),
    "families": _listing("families"),
    "methods": _listing("methods"),
    "completion": _completion,
}

if __name__ == "__main__":
    sys.exit(main())
