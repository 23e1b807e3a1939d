# The first commands a newcomer types: `make demo`, `make test`. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
# A pip option, for another index of torch: make TORCH_INDEX="--extra-index-url https://download.pytorch.org/whl/cpu"
TORCH_INDEX ?=
BIN := .venv/bin

.PHONY: demo test lint bench clean
.DELETE_ON_ERROR:

demo: .venv/ready
	$(BIN)/penjing run digits

test: .venv/ready
	$(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/pip install $(TORCH_INDEX) -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/digits.py
	$(BIN)/python benchmarks/sst2.py --data $${DATA:?name the folder of the data sets: make bench DATA=...}

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "penjing needs Python 3.11 or later; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	@# --use-pep517: seqeval builds by setuptools_scm, which the older way of pip installs without what it needs
	$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 $(TORCH_INDEX) -c constraints.txt -e '.[onnx,openvino,lora,quant,text,explain,serve,tensorboard,test,lint]'
	touch $@

clean:
	rm -rf .venv runs
