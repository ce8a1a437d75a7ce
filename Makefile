# Everything runs in .venv; the first target that needs it makes it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
unexport PYTHONDONTWRITEBYTECODE  # where it is set every process compiles all it imports, which no installed Accord does
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-realtime bench-big crash crash-bulk pictures clean bench-batch

help:  ## Show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(VENV)/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -U pip
	$(PIP) install -c constraints.txt -e '.[sandbox,duckdb]'
	@touch $@

$(VENV)/dev: $(VENV)/run
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/run  ## Orders, won deals and tickets run through eight systems, and into a warehouse (ARGS=--once ends after the table)
	$(BIN)/python examples/business/demo.py $(ARGS)

test: $(VENV)/dev  ## Install what tests need, run the checks and all tests
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: $(VENV)/dev  ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev  ## Measure speed and size on this machine
	$(BIN)/python bench/run.py $(ARGS)

bench-realtime: $(VENV)/dev  ## Orders end to end on every store beside a hand-written loop (ARGS="--peers --faults --shares --keep FILE")
	$(BIN)/python bench/bench_realtime.py $(ARGS)

bench-batch: $(VENV)/dev  ## Bulk flows beside the same work by hand (ARGS="--only S1,S3 --rows N --runs N --peers --memory --idle --keep FILE")
	$(BIN)/python bench/bench_batch.py $(ARGS)

bench-big: $(VENV)/dev  ## Ten million settled messages, one million waiting: 25 GB of disk (ARGS="--settled N --waiting N")
	$(BIN)/python bench/bench_big.py $(ARGS)

crash: $(VENV)/run  ## Kill an engine under load 2,000 times and count what its targets saw (ARGS="--kills N --messages N --keep FILE")
	$(BIN)/python -m accord.testing.crash $(ARGS)

crash-bulk: $(VENV)/dev  ## Kill bulk loads in every mode and to every target, run them again and compare (ARGS="--kills N --targets a,b --keep FILE")
	$(BIN)/python -m accord.testing.bulk_crash $(ARGS)

pictures: $(VENV)/dev  ## Take the pictures of docs/pictures anew, in a real browser
	$(BIN)/python -m pytest tests/journeys/test_browser.py -n 0 --pictures docs/pictures

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
