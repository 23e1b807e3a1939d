"""Which files of a folder are its rows: one table or tree of files a split, a metadata table, or the only one there is."""

import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from penjing.core import archives
from penjing.core.errors import DataError, nearest
from penjing.core.readers import links, media_folder, metadata, plain_text, table
from penjing.core.readers.part import SPLITS, Part

_ORDER = ("train", "validation", "test")
Found = tuple[list[Part], list[str]]
"""The parts and the notes of what was passed over."""


def parts(folder: Path, wanted: str | None, skip_bad: bool = False) -> Found:
    """The parts of a folder: official splits, else what metadata.csv describes, else one tree of class folders, else its only table.

    wanted      one split, or any other name of a file or folder in it; None for all official splits
    skip_bad    as `table.part` has it
    Raises DataError where there is nothing to read, more than one file for a split, or no split called `wanted`.
    """
    name, read = folder.resolve().name, functools.partial(table.part, skip_bad=skip_bad)
    children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    tables = [child for child in children if table.suffix(child) and not _is_note(child)]
    if _official(tables):
        return _splits(name, tables, wanted, read)
    if metadata.described(folder):
        return _described(folder, name, wanted, skip_bad)
    trees = [child for child in children if _is_tree(child)]
    if _official(trees):
        return _splits(name, trees, wanted, functools.partial(_tree, skip_bad=skip_bad))
    if wanted is not None and any(_stem(child) == wanted for child in tables):
        return _splits(name, tables, wanted, read)
    if wanted is not None:
        raise _no_split(name, wanted, [_stem(child) for child in tables + trees])
    if any(tree.is_dir() for tree in trees):
        return [media_folder.part(folder, name)], [f"{name}/{child.name} is not read: it lies beside class folders" for child in tables]
    if len(tables) == 1:
        links.check(folder, tables[0])
        return [read(tables[0], f"{name}/{tables[0].name}")], []
    raise _nothing(folder, name, children, tables)


def _is_tree(child: Path) -> bool:
    """Whether it is a folder or an archive of images or sounds; one that a link leads to elsewhere only where it is a split."""
    if not child.is_dir() and not archives.is_archive(child):
        return False
    if _stem(child) in SPLITS:
        links.check(child.parent, child)
    return not links.leave(child.parent, child) and any(media_folder.files(child, child.parent))  # the first decides


def _described(folder: Path, name: str, wanted: str | None, skip_bad: bool) -> Found:
    there = metadata.by_split(metadata.part(folder, name, skip_bad=skip_bad))
    found = [part for part in there if wanted is None or part.split == SPLITS.get(wanted)]
    if not found:
        raise _no_split(name, str(wanted), [part.split for part in there if part.split])
    return found, []


def _tree(path: Path, name: str, split: str, skip_bad: bool) -> Part:
    """A split that is a folder or an archive: described by a table in it, or by its class folders."""
    if path.is_dir() and metadata.described(path):
        return metadata.part(path, name, split, skip_bad)
    return media_folder.part(path, name, split)


def _splits(name: str, children: list[Path], wanted: str | None, read: Callable[[Path, str, str], Part]) -> Found:
    chosen: dict[str, Path] = {}
    passed = []
    goal = SPLITS.get(wanted, wanted) if wanted else None
    for child in children:
        stem = _stem(child)
        split = SPLITS.get(stem, stem)
        if split != goal if goal else stem not in SPLITS:
            passed.append(child)
        elif split in chosen:
            raise DataError(
                f"{name}: both {chosen[split].name} and {child.name} are the {split} split", fix="take one of them out of the folder"
            )
        else:
            links.check(child.parent, child)
            chosen[split] = child
    if not chosen:
        raise _no_split(name, str(wanted), [_stem(child) for child in children])
    notes = [f"{name}/{child.name} is not read; ask for it by its name, {_stem(child)!r}" for child in passed if not goal]
    order = sorted(chosen, key=lambda split: _ORDER.index(split) if split in _ORDER else len(_ORDER))
    return [read(chosen[split], f"{name}/{chosen[split].name}", split) for split in order], notes


def _stem(path: Path) -> str:
    """What a file or folder is called: "train" of train.csv and of ptb.train.txt."""
    if path.is_dir():
        return path.name
    whole = table.stem(path)
    last = whole.split(".")[-1]
    return last if last in SPLITS else whole


def _is_note(path: Path) -> bool:
    """Whether a text says something of the folder rather than is its rows, for which it must be named as a split."""
    return table.suffix(path) in plain_text.SUFFIXES and _stem(path) not in SPLITS


def _official(children: Iterable[Path]) -> bool:
    return any(_stem(child) in SPLITS for child in children)


def _no_split(name: str, wanted: str, there: list[str]) -> DataError:
    close = nearest(wanted, there)
    return DataError(f"{name}: no split called {wanted!r}", wanted=close or None, fix=None if close else "leave the split out")


def _nothing(folder: Path, name: str, children: list[Path], tables: list[Path]) -> DataError:
    if tables:
        return DataError(
            f"{name}: {len(tables)} tables, none of them named as a split", wanted="train, validation and test, or one table",
            fix=f"name one of them: {nearest(tables[0].name, [child.name for child in tables])}",
        )  # fmt: skip
    for child in children:
        links.check(folder, child)
    there = ", ".join(child.name for child in children[:6]) or "nothing"
    return DataError(
        f"{name}: nothing to read in this folder; it holds {there}" + (" ..." if len(children) > 6 else ""),
        wanted=f"tables ({', '.join(table.SUFFIXES)}, also .gz) or one folder of images or sounds a class",
    )


def licence(folder: Path) -> str | None:
    """The `license:` at the top of a README, else the first line of a LICENSE file; None where the folder has neither."""
    readme = folder / "README.md"
    top = re.match(r"---\n(.*?)\n---", readme.read_text("utf-8", errors="replace"), re.DOTALL) if readme.is_file() else None
    entry = re.search(r"^license:[ \t]*(?:\n[ \t]*-[ \t]*)?(.+)$", top[1], re.MULTILINE) if top else None
    if entry:
        return entry[1].strip().strip("'\"")
    for path in sorted(folder.iterdir()):
        if re.fullmatch(r"(licen[sc]e|copying)(\.(txt|md))?", path.name.lower()) and path.is_file():
            return next((line.strip() for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip()), None)
    return None
