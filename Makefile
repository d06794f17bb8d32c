PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test

demo: $(VENV)/.installed  ## train Kipf & Welling's GCN on Cora
	$(VENV)/bin/python examples/cora_gcn.py

test: $(VENV)/.installed  ## run the tests
	$(VENV)/bin/python -m pytest -q

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@
