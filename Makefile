# `make test` and `make demo` work on a fresh clone: they make .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

.PHONY: test check demo clean
test: check
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(VENV)/installed
	$(BIN)/python -m demos.compare --out out/compare --resume

clean:
	rm -rf $(VENV) out build *.egg-info
