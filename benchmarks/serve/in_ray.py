"""The application of `penjing serve` in a replica of Ray Serve, as docs/deployment.md has it.

python benchmarks/serve/in_ray.py MODEL PORT THREADS
"""

import signal
import sys
import tempfile

import ray
from ray import serve

from penjing.core.runtime import Runtime
from penjing.serve.app import create_app

MODEL, PORT, THREADS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


@serve.deployment(num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": THREADS})
@serve.ingress(lambda: create_app([MODEL], runtime=Runtime(threads=THREADS), log="none"))
class Penjing:
    """What is served is the application."""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # paths of sockets must be short
        ray.init(num_cpus=THREADS + 1, include_dashboard=False, _temp_dir=folder, object_store_memory=200_000_000, logging_level="ERROR")
        serve.start(http_options={"host": "127.0.0.1", "port": PORT})
        serve.run(Penjing.bind())
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        ray.shutdown()
