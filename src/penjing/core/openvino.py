"""OpenVINO without its telemetry.

Its package imports openvino_telemetry, which tells Google Analytics of every import unless it was asked not to. penjing calls nobody, so
that package is kept from loading in its processes; openvino has a stand-in for it.
"""

import sys
from types import ModuleType

from penjing.core.errors import need


def openvino() -> ModuleType:
    """The library, imported.

    Raises MissingExtra where it is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # as if it were not installed
    return need("openvino", "openvino")
