PYTHON ?= python3
VENV ?= .venv

.PHONY: demo docs test reliability

demo: $(VENV)/.installed  ## train Kipf & Welling's GCN on Cora
	$(VENV)/bin/python examples/cora_gcn.py

test: $(VENV)/.installed  ## run the tests
	$(VENV)/bin/python -m pytest -q -n logical

reliability: $(VENV)/.installed  ## hold gcnlab to every promise of docs/reliability.md with all trials, and plant every fault
	$(VENV)/bin/python -m pytest -q -n logical -m "promise and not gpu" --long --timeout 1800 --record=benchmarks/results/reliability.json
	$(VENV)/bin/python tests/faults.py --json benchmarks/results/faults.json

docs: $(VENV)/.installed  ## build the documentation into site/, open site/index.html
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@
