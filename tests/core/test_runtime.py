"""What a process may take of the machine, read from files as Linux writes them."""

import os

import pytest

from penjing.core import runtime


@pytest.fixture
def container(tmp_path, monkeypatch):
    """The three files of a container's memory, where there is one."""
    limits = tuple(tmp_path / name for name in ("memory.max", "memory.current", "memory.stat"))
    monkeypatch.setattr(runtime, "_LIMITS", [limits])
    return limits


def test_free_memory_is_some_of_what_the_machine_has(container):
    assert 0 < runtime.free_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(("most", "free"), [("5000000", 5_000_000 - 3_000_000 + 1_000_000), ("100", 0)])
def test_a_container_holds_a_process_to_less_where_files_in_memory_do_not_count(container, most, free):
    for path, text in zip(container, (most, "3000000", "anon 2000000\ninactive_file 1000000")):
        path.write_text(text + "\n")
    assert runtime.free_bytes() == free


def test_a_container_without_a_limit_has_what_the_machine_has(container):
    container[0].write_text("max\n")
    assert runtime.free_bytes() > 5_000_000
