# Everything starts here: `make demo` and `make test` each set up all that they need from a bare clone.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PHOTOS ?=
KEY ?= $(HOME)/.ssh/wellread-release
OUT ?= dist/release
# The release that `make evaluate` measures; where `make model` writes, and the release whose weights it goes on from.
RELEASE ?= models/hi-wells-v3
NEW ?= models/hi-wells-v4
START ?= models/hi-wells-v3
FROM = $(lastword $(subst -, ,$(START)))

.PHONY: help demo test check format bench faults docs release lock train-setup model evaluate clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## Broker, central and a reader on this machine; PHOTOS=dir reads your own photographs
	@$(BIN)/wellread-demo $(if $(PHOTOS),--photos "$(PHOTOS)")

test: $(VENV)/.dev ## Set up everything and run the tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev ## Formatting, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.dev ## Format the code and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## Print the benchmarks: ratios beside a peer or a ceiling, in one run
	@$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

faults: $(VENV)/.dev ## Prove what docs/reliability.md promises, with the full counts: hours (ONLY=e1 one of them)
	@FAULTS_FULL=1 FAULTS_ONLY="$(ONLY)" nice $(BIN)/python -m pytest tests/faults tests/simulation tests/security
	@$(BIN)/python -m tests.faults.table

docs: $(VENV)/.dev ## Make the generated pages and example files anew
	@$(BIN)/python -m protocol.page > docs/protocol.md
	@$(BIN)/python -m protocol.asyncapi > docs/asyncapi.json
	@$(BIN)/python -m central.people.page docs/permissions.md
	@$(BIN)/python -m models.training.reading_page
	@$(BIN)/python -m tests.central.deliveries.sayings
	@$(BIN)/python -m tests.faults.table
	@$(BIN)/python -m tests.security.table

release: $(VENV)/.dev ## The wheel of this commit and what it is installed with, signed with KEY (of ssh-keygen), in OUT
	@$(BIN)/python -m provisioning.release build "$(OUT)" --key "$(KEY)"

lock: $(VENV)/.dev ## Make the hash-pinned requirements files anew from pyproject.toml
	@sh provisioning/lock.sh $(BIN)/uv

train-setup: .venv-train/.done ## The training environment (PyTorch; about 2.5 GB), apart from everything else

model: .venv-train/.done $(VENV)/.dev ## Render, train on from release START, export and evaluate a new model into NEW
	@.venv-train/bin/python -m models.training.recover $(START)
	@OMP_WAIT_POLICY=PASSIVE .venv-train/bin/python -m models.training.train wells --start train-data/wells-$(FROM).pt
	@OMP_WAIT_POLICY=PASSIVE .venv-train/bin/python -m models.training.train calls
	@OMP_WAIT_POLICY=PASSIVE .venv-train/bin/python -m models.training.train settle --start train-data/calls-unsettled.pt
	@OMP_WAIT_POLICY=PASSIVE .venv-train/bin/python -m models.training.legends --strips 10000 --epochs 16 --start train-data/legends-$(FROM).pt
	@.venv-train/bin/python -m models.training.export --out $(NEW)
	@$(BIN)/python -m models.training.evaluate --release $(NEW) --plates "$${WELLREAD_PLATES:-../shared/plates}"

evaluate: $(VENV)/.dev ## Measure RELEASE (ONLY=rivals,… parts of it) on renders, and on photographs where they are present
	@$(BIN)/python -m models.training.evaluate --release $(RELEASE) $(if $(ONLY),--only $(ONLY)) --plates "$${WELLREAD_PLATES:-../shared/plates}"

clean: ## Remove what set-up made
	rm -rf $(VENV) .venv-train build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-data

$(VENV)/.made:
	@sh provisioning/set-up.sh venv "$(PYTHON)" $(VENV)
	@touch $@

# What runs on a bench and in a laboratory, and the broker.
$(VENV)/.run: $(VENV)/.made requirements/edge.txt requirements/central.txt pyproject.toml
	@sh provisioning/set-up.sh package mosquitto mosquitto
	@echo "Installing Wellread into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements/edge.txt -r requirements/central.txt -r requirements/build.txt
	@PYTHONWARNINGS=ignore $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# That, and what the tests and checks need. A browser is wanted, not required: its tests say so and skip.
$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@sh provisioning/set-up.sh package mosquitto_passwd mosquitto
	@sh provisioning/set-up.sh wanted chromium chromium
	@echo "Installing what the tests need into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# PyTorch comes without hashes: its CPU and CUDA builds are different files under one version.
.venv-train/.done: requirements/train.txt pyproject.toml
	@sh provisioning/set-up.sh package /usr/share/fonts/truetype/liberation fonts-liberation
	@sh provisioning/set-up.sh package /usr/share/fonts/truetype/dejavu fonts-dejavu
	@sh provisioning/set-up.sh venv "$(PYTHON)" .venv-train
	@.venv-train/bin/python -m pip install --quiet torch==2.13.0
	@.venv-train/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/train.txt
	@.venv-train/bin/python -m pip install --quiet --require-hashes -r requirements/build.txt
	@PYTHONWARNINGS=ignore .venv-train/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
