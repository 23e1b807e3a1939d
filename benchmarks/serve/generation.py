"""Tokens a second and the first token of servers that write: penjing beside `transformers serve`, on the same model and cores.

    taskset -c 0,1 python benchmarks/serve/generation.py [--threads 2] [--clients 8] [--prompt 128] [--new 64] [--requests 3] [--rounds 5]
        [--llama-cpp FOLDER]

A GPT-2 of 14 million parameters whose weights are drawn, as speed does not depend on them; it takes the likeliest token each time and
never ends by itself. Servers are processes of their own, asked in turn, and stopped between: each client asks for one answer after the
other, as events. Before all of it penjing and offline `generate` write the same texts. A first token is the whole of a request for one
token: alone, and while all clients but one are being written for; beside it stands the forward pass over such a prompt in this process, and
a token's choice. Clients and server share the cores that this process may use. transformers with --continuous-batching is asked too where
it starts, and llama.cpp where a folder of it is given in which it was built: as fp32 beside penjing's model, in 8 bits beside its int8.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import conditions, table

import penjing
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.new_text import NewText
from penjing.engine import load, tokenizers

PIECES, CONTEXT, WORDS = 8000, 1024, 6000
STARTING_S, ASKED_S = 180.0, 600.0
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SAME_TEXTS, MOST = 8, 500


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in (("threads", 2), ("clients", 8), ("prompt", 128), ("new", 64), ("requests", 3), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--llama-cpp", type=Path, help="its source, with build/bin/llama-server; its converter runs in this Python")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        model = made(Path(folder) / "gpt")
        servers = started(stack, model, given)
        prompts = Prompts(model, given.prompt)
        with servers["penjing"].turn():
            told = [same_texts(servers["penjing"], model, prompts, given)]
        found: dict[str, dict[str, list[float]]] = {name: {} for name in servers}
        prefills = []
        for _ in range(given.rounds):
            prefills.append(prefill(prompts))
            for name, server in servers.items():
                with server.turn():
                    for measure, value in measured(server, prompts, given).items():
                        found[name].setdefault(measure, []).append(value)
    print(f"## serve/generation\n\n{conditions()}\n\n{table(['what', 'measured', 'bar'], [*told, *lines(found, prefills, given.clients)])}")


def made(out: Path) -> Path:
    """The model as a directory of penjing, with a tokenizer that has learnt made-up words."""
    draw = random.Random(0)
    text = [" ".join("".join(draw.choices(LETTERS, k=draw.randint(2, 7))) for _ in range(20)) for _ in range(WORDS // 20)]
    tokenizer = tokenizers.train(lambda: text, NewText("bpe", PIECES, CONTEXT), writes=True, goes_on=True)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=PIECES, n_positions=CONTEXT, n_embd=384, n_layer=6, n_head=6, pad_token_id=0,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # so wide that the likeliest token stands out
        for weight in model.parameters():
            weight.mul_(2 if weight.ndim == 2 else 1)
    model.generation_config.update(do_sample=False, eos_token_id=None, pad_token_id=0, max_new_tokens=CONTEXT // 4)
    load.save(load.Loaded(find("tasks", "text-generation").TASK(), model, tokenizer), out)
    return out


def in_int8(model: Path) -> Path:
    """The artefact that penjing makes of it."""
    rows, out = model.with_name("rows.jsonl"), model.with_name("gpt-int8")
    draw = random.Random(2)
    rows.write_text(
        "".join(json.dumps({"text": " ".join("".join(draw.choices(LETTERS, k=4)) for _ in range(9))}) + "\n" for _ in range(99))
    )
    penjing.quantize(model, rows, out=out, runtime=penjing.Runtime(quiet=True))
    return out


def in_gguf(model: Path, llama_cpp: Path, kind: str) -> Path:
    """It as llama.cpp opens it."""
    out = model.with_name(f"{kind}.gguf")
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("to_gguf.py")), str(llama_cpp), str(model), str(out), kind],
        check=True,
        capture_output=True,
    )
    return out


class Prompts:
    """Texts of about as many tokens, no two alike for long."""

    def __init__(self, model: Path, tokens: int):
        runtime = penjing.Runtime(quiet=True)
        self.loaded = load.load(ModelDir.open(model, runtime), find("tasks", "text-generation").TASK(), runtime)
        draw, processor = random.Random(1), self.loaded.processor
        words = [" ".join("".join(draw.choices(LETTERS, k=4)) for _ in range(tokens)) for _ in range(MOST)]
        ids = [processor(text, add_special_tokens=False)["input_ids"][: tokens - 1] for text in words]  # one stands before each text
        self._texts = itertools.cycle(map(processor.decode, ids))

    def next(self) -> str:
        """One more; for any thread."""
        return next(self._texts)


class Server:
    """A server of OpenAI's routes, in a process that stands still while others are asked."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, asked: dict[str, Any]):
        self.process, self._address, self._asked = process, f"127.0.0.1:{port}", asked

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """While the body runs it may compute."""
        self.process.send_signal(signal.SIGCONT)
        yield
        self.process.send_signal(signal.SIGSTOP)

    def complete(self, prompt: str, tokens: int, stream: bool = False) -> str:
        """What it writes; of a stream all events are read."""
        connection = http.client.HTTPConnection(self._address, timeout=ASKED_S)
        asked = {**self._asked, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": stream}
        connection.request("POST", "/v1/completions", json.dumps(asked), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {body[:500]}")
        if not stream:
            return str(json.loads(body)["choices"][0]["text"])
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
        return "".join(choice["text"] or "" for event in events for choice in event["choices"])


def started(stack: contextlib.ExitStack, model: Path, given: argparse.Namespace) -> dict[str, Server]:
    """The servers that start, each ready."""
    threads, small = str(given.threads), in_int8(model)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    ours = [sys.executable, "-m", "penjing", "serve", "--threads", threads, "--log", "none", "--deadline", "10m"]
    peer = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--host", "127.0.0.1", "--device", "cpu"]
    named = {"model": str(model)}
    commands: dict[str, tuple[list[str], dict[str, Any]]] = {
        "penjing": ([*ours, str(model)], {"model": model.name}),
        "penjing int8": ([*ours, str(small)], {"model": small.name}),
        "transformers serve": (peer, named),
        "transformers serve, continuous batching": ([*peer, "--continuous-batching", "--cb-max-memory-percent", "0.05"], named),
    }
    for kind in ("f32", "q8_0") if given.llama_cpp else ():
        words = ["-m", in_gguf(model, given.llama_cpp, kind), "-t", threads, "-np", given.clients, "-c", given.clients * CONTEXT]
        commands[f"llama.cpp {kind}"] = [f"{given.llama_cpp}/build/bin/llama-server", *map(str, words)], {"ignore_eos": True}
    found = {}
    for name, (command, asked) in commands.items():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen([*command, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        server = Server(process, port, asked)
        if ready(server):
            found[name] = server
            process.send_signal(signal.SIGSTOP)  # one whose threads look for work all the time would slow the others
        else:
            print(f"{name} does not answer, and is left out", file=sys.stderr)
    return found


def ready(server: Server) -> bool:
    """Whether it answers at all within the time for it."""
    until = time.monotonic() + STARTING_S
    while time.monotonic() < until and server.process.poll() is None:
        try:
            server.complete("a", 2, stream=True)
            return True
        except OSError:
            time.sleep(0.2)
        except (RuntimeError, http.client.HTTPException, ValueError) as error:
            if not str(error).startswith("503"):  # one that loads its model yet
                return False
            time.sleep(0.2)
    return False


def same_texts(server: Server, model: Path, prompts: Prompts, given: argparse.Namespace) -> list[str]:
    """How many texts, asked for all at once, are those of offline generation."""
    asked = [prompts.next() for _ in range(SAME_TEXTS)]
    runtime = penjing.Runtime(quiet=True, threads=given.threads)
    wanted = [penjing.predict(model, prompt, runtime=runtime, max_new_tokens=given.new)[0]["value"] for prompt in asked]
    said: dict[int, str] = {}

    def ask(number: int) -> None:
        said[number] = server.complete(asked[number], given.new, stream=True)

    together([lambda number=number: ask(number) for number in range(len(asked))])
    return ["greedy texts of penjing as offline", f"{sum(said[i] == text for i, text in enumerate(wanted))} of {len(wanted)}", "all"]


def measured(server: Server, prompts: Prompts, given: argparse.Namespace) -> dict[str, float]:
    """Tokens a second of one client and of all; seconds to a first token alone and beside the others."""

    def client() -> None:
        for _ in range(given.requests):
            server.complete(prompts.next(), given.new, stream=True)

    server.complete(prompts.next(), 2)  # which warms up
    one = seconds(client)
    many = seconds(lambda: together([client] * given.clients))
    alone = statistics.median(seconds(lambda: server.complete(prompts.next(), 1)) for _ in range(3))
    with busy(server, prompts, given.clients - 1):
        beside = statistics.median(seconds(lambda: server.complete(prompts.next(), 1)) for _ in range(3))
    tokens = given.requests * given.new
    return {"one": tokens / one, "many": given.clients * tokens / many, "alone": alone, "beside": beside}


@contextlib.contextmanager
def busy(server: Server, prompts: Prompts, clients: int) -> Iterator[None]:
    """While the body runs so many clients are being written for."""
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            server.complete(prompts.next(), 64, stream=True)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for number, thread in enumerate(threads):
        thread.start()
        time.sleep(0.05 * (number < len(threads) - 1))  # not in step
    time.sleep(0.5)
    yield
    over.set()
    for thread in threads:
        thread.join()


@torch.inference_mode()
def prefill(prompts: Prompts) -> float:
    """Seconds of the forward pass over a prompt, and of the choice of a token."""
    model: Any = prompts.loaded.model
    ids = torch.tensor([prompts.loaded.task.encode({"prompt": prompts.next()}, prompts.loaded.processor)["input_ids"]])

    def forward() -> int:
        return int(model(ids, use_cache=True, logits_to_keep=1).logits[0, -1].argmax())

    forward()
    return statistics.median(seconds(forward) for _ in range(5))


def seconds(work: Callable[[], Any]) -> float:
    """That it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def together(works: list[Callable[[], None]]) -> None:
    """Each in a thread of its own."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lines(found: dict[str, dict[str, list[float]]], prefills: list[float], clients: int) -> Iterator[list[str]]:
    """The rows of the table: medians over the rounds, and ratios of what was measured in the same round."""
    own = found["penjing"]
    for name, rates in found.items():
        yield [f"{name}, 1 client", f"{statistics.median(rates['one']):,.0f} tokens/s", ""]
        yield [f"{name}, {clients} clients", f"{statistics.median(rates['many']):,.0f} tokens/s", ""]
    yield [f"penjing, {clients} clients over 1", ratio(own["many"], own["one"]), "≥ 3×"]
    for name, rates in found.items():
        if not name.startswith("penjing"):
            us, bar = ("penjing int8" if name.endswith("q8_0") else "penjing"), ("≥ 1.2×" if name.startswith("transformers") else "")
            yield [f"{us} over {name}, {clients} clients", ratio(found[us]["many"], rates["many"]), bar]
            yield [f"{us} over {name}, 1 client", ratio(found[us]["one"], rates["one"]), ""]
    yield ["bare prefill", f"{1000 * statistics.median(prefills):.1f} ms", ""]
    for name, times in found.items():
        bars = ("≤ 1.5×", "") if name == "penjing" else ("", "")
        for which, bar, said in zip(("alone", "beside"), bars, ("alone", f"beside {clients - 1} others")):
            shown = f"{1000 * statistics.median(times[which]):.1f} ms, {ratio(times[which], prefills)} the bare prefill"
            yield [f"{name}, first token {said}", shown, bar]


def ratio(own: list[float], other: list[float]) -> str:
    """Its median over the rounds, least and most."""
    each = [a / b for a, b in zip(own, other)]
    return f"{statistics.median(each):.2f}× ({min(each):.2f}-{max(each):.2f})"


if __name__ == "__main__":
    main()
