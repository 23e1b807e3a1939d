"""Files that are whole or not there, whenever the process is killed or the power fails."""

import os
from pathlib import Path
from typing import BinaryIO


def settle(file: BinaryIO, path: Path) -> None:
    """Bring a file that has been written, and stands beside `path`, to the disk, and only then give it this name."""
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)
    _sync(path.parent)  # a name lasts when its folder is on the disk


def settle_folder(aside: Path, path: Path) -> None:
    """Give a folder, whose files are on the disk, this name beside it, once their names are on the disk too."""
    _sync(aside)
    aside.replace(path)
    _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a file so; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.tmp").open("wb") as file:
        file.write(text.encode())
        settle(file, path)


def _sync(folder: Path) -> None:
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
