# Needs Python 3.11 or newer with venv, and make; everything else is installed into .venv.
# `make` lists what there is. PYTHON=... names another Python, ARGS=... goes to the command.

VENV := .venv
NANO := .venv-nano
ENGINES := .venv-engines
BIN := $(VENV)/bin

# The stamps stand in the environments: who deletes an environment deletes its stamps.
RUNS := $(VENV)/.runs
DEVELOPS := $(VENV)/.develops
TRAINS := $(NANO)/.trains
MISTRALRS := $(ENGINES)/engines/mistralrs/modelhost-engine.json
VLLM := $(ENGINES)/engines/vllm/modelhost-engine.json

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
# Announces the end of a theme at every build.
export NO_MKDOCS_2_WARNING = 1

# pip's account of what it does, one short line a package; its errors as they are. $(1) environment, $(2) what.
# (A pipe's status is that of its last command, and /bin/sh has no pipefail: hence the mark.)
install = rm -f $(1)/.failed; \
	{ $(1)/bin/python -u -m pip install --progress-bar off $(2) || touch $(1)/.failed; } \
		| sed -n 's/^Collecting \([A-Za-z0-9._-]*\).*/  \1/p'; \
	test ! -e $(1)/.failed || { echo "pip could not install this; its reason is above." >&2; exit 1; }

.PHONY: help
help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-12s %s\n", $$1, $$2 }'

.PHONY: run
run: $(RUNS)  ## Serve the bundled model on http://127.0.0.1:8000; ARGS="MODEL --port 9000" serves another, elsewhere
	@$(BIN)/modelhost serve $(ARGS)

.PHONY: test
test: $(DEVELOPS)  ## Run the whole test suite; ARGS="-k word" runs a part
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: test-engines
test-engines: $(DEVELOPS) $(MISTRALRS) $(VLLM)  ## Run the tests of the engines that have environments of their own
	@MODELHOST_TEST_ENGINES=$(CURDIR)/$(ENGINES) $(BIN)/python -m pytest tests/integration/engines $(ARGS)

.PHONY: check
check: check-format check-lint check-types check-layers check-docs  ## Check format, lint, types, layers and documentation

.PHONY: check-format check-lint check-types check-layers check-docs
check-format: $(DEVELOPS)
	$(BIN)/ruff format --check .
check-lint: $(DEVELOPS)
	$(BIN)/ruff check .
check-types: $(DEVELOPS)
	$(BIN)/mypy --strict
check-layers: $(DEVELOPS)
	$(BIN)/lint-imports
check-docs: $(DEVELOPS)
	$(BIN)/python -m pytest tests/docs
	$(BIN)/mkdocs build --strict --quiet

.PHONY: format
format: $(DEVELOPS)  ## Format the code, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(DEVELOPS)  ## Write docs/reference from the code, and build the site into site/
	$(BIN)/python -m tools.reference
	$(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

.PHONY: bench
bench: $(DEVELOPS)  ## Measure the host beside the bare worker; prints a table, writes JSON
	@$(BIN)/python -m bench $(ARGS)

.PHONY: conformance
conformance: $(DEVELOPS)  ## Run the official MCP conformance suite against both sides; needs npm, brings its Node
	@$(BIN)/python -m tests.conformance $(ARGS)

.PHONY: nano
nano: $(TRAINS)  ## Train the bundled model from scratch, in an environment of its own (PyTorch)
	@$(NANO)/bin/python -m training.make_nano $(ARGS)

.PHONY: clean
clean:  ## Remove what make made: environments, caches, the site
	rm -rf $(VENV) $(NANO) $(ENGINES) site dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@python=$$(sh .ci/python "$(PYTHON)") && echo "Making $(VENV) with $$python" && "$$python" -m venv $(VENV)

$(RUNS): pyproject.toml | $(BIN)/python
	@echo "Installing modelhost into $(VENV); the first time this downloads its libraries."
	@$(call install,$(VENV),--editable .)
	@touch $@

$(DEVELOPS): pyproject.toml | $(BIN)/python
	@echo "Installing modelhost and what its tests need into $(VENV); the first time this downloads them."
	@$(call install,$(VENV),--editable '.[dev]')
	@touch $(RUNS) $@

$(ENGINES)/engines/%/modelhost-engine.json: src/modelhost/engines/environments.py | $(DEVELOPS)
	@echo "Installing $* into $(ENGINES)/engines/$*; the first time this downloads it."
	@$(BIN)/modelhost engines install $* --data-dir $(ENGINES)

$(TRAINS): training/requirements.txt
	@python=$$(sh .ci/python "$(PYTHON)") && echo "Making $(NANO) with $$python" && "$$python" -m venv $(NANO)
	@echo "Installing what the training needs into $(NANO), PyTorch among it."
	@$(call install,$(NANO),--requirement training/requirements.txt)
	@touch $@
