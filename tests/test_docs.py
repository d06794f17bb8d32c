"""The code of the pages in docs/ runs, and what the pages say it prints it prints."""

import doctest
import functools
import io
import json
import re
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

import gcnlab

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NOTEBOOKS = ROOT / "examples" / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))
import make  # noqa: E402

BLOCK = re.compile(r"^```(python|pycon|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OF_DATA = {"graphs.md", "large-graphs.md", "precompute.md"}
IN_THE_PLACE_OF = {  # what takes long, or is not at hand: the pages' own words but for these
    'load("ogbn-arxiv")': 'load("cora")',
    "batch_size=4096,": "batch_size=4096, epochs=5,",
    "(10, 10)), epochs=10,": "(10, 10)), epochs=1,",
}
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if re.search(r"^```py", page.read_text(encoding="utf-8"), re.MULTILINE)
    and page.stem not in make.NAMES.values()  # which run as notebooks
]


def run(page: Path, compare: bool = True) -> None:
    """Run the blocks of a page one after the other in one namespace.

    A `text` block right after a `python` one is what that prints: words and whole numbers alike, others nearly, since
    trainings on other machines round otherwise.
    """
    text = page.read_text(encoding="utf-8")
    names: dict = {"__name__": "__main__"}
    printed = ""
    for block in BLOCK.finditer(text):
        (language, code), line = block.groups(), text.count("\n", 0, block.start()) + 1
        if language == "python":
            for words, others in IN_THE_PLACE_OF.items():
                code = code.replace(words, others)
            with redirect_stdout(io.StringIO()) as out:
                exec(compile("\n" * line + code, str(page), "exec"), names)
            printed = out.getvalue()
        elif language == "pycon":
            case = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), line)
            case.globs, report = names, io.StringIO()
            doctest.DocTestRunner().run(case, out=report.write, clear_globs=False)
            assert not report.getvalue(), report.getvalue()
        elif printed:
            if compare:
                assert_alike(printed, code, f"{page}, line {line}")
            printed = ""


def assert_alike(printed: str, shown: str, where: str) -> None:
    number = r"\d+\.\d+"
    assert re.sub(number, "#", printed) == re.sub(number, "#", shown), where
    found, expected = ([float(n) for n in re.findall(number, text)] for text in (printed, shown))
    assert found == pytest.approx(expected, rel=0.1, abs=0.03), where


@pytest.fixture
def page_folder(tmp_path, monkeypatch, pyg, one_thread):
    """Where a page may write; torch.compile as it is, but without a compiler of C++."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", category=DeprecationWarning
        )  # of torch's compiler, and of what PyG is built on
        yield


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.stem, marks=[pytest.mark.data] if p.name in OF_DATA else []) for p in PAGES]
)
def test_page(page, page_folder):
    if page.stem == "lightning":
        pytest.importorskip("lightning")
        warnings.simplefilter("ignore")  # of Lightning's own
    run(page)


def test_papers_are_among_the_references():
    files = [ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "gcnlab").rglob("*.py")]
    named = re.compile(r"([A-Z][\w-]+(?: & [A-Z][\w-]+| et al\.)),? \(?((?:19|20)\d\d)\b")
    found = {" ".join(match.groups()) for file in files for match in named.finditer(file.read_text(encoding="utf-8"))}
    listed = re.findall(r"^- \*\*(.+?)\*\*", (DOCS / "references.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) > 30
    assert not {paper for paper in found if not any(entry.endswith(paper) for entry in listed)}
    assert listed == sorted(listed, key=str.lower)


@pytest.mark.parametrize(("name", "page"), make.NAMES.items())
def test_notebook_is_its_page(name, page):
    """Its cells are those of the page, and it prints what the page shows."""
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = make.cells_of(DOCS / "tutorials" / f"{page}.md")
    assert [cell["source"] for cell in notebook["cells"]] == [cell["source"] for cell in cells]
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert {output["output_type"] for output in outputs} == {"stream", "execute_result"}
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    shown = BLOCK.findall((DOCS / "tutorials" / f"{page}.md").read_text(encoding="utf-8"))
    assert_alike(printed, "".join(text for language, text in shown if language == "text"), name)


@pytest.mark.parametrize("page", make.NAMES.values())
def test_page_runs_without_data(page, page_folder, data_root):
    run(DOCS / "tutorials" / f"{page}.md", compare=False)


def test_calibration_is_as_recorded():
    page = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    for row in json.loads((ROOT / "benchmarks/results/calibration.json").read_text())["rows"]:
        cells = [f"`{row['recipe']}`", row["protocol"], str(row["num_seeds"])]
        for key, factor, digits in (
            ("accuracy_after", 100, 2),
            ("temperature", 1, 2),
            ("calibration_error_before", 1, 3),
            ("calibration_error_after", 1, 3),
        ):
            cells.append(f"{factor * row[key]['mean']:.{digits}f} ± {factor * row[key]['std']:.{digits}f}")
        cells.append(f"{row['calibration_error_of_true_probabilities']['mean']:.3f}")
        assert f"| {' | '.join(cells)} |" in page
        assert row["accuracy_before"] == row["accuracy_after"]


def test_reference_has_every_public_name():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    for name in gcnlab.__all__:
        module = getattr(getattr(gcnlab, name), "__module__", None)
        assert f"::: gcnlab.{name}\n" in pages or f"::: {module}\n" in pages, name
