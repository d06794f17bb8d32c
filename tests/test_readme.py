"""The README says what was recorded, and its code runs."""

import json
import re
import sys
from pathlib import Path

import pytest
from faults import FAULTS

import gcnlab

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import record  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def recorded(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def test_accuracies_are_those_recorded():
    runs = record.results()
    assert len(runs) > 20
    assert record.with_tables(README, record.tables(runs)) == README
    assert json.loads((ROOT / "gcnlab/recorded.json").read_text(encoding="utf-8")) == record.recorded(runs)


def test_what_was_held_is_what_was_recorded():
    for file, made in record.reliability().items():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert record.with_tables(text, made) == text
    assert recorded("reliability")["form"] == "long"
    assert all(not row["failed"] for row in recorded("reliability")["rows"].values())
    assert recorded("faults")["unseen"] == []
    for fault in FAULTS:  # what they replace is there
        assert (ROOT / "gcnlab" / fault.file).read_text(encoding="utf-8").count(fault.line) == 1, fault


def test_epochs_are_those_recorded():
    for side, row in (
        ("gcnlab, receptive field", "| **gcnlab**, as `fit` trains |"),
        ("gcnlab, whole graph", "| gcnlab, every row of the graph |"),
        ("PyG, edge_index", "| PyG GCNConv, `edge_index`, cached |"),
        ("PyG, CSR", "| PyG GCNConv, CSR, cached |"),
    ):
        cells = README[README.index(row) + len(row) :].split("\n")[0].strip(" |").split(" | ")
        for name, cell in zip(("cora", "citeseer", "pubmed"), cells, strict=True):
            seconds = recorded(f"epoch-{name}")["epoch_seconds_median"]
            shown, *ratio = (float(number) for number in re.findall(r"[\d.]+", cell))
            assert shown == pytest.approx(1000 * seconds[side], abs=0.6 if ratio else 0.006)
            if ratio:
                assert ratio[0] == pytest.approx(seconds[side] / seconds["gcnlab, receptive field"], abs=0.6)


def test_start_times_are_those_recorded():
    for command, seconds in recorded("startup")["seconds_median"].items():
        if f"`{command}`" in README:
            assert re.search(rf"`{re.escape(command)}`\s+{seconds:.2f} s", README), command


@pytest.mark.data
def test_code_runs():
    try:
        gcnlab.load("cora", download=False)
    except gcnlab.GcnlabError:
        pytest.skip("cora is not in GCNLAB_DATA")
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(block, {})


def test_epochs_of_graph_classification_are_as_recorded():
    for result in recorded("graph-epochs")["results"]:
        title, seconds = result["dataset"].upper(), result["epoch_seconds"]
        row = next(line for line in README.splitlines() if line.startswith(f"| {title} | ") and " x |" in line)
        assert f"| {seconds['PyG'] / seconds['gcnlab']:.1f} x |" in row


def test_images_are_as_recorded():
    steps = {name: row["median_ms"] for name, row in recorded("image-layers")["steps"].items()}
    gcn, pyg = steps["GCNConv on grid.operator"], steps["PyG, GCNConv on a batch of 64 graphs"]
    assert f"takes {gcn:.1f} ms, Conv2d {steps['Conv2d, channels_last']:.1f} ms" in README
    assert f"{pyg:.0f} ms ({pyg / gcn:.1f} x)" in README


def test_large_graphs_are_as_recorded():
    large, sampling = recorded("larger-than-memory"), recorded("sampling")["seconds_median"]
    text = " ".join(README.split())
    for part in (
        f"{large['nodes'] // 10**6} million nodes, {large['stored edges'] / 1e6:.1f} million directed edges and "
        f"{large['features']} features are {large['bytes on disk'] / 1e9:.2f} GB",
        f"{large['limit of data, bytes'] >> 30} GiB (`RLIMIT_DATA`), of which it took "
        f"{large['peak anonymous resident bytes'] / 2**20:.0f} MiB",
        f"took {large['seconds']['train']:.0f} s, and predicting all nodes, exactly, "
        f"{large['seconds']['predict all nodes']:.0f} s",
        f"is made in {1000 * sampling['gcnlab, structure']:.1f} ms by torch alone; DGL's sampler, in C++, takes "
        f"{1000 * sampling['DGL, structure']:.1f} ms",
    ):
        assert part in text, part


def test_two_processes_are_as_recorded():
    page = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    for row in recorded("distributed")["results"]:
        each = row["items_per_second"]
        cells = f"| {each['1 process']:,.0f} | {each['2 processes']:,.0f} ({row['speedup']:.2f} x) | "
        assert cells + f"{each['2 trainings apart']:,.0f} ({row['speedup of trainings apart']:.2f} x) |" in page
