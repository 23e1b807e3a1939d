"""What deploy/ and docs/deployment.md name is there: flags, extras, routes, and the application that other hosts run."""

import re
import tomllib
from pathlib import Path

import yaml
from starlette.testclient import TestClient

from penjing.core.options import flags, spell
from penjing.core.runtime import Runtime
from penjing.serve import Options
from penjing.serve.app import create_app

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
DEPLOYMENT, SERVICE = yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text("utf-8"))
PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")


def test_flags_that_are_named_are_those_of_the_command():
    (container,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    entry = re.findall(r'"(--[a-z-]+)"', re.search(r"^ENTRYPOINT.*", DOCKERFILE, re.M)[0])
    named = {
        *entry,
        *(word for word in container["args"] if word.startswith("--")),
        *re.findall(r"--(?:host|token-file|workers|drain)\b", PAGE),
    }
    assert named <= {spell(flag.name) for options in (Options, Runtime) for flag in flags(options)}


def test_the_image_installs_extras_that_there_are():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {*re.search(r"'\.\[(.*?)\]'", DOCKERFILE)[1].split(",")} <= extras.keys()


def test_probes_ask_for_routes_that_answer_and_the_end_leaves_time_to_drain(text_parent):
    (container,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    assert DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > Options().drain
    with TestClient(create_app([text_parent], log="none")) as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert client.get(container[probe]["httpGet"]["path"]).status_code == 200
    assert SERVICE["spec"]["ports"][0]["targetPort"] == container["ports"][0]["containerPort"]
