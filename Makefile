# Everything sets itself up: a virtual environment in .venv with the locked packages.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers

# Python keeps what it has compiled, whatever the machine's default: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup tools demo up test check architecture docs audit wheel sbom images peers bench fault attack lock format clean

help:
	@echo "make setup   the environment in .venv; whatever needs it makes it where it is missing"
	@echo "make demo    play a day of traffic on this machine and look at two readers' trees (KEEP=1, DATA=path)"
	@echo "make up      run the whole stack on this machine until Ctrl-C"
	@echo "make test    all tests: real broker, Triton and Qdrant engine"
	@echo "make check   lint, format, types, who imports whom, code that nothing uses"
	@echo "make architecture  measure the rooms of the code and draw docs/pictures/architecture.svg"
	@echo "make docs    build the site of docs/ into site/"
	@echo "make audit   ask for known vulnerabilities of what requirements.lock installs (needs the network)"
	@echo "make wheel   the wheel in dist/: the same bytes from the same commit"
	@echo "make sbom    the bill of materials in dist/, as CycloneDX, and a judgement of its licences"
	@echo "make images  install both images in a Debian root and run them there as containers would (needs root; slow)"
	@echo "make bench   measure, ours and others in turn, and write docs/bench.json (ARGS='--only peers', ROUNDS=3)"
	@echo "make fault   inject every fault and look what is lost or doubled (NAME=zombie, BROKER=kafka, MUTANT=no-fence)"
	@echo "make attack  attack a running stack and look what it held (NAME=revoked-keys, ARGS=--short)"
	@echo "make tools   a browser, kcat, Prometheus and Alertmanager: for tests, Prometheus for 'make up' too"
	@echo "make peers   the environment of what the bench compares with, in .venv-peers"
	@echo "make format  mend what lint and format can mend"
	@echo "make clean   delete the local stack's data and the caches of the tools"
	@echo "make lock    resolve requirements.lock again"

setup: $(READY)

# torch goes by version alone: where pip can find a CPU build it takes it, and its hash differs from the CUDA build's.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || { echo "Python 3.11 or 3.12 is needed: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	@$(BIN)/python -m deploy.demo $(if $(DATA),--data $(DATA)) $(if $(KEEP),--keep)

up: $(READY)
	@$(BIN)/interests up

# JOBS processes run the suite side by side, each with servers of its own: most tests wait more than they work. Files
# come in their order, the quick ones of tests/unit last: they fill what is left when one process has ended.
test: $(READY) tools
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(ARGS)

# What tests use and no package of the lock brings: a browser, kcat, Prometheus with its tools, Alertmanager, the schema
# of compose files (check-jsonschema ships it). Where they cannot be had, those tests are skipped and say so. RUNLEVEL=1:
# Debian starts no service of what it installs.
tools:
	@for tool in chromium kcat prometheus prometheus-alertmanager; do \
	    command -v $$tool >/dev/null && continue; \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        { apt-get -qq update && RUNLEVEL=1 apt-get -qq install -y --no-install-recommends $$tool; } >/dev/null 2>&1 || echo "$$tool could not be installed: its tests are skipped"; \
	    else echo "$$tool is not installed: its tests are skipped (apt-get install $$tool)"; fi; \
	done
	@test -s .cache/compose-spec.json || { $(BIN)/python -m pip download --quiet --no-deps --dest .cache/compose check-jsonschema==0.39.0 \
	    && $(BIN)/python -m zipfile -e .cache/compose/check_jsonschema-0.39.0-py3-none-any.whl .cache/compose \
	    && cp .cache/compose/check_jsonschema/builtin_schemas/vendor/compose-spec.json .cache/; } >/dev/null 2>&1 \
	    || echo "the schema of compose files could not be had: its test is skipped"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

# Needs root and a mirror of Debian. ARGS="--bind FOLDER" where pip takes its packages from a folder.
images: $(READY)
	@$(BIN)/python -m tests.images $(ARGS)

architecture: $(READY)
	@$(BIN)/python -m deploy.architecture

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict && echo "site/index.html"

# Needs a vulnerability service on the network, so it is no part of check. 0: none known; 1: some; 3: not known.
audit: $(READY)
	@$(BIN)/python -m deploy.audit

# Files in a wheel bear the time of the last commit and the modes of a plain checkout, whatever the umask here, so whoever
# builds that commit gets the same bytes.
wheel: $(READY)
	@umask 022 && copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && \
	    git ls-files -z | xargs -0 cp --parents --target-directory "$$copy" && chmod -R u=rwX,go=rX "$$copy" && \
	    SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
	    --no-build-isolation --wheel-dir dist "$$copy" && sha256sum dist/*.whl

sbom: $(READY)
	@$(BIN)/python -m deploy.bill_of_materials

# What the bench compares with, in an environment of its own; where it cannot be had, the bench says so and goes on.
peers: $(READY)
	@cmp --silent requirements-peers.lock $(PEERS)/.ready || { test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS); \
	    $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-peers.lock \
	    && cp requirements-peers.lock $(PEERS)/.ready; } || echo "the peers cannot be installed: the bench goes on without them"

bench: $(READY) peers
	@$(BIN)/python -m tests.bench --out docs/bench.json $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

# NAME="zombie terminate" runs some, BROKER=kafka on Apache Kafka, MUTANT=no-fence with a guard taken out (must fail),
# DATA=path a log for kill-on-log.
fault: $(READY)
	@$(BIN)/python -m tests.fault $(if $(filter command,$(origin NAME)),$(NAME)) $(if $(BROKER),--broker $(BROKER)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(MUTANT),--mutant $(MUTANT)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(OUT),--out $(OUT)) $(if $(DATA),--data $(DATA)) $(ARGS)

# ARGS="--api http://127.0.0.1:8080" attacks a stack that runs already, ARGS=--list names the attacks.
attack: $(READY)
	@$(BIN)/python -m tests.attack $(if $(filter command,$(origin NAME)),$(NAME)) $(ARGS)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What is locked stays as it is, new requirements aside; UPGRADE=1 resolves all anew. pip-compile writes torch's local
# build into its result, and the marker of numpy, which 3.13 has another of; the recipe takes both out again. The extra
# `peers` has a lock file of its own.
EXTRAS := encoder training quantise embedded parquet tracing docs dev
COMPILE = $(BIN)/pip-compile $(if $(UPGRADE),--upgrade) --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url \
    --no-emit-trusted-host --no-emit-find-links --no-emit-options --no-header --unsafe-package torch
lock: $(READY)
	cp requirements.lock requirements.in.lock
	$(COMPILE) $(EXTRAS:%=--extra %) --output-file requirements.in.lock pyproject.toml
	$(BIN)/python -c "import pathlib; p = pathlib.Path('requirements.in.lock'); s = p.read_text(); head = ''.join(pathlib.Path('requirements.lock').read_text().splitlines(True)[:2]); pathlib.Path('requirements.lock').write_text(head + s[:s.index('# The following packages')].rstrip().replace(' ; python_version < \"3.13\"', '') + '\n'); p.unlink()"
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['peers'], sep='\n')" > requirements.in
	sed '/^#/d' requirements-peers.lock > requirements.in.lock && $(COMPILE) --output-file requirements.in.lock requirements.in
	$(BIN)/python -c "import pathlib; p = pathlib.Path('requirements.in.lock'); to = pathlib.Path('requirements-peers.lock'); head = ''.join(to.read_text().splitlines(True)[:2]); s = p.read_text(); to.write_text(head + s.split('# The following packages')[0].rstrip() + '\n'); p.unlink(); pathlib.Path('requirements.in').unlink()"

clean:
	rm -rf .interests .pytest_cache .mypy_cache .ruff_cache .hypothesis
