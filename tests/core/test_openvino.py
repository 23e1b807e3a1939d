"""openvino may be used; its telemetry may not be started."""

import importlib.util
import subprocess
import sys

import pytest


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed: pip install 'penjing[openvino]'")
def test_nobody_is_told_that_openvino_was_imported(tmp_path, monkeypatch):
    """Its telemetry writes an id of the user into ~/intel and calls Google Analytics as soon as openvino is imported."""
    monkeypatch.setenv("HOME", str(tmp_path))
    code = (
        "import socket, sys\n"
        "def called(*_, **__): print('called')\n"
        "socket.create_connection = socket.getaddrinfo = called\n"
        "from penjing.core.openvino import openvino\n"
        "openvino().Core()\n"
        "print(*[name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "" and list(tmp_path.iterdir()) == []
