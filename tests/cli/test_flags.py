"""The flags of every command, pinned: a change of a name or a default is seen in the diff of flags.txt.

python tests/cli/test_flags.py > tests/cli/flags.txt      renews the list
"""

import subprocess
import sys
from pathlib import Path

import pytest

from penjing import cli
from penjing.stages import _frame

PINNED = Path(__file__).with_name("flags.txt")


class Built(Exception):
    """The parser of a command, caught where it would have parsed."""


def parser_of(command, *words):
    """The parser of a command. argparse refuses two flags of one name, so that building it shows that none collide."""

    def stop(parser, *_):
        raise Built(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_parse", stop)
        try:
            cli.COMMANDS[command](cli.Parser(f"penjing {command}", ""), list(words))
        except Built as built:
            return built.args[0]


def described():
    """Every command and method, its flags below it, each with its value and default."""
    lines = []
    for command in cli.COMMANDS:
        methods = _frame.method_names(command) if command in cli.STAGES else []
        for words in [["--method", method] for method in methods] or [[]]:
            lines.append(" ".join([command, *words]))
            for action in parser_of(command, *words)._actions[1:]:
                name = action.option_strings[0] if action.option_strings else action.dest
                value = f" {action.metavar}" if action.option_strings and action.metavar else ""
                usual = action.help[action.help.rindex("[") :] if action.help.endswith("]") else ""
                lines.append(f"    {name}{value} {usual}".rstrip())
    return "\n".join(lines) + "\n"


def test_flags_are_the_pinned_ones():
    assert described() == PINNED.read_text("utf-8"), f"on purpose? then: {__doc__.splitlines()[2].strip()}"


def test_every_flag_has_a_sentence():
    for command in cli.COMMANDS:
        assert all(action.help for action in parser_of(command)._actions), command


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_tells_its_options(command, capsys):
    assert cli.main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: penjing {command}") and max(map(len, said.splitlines())) <= cli.WIDTH


def test_help_of_the_whole_imports_nothing_heavy():
    code = "import sys; from penjing.cli import main; main(['--help']); print(*sys.modules, sep='\\n')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(said.split())
    assert "penjing.cli" in loaded and "finetune" in said
    assert not {"torch", "transformers", "numpy", "pyarrow", "sklearn", "PIL", "tqdm"} & loaded


if __name__ == "__main__":
    print(described(), end="")
