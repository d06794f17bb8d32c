"""Print docs/licences.md: each runtime dependency with the licence that its installed package states.

.venv/bin/python .ci/licences.py > docs/licences.md
"""

from importlib import metadata

from gcnlab.doctor import DEPENDENCIES

HEAD = """\
# Licences of the dependencies

gcnlab is under the MIT licence ([`LICENSE`](../LICENSE)). What `pip install gcnlab` brings with it, and what each package
states of its licence (an expression of SPDX, or its own words); made by `.ci/licences.py` from the installed packages.

| package | licence | needed by |
|---|---|---|"""


def licence(name: str) -> str:
    """The expression, else a short text, else the classifier; a whole licence text is no name."""
    package = metadata.metadata(name)
    classifiers = [
        line.rpartition(" :: ")[2] for line in package.get_all("Classifier", []) if line.startswith("License")
    ]
    text = package.get("License", "")
    return package.get("License-Expression") or (text if 0 < len(text) < 60 else ", ".join(classifiers))


print(HEAD)
for name, (_, needed_by) in DEPENDENCIES.items():
    print(f"| {name} | {licence(name)} | {needed_by} |")
