# Every target makes the virtual environment that it needs and uses it again: .venv, or VENV=path.
# A stamp file in it says which parts are installed; a newer pyproject.toml installs them again.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
JOBS ?= 2

# Where cores are shared, one thread is many times faster than several. The kernels of the book and of Lab inherit it.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test check format book notebooks workshop lab clean

help: ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: $(VENV)/.installed ## two hands found in a picture, with their meshes
	$(BIN)/dhpe demo

test: $(VENV)/.installed-test ## all tests, on the CPU and on a GPU where there is one
	$(BIN)/python -m pytest -n $(JOBS)

check: $(VENV)/.installed-dev ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## what the linter can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages are written anew, since warnings of pages left alone would not be seen; executed notebooks are kept, by the
# hash of the library.
book: $(VENV)/.installed-book ## the book, strictly, into _build/html
	rm -rf _build/html _build/.doctrees
	$(BIN)/jupyter-book build . -n -W --keep-going
	$(BIN)/python book/check_site.py _build/html

OUTSIDE = $(CURDIR)/_build/outside
notebooks: book ## every notebook, run outside the repository with the wheel of the library
	rm -rf $(OUTSIDE)
	$(BIN)/python -m hatchling build -t wheel -d $(OUTSIDE)
	$(BIN)/python -m zipfile -e $(OUTSIDE)/*.whl $(OUTSIDE)/wheel
	cp _build/html/notebooks/student/*.ipynb $(OUTSIDE)
	cd $(OUTSIDE) && PYTHONPATH=$(OUTSIDE)/wheel $(abspath $(BIN))/jupyter execute *.ipynb

WORKSHOP = _build/workshop
workshop: book ## one folder for a room without an internet connection: packages, notebooks, pages (PIP_FLAGS for other systems)
	rm -rf $(WORKSHOP)
	$(BIN)/python -m hatchling build -t wheel -d $(WORKSHOP)/wheelhouse
	$(BIN)/python -m pip download --quiet --dest $(WORKSHOP)/wheelhouse $(PIP_FLAGS) "$$(ls $(WORKSHOP)/wheelhouse/dhpe-*.whl)[lab]"
	cp -r _build/html/notebooks/student $(WORKSHOP)/notebooks
	cp -r _build/html $(WORKSHOP)/site
	rm -rf $(WORKSHOP)/site/notebooks/solutions
	cp book/_ext/START.txt $(WORKSHOP)
	cd $(WORKSHOP) && ls -d wheelhouse/* > packages.txt

lab: $(VENV)/.installed-lab ## JupyterLab: the first page lists the chapters; a double click opens one as a notebook
	$(BIN)/jupyter lab --notebook-dir=book --LabApp.default_url=/lab/tree/intro.md

clean: ## remove all generated files
	rm -rf $(VENV) _build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(VENV)/.created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
