"""README.md and the pages in docs/ say what was recorded, and the README's code runs."""

import json
import sys
from pathlib import Path

import pytest
from faults import FAULTS
from test_docs import BLOCK, page_folder, run

__all__ = ["page_folder"]
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import record  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def recorded(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def test_tables_are_made_of_the_records():
    assert len(record.results()) > 20
    assert json.loads((ROOT / "gcnlab/recorded.json").read_text(encoding="utf-8")) == record.recorded(record.results())
    for file, made in record.made().items():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert record.with_tables(text, made) == text, file
    assert README.count("\n|---|") == 2  # the other tables are on pages of their own


def test_ratios_seen_hold_those_recorded():
    found = {
        name: recorded(f"epoch-{name}")["epoch_seconds_median"]["PyG, edge_index"]
        / recorded(f"epoch-{name}")["epoch_seconds_median"]["gcnlab, receptive field"]
        for name in ("cora", "citeseer", "pubmed")
    }
    epochs = recorded("full-batch-huge-pages")["tasks"]["epoch"]
    found["as large as ogbn-arxiv"] = epochs["PyG, edge_index"]["seconds_median"] / epochs["gcnlab"]["seconds_median"]
    for result in recorded("graph-epochs")["results"]:
        found[result["dataset"]] = result["epoch_seconds"]["PyG"] / result["epoch_seconds"]["gcnlab"]
    steps = {name: row["median_ms"] for name, row in recorded("image-layers")["steps"].items()}
    found["grid, to PyG"] = steps["PyG, GCNConv on a batch of 64 graphs"] / steps["GCNConv on grid.operator"]
    found[record.CONV2D] = steps["GCNConv on grid.operator"] / steps["Conv2d, channels_last"]
    for name, (low, high) in record.SEEN.items():
        if name in found:
            assert low * 0.99 <= found[name] <= high * 1.01, name


def test_what_was_held_is_what_was_recorded():
    assert recorded("reliability")["form"] == "long"
    assert all(not row["failed"] for row in recorded("reliability")["rows"].values())
    assert recorded("faults")["unseen"] == []
    for fault in FAULTS:  # what they replace is there
        assert (ROOT / "gcnlab" / fault.file).read_text(encoding="utf-8").count(fault.line) == 1, fault


@pytest.mark.parametrize("data", [pytest.param("with", marks=pytest.mark.data), "without"])
def test_code_prints_what_is_shown(data, page_folder, request):
    if data == "without":
        request.getfixturevalue("data_root")
    run(ROOT / "README.md")
    languages = [block[1] for block in BLOCK.finditer(README)]
    assert languages == ["python", "text"] * (len(languages) // 2)  # each block prints something


def test_it_is_short():
    shown = record.accuracy.in_short(record.results()).count("\n| ")
    to_come = len(record.accuracy.SHOWN) - shown
    assert 0 <= to_come < len(record.accuracy.SHOWN)
    assert len(README.splitlines()) + to_come <= 140


def test_two_processes_are_as_recorded():
    page = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    for row in recorded("distributed")["results"]:
        each = row["items_per_second"]
        cells = f"| {each['1 process']:,.0f} | {each['2 processes']:,.0f} ({row['speedup']:.2f} x) | "
        assert cells + f"{each['2 trainings apart']:,.0f} ({row['speedup of trainings apart']:.2f} x) |" in page
