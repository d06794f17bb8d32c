"""What is stated twice of the dependencies is the same: pyproject.toml, `gcnlab doctor`, docs/licences.md. And the install."""

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from gcnlab import doctor

ROOT = Path(__file__).parents[1]
PROJECT = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]


def test_doctor_knows_each_dependency_and_its_oldest_version():
    stated = dict(re.fullmatch(r"([\w-]+)(?:>=([\d.]+))?", line).groups() for line in PROJECT["dependencies"])
    assert list(doctor.DEPENDENCIES) == list(stated)
    oldest = {name: tuple(map(int, version.split("."))) for name, version in stated.items() if version}
    assert oldest == doctor.OLDEST
    assert PROJECT["requires-python"] == f">={'.'.join(map(str, doctor.OLDEST_PYTHON))}"


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
