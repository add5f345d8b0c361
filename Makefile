# Everything a newcomer needs: `make demo` verifies two photos, `make test` runs the tests.
# Each target sets itself up: a virtual environment in .venv, filled by pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
# What is compiled once is there for all processes.
unexport PYTHONDONTWRITEBYTECODE
# Processes that run tests at the same time: one more than two cores, for some tests wait.
WORKERS ?= 3
# COVERAGE=1 counts the lines that tests run; `make coverage` tells how many.
PYTEST = $(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest -n $(WORKERS)

# Fails where a link or an anchor leads nowhere.
SITE = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Compare networks with the frameworks that they come from.
GRAPH_TESTS := tests/models/test_minifasnet.py tests/models/test_torch_state.py tests/models/test_keras_tensorflow.py

.PHONY: help demo serve docs test test-thorough test-graphs clients renew coverage check format bench bench-server bench-galleries clean

help:
	@echo "make serve   run the server on port 8000"
	@echo "make demo    verify portraits that come with PyPI packages"
	@echo "make docs    build the documentation as a site with a search, in site/"
	@echo "make test    run the tests (minutes)"
	@echo "make test-thorough  run those that take longer: many examples, whole corpora, other implementations"
	@echo "make test-graphs  compare networks with PyTorch and TensorFlow (installs gigabytes in .venv-graphs)"
	@echo "make clients  install clients of other services for test-thorough, in .venv-clients"
	@echo "make check   run the linters and the type checker"
	@echo "make format  format the code, and make the synchronous client of the other"
	@echo "make renew   write the snapshots of what users see anew"
	@echo "make bench   measure speed beside dlib (minutes)"
	@echo "make bench-server  load the server, beside the design that it replaces (minutes)"
	@echo "make bench-galleries  search, change, kill and enrol beside other stores (half an hour)"
	@echo "make clean   remove the virtual environment and caches"

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

serve: $(VENV)/.serve
	$(BIN)/visavis serve

docs: $(VENV)/.docs
	$(SITE)
	@echo "To read it: $(BIN)/python -m http.server --directory site"

test: $(VENV)/.check
	$(PYTEST)

test-thorough: $(VENV)/.check
	-$(MAKE) clients
	$(PYTEST) -m "thorough or scaled or hypothesis" --hypothesis-profile thorough

# Clients of other services, unmodified, for tests of the dialects that they speak; those tests are skipped without.
clients: $(CLIENTS)/.python $(CLIENTS)/.node

coverage: $(VENV)/.check
	$(BIN)/python -m coverage combine
	$(BIN)/python -m coverage report --format total

test-graphs:
	$(MAKE) VENV=.venv-graphs .venv-graphs/.graphs
	.venv-graphs/bin/python -m pytest $(GRAPH_TESTS)

# Writes anew what pins the outside; read the difference before you commit it.
renew: $(VENV)/.check
	RENEW_SNAPSHOTS=1 $(BIN)/python -m pytest -q tests/test_outside.py tests/test_openapi.py

check: $(VENV)/.check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(SITE)
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml
	test ! -x $(BIN)/hadolint || $(BIN)/hadolint Dockerfile

format: $(VENV)/.check
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python tools/unasync.py
	$(BIN)/python tools/tables.py
	$(BIN)/python tools/typescript.py

bench: $(VENV)/.check
	$(BIN)/python bench/speed.py
	$(BIN)/python bench/commands.py
	$(BIN)/python bench/many.py

bench-server: $(VENV)/.check
	$(BIN)/python bench/server.py

bench-galleries: $(VENV)/.check
	$(BIN)/python bench/search.py
	$(BIN)/python bench/kill.py
	$(BIN)/python bench/enrol.py

clean:
	rm -rf $(VENV) $(CLIENTS) .venv-graphs .coverage* .pytest_cache .hypothesis .mypy_cache .ruff_cache site

# A stamp per extra: made anew when the dependencies change.
$(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(VENV)/.serve: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(CLIENTS)/.python: tests/dialects/clients/requirements.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --requirement $<
	$(CLIENTS)/bin/python -m pip install --quiet --no-deps face_recognition
	touch $@

$(CLIENTS)/.node: tests/dialects/clients/package.json
	mkdir -p $(CLIENTS)
	cp $< $(CLIENTS)
	npm install --silent --no-audit --no-fund --prefix $(CLIENTS)
	touch $@
