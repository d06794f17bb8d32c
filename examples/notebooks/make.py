"""Make the notebooks from the tutorials of docs/, and the tutorials' pictures by running them.

    python examples/notebooks/make.py                 # run them, and keep their outputs and pictures
    python examples/notebooks/make.py --check DIR     # run the notebooks as they are; their pictures go into DIR

A page's text and its Python blocks become cells; what the page shows of their outputs, and its pictures, the notebook
has from running. Each takes half a minute on one core.
"""

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGES = HERE.parent.parent / "docs" / "tutorials"
NAMES = {"cora": "cora", "image_is_a_graph": "image"}  # notebook: page


def cells_of(page: Path) -> list[dict[str, Any]]:
    """The cells of a page, without outputs."""
    text = re.sub(r"^```text\n.*?^```\n+|^!\[[^\n]*\n+", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"^```math\n(.*?)^```$", r"$$\n\1$$", text, flags=re.M | re.S)
    text = re.sub(r"\]\((?=[\w./-]+\.md)", "](../../docs/tutorials/", text)
    parts = re.split(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)
    parts.insert(0, "")
    parts.insert(1, "%matplotlib inline")
    return [_cell(f"cell-{i}", part.strip(), is_code=i % 2 == 1) for i, part in enumerate(parts) if part.strip()]


def _cell(name: str, source: str, is_code: bool) -> dict[str, Any]:
    code = {"cell_type": "code", "execution_count": None, "outputs": []}
    return {"id": name, "metadata": {}, "source": source, **(code if is_code else {"cell_type": "markdown"})}


def main() -> None:
    import nbformat
    from nbclient import NotebookClient

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="DIR")
    folder = parser.parse_args().check
    for name, page in NAMES.items():
        path = HERE / f"{name}.ipynb"
        kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        made = {"cells": cells_of(PAGES / f"{page}.md"), "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        notebook = nbformat.read(path, 4) if folder else nbformat.from_dict(made)
        started = time.perf_counter()
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder or PAGES)}}).execute()
        if not folder:
            made["cells"] = [{**cell, "metadata": {}} for cell in notebook.cells]  # without the times of the run
            path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{path.name}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
