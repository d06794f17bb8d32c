"""What keeps deep networks apart: its definitions by hand, its statistics, and PyG's of the same name."""

import pytest
import torch
from checks import ZOO, assert_close, compiling

from gcnlab import Graph, SparseMatrix
from gcnlab.deep import JumpingKnowledge, drop_edge, drop_node, pair_norm
from gcnlab.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def ring(num_nodes):
    ids = torch.arange(num_nodes)
    there = torch.stack([ids, (ids + 1) % num_nodes])
    return Graph.from_edges(torch.cat([there, there.flip(0)], 1), num_nodes)


@pytest.mark.parametrize("name", ["weighted", "loops", "undirected", "isolated", "no edges", "no nodes"])
@pytest.mark.parametrize("marked", [False, True])
def test_drop_edge_keeps_entries_as_they_were_and_pairs_together(name, marked):
    graph = ZOO[name].graph()
    assert not (marked and graph.is_directed)  # asking marks the adjacency as its own transpose
    dense = graph.adjacency.to_dense()
    for _ in range(20):
        left = drop_edge(graph.adjacency, 0.4)
        found = left.to_dense()
        assert torch.equal(found, torch.where(found != 0, dense, 0.0))
        assert torch.equal(found != 0, (found != 0).T)
        assert left.nnz == int((found != 0).sum())
        assert torch.equal(left.T.to_dense(), found.T)


@pytest.mark.parametrize("pairs", [False, True])
def test_drop_edge_drops_the_share_it_was_told(pairs):
    adjacency = ring(5000).adjacency
    shares = [1 - drop_edge(adjacency, 0.3, pairs=pairs).nnz / adjacency.nnz for _ in range(4)]
    assert len(set(shares)) > 1
    assert abs(sum(shares) / 4 - 0.3) < 0.015
    dense = drop_edge(adjacency, 0.3, pairs=pairs).to_dense() != 0
    assert torch.equal(dense, dense.T) == pairs


def test_drop_edge_ends_of_the_range_and_evaluation():
    adjacency = ring(10).adjacency
    assert drop_edge(adjacency, 0.0) is adjacency
    assert drop_edge(adjacency, 0.9, training=False) is adjacency
    assert drop_edge(adjacency, 1.0).nnz == 0
    assert Graph(drop_edge(adjacency, 0.5)).a_hat.row_sums().isfinite().all()


def test_drop_edge_of_a_directed_graph():
    directed = ZOO["directed"].graph().adjacency
    with pytest.raises(InputError, match="pass pairs=False"):
        drop_edge(directed, 0.5)
    assert drop_edge(directed, 0.5, pairs=False).nnz < directed.nnz
    with pytest.raises(InputError, match=r"p: got 1\.5"):
        drop_edge(directed, 1.5)


@pytest.mark.parametrize("sparse", [False, True])
def test_drop_node_drops_rows_and_scales_the_others(sparse):
    x = torch.rand(4000, 3) + 1
    out = drop_node(SparseMatrix.from_dense(x) if sparse else x, 0.25)
    out = out.to_dense() if sparse else out
    gone = (out == 0).all(1)
    assert abs(float(gone.float().mean()) - 0.25) < 0.03
    assert_close(out[~gone], x[~gone] / 0.75, 1e-6)


def test_drop_node_of_a_batch_draws_for_each_signal():
    out = drop_node(torch.ones(2, 500, 3), 0.5)
    assert torch.equal(out[..., 0], out[..., 2])
    assert not torch.equal(out[0], out[1])
    x = torch.ones(3, 2)
    assert drop_node(x, 0.5, training=False) is x


def test_pair_norm_is_pygs_and_keeps_distances(pyg):
    h = torch.randn(11, 5)
    assert_close(pair_norm(h, 2.0), pyg.nn.PairNorm(scale=2.0)(h), 1e-6)
    out = pair_norm(h, 2.0)
    assert_close(torch.cdist(out, out).square().mean(), torch.tensor(2 * 2.0**2), 1e-4)
    batch = torch.randn(3, 11, 5)
    assert_close(pair_norm(batch), torch.stack([pair_norm(h) for h in batch]), 1e-6)


@pytest.mark.parametrize("kind", ["cat", "max", "lstm"])
def test_jumping_knowledge_is_pygs(kind, pyg):
    ours, theirs = JumpingKnowledge(kind, 5, 3), pyg.nn.JumpingKnowledge(kind, 5, 3)
    state = {name.replace("att.", "score."): value for name, value in theirs.state_dict().items()}
    ours.load_state_dict(state)
    hs = [torch.randn(7, 5) for _ in range(3)]
    assert_close(ours(hs), theirs(hs), 1e-6)


def test_jumping_knowledge_errors():
    with pytest.raises(InputError, match='kind: got \'sum\', expected "cat", "max" or "lstm"'):
        JumpingKnowledge("sum")
    with pytest.raises(InputError, match="channels, num_layers"):
        JumpingKnowledge("lstm", 5)


def test_compiled_with_options_that_change():
    """The checks of p, scale and eps are traced along, and a float that changes becomes symbolic."""
    x = torch.rand(6, 4)
    for function in (lambda h, value: pair_norm(h, value), lambda h, value: drop_node(h, value, training=False)):
        with compiling():
            compiled = torch.compile(function, fullgraph=True, backend="eager")
            for value in (0.25, 0.5, 0.75, 1):
                torch.testing.assert_close(compiled(x, value), function(x, value))
