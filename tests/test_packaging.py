"""What is stated twice of the dependencies is the same: pyproject.toml, `gcnlab doctor`, docs/licences.md."""

import re
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
