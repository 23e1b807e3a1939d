"""The completion script does in a real shell what a person at the keyboard expects."""

import contextlib
import shutil
import subprocess

import pytest

from penjing import cli, completion


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """Words as typed so far, the last one unfinished -> what bash offers."""
    if not (bash := shutil.which("bash")):
        pytest.skip("needs bash")
    written = tmp_path_factory.mktemp("completion") / "penjing.bash"
    with written.open("w") as file, contextlib.redirect_stdout(file):
        assert cli.main(["completion", "bash"]) == 0
    press_tab = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _shtab_penjing; echo "${COMPREPLY[@]}"'

    def pressed(*words):
        done = subprocess.run([bash, "-c", press_tab, "bash", written, "penjing", *words], capture_output=True, text=True)
        assert not done.stderr
        return done.stdout.split()

    return pressed


def test_every_command_is_completed(complete):
    for command in cli.COMMANDS:
        assert command in complete(command[:-1])


def test_flags_of_every_method_are_completed_and_so_are_the_values_they_can_have(complete):
    assert complete("finetune", "--learning") == ["--learning-rate"]
    assert "--keep-share" in complete("prune", "MODEL", "DATA", "--method", "layers", "--keep")
    assert complete("finetune", "--optimizer", "") == ["adamw", "sgd", "muon"]
    assert complete("prune", "--method", "lay") == ["layers"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_command_prints_the_script_of_a_shell(ask, shell):
    said = ask("completion", shell).out
    assert "shrink" in said and "learning-rate" in said


def test_a_shell_that_is_not_known_is_named(refused):
    refused(["completion", "bsh"], "no completion for 'bsh'", "'bash'")
