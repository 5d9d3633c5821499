# `make demo` restores the sample images; `make restore PHOTO=picture.jpg` your own, into restored/
# beside it; `make test` checks everything. Each sets up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo restore test lint docs clean

demo: $(VENV)/installed
	$(BIN)/python selfdeblur_levin.py --data_path datasets/sample --save_path results/sample --method fast

# The shell reads PHOTO, not make, which would run what stands in backticks in a name.
restore: $(VENV)/installed
	@case "$$PHOTO" in "~/"*) PHOTO="$$HOME/$${PHOTO#??}" ;; esac; \
	test -f "$$PHOTO" || \
		{ echo "PHOTO=$$PHOTO: no such file; make restore PHOTO=/path/to/picture.jpg" >&2; exit 1; }; \
	$(BIN)/python selfdeblur_ycbcr.py --data_path "$$PHOTO" \
		--save_path "$$(dirname "$$PHOTO")/restored" --method photo --kernel_size auto

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Without --quiet, which would keep the warnings from --strict too.
docs: $(VENV)/installed-docs
	$(BIN)/python -m mkdocs build --strict
	@echo "written: site/index.html"

clean:
	rm -rf $(VENV) results/sample site

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-ray.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(VENV)/installed-docs: requirements-docs.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@
