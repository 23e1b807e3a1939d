"""Files that are whole or not there, whenever the process is killed or the power fails."""

import os
from pathlib import Path
from typing import BinaryIO


def settle(file: BinaryIO, path: Path) -> None:
    """Bring a file that has been written, and stands beside `path`, to the disk, and only then give it this name."""
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # a name lasts when its folder is on the disk
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a file so; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.tmp").open("wb") as file:
        file.write(text.encode())
        settle(file, path)
