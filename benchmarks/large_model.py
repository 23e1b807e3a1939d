"""A model larger than memory, of random weights, and a few rows for it: what quantizing and pruning without room for it is tried on.

python benchmarks/large_model.py FOLDER --size 8b
python benchmarks/large.py quantize FOLDER/model FOLDER/rows.txt --method rtn --bits 4 --out FOLDER/int4
python benchmarks/large.py prune FOLDER/model FOLDER/rows.txt --method hidden --importance magnitude --epochs 0 --out FOLDER/narrow

The shapes are those of Llama 3 (Dubey et al. 2024, table 3); weights are bf16 in files of about a gigabyte, one of which is held at a time.
The window is short: what is measured is memory, and a pass over many tokens takes one processor minutes.
"""

import argparse
import json
import random
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

SIZES = {
    "tiny": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 768, "vocab_size": 2048},
    "1b": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "intermediate_size": 8192, "vocab_size": 128256},
    "8b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 14336, "vocab_size": 128256},
}
WINDOW, NUM_ROWS = 32, 60
FILE_BYTES = 1 << 30
WORDS = tuple("the a bank said shares rose fell in of to and its year profit market new york trading price quarter company".split())  # noqa: SIM905


def main() -> None:
    """Write FOLDER/model and FOLDER/rows.txt."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="8b")
    words = parser.parse_args()
    out = words.folder / "model"
    out.mkdir(parents=True)
    draw = random.Random(0)
    rows = [" ".join(draw.choices(WORDS, k=12)) for _ in range(NUM_ROWS)]
    (words.folder / "rows.txt").write_text("\n".join(rows) + "\n", "utf-8")

    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(rows, trainers.WordLevelTrainer(special_tokens=["<unk>", "</s>"]))
    special = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=WINDOW, **special).save_pretrained(out)

    config = LlamaConfig(**SIZES[words.size], num_key_value_heads=8, max_position_embeddings=WINDOW, tie_word_embeddings=False)
    config.architectures, config.dtype, config.eos_token_id = ["LlamaForCausalLM"], torch.bfloat16, 1
    config.save_pretrained(out)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    print(f"{model.num_parameters():,} parameters in {_write(model, out)} files")


def _write(model: torch.nn.Module, out: Path) -> int:
    """Random weights of a model without any, file by file; how many files."""
    parts: list[dict[str, torch.Size]] = [{}]
    for name, value in model.state_dict().items():
        if sum(2 * shape.numel() for shape in parts[-1].values()) > FILE_BYTES:
            parts.append({})
        parts[-1][name] = value.shape
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file({key: _drawn(shape) for key, shape in part.items()}, out / name, {"format": "pt"})
        places |= dict.fromkeys(part, name)
    index = {"metadata": {}, "weight_map": places}
    (out / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    return len(parts)


def _drawn(shape: torch.Size) -> torch.Tensor:
    """Normal, with a variance that keeps that of the inputs; the weights of a norm are ones."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(std=shape[1] ** -0.5)


if __name__ == "__main__":
    main()
