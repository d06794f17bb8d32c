import pytest
import torch

from gcnlab import GCN, Graph
from gcnlab.bench import floor


@pytest.mark.parametrize("sparse", [False, True])
def test_the_floor_counted_by_hand(sparse):
    """5 nodes, 7 features, 3 hidden, 2 classes; a path of 3 nodes and two nodes alone: 9 entries in Â."""
    x = torch.zeros(5, 7) if sparse else torch.ones(5, 7)
    x[:, 0] = 1  # 5 of 35 are stored, under 15 %
    graph = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]], 5, x=x)
    stored = 5 if sparse else 35
    found = floor(GCN(7, 3, 2), graph.x, graph.a_hat)
    assert graph.a_hat.nnz == 9
    assert found["flops"] == 2 * stored * 3 * 2 + 2 * 5 * 3 * 2 * 3
    product = {width: 4 * 9 * (2 + width) + 4 * 5 * width for width in (2, 3)}
    assert found["bytes"] == 2 * product[3] + 8 * stored + 2 * product[2] + 8 * 15 + 12 * 15
    assert found["seconds"] == pytest.approx(
        found["flops"] / found["flops_per_second"] + found["bytes"] / found["bytes_per_second"]
    )
    assert found["seconds"] > 0
