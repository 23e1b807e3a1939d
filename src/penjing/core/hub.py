"""Models of the Hugging Face hub by name: `hf:org/name`, or `hf:org/name@revision` for a branch, a tag or a commit.

Only what transformers reads and what cannot run is fetched, into the hub's own cache; where the hub cannot be reached, what the cache
holds is used. huggingface_hub itself reads HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME and the token that `hf auth login` keeps.
"""

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from httpx2 import HTTPError
from huggingface_hub import constants, get_cached_repo_tree, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from penjing.core.errors import ModelError
from penjing.core.progress import say

PREFIX = "hf:"
WEIGHTS = ("model.safetensors", "model-?????-of-?????.safetensors", "model.onnx", "openvino_model.xml", "openvino_model.bin")
TEXTS = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.md", "LICEN[SC]E*")
CODE = "*.py"
_NOT_SAFETENSORS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".gguf")


class Origin(NamedTuple):
    """Where a model was fetched from: the repository and its commit."""

    name: str
    commit: str

    def __str__(self) -> str:
        return PREFIX + self.name


@functools.cache  # what a name means does not change while a process runs
def fetch(source: str, quiet: bool, code: bool) -> tuple[Path, Origin]:
    """The folder in the hub's cache that holds a model, complete, and where it came from.

    source   "hf:org/name" or "hf:org/name@revision"
    code     also fetch the Python files that lie beside the weights

    Raises ModelError for a name or a revision that the hub does not have, a model that wants a login, a repository without safetensors,
    and where the hub cannot be reached and the cache holds nothing or only a part.
    """
    name, _, revision = source.removeprefix(PREFIX).partition("@")
    wanted = [*WEIGHTS, *TEXTS, *([CODE] if code else [])]
    constants.HF_HUB_DISABLE_TELEMETRY = True  # else it tells the hub the version of torch and which agent may be at work
    say(f"fetching {source}, or what of it is not in the cache yet", quiet)
    with _without_bars(quiet or not sys.stderr.isatty()), _hub_errors(source, name, revision):
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted, ignore_patterns="*/*"))
    _require_weights(source, _listed(name, folder))
    return folder, Origin(name, folder.name)


def config(source: str, quiet: bool) -> Path:
    """The config.json of "hf:org/name", in the hub's cache: what is planned needs no weights.

    Raises ModelError as `fetch` does.
    """
    name, _, revision = source.removeprefix(PREFIX).partition("@")
    constants.HF_HUB_DISABLE_TELEMETRY = True
    with _without_bars(quiet or not sys.stderr.isatty()), _hub_errors(source, name, revision):
        return Path(hf_hub_download(name, "config.json", revision=revision or None))


def _listed(name: str, folder: Path) -> list[PurePosixPath]:
    """The files of the repository, those that were not fetched too; those of the folder where an older huggingface_hub filled it."""
    try:
        paths = [PurePosixPath(file.path) for file in get_cached_repo_tree(name, revision=folder.name)]
    except CachedRepoTreeNotFoundError:
        return [PurePosixPath(path.name) for path in folder.iterdir()]
    return [path for path in paths if len(path.parts) == 1]


def _require_weights(source: str, files: list[PurePosixPath]) -> None:
    """Raise ModelError unless a repository holds weights that cannot run code."""
    if any(file.match(pattern) for file in files for pattern in WEIGHTS):
        return
    others = ", ".join(sorted(file.name for file in files if file.suffix in _NOT_SAFETENSORS)[:3])
    raise ModelError(
        f"{source} has no safetensors" + (f", only {others}; a pickle can run code when it is opened" if others else ""),
        wanted="model.safetensors, or shards of it",
        fix=f"name a revision that has them ({source.partition('@')[0]}@refs/pr/1), or convert it where you trust it and name the folder",
    )


@contextmanager
def _hub_errors(source: str, name: str, revision: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into what a reader can do about it."""
    try:
        yield
    except HFValidationError:
        raise ModelError(f"{source} is no name of a model", wanted="hf:org/name, as the hub writes it", fix="correct the name") from None
    except GatedRepoError:
        raise ModelError(
            f"{source} is gated: its owners give it to those who ask",
            wanted="an account that may read it",
            fix=f"ask on its page at the hub ({name}), then hf auth login",
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"the hub has no model {name}, or does not show it to you",
            wanted="org/name as the hub writes it",
            fix="correct the name; for a private model: hf auth login",
        ) from None
    except RevisionNotFoundError:
        raise ModelError(
            f"{PREFIX}{name} has no revision {revision!r}", wanted="a branch, a tag or a commit of it", fix="correct it, or leave it out"
        ) from None
    except LocalEntryNotFoundError as error:
        offline = isinstance(error.__cause__, OfflineModeIsEnabled)
        raise ModelError(
            f"{source} is not in the cache, or not all of it, and "
            + ("HF_HUB_OFFLINE forbids the network" if offline else "the hub cannot be reached"),
            wanted="the network, once",
            fix="run this once with network, or name a directory",
        ) from None
    except HTTPError as error:  # also those of huggingface_hub for answers that are no success
        raise ModelError(
            f"fetching {source} failed: {str(error).splitlines()[0]}", wanted="an answer of the hub", fix="try again; what has come is kept"
        ) from error


@contextmanager
def _without_bars(silent: bool) -> Iterator[None]:
    """The bars of huggingface_hub only where somebody sees them move."""
    if not silent or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
