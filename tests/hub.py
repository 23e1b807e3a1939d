"""A hub for tests on this machine: the routes of the Hugging Face hub that fetching a model asks for, over folders."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFUSED = {"org/gated": (403, "GatedRepo"), "org/broken": (500, "")}


FETCH = """
import json, sys
from penjing.core.errors import ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
def told(source, code):
    try:
        base = ModelDir.open(source, Runtime(quiet=True, trust_code=code))
    except ModelError as error:
        return [error.problem, error.wanted, error.fix]
    return {**base.describe(), "files": sorted(p.name for p in base.path.iterdir()), "shown": str(base)}
print(json.dumps([told(*given) for given in json.loads(sys.argv[1])]))
"""


@contextlib.contextmanager
def serving(root: Path):
    """Serve root/<org>/<name> as models; gives the address and the list of requests so far."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            found = re.fullmatch(r"/(?:api/models/)?([\w.-]+/[\w.-]+)/(revision|tree|resolve)/([\w.%-]+)(?:/([^?]+))?(?:\?.*)?", self.path)
            name, what, revision, file = found.groups()
            if name in REFUSED or not (root / name).is_dir():
                self.answer(*REFUSED.get(name, (404, "RepoNotFound")))
            elif revision not in ("main", COMMIT):
                self.answer(404, "RevisionNotFound")
            elif what == "resolve":
                self.answer(200, "", (root / name / file).read_bytes())
            else:
                said = {"id": name, "sha": COMMIT} if what == "revision" else [self.entry(root / name, p) for p in files(root / name)]
                self.answer(200, "", json.dumps(said).encode())

        def entry(self, folder, path):
            oid = hashlib.sha1(path.read_bytes()).hexdigest()
            return {"type": "file", "path": str(path.relative_to(folder)), "size": path.stat().st_size, "oid": oid}

        def answer(self, status, code, body=b"{}"):
            self.send_response(status)
            headers = {
                "Content-Length": len(body),
                "X-Repo-Commit": COMMIT,
                "ETag": f'"{hashlib.sha1(body).hexdigest()}"',
                "X-Error-Code": code,
            }
            for header, value in headers.items():
                self.send_header(header, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def fetched(home, endpoint, *sources, code=False, **environment):
    """What a process of its own, with its own cache, finds for each source: facts of the model, or the three parts of the error."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    given = json.dumps([(source, code) for source in sources])
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", FETCH, given], env={**known, **settings, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
