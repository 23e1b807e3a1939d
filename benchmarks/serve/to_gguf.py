"""A GPT-2 as llama.cpp opens it, by its own converter, which does not know our tokenizers: texts are cut as those of GPT-2.

python benchmarks/serve/to_gguf.py LLAMA_CPP MODEL OUT.gguf f32|q8_0
"""

import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

LLAMA_CPP, MODEL, OUT, KIND = sys.argv[1:]

if __name__ == "__main__":
    sys.path[:0] = [LLAMA_CPP, f"{LLAMA_CPP}/gguf-py"]
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda *_: "gpt-2"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(MODEL, Path(folder) / "model"))
        config = json.loads((copy / "config.json").read_text("utf-8"))
        (copy / "config.json").write_text(json.dumps(config | {"n_ctx": config["n_positions"]}), "utf-8")
        sys.argv = ["convert_hf_to_gguf.py", str(copy), "--outfile", OUT, "--outtype", KIND]
        runpy.run_path(f"{LLAMA_CPP}/convert_hf_to_gguf.py", run_name="__main__")
