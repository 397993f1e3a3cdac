# make quickstart   set up, run the whole job on the built-in model, print the table and the report's path
# make test         set up, lint, type-check, test
# make lint         the first two of these
# make bench        time, memory and start-up beside plain ways to do the same (docs/speed.md); half an hour with nothing else running
# make torture      strike every verb that writes, again and again; under 40 minutes on two cores, goes on where it stopped
# make docs         the documentation as a site, in site/
# make package      build wheel and sdist into dist/, install the wheel into an environment of its own, and start it there
# make audit        licences and known holes of the packages in .venv; asks pypi.org's JSON service, which mirrors of the index may lack
# make clean        remove the environment and what tools left (never runs/)
#
# Settings, e.g. `make test PYTHON=python3.12`:
PYTHON ?= python3
# What pip is asked for where torch is missing and there is no NVIDIA GPU. On the ordinary index for Linux this brings CUDA
# libraries along; the CPU build alone is smaller: TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
OUT ?= runs/quickstart

BIN := .venv/bin
# --no-compile: Python compiles what it imports when it first does; compiling everything ahead takes a minute longer.
PIP := $(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --no-warn-script-location --root-user-action=ignore
STAMP := .venv/.installed

.PHONY: quickstart test lint bench torture docs package audit clean setup
.DELETE_ON_ERROR:

quickstart: $(STAMP)
	@$(BIN)/textunlearn quickstart --out "$(OUT)"

test: lint
	@$(BIN)/python -m pytest

lint: $(STAMP)
	@$(BIN)/ruff check
	@$(BIN)/mypy

# Each prints its table, and puts it where docs/speed.md and docs/measuring.md show it; a bar that is missed fails at the end only.
bench: $(STAMP)
	@failed=; for one in \
	    "speed/start_up.py --docs docs/speed.md" "speed/attention.py --docs docs/speed.md" \
	    "speed/training_step.py --docs docs/speed.md" "speed/rates.py --docs docs/speed.md" \
	    "speed/scaling.py --docs docs/speed.md --plot docs/scaling.svg" "throughput.py --docs docs/measuring.md"; do \
	    echo "benchmarks/$$one"; $(BIN)/python benchmarks/$$one || failed="$$failed $${one%% *}"; done; \
	    test -z "$$failed" || { echo "missed what is wanted:$$failed" >&2; exit 1; }

torture: $(STAMP)
	@$(BIN)/python tests/torture.py

docs: $(STAMP)
	@$(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

# A fresh environment: what the wheel does not name as needed is not there. It holds torch again, so it is made below build/.
package: $(STAMP)
	@$(PIP) build
	@rm -rf dist build/package && $(BIN)/python -m build --outdir dist . >/dev/null && ls dist
	@"$(PYTHON)" -m venv build/package
	@command -v nvidia-smi >/dev/null 2>&1 || build/package/bin/python -m pip install -qq $(TORCH)
	@build/package/bin/python -m pip install -qq dist/*.whl
	@cd build && package/bin/textunlearn --help >/dev/null && package/bin/textunlearn recipe >/dev/null && package/bin/textunlearn doctor

# Licences that one may ship beside Apache-2.0, by parts of their names; of the one package left out its own LICENSE file says Apache-2.0.
LICENCES := MIT;BSD;Apache;Python Software Foundation;PSF-2.0;Mozilla Public License 2.0;MPL-2.0;ISC;CNRI-Python;Zlib
audit: $(STAMP)
	@$(PIP) -e '.[audit]'
	@$(BIN)/pip-licenses --from=mixed --partial-match --allow-only="$(LICENCES)" --ignore-packages textunlearn agent-client-protocol >/dev/null
	@echo "licences: all packages may be used beside Apache-2.0"
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+.*//' > .venv/audited.txt
	@$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r .venv/audited.txt

setup: $(STAMP)

$(STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name it with make PYTHON=…" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "textunlearn needs Python 3.11 or newer, but $(PYTHON) is $$("$(PYTHON)" -V 2>&1): name another with make PYTHON=python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make environments: install its venv module (Debian: apt install python3-venv)" >&2; exit 2; }
	@echo "setting up .venv (once, a few minutes) …"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@command -v nvidia-smi >/dev/null 2>&1 || $(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) $(TORCH)
	@$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
