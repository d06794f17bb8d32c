"""Why depth fails: what docs/accuracy.md says of Â and of deep networks, on small graphs, on Cora, and in the record."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, pstdev

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

import gcnlab
from gcnlab import Graph, SparseMatrix, metrics
from gcnlab.propagate import propagate

ROOT = Path(__file__).parent.parent
RECORD = json.loads((ROOT / "benchmarks/results/depth.json").read_text(encoding="utf-8"))
DEPTHS = [2, 4, 8, 16, 32, 64]


def degrees(graph: Graph) -> torch.Tensor:
    """D̃'s diagonal, counted from the stored edges."""
    edges = graph.adjacency.to_dense() + torch.eye(graph.num_nodes)
    return edges.sum(1).double()


def test_a_product_with_a_hat_keeps_the_roots_of_degrees_and_not_constants():
    graph = gcnlab.load("karate")
    a_hat, root = graph.a_hat.to_dense().double(), degrees(graph).sqrt()
    assert (a_hat @ root).numpy() == pytest.approx(root.numpy(), rel=1e-6)
    assert (a_hat.sum(1) - 1).abs().max() > 0.3
    assert float(torch.linalg.eigvalsh(a_hat)[-1]) == pytest.approx(1, abs=1e-6)


def test_distances_shrink_as_fast_as_the_second_eigenvalue_and_only_within_a_component():
    karate = gcnlab.load("karate")
    a_hat = karate.a_hat.to_dense().double()
    second = torch.linalg.eigvalsh(a_hat).abs().sort().values[-2]
    x = torch.rand(34, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    distance = [metrics.mean_average_distance(torch.linalg.matrix_power(a_hat, k) @ x) for k in (60, 61)]
    assert distance[1] / distance[0] == pytest.approx(float(second) ** 2, rel=1e-3)  # 1 - cos is quadratic in the angle
    two = SparseMatrix.from_edges(torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]]), 5)
    h = propagate(torch.eye(5, dtype=torch.float64), Graph(two).a_hat.to_dense().double(), 2000)
    assert metrics.mean_average_distance(h[:3]) == pytest.approx(0, abs=1e-9)
    assert metrics.mean_average_distance(h[3:]) == pytest.approx(0, abs=1e-9)
    assert metrics.mean_average_distance(h) == pytest.approx(
        0.6
    )  # 6 of 10 pairs are of two components, at a distance of 1


@pytest.mark.data
def test_sixteen_products_leave_cora_apart():
    graph = gcnlab.load("cora").with_row_normalized_features()
    sums = graph.a_hat.row_sums()
    assert (float(sums.min()), float(sums.max())) == pytest.approx((0.455, 5.748), abs=5e-4)
    h, found = graph.x, {}
    for k in (2, 4, 8, 16, 32, 64):
        h = propagate(graph.x, graph.a_hat, k)
        found[k] = metrics.mean_average_distance(h.to_dense() if isinstance(h, SparseMatrix) else h)
    assert found == pytest.approx({2: 0.779, 4: 0.678, 8: 0.550, 16: 0.410, 32: 0.284, 64: 0.195}, abs=6e-4)
    recorded = {row["layers"]: row["distance_by_layer"][-1] for row in RECORD if row["model"] == "Â^K X, linear"}
    assert recorded == pytest.approx(found, rel=1e-4)


@pytest.mark.data
def test_the_second_eigenvalue_of_cora():
    a_hat = gcnlab.load("cora").a_hat.to_scipy().astype(np.float64).tocsr()
    count, component = connected_components(a_hat)
    largest = np.flatnonzero(component == np.bincount(component).argmax())
    first, second = sorted(eigsh(a_hat[largest][:, largest], k=2, which="LA", return_eigenvectors=False), reverse=True)
    assert (count, len(largest)) == (78, 2485)
    assert (round(first, 4), round(second, 4)) == (1, 0.9964)


def accuracies(row: dict) -> str:
    test = row["accuracy"]
    return f"{100 * mean(row['train_accuracy']):.0f} / {100 * mean(test):.1f} ± {100 * pstdev(test):.1f}"


def distances(row: dict) -> str:
    return f"{mean(row['distance_at_start']):.2f} / {row['distance_by_layer'][-1]:.2f}"


def gradient(row: dict) -> str:
    return f"{mean(row['gradient_of_first']):.0e}"


@pytest.mark.parametrize("cell", [accuracies, distances, gradient])
def test_the_page_has_the_tables_of_the_record(cell):
    page = (ROOT / "docs/accuracy.md").read_text(encoding="utf-8")
    for name in dict.fromkeys(row["model"] for row in RECORD):
        cells = [cell(row) for row in RECORD if row["model"] == name]
        assert f"| {name} | {' | '.join(cells)} |" in page


def test_the_record_says_what_the_page_concludes():
    at = {(row["model"], row["layers"]): row for row in RECORD}
    train, test = ({k: 100 * mean(row[key]) for k, row in at.items()} for key in ("train_accuracy", "accuracy"))
    first = {key: mean(row["gradient_of_first"]) for key, row in at.items()}
    assert test["Â^K X, linear", 16] > test["Â^K X, linear", 2] - 1  # propagation alone keeps the classes
    assert train["no edges", 16] == pytest.approx(100 / 7)  # weights alone fail, and all nodes are alike
    assert at["no edges", 16]["distance_by_layer"][-1] < 1e-6
    assert train["GCN", 16] < 25
    assert at["GCN", 2]["distance_by_layer"][-1] < at["GCN", 32]["distance_by_layer"][-1]  # the better one is nearer
    assert 50 * first["GCN", 16] < mean(at["GCN", 16]["gradient_of_l2"]) < first["GCN", 2]
    for name in ("GCNII", "APPNP"):
        assert first[name, 64] > first[name, 2] / 2
    assert train["GCN + batch norm", 16] > 98 > 30 > train["GCN + residual", 16]
    assert test["GCN", 2] > max(value for (name, k), value in test.items() if name != "APPNP" and k > 2)


@pytest.mark.data
def test_the_example_measures_what_is_recorded(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/depth.py"), "--quick", "--epochs", "2", "--out", str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    names = list(dict.fromkeys(row["model"] for row in RECORD))
    assert [(row["model"], row["layers"]) for row in found] == [(name, k) for name in names for k in (2, 8, 16)]
    assert [(row["model"], row["layers"]) for row in RECORD] == [(name, k) for name in names for k in DEPTHS]
    recorded = {(row["model"], row["layers"]): row for row in RECORD}
    for row in found:  # what is measured before training does not depend on the epochs
        before = recorded[row["model"], row["layers"]]
        assert row.keys() == before.keys()
        assert row["distance_at_start"][0] == pytest.approx(before["distance_at_start"][0], rel=0.05, abs=1e-3)
        assert row["gradient_of_first"][0] == pytest.approx(before["gradient_of_first"][0], rel=0.2)
    assert len(done.stdout.splitlines()) == 1 + len(found)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
