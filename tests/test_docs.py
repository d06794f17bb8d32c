"""The code of the pages in docs/ runs, and what the pages say it prints it prints."""

import doctest
import functools
import io
import re
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```(python|pycon|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]
OF_DATA = {"cora.md", "graphs.md", "image.md", "large-graphs.md", "precompute.md"}
IN_THE_PLACE_OF = {"ogbn-arxiv": "cora"}  # which is not at hand, and the page says that another does


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
            for name, other in IN_THE_PLACE_OF.items():
                code = code.replace(f'"{name}"', f'"{other}"')
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
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of torch's compiler, and of what PyG is built on
        yield


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.stem, marks=[pytest.mark.data] if p.name in OF_DATA else []) for p in PAGES]
)
def test_page(page, page_folder):
    if page.stem == "lightning":
        pytest.importorskip("lightning")
    run(page)


@pytest.mark.parametrize("name", ["cora", "image"])
def test_page_runs_without_data(name, page_folder, data_root):
    run(DOCS / "tutorials" / f"{name}.md", compare=False)
