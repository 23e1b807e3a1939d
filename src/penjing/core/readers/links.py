"""Symbolic links in a folder of data: followed inside of it, refused where they lead elsewhere."""

import os
from collections.abc import Collection
from pathlib import Path

from penjing.core.errors import DataError
from penjing.core.media import leads_out


def leave(top: Path, path: Path) -> bool:
    """Whether `path`, which lies in `top`, is a link out of it."""
    return path.is_symlink() and leads_out(top, path.absolute())


def check(top: Path, path: Path, above: Collection[str] = ()) -> None:
    """Raise DataError where `path`, which lies in `top`, is a link out of it, to nothing, or to one of the real folders `above`."""
    if not path.is_symlink():
        return
    if not path.exists():
        how = "leads to nothing, or in a circle"
    elif leave(top, path):
        how = "leads out of the folder"
    elif os.path.realpath(path) in above:
        how = "leads back to a folder above it"
    else:
        return
    raise DataError(
        f"{path}: this link {how} ({path.readlink()})",
        wanted=f"links to what lies in {top}",
        fix=f"take it out, or, if you trust it, put copies in place of links: cp -rL {top} COPY",
    )
