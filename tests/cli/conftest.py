"""Commands as a user types them, in an empty folder, through the function that `penjing` calls."""

from typing import NamedTuple

import pytest

from penjing import cli


class Said(NamedTuple):
    """What a command left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Type a command in an empty folder that is also `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def typed(*words):
        status = cli.main([str(word) for word in words])
        return Said(status, *capsys.readouterr())

    return typed


@pytest.fixture
def refused(ask, tmp_path):
    """Type a command that must be refused: status 2, three parts, `parts` in their order, and nothing written."""

    def typed(words, *parts):
        before = sorted(tmp_path.rglob("*"))
        said = ask(*words)
        assert said.status == 2 and said.out == "", said
        rest = said.err[said.err.index("penjing: ") :].splitlines()[1:]
        assert rest[0].startswith("  wanted  ") and rest[-1].startswith("  next    "), said.err
        assert "Traceback" not in said.err
        place = 0
        for part in parts:
            assert part in said.err[place:], f"{part!r} is not in\n{said.err[place:]}"
            place = said.err.index(part, place) + len(part)
        assert sorted(tmp_path.rglob("*")) == before
        return said.err

    return typed
