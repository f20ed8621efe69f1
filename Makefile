# Everything that people type here; `make help` lists it.

PYTHON ?= python3
JOBS   ?= $(shell getconf _NPROCESSORS_ONLN)

BIN    := .venv/bin
STAMPS := .stamps
INDEX  := _build/html/index.html

NOTEBOOKS := $(shell find book -name '*.ipynb' -not -path '*/.*' | sort)
PACKAGE   := $(shell find src -name '*.py' -o -name '*.js' -o -name '*.css')
SITE      := $(NOTEBOOKS) $(PACKAGE) _config.yml _toc.yml CHANGELOG.md CITATION.cff \
             $(shell find book -name '*.md' -o -name '*.txt' -o -name '*.yml' \
                  -o -path 'book/_*' -type f -not -name '*.pyc')

NBVAL := $(BIN)/python -m pytest --nbval --nbval-current-env \
         --nbval-cell-timeout 120 -p no:cacheprovider -q

UNIT  := tests --ignore tests/site --ignore tests/classroom

.DELETE_ON_ERROR:
.PHONY: help book test lint unit notebooks site site-report test-portable check lab \
        execute serve benchmark publish classroom test-classroom clean

help:
	@echo "make book            the site, from stored outputs; prints where it is"
	@echo "make test            everything that decides whether a change lands"
	@echo "make site-report     weight, load time and axe's findings of each page"
	@echo "make test-portable   unit tests and notebooks again, as on an older CPU"
	@echo "make check NOTEBOOK=book/dropout/layer.ipynb     one notebook, strictly"
	@echo "make execute [NOTEBOOK=...]   run notebooks again and store their outputs"
	@echo "make lab             the notebooks in JupyterLab"
	@echo "make serve           the site at http://127.0.0.1:8000"
	@echo "make classroom [SEED=...]     the exercises as a graded nbgrader course"
	@echo "make test-classroom [PART=dropout]   right, wrong and endless answers, graded"
	@echo "make benchmark       speed on this machine, into book/reference/performance"
	@echo "make publish REPOSITORY=owner/name   write the address into all files"
	@echo "make clean           remove what was built; the environments stay"

# --- environment ------------------------------------------------------------

$(STAMPS)/environment: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@mkdir -p $(STAMPS) && touch $@

# --- the site ---------------------------------------------------------------

$(INDEX): $(STAMPS)/environment $(SITE)
	$(if $(filter _%.yml CITATION.cff book/_ext/% book/_static/% $(STAMPS)/%,$?),rm -rf _build)
	$(BIN)/jupyter-book build --nitpick --warningiserror --keep-going .
	@touch $@

book: $(INDEX)
	@echo "The book is built. Open $(CURDIR)/$(INDEX)"

serve: $(INDEX)
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory _build/html

# --- tests ------------------------------------------------------------------

# Notebooks side by side: each trains in one thread.
test: lint unit
	$(MAKE) --jobs=$(JOBS) --keep-going --no-print-directory notebooks
	$(MAKE) --no-print-directory site

lint: $(STAMPS)/environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(STAMPS)/environment
	$(BIN)/python -m pytest -q $(UNIT)

# Strict nbval of each notebook that changed, or whose package changed, since it
# last passed.
notebooks: $(NOTEBOOKS:%=$(STAMPS)/%.passed)

$(STAMPS)/%.passed: % $(PACKAGE) $(STAMPS)/environment
	DROPNORM_JOBS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(NBVAL) $<
	@mkdir -p $(@D) && touch $@

SITE_TESTS := $(BIN)/python -m pytest -q -n $(JOBS) --dist loadgroup tests/site

site: $(INDEX)
	$(SITE_TESTS)

site-report: $(INDEX)
	$(SITE_TESTS) -k "weight or accessible"

# An older CPU, emulated; float64 makes the printed digits agree all the same.
OLD_CPU := ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE \
           ONEDNN_MAX_CPU_ISA=SSE41 \
           NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR" DROPNORM_JOBS=1

test-portable: $(STAMPS)/environment
	for threads in 1 2; do \
	  $(OLD_CPU) OMP_NUM_THREADS=$$threads OPENBLAS_NUM_THREADS=$$threads \
	    $(BIN)/python -m pytest -q $(UNIT) && \
	  $(OLD_CPU) OMP_NUM_THREADS=$$threads OPENBLAS_NUM_THREADS=$$threads \
	    $(NBVAL) -n $(JOBS) --dist loadfile $(NOTEBOOKS) || exit 1; \
	done

# --- writing ----------------------------------------------------------------

check: $(STAMPS)/environment
	@test -n "$(NOTEBOOK)" || { echo "make check NOTEBOOK=book/..."; exit 1; }
	$(NBVAL) $(NOTEBOOK)

execute: $(STAMPS)/environment
	$(BIN)/python tools/execute.py $(or $(NOTEBOOK),$(NOTEBOOKS))

lab: $(STAMPS)/environment
	$(BIN)/jupyter lab book

benchmark: $(STAMPS)/environment
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/replicates.py

publish: $(STAMPS)/environment
	$(BIN)/python tools/publish.py $(REPOSITORY)

# --- teaching ---------------------------------------------------------------

# nbgrader has an environment of its own: it adds menus to JupyterLab. The stamp is
# within, since `make clean` leaves the environment.
CLASSROOM := .classroom/venv
SEED      ?= 7

$(CLASSROOM)/stamp: tools/classroom-requirements.txt requirements.txt pyproject.toml
	test -x $(CLASSROOM)/bin/python || $(PYTHON) -m venv $(CLASSROOM)
	$(CLASSROOM)/bin/python -m pip install --quiet \
	  --requirement tools/classroom-requirements.txt --editable .
	@touch $@

classroom: $(CLASSROOM)/stamp
	$(CLASSROOM)/bin/python tools/classroom.py --seed $(SEED)

test-classroom: $(CLASSROOM)/stamp
	$(CLASSROOM)/bin/python -m pytest -q -p no:cacheprovider tests/classroom

clean:
	rm -rf _build $(STAMPS) .pytest_cache .ruff_cache .mypy_cache .hypothesis
