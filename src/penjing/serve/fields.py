"""Fields of a JSON object: taken one by one, so that what is left at the end was not understood."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from penjing.core.errors import nearest
from penjing.serve.errors import Refused


class Fields:
    """What a request says; null is as good as nothing."""

    def __init__(self, body: Mapping[str, Any], place: str = ""):
        self._left, self._place = {name: value for name, value in body.items() if value is not None}, place
        self._known: list[str] = []

    def take(self, name: str) -> Any:
        """Its value, whatever it is; None where there is none."""
        self._known.append(name)
        return self._left.pop(name, None)

    def number(self, name: str, least: float, most: float, *, whole: bool = False) -> Any:
        """A number within bounds."""
        value = self.take(name)
        kinds = (int,) if whole else (int, float)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most):
            raise self.refused(name, value, f"a {'whole ' if whole else ''}number from {least:,} to {most:,}")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false where it is not said."""
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise self.refused(name, value, "true or false")
        return bool(value)

    def texts(self, name: str, most: int) -> list[str]:
        """A text, or a list of some; none is empty."""
        value = self.take(name)
        found = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(found, list) or len(found) > most or not all(isinstance(text, str) and text for text in found):
            raise self.refused(name, value, f"a text, or a list of at most {most}, none of them empty")
        return found

    def usual(self, name: str, *values: Any) -> None:
        """A field of which this server knows these values alone: those that say the same as nothing."""
        value = self.take(name)
        if value is not None and value not in values:
            raise self.refused(name, value, f"{' or '.join(map(json.dumps, values))}, or nothing" if values else "nothing")

    def ignored(self, names: Collection[str]) -> None:
        """Fields that change no answer."""
        for name in names:
            self.take(name)

    def done(self) -> None:
        """Raise Refused with 400 for what nobody took."""
        for name in self._left:
            raise Refused(400, f"{self._place}{name[:60]} is not supported", "unsupported", wanted=nearest(name[:60], self._known))

    def refused(self, name: str, value: Any, wanted: str) -> Refused:
        """The error of a field that is not as it should be."""
        return Refused(400, f"{self._place}{name} is {json.dumps(value, ensure_ascii=False)[:60]}", "bad_input", wanted=wanted)
