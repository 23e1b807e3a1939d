"""Tab completion: commands, flags and their values as a script for a shell, written by shtab from the parsers of the help.

penjing completion bash > ~/.local/share/bash-completion/completions/penjing
penjing completion zsh > ~/.zfunc/_penjing                           a folder of fpath
penjing completion fish > ~/.config/fish/completions/penjing.fish
"""

import argparse
from collections.abc import Iterable, Mapping

import shtab

SHELLS = ("bash", "zsh", "fish")
PLACES = {"MODEL": shtab.DIR, "PARENT": shtab.DIR, "CHILD": shtab.DIR, "OTHER": shtab.DIR, "--out": shtab.DIR, "--student": shtab.DIR,
          "DATA": shtab.FILE, "INPUT": shtab.FILE, "RECIPE": shtab.FILE}  # fmt: skip


def script(shell: str, parsers: Mapping[str, Iterable[argparse.ArgumentParser]]) -> str:
    """What the shell has to read; it starts no Python while somebody types.

    parsers   command -> its parser, one for each of its methods where these have flags of their own
    """
    top = argparse.ArgumentParser("penjing")
    commands = top.add_subparsers()
    for name, of_methods in parsers.items():
        first, *others = of_methods
        command = commands.add_parser(name, help=first.description, description=first.description, add_help=False)
        seen = set[str]()
        for action in (action for parser in (first, *others) for action in parser._actions):
            called = action.option_strings[-1] if action.option_strings else action.dest
            if called not in seen:
                if called in PLACES:
                    action.complete = PLACES[called]  # type: ignore[attr-defined]  # where shtab looks for it
                command._add_action(action)
            seen.add(called)
    return shtab.complete(top, shell)
