"""Readouts and poolings against loops over graphs, and against PyG."""

import pytest
import torch
from torch import nn

import gcnlab
from gcnlab.layers import ClusterPool, Readout, TopKPool
from gcnlab.segments import consecutive, readout_matrix, segment_max, segment_softmax

SIZES = (3, 0, 5, 1)  # one graph is empty
BATCH = torch.tensor([0, 0, 0, 2, 2, 2, 2, 2, 3])
CHANNELS = 7


def features(dtype=torch.float64):
    return torch.randn(sum(SIZES), CHANNELS, dtype=dtype, generator=torch.Generator().manual_seed(5))


def matrix():
    return readout_matrix(BATCH, len(SIZES))


def by_loop(h, reduce, batch=BATCH, num_graphs=4):
    rows = [reduce(h[batch.eq(g)]) if bool((batch.eq(g)).any()) else torch.zeros(CHANNELS) for g in range(num_graphs)]
    return torch.stack([row.to(h.dtype) for row in rows])


LOOPS = {"mean": lambda h: h.mean(0), "sum": lambda h: h.sum(0), "max": lambda h: h.amax(0)}


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("shuffled", [False, True])
def test_equals_a_loop_over_graphs(kind, shuffled):
    order = torch.randperm(len(BATCH), generator=torch.Generator().manual_seed(1)) if shuffled else slice(None)
    h, batch = features()[order], BATCH[order]
    expected = by_loop(h, LOOPS[kind], batch)
    torch.testing.assert_close(Readout(kind)(h, readout_matrix(batch, len(SIZES))), expected)


def test_an_empty_graph_keeps_its_row_of_zeros():
    out = Readout("mean+sum+max")(-features().abs() - 1, matrix())  # all features below 0: a wrong start would show
    assert out.shape == (4, 3 * CHANNELS)
    assert torch.equal(out[1], torch.zeros(3 * CHANNELS, dtype=torch.float64))
    assert bool((out[[0, 2, 3]] < 0).all())


def test_concatenation_is_side_by_side():
    h, p = features(), matrix()
    torch.testing.assert_close(Readout("max+mean")(h, p), torch.cat([Readout("max")(h, p), Readout("mean")(h, p)], 1))


def test_attention_is_a_softmax_over_the_nodes_of_each_graph():
    torch.manual_seed(0)
    readout, h = Readout("attention", CHANNELS).double(), features()
    expected = by_loop(h, lambda rows: (readout.gate(rows).softmax(0) * rows).sum(0))
    torch.testing.assert_close(readout(h, matrix()), expected)


def test_set2set_is_its_definition():
    torch.manual_seed(0)
    readout, h = Readout("set2set", CHANNELS, num_steps=2).double(), features()

    def one(rows):
        q, c, star = torch.zeros(1, CHANNELS), torch.zeros(1, CHANNELS), torch.zeros(1, 2 * CHANNELS)
        q, c, star = q.double(), c.double(), star.double()
        for _ in range(2):
            q, c = readout.lstm(star, (q, c))
            weight = (rows @ q[0]).softmax(0)
            star = torch.cat([q, (weight @ rows).unsqueeze(0)], 1)
        return star[0]

    out = readout(h, matrix())
    for g in (0, 2, 3):
        torch.testing.assert_close(out[g], one(h[BATCH.eq(g)]))
    assert bool(torch.isfinite(out).all())


def test_sort_equals_pyg():
    aggregation = pytest.importorskip("torch_geometric.nn").SortAggregation(k=4)
    batch = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 2])
    h = features()
    torch.testing.assert_close(Readout("sort", k=4)(h, batch), aggregation(h, batch))


@pytest.mark.parametrize("kind", [kind for kind in Readout.KINDS if kind != "flatten"])  # of a shared graph: test_image
def test_gradients(kind):
    torch.manual_seed(0)
    readout, p = Readout(kind, CHANNELS, k=2).double(), matrix()
    assert torch.autograd.gradcheck(lambda h: readout(h, p), features().requires_grad_(), nondet_tol=0)


@pytest.mark.parametrize("kind", ["mean", "sum", "max", "attention", "set2set"])
def test_the_order_of_nodes_does_not_matter(kind):
    torch.manual_seed(0)
    readout, h = Readout(kind, CHANNELS).double(), features()
    order = torch.randperm(len(BATCH), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        readout(h[order], readout_matrix(BATCH[order], 4)), readout(h, matrix()), atol=1e-12, rtol=0
    )


def test_signals_on_one_shared_graph():
    h = torch.randn(4, 6, CHANNELS)
    torch.testing.assert_close(Readout("mean")(h), h.mean(1))
    torch.testing.assert_close(Readout("max")(h), h.amax(1))


def test_no_batch_is_one_graph():
    h = features()
    torch.testing.assert_close(Readout("sum")(h), h.sum(0, keepdim=True))


def test_consecutive_equals_the_matrix_of_the_vector():
    ptr = torch.tensor([0, *SIZES]).cumsum(0)
    p = consecutive(ptr, dtype=torch.float64)
    assert torch.equal(p.to_dense(), matrix().to(torch.float64).to_dense())
    assert torch.equal(p.T.to_dense(), p.to_dense().T)


def test_segment_softmax_of_large_scores():
    score = torch.tensor([[1000.0], [1000.0], [-1000.0], [5.0]])
    out = segment_softmax(score, readout_matrix(torch.tensor([0, 0, 0, 1])))
    torch.testing.assert_close(out, torch.tensor([[0.5], [0.5], [0.0], [1.0]]))


def test_segment_max_of_ties_shares_the_gradient():
    h = torch.tensor([[2.0], [2.0], [1.0]], requires_grad=True)
    segment_max(h, readout_matrix(torch.tensor([0, 0, 0]))).sum().backward()
    assert h.grad.tolist() == [[0.5], [0.5], [0.0]]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Readout("median"), "kind: got 'median'"),
        (lambda: Readout("attention"), "in_channels: attention has weights"),
        (lambda: Readout()(torch.ones(3, 2), torch.tensor([0, 0])), "batch: is of 2 nodes, but h has 3 rows"),
        (lambda: Readout()(torch.ones(0, 2), torch.tensor([], dtype=torch.int64)), "batch: is empty"),
        (lambda: Readout()(torch.ones(0, 2), readout_matrix(torch.tensor([], dtype=torch.int64), 0)), "holds no graph"),
        (lambda: Readout()(torch.ones(2, 2), torch.tensor([0, -1])), "node 1 is of graph -1"),
        (lambda: readout_matrix(torch.tensor([0, 5]), 3), "node 1 is of graph 5, expected at least 0 and below 3"),
        (lambda: readout_matrix(torch.tensor([0.0, 1.0])), "expected integers"),
        (lambda: Readout()(torch.ones(2), None), "h: got shape"),
        (lambda: TopKPool(3, ratio=0.0), "ratio: got 0.0"),
        (lambda: ClusterPool()(torch.ones(3, 2), torch.eye(3), torch.ones(2, 2)), "assignment: has 2 rows"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises((ValueError, TypeError), match=match) as error:
        call()
    assert isinstance(error.value, gcnlab.GcnlabError)


def test_topk_keeps_the_best_of_each_graph():
    torch.manual_seed(0)
    pool, h = TopKPool(CHANNELS, ratio=0.5).double(), features()
    a = gcnlab.SparseMatrix.from_dense((torch.rand(9, 9) < 0.5).double() * (BATCH[:, None] == BATCH[None, :]))
    pooled = pool(h, a, matrix())
    score = h @ pool.weight / pool.weight.norm()
    expected = []
    for g, keep in ((0, 2), (2, 3), (3, 1)):
        nodes = (BATCH.eq(g)).nonzero().squeeze(1)
        expected += nodes[score[nodes].topk(keep).indices].tolist()
    assert pooled.nodes.tolist() == sorted(expected)
    torch.testing.assert_close(pooled.h, h[pooled.nodes] * score[pooled.nodes].tanh().unsqueeze(1))
    assert torch.equal(pooled.adjacency.to_dense(), a.to_dense()[pooled.nodes][:, pooled.nodes])
    assert pooled.batch.to_dense().sum(1).tolist() == [2, 0, 3, 1]  # the empty graph is still there


def test_cluster_pool_dense_and_given():
    h, a = features(), torch.rand(9, 9).double()
    s = torch.randn(9, 2).double().softmax(1)
    pooled, coarse = ClusterPool()(h, a, s)
    torch.testing.assert_close(pooled, s.T @ h)
    torch.testing.assert_close(coarse, s.T @ a @ s)
    given = gcnlab.SparseMatrix.from_dense(nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 0])).double())
    pooled, coarse = ClusterPool()(h, gcnlab.SparseMatrix.from_dense(a), given)
    torch.testing.assert_close(pooled, given.to_dense().T @ h)
    torch.testing.assert_close(coarse.to_dense(), given.to_dense().T @ a @ given.to_dense())
    link, entropy = ClusterPool.losses(a, s)
    torch.testing.assert_close(link, (a - s @ s.T).square().sum().sqrt() / 81)
    torch.testing.assert_close(entropy, -(s * s.log()).sum(1).mean())


def test_topk_takes_a_batch_of_graphs():
    batch = gcnlab.batch([gcnlab.Graph.from_edges([[0, 1, 2], [1, 2, 0]], x=torch.rand(3, 2), y=i) for i in range(2)])
    pool = TopKPool(2)
    for found, expected in zip(
        pool(batch.x, batch.adjacency, batch), pool(batch.x, batch.adjacency, batch.p), strict=True
    ):
        assert torch.equal(*(m.to_dense() if hasattr(m, "rowptr") else m for m in (found, expected)))


@pytest.mark.parametrize(
    ("ratio", "n", "kept"), [(0.28, 25, 7), (0.07, 100, 7), (0.55, 100, 55), (0.5, 3, 2), (1e-9, 4, 1)]
)
def test_topk_keeps_the_ceiling_of_the_product(ratio, n, kept):
    assert TopKPool(3, ratio)(torch.randn(n, 3), gcnlab.SparseMatrix.eye(n)).h.shape[0] == kept


@pytest.mark.parametrize(
    ("h", "adjacency", "batch"),
    [
        (torch.ones(25, 3), gcnlab.SparseMatrix.eye(25), torch.arange(10) // 5),
        (torch.ones(25, 3), gcnlab.SparseMatrix.eye(25), torch.zeros(30, dtype=torch.int64)),
        (torch.ones(25, 3), gcnlab.SparseMatrix.eye(99), None),
        (torch.ones(25, 4), gcnlab.SparseMatrix.eye(25), None),
    ],
)
def test_topk_refuses_parts_that_do_not_fit(h, adjacency, batch):
    with pytest.raises(gcnlab.errors.InputError, match="h, adjacency and batch: got shapes"):
        TopKPool(3)(h, adjacency, batch)
    with pytest.raises(gcnlab.errors.InputTypeError, match="adjacency: got Tensor, expected a SparseMatrix"):
        TopKPool(3)(torch.ones(2, 3), torch.eye(2))
