PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test reliability

demo: $(VENV)/.installed  ## train Kipf & Welling's GCN on Cora
	$(VENV)/bin/python examples/cora_gcn.py

test: $(VENV)/.installed  ## run the tests
	$(VENV)/bin/python -m pytest -q -n logical

reliability: $(VENV)/.installed  ## hold gcnlab to every promise of docs/reliability.md with all trials, and plant every fault
	$(VENV)/bin/python -m pytest -q -n logical -m "promise and not gpu" --long --timeout 1800 --record benchmarks/results/reliability.json
	$(VENV)/bin/python tests/faults.py --json benchmarks/results/faults.json

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@
