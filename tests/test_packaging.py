"""What is stated twice of the dependencies is the same: pyproject.toml, `gcnlab doctor`, docs/licences.md. And the install."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from gcnlab import checks, doctor

ROOT = Path(__file__).parents[1]
PROJECT = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]


def test_doctor_knows_each_dependency_and_its_oldest_version():
    stated = dict(re.fullmatch(r"([\w-]+)(?:>=([\d.]+))?", line).groups() for line in PROJECT["dependencies"])
    assert list(doctor.DEPENDENCIES) == list(stated)
    oldest = {name: tuple(map(int, version.split("."))) for name, version in stated.items() if version}
    assert oldest == doctor.OLDEST
    assert PROJECT["requires-python"] == f">={'.'.join(map(str, doctor.OLDEST_PYTHON))}"


def test_the_oldest_versions_are_installed_to_be_tested():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(
        re.fullmatch(r"([\w-]+)==([\d.]+)", line).groups() for line in lines if "==" in line and line[0] != "#"
    )
    pinned = {name: tuple(map(int, version.split("."))) for name, version in pinned.items()}
    assert list(pinned) == list(doctor.OLDEST)
    assert pinned.pop("torch") > doctor.OLDEST["torch"]  # the file says why
    assert pinned == {name: (*doctor.OLDEST[name], 0, 0)[:3] for name in pinned}


def test_each_extra_is_known_by_its_package():
    extras = {name: needs for name, needs in PROJECT["optional-dependencies"].items() if len(needs) == 1}
    assert {package: name for name, needs in extras.items() for package in needs if "[" not in package} == checks.EXTRAS


# Imports of a package by itself, without `checks.check_package`: (file, module) -> why that will do.
PLAIN_IMPORTS = {
    ("bench.py", "torch_geometric"): "asked for at the start",
    ("bench.py", "torch_geometric.nn"): "asked for at the start",
    ("findings.py", "networkx"): "recipes.run asks at the start",
    ("findings.py", "sklearn.decomposition"): "recipes.run asks at the start",
    ("findings.py", "sklearn.manifold"): "recipes.run asks at the start",
    ("plot.py", "matplotlib.backends.backend_agg"): "asked for by the lines before",
    ("plot.py", "matplotlib.colors"): "comes with the figure",
    ("plot.py", "matplotlib.figure"): "asked for by the lines before",
    ("plot.py", "matplotlib.ticker"): "comes with the figure",
    ("charts.py", "matplotlib.style"): "page.check_can_write asks at the start",
    ("callbacks.py", "tqdm"): "recipes.run asks at the start",
    ("history.py", "pandas"): "History.frame, whose result is pandas'",
    ("convert.py", "networkx"): "to_networkx, whose result is networkx'",
    ("spectrum.py", "scipy.sparse.linalg"): "l_tilde(None), which no command calls",
    ("encodings.py", "scipy.sparse.csgraph"): "encodings, which no command calls",
    ("encodings.py", "scipy.sparse.linalg"): "encodings, which no command calls",
    ("links.py", "scipy.sparse"): "split_edges, which no command calls",
    ("links.py", "scipy.sparse.csgraph"): "split_edges, which no command calls",
    ("convert.py", "torch_geometric.data"): "to_pyg, whose result is PyG's",
    ("gcn.py", "torch_geometric.nn"): "to_pyg, whose result is PyG's",
    ("matrix.py", "scipy.sparse"): "to_scipy, whose result is scipy's",
    ("points.py", "scipy.spatial"): "knn_graph, which no command calls",
    ("image_folder.py", "PIL.Image"): "asked for by `read`",
    ("image_folder.py", "PIL.ImageOps"): "asked for by `read`",
    ("baselines.py", "torchvision"): "says itself what is missing",
    ("baselines.py", "torchvision.models.feature_extraction"): "says itself what is missing",
}


def test_packages_are_asked_for_by_one_function():
    """So that a missing one is met before the work that needs it; what is imported at the top of a file is always needed."""
    optional = {module for module, _ in doctor.DEPENDENCIES.values()} - {"torch", "numpy"} | {"skimage", "torchvision"}
    found = set()
    for file in (ROOT / "gcnlab").rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                else:
                    modules = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                found |= {(file.name, module) for module in modules if module.partition(".")[0] in optional}
    assert found == set(PLAIN_IMPORTS)


def test_documented_modules_are_there_after_import():
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    parts = {f"gcnlab.{name}" for name in re.findall(r"^::: gcnlab\.([a-z_]+(?:\.[a-z_]+)?)", pages, re.MULTILINE)}
    parts |= {"gcnlab.recipes", "gcnlab.baselines"}
    code = (
        "import sys, torch; before = set(sys.modules); import gcnlab; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(sorted(new - {'gcnlab'})); print({'links', 'plot', 'recipes'} <= set(dir(gcnlab))); "
        f"[eval(part) for part in {sorted(parts)}]; print(hasattr(gcnlab, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[1:] == ["True", "False"], done.stderr
    assert not set(eval(done.stdout.splitlines()[0])) & {"pandas", "networkx", "scipy", "matplotlib", "sklearn", "PIL"}


def test_each_dependency_has_a_licence():
    page = (ROOT / "docs" / "licences.md").read_text()
    rows = re.findall(r"^\| ([\w-]+) \| (.*?) \| ", page, re.MULTILINE)
    assert rows.pop(0) == ("package", "licence")
    assert [name for name, _ in rows] == list(doctor.DEPENDENCIES)
    assert all(licence.strip() for _, licence in rows)


def is_editable_install():
    """Whether the installed gcnlab is this checkout, by `pip install -e`."""
    told = [found.read_text("direct_url.json") for found in metadata.distributions(name="gcnlab")]
    return {"url": ROOT.as_uri(), "dir_info": {"editable": True}} in [json.loads(text) for text in told if text]


def run(code, folder, *options):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_wheel_has_the_files_that_the_package_reads(tmp_path):
    """Built of a copy: every file of the package that is no code, such as the report's template."""
    pytest.importorskip("setuptools", minversion="77")
    ignored = shutil.ignore_patterns("__pycache__", "pretrained")
    shutil.copytree(ROOT / "gcnlab", tmp_path / "gcnlab", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    done = run(f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})", tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    found = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("gcnlab/")}
    files = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "gcnlab").rglob("*") if path.is_file()}
    assert found == files
    assert {f"gcnlab/reporting/{name}" for name in ("page.html", "style.css", "script.js")} <= found


@pytest.mark.skipif(not is_editable_install(), reason="the installed gcnlab is not this checkout, by `pip install -e`")
def test_a_checkout_is_imported_from_the_folder_that_holds_it(tmp_path):
    (tmp_path / "gcnlab").mkdir()  # as a clone is called
    for folder in (tmp_path, ROOT.parent):
        done = run("import gcnlab; print(gcnlab.load.__module__, gcnlab.__file__)", folder)
        assert (done.stdout.split(), done.stderr) == (["gcnlab.data", str(ROOT / "gcnlab" / "__init__.py")], ""), folder


def test_an_editable_install_puts_the_checkout_on_the_path(tmp_path):
    """A clone with a package of one line, installed by this pyproject.toml."""
    pytest.importorskip("setuptools", minversion="77")
    clone, site = tmp_path / "gcnlab", tmp_path / "site"
    (clone / "gcnlab").mkdir(parents=True)
    (clone / "gcnlab" / "__init__.py").write_text('__version__ = "0.0.1"\nload = print\n')
    (clone / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for name in ("README.md", "LICENSE"):
        (clone / name).touch()
    done = run(f"from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})", clone)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    for folder in (tmp_path, clone, site):
        done = run(f"import site; site.addsitedir({str(site)!r}); import gcnlab; print(gcnlab.load)", folder, "-S")
        assert (done.stdout.strip(), done.stderr) == (str(print), ""), folder
