"""What clients call models."""

from collections.abc import Sequence

from penjing.core.errors import OptionError
from penjing.core.model_dir import ModelDir


def names_of(bases: Sequence[ModelDir]) -> dict[str, ModelDir]:
    """Models by the name of their directory, or of their repository on the hub.

    Raises OptionError for two of one name.
    """
    found: dict[str, ModelDir] = {}
    for base in bases:
        name = base.origin.name.rsplit("/", 1)[-1] if base.origin else base.path.resolve().name
        if name in found:
            raise OptionError(
                f"{found[name]} and {base} would both be served as {name!r}", wanted="a name for each", fix="rename one of the directories"
            )
        found[name] = base
    return found
