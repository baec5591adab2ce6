# make train: set up, then train the quick start and write pictures. make test: set up, then run the tests.
# make docs: set up, then build docs/_build/html/index.html, for which all examples run; not with EXAMPLES=0.
EXAMPLES ?= 1
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/$(shell date +%Y%m%d-%H%M%S)
PY := $(VENV)/bin/python

.PHONY: setup train test lint docs

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml setup.py $(wildcard pdeconv/native/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

train: setup
	$(PY) train.py --config configs/quickstart_denoise.yaml --run $(RUN)-denoise
	$(PY) train.py --config configs/quickstart_digits.yaml --run $(RUN)-digits

test: setup
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses auto --maxprocesses 4

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

docs: setup
	$(PY) -m sphinx --fail-on-warning --keep-going --quiet -D sphinx_gallery_conf.plot_gallery=$(EXAMPLES) docs docs/_build/html
