"""The command line: one command a stage, its flags from the stage's Options. Nothing heavy is imported before a command runs."""

import argparse
import errno
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from penjing.core import find
from penjing.core.errors import OptionError, PenjingError, nearest

STAGES = ("finetune", "distill", "prune", "quantize", "shrink", "evaluate", "compare")
MODEL = ("MODEL", "a model directory, or new:<size> (penjing families)")
DATA = ("DATA", "a csv, tsv, jsonl or parquet file, a folder with train, validation and test, a folder of images, or sklearn:digits")


class Parser(argparse.ArgumentParser):
    """Errors in penjing's form, without the whole usage before them."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message, fix=f"{self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 2 for a mistake that the user can mend, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except PenjingError as error:
        print(f"penjing: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("penjing: stopped; finished steps are kept, the one that was running left nothing behind", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        print(f"penjing: {error.strerror}: {error.filename or 'while writing'}\n  next    make room, or choose another --out", file=sys.stderr)
        return 2


def _run(words: list[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), None)
    if command is None or command not in COMMANDS:
        if command is not None:
            raise OptionError(f"no command {command!r}", wanted=nearest(command, COMMANDS), fix="penjing --help")
        return _top(words)
    words.remove(command)
    parser = Parser(prog=f"penjing {command}", description=_about(command), allow_abbrev=False)
    answer = COMMANDS[command](parser, words)
    if answer:
        print(answer)
    return 0


def _top(words: list[str]) -> int:
    parser = Parser(prog="penjing", description="Grow a large model, shrink it, and prove that the small one is as good.", add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    given = parser.parse_args(words)
    if given.version:
        from penjing.core.runtime import environment

        print(json.dumps(environment(), indent=1))
        return 0
    print("usage: penjing COMMAND ...\n\nGrow a large model, shrink it, and prove that the small one is as good.\n")
    for name in COMMANDS:
        print(f"  {name:<10} {_about(name)}")
    print("\npenjing COMMAND --help tells its options.   penjing run digits is a good start.")
    return 0


def _about(command: str) -> str:
    return find.summary("stages", command) if command in find.names("stages") else _ABOUT[command]


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0: chosen by a short probe [0]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    parser.add_argument("--seed", type=int, default=0, help="every random draw follows from it [0]")
    parser.add_argument("--trust-code", action="store_true", help="run code that a model directory carries and that is not penjing's own")


def _runtime(given: argparse.Namespace) -> Any:
    from penjing.core.runtime import Runtime

    return Runtime(given.device, given.threads, given.seed, given.quiet, given.trust_code)


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    given, rest = parser.parse_known_args(words)
    if rest:
        known = [name for action in parser._actions for name in action.option_strings]
        raise OptionError(f"{parser.prog} does not take {rest[0]!r}", wanted=nearest(rest[0], known), fix=f"{parser.prog} --help")
    return given


def _stage(command: str) -> Callable[[argparse.ArgumentParser, list[str]], str]:
    def act(parser: argparse.ArgumentParser, words: list[str]) -> str:
        from penjing.stages import _frame

        flags = _frame.stage_flags(command, _value_of("--method", words))
        parser.add_argument(MODEL[0] if command != "compare" else "PARENT", help=MODEL[1])
        if command == "compare":
            parser.add_argument("CHILD", help="the model directory that is compared with it")
        parser.add_argument(DATA[0], help=DATA[1])
        if command in _frame.MAKERS:
            parser.add_argument("--out", type=Path, help="where the new model directory is written")
            parser.add_argument("--overwrite", action="store_true", help="replace what is there, once the new one is complete")
            parser.add_argument("--dry-run", action="store_true", help="say what would be done and how long it would take")
        for flag in flags:
            if (command, flag.name) != ("compare", "child"):
                _add(parser, flag)
        _common(parser)
        given = vars(_parse(parser, words))
        options = {flag.name: given[flag.name] for flag in flags if given.get(flag.name) is not None}
        if command == "compare":
            options["child"] = given["CHILD"]
        model, runtime = given.get("MODEL") or given["PARENT"], _runtime(argparse.Namespace(**given))
        if given.get("dry_run"):
            from penjing.stages import _dry_run

            return _dry_run.describe(command, model, given["DATA"], given["out"], runtime, options, given["overwrite"])
        extra = {"out": given["out"], "overwrite": given["overwrite"]} if command in _frame.MAKERS else {}
        made = _frame.call(command, model, given["DATA"], runtime=runtime, **extra, **options)
        report = made[1] if isinstance(made, tuple) else made
        return report.to_json() if given["json"] else _told(report, given.get("out"))

    return act


def _told(report: Any, out: Path | None) -> str:
    from penjing.engine import card

    return card.summary(report) + (f"\nwrote {out}; look at {out / 'report.html'}" if out else "")


def _value_of(flag: str, words: list[str]) -> str | None:
    """The value that a flag has on the command line: which flags there are depends on --method."""
    for word, following in zip(words, [*words[1:], None]):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1]
    return None


def _add(parser: argparse.ArgumentParser, flag: Any) -> None:
    notes = [str(note) for note in (flag.bounds, "/".join(map(str, flag.choices))) if note]
    text = flag.about + (f" ({', '.join(notes)})" if notes else "") + ("" if flag.default is None else f" [{flag.default}]")
    switch = {"nargs": "?", "const": "true"} if flag.kind is bool else {}
    metavar = "yes/no" if flag.kind is bool else flag.name.upper()
    parser.add_argument("--" + flag.name.replace("_", "-"), help=text.replace("%", "%%"), metavar=metavar, **switch)


def _predict(parser: argparse.ArgumentParser, words: list[str]) -> str:
    parser.add_argument("MODEL", help=MODEL[1])
    parser.add_argument("INPUT", nargs="+", help="a file of rows, an image, text, or - for standard input")
    _common(parser)
    given = _parse(parser, words)
    from penjing.core.model_dir import ModelDir
    from penjing.stages.predict import predict

    answers = predict(ModelDir.open(given.MODEL), given.INPUT, runtime=_runtime(given))
    if given.json:
        return "\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    return "\n".join(f"{a['value']}\t{a['score']:.3f}\t{a['input']}" if a["score"] is not None else f"{a['value']}\t{a['input']}" for a in answers)


def _card(parser: argparse.ArgumentParser, words: list[str]) -> str:
    parser.add_argument("MODEL", help="a model directory")
    parser.add_argument("OTHER", nargs="?", help="another, to see the difference")
    parser.add_argument("--json", action="store_true", help="print the report for programs")
    given = _parse(parser, words)
    from penjing.core.model_dir import ModelDir
    from penjing.engine import card

    reports = [card.report_of(ModelDir.open(path)) for path in (given.MODEL, given.OTHER) if path]
    if given.json:
        return "\n".join(report.to_json() for report in reports)
    return card.summary(reports[0]) if len(reports) == 1 else card.difference(*reports)


def _run_recipe(parser: argparse.ArgumentParser, words: list[str]) -> str:
    parser.add_argument("RECIPE", help="a TOML file, or the name of a bundled recipe: " + ", ".join(_bundled()))
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for the outputs [runs]")
    parser.add_argument("--set", action="append", default=[], metavar="STEP.OPTION=VALUE", help="change an option of the recipe")
    _common(parser)
    given = _parse(parser, words)
    from penjing.engine import card
    from penjing.stages.run import run

    wrong = [item for item in given.set if "=" not in item]
    if wrong:
        raise OptionError(f"--set cannot be {wrong[0]!r}", wanted="STEP.OPTION=VALUE, such as small.floor=2.0")
    done = run(given.RECIPE, out=given.out, changes=dict(item.split("=", 1) for item in given.set), runtime=_runtime(given))
    if given.json:
        return "\n".join(report.to_json() for _, _, report in done)
    folder = done[-1][1].path.parent
    last = done[-1][1].path
    told = [f"── {name}\n{card.summary(report)}" for name, _, report in done]
    following = [f"  open {folder / 'report.html'}", f"  penjing card {done[0][1].path} {last}", f"  penjing predict {last} INPUT"]
    return "\n\n".join(told) + "\n\nnext\n" + "\n".join(following)


def _bundled() -> list[str]:
    return sorted(path.stem for path in (Path(__file__).parent / "recipes").glob("*.toml"))


def _check(parser: argparse.ArgumentParser, words: list[str]) -> str:
    parser.add_argument("DATA", help=DATA[1])
    parser.add_argument("--columns", help="names of columns where they differ: text=sentence,label=mood")
    _common(parser)
    given = _parse(parser, words)
    from penjing.stages.check import check

    found = check(given.DATA, given.columns.split(",") if given.columns else None, runtime=_runtime(given))
    if given.json:
        return json.dumps(found, ensure_ascii=False, indent=1)
    lines = [f"{given.DATA}: {found['num_rows']:,} rows for {found['task']}"]
    lines.append("roles   " + ", ".join(f"{role} {count:,}" for role, count in found["rows"].items()) + f" (by {found['roles']})")
    most = sorted(found["labels"].items(), key=lambda pair: -pair[1])
    lines.append("labels  " + ", ".join(f"{label} {count:,}" for label, count in most[:12]) + (" ..." if len(most) > 12 else ""))
    lines += [f"note    {note}" for note in found["notes"]]
    for floor in found["floors"]:
        verdict = "provable" if floor["rows_needed"] <= floor["rows_there"] else "too few rows"
        lines.append(f"floor   {floor['floor']} points: {floor['rows_needed']:,} proof rows needed at {found['flips_assumed']:.0%} flips, {verdict}")
    return "\n".join(lines)


def _listing(folder: str) -> Callable[[argparse.ArgumentParser, list[str]], str]:
    def act(parser: argparse.ArgumentParser, words: list[str]) -> str:
        _parse(parser, words)
        kinds = [folder] if folder != "methods" else [f"methods.{p.name}" for p in sorted((Path(__file__).parent / "methods").iterdir()) if p.is_dir()]
        lines = []
        for kind in kinds:
            for name in find.names(kind):
                shown = name if folder != "methods" else f"{kind.split('.')[1]} --method {name}"
                lines.append(f"{shown:<28} {find.summary(kind, name)}")
                if folder == "families":
                    lines.append(" " * 29 + "  ".join(f"new:{size}" for size in find.find(kind, name).SIZES))
        return "\n".join(lines)

    return act


_ABOUT = {
    "card": "Show what is known of a model, or how two differ.",
    "tasks": "List the tasks.",
    "families": "List the model families and the sizes that can follow new:.",
    "methods": "List the methods of each stage.",
}
COMMANDS: dict[str, Callable[[argparse.ArgumentParser, list[str]], str]] = {
    **{stage: _stage(stage) for stage in STAGES},
    "predict": _predict,
    "card": _card,
    "run": _run_recipe,
    "check": _check,
    "tasks": _listing("tasks"),
    "families": _listing("families"),
    "methods": _listing("methods"),
}

if __name__ == "__main__":
    sys.exit(main())
