"""How a model writes an answer token by token: options that override what its own generation_config.json says."""

from dataclasses import dataclass
from typing import Annotated

from penjing.core.errors import OptionError
from penjing.core.options import Between


@dataclass(frozen=True)
class Generation:
    """Options of engine/generate.py; None where the model's own setting holds."""

    max_new_tokens: Annotated[
        int | None, "most tokens of an answer; where not given, what the model's generation_config.json says", Between(1, 10**6)
    ] = None
    beams: Annotated[int | None, "how many answers are followed side by side to find a likelier one; usually 1", Between(1, 1000)] = None
    temperature: Annotated[
        float | None, "draw tokens, unlikely ones more often the higher it is; 0 takes the likeliest", Between(0, 100)
    ] = None
    top_k: Annotated[int | None, "draw among so many of the likeliest tokens", Between(1, 10**6)] = None
    top_p: Annotated[float | None, "draw among the likeliest tokens that have this chance together", Between(1e-6, 1)] = None
    stop: Annotated[list[str] | None, "texts before which an answer ends"] = None

    def __post_init__(self) -> None:
        if self.draws and (self.beams or 1) > 1:
            raise OptionError(
                f"--beams {self.beams} looks for the likeliest answer, and --temperature, --top-k and --top-p draw one",
                wanted="one of the two ways",
                fix="leave --beams out, or the others",
            )

    @property
    def draws(self) -> bool | None:
        """Whether tokens are drawn; None where these options do not say."""
        if self.temperature == 0:
            return False
        return True if self.temperature or self.top_k or self.top_p else None


OWN = Generation()
"""Everything as the model's own settings have it."""

PAST, PRESENT = "past_key_values.", "present."
"""What the names begin with, in a graph that writes, of what attention keeps of earlier tokens, as it is given and as it comes back."""
