# `make demo` and `make test` do all the set-up themselves; a second call installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# TORCH_INDEX=URL takes torch from another package index, for example one with CUDA builds.
TORCH_INDEX ?=
# Tests run in so many processes, each with one thread of torch: more threads than cores are far slower than few.
JOBS ?= 2
EXTRAS := full,demo,dev,dashboard,tensorrt-rtx
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)

.PHONY: demo proof study-compress test test-all lint typecheck-tensorrt setup clean

demo: setup  ## Real digits in, a small fast generator and its report out: runs/mnist/report/index.html
	$(BIN)/leangen run examples/mnist.yaml

proof: setup  ## Every number of the README: hours; goes on where it was stopped; writes docs/results.md
	$(BIN)/python -m examples.studies.proof all

study-compress: setup  ## How far compression alone brings the proof's reference; writes into docs/compression.md
	$(BIN)/python -m examples.studies.compress_dcgan run runs/proof/gan-0
	$(BIN)/python -m examples.studies.compress_dcgan table docs/compression.md

test: setup  ## Every test but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m "not slow"

test-all: setup  ## Every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

lint: setup  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/mypy

typecheck-tensorrt: setup  ## The TensorRT adapter against types made from the installed TensorRT-RTX, without a GPU
	$(BIN)/python .ci/typecheck_tensorrt.py

setup: $(STAMP)  ## The virtual environment with every tested version

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	rm -f $(VENV)/.installed-*
	touch $@

clean:  ## The virtual environment and caches; no run folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
