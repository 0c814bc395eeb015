# A fresh machine needs Python 3.11 or newer, pip and make. Everything is installed into .venv.
#
#   make train   [MINUTES=10] [RUN=runs/NAME]   learn Othello from nothing
#   make alphago [FOLDER=runs/alphago9] [QUICK=--quick]   AlphaGo's pipeline on 9×9; again to go on
#   make site    [MINUTES=10] [SITE=site]       a page for every game, to be put on any host of files
#   make docs                                  the documentation site, into site-docs/
#   make install | test | bench | clean

PYTHON ?= python3
MINUTES ?= 10
RUN ?= runs/othello-$(shell date +%Y%m%d-%H%M%S)
SITE ?= site
FOLDER ?= runs/alphago9$(if $(QUICK),-quick)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: install train alphago test bench site docs clean

install: .venv/.installed

train: install
	$(BIN)/myosu train othello --minutes $(MINUTES) --run $(RUN)

alphago: install
	bash scripts/install_program.sh gnugo gnugo
	$(BIN)/myosu recipe alphago9 $(QUICK) --folder $(FOLDER)

# Without GRhino, GNU Go, Quarry, Godot and Chromium (Debian packages) their tests skip and say so; so do those with
# ML-Agents' package, Unity's assemblies and Pachi without scripts/setup_mlagents.sh, scripts/setup_unity_assemblies.sh
# and scripts/install_pachi.sh. mypy uses one core, so the tests begin beside it.
test: .venv/.installed-dev
	bash scripts/install_program.sh gtp-rhino grhino || echo "Tests that need GRhino will be skipped."
	bash scripts/install_program.sh gnugo gnugo || echo "Tests that need GNU Go will be skipped."
	bash scripts/install_program.sh xdotool quarry xvfb xdotool || echo "Games in Quarry will be skipped."
	bash scripts/install_program.sh godot3-server godot3-server || echo "Games in Godot will be skipped."
	bash scripts/install_program.sh chromium chromium fonts-dejavu-core || echo "Tests of the page will be skipped."
	$(BIN)/ruff check
	$(BIN)/mypy & types=$$!; $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal; tests=$$?; \
	  wait $$types && exit $$tests

bench: install
	$(BIN)/myosu bench othello

# Trains ten minutes for each game that has no run yet.
site: install
	$(BIN)/python scripts/gallery.py $(SITE) --minutes $(MINUTES)

docs: .venv/.installed-dev
	$(BIN)/python -m mkdocs build --quiet
	@echo "site-docs/index.html"

# Trained runs stay.
clean:
	rm -rf .venv .venv-mctx .venv-lightzero .venv-sb3 .venv-cleanrl .venv-mlagents .unity .pachi build dist site-docs src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Myosu needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	    "Name another one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.installed: requirements.lock pyproject.toml | .venv/bin/python
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.installed-dev: requirements-dev.lock .venv/.installed
	$(PIP) -r requirements-dev.lock
	@touch $@
