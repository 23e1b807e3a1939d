"""What a card says of an engine's artefact: what is in it, what it may cost, and why this engine."""

from collections.abc import Sequence
from typing import Any

from penjing.core.report import Report
from penjing.engine import words

LEFT = {  # what prune says of what is left -> what that is
    "blocks": "blocks",
    "width": "neurons in each feed-forward part",
    "heads": "heads in each attention",
    "hidden_width": "channels of its hidden width",
}


def quantized_sentence(report: Report) -> str:
    """What is stored in few bits, on which kernels it runs and how far its logits are from the parent's; empty for other models."""
    facts = report.facts.get("quantized")
    if not facts:
        return ""
    if facts["engine"] == "torch":
        return _of_weights_alone(facts) + _apart(report)
    kernels = f"; kernels of this processor: {facts['kernels']}" if facts.get("kernels") else ""
    text = f"{words.share(facts['int8_share'])} of the weights of its layers have {facts['bits']} bits, the rest 32{kernels}."
    return text + _apart(report)


def _apart(report: Report) -> str:
    apart = report.facts.get("parity", {}).get("parent")
    if not apart:
        return ""
    return (
        f" On {apart['rows']} tuning rows its logits are {apart['typical']:.2g} from the parent's (root mean square; at most "
        f"{apart['largest']:.2g}), where those spread by {apart['spread']:.2g}."
    )


def _of_weights_alone(facts: dict[str, Any]) -> str:
    if "packed_share" not in facts:
        return "All weights have 16 bits, and torch calculates in bf16: pixels and sounds are to be given in it."
    left = words.share(1 - facts["packed_share"] - facts["embedding_share"])
    return (
        f"Weights of {facts['layers']} linear layers, {words.share(facts['packed_share'])} of all, have {facts['bits']} bits"
        + (f" ({', '.join(facts['more_bits'])} 8)" if facts["more_bits"] else "")
        + f", {facts['group']} inputs to a scale; embeddings, {words.share(facts['embedding_share'])}, have 16; the rest, {left}, stays."
    )


def remarks(report: Report) -> list[str]:
    """Notes that a reader of a pruned model, or of a quantized one, must not miss."""
    facts, found = report.facts.get("quantized"), list[str]()
    removed = [report.facts.get("vocabulary") or {}, report.facts.get("removed") or {}]
    if few := next((each for each in removed if "new_text_share" in each), None):
        share = words.share(few["new_text_share"])
        found.append(f"it has {few['tokens']}; about {share} of the tokens of new text are others, and come in smaller pieces")
    if left := [f"{removed[1][name]} {what}" for name, what in LEFT.items() if name in removed[1]]:
        rounds = report.facts.get("rounds", [])
        found.append(f"of its parent it has {' and '.join(left)}" + (f", the rest taken away in {len(rounds)} rounds" if rounds else ""))
    if "zero_share" in removed[1]:
        zeros, total = words.share(removed[1]["zero_share"]), removed[1]["weights"]
        found.append(f"{zeros} of the {total:,} weights in the layers of its blocks are zero; zeros are stored and multiplied as any other "
                     "number is, so that bytes and time are what they were")  # fmt: skip
    if not facts:
        return found
    if facts["engine"] == "torch":
        return [*found, *_of_layers(facts)]
    if tried := report.facts.get("engines"):
        found.append(_tried(tried))
    if not facts["kernels"]:
        found.append("this processor tells of no instruction that adds up products of 8-bit numbers; where there is one int8 is faster")
    if cells := facts.get("fp32_cells"):
        found.append(f"its {' and '.join(cells)} cells have 8 bits in the file and calculate in 32: there are no int8 kernels for them")
    if facts["reduce_range"]:
        found.append("weights have 7 bits, not 8: on this processor sums of 8-bit products overflow, and then answers are wrong")
    speed = report.facts["latency"]
    if speed["ratio"] < 1:
        factor, word = words.speed(speed)
        found.append(f"on this machine {speed['engine']['child']} is {factor} × {word} than its parent, {speed['engine']['parent']}")
    return found


def _tried(entries: Sequence[dict[str, Any]]) -> str:
    listed = "; ".join(
        f"{entry['engine']} {words.shown('latency_ms', entry['latency_ms'])}"
        + (f" and {entry['flips']} of {entry['rows']} answers flipped" if "flips" in entry else "")
        for entry in entries
    )
    chosen = next(entry["engine"] for entry in entries if entry["status"] == "chosen")
    dropped = [entry["engine"] for entry in entries if entry["status"] == "flips more"]
    why = f", as {' and '.join(dropped)} flips more than chance explains" if dropped else " as the fastest"
    return f"engines tried for one row on {entries[0]['threads']} thread: {listed}; {chosen} was chosen{why}"


def _of_layers(facts: dict[str, Any]) -> list[str]:
    found = []
    if facts.get("packed_share"):
        found.append("each layer is unpacked when it is called: few bits save bytes and memory here, and no time")
    if coarse := facts.get("one_scale_an_output"):
        found.append(
            f"{len(coarse)} layers have one scale for each output, as groups of {facts['group']} do not divide their inputs: {coarse[0]}"
        )
    if unseen := facts.get("not_reached"):
        found.append(f"no calibration row reached {len(unseen)} layers, which were rounded to the nearest: {unseen[0]}")
    return found
