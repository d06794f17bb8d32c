import copy
import pickle
import time

import pytest
import torch
from pretended import seen_on_device
from torch import nn

import gcnlab
import gcnlab.links
from gcnlab import GCN, GRAND, ChebConv, GCNConv, GINConv, Graph, SAGEConv, SparseMatrix, fit, predict
from gcnlab.data.synthetic import power_law_edges, write_communities
from gcnlab.errors import InputError, InputTypeError
from gcnlab.memory import large_empty
from gcnlab.scale import (
    ClusterSampler,
    NeighborSampler,
    RandomNodeSampler,
    estimate_full_batch,
    partition,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def random_graph(n=40, m=160, seed=0, loops=True, weights=True, directed=False, **options):
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(n - 2, (2, m), generator=generator)  # the last two nodes are isolated
    ends = ends if loops else ends[:, ends[0] != ends[1]]
    weight = torch.rand(ends.shape[1], generator=generator) + 0.5 if weights else torch.ones(ends.shape[1])
    if not directed:
        ends, weight = torch.cat([ends, ends.flip(0)], 1), weight.repeat(2)
    x = torch.randn(n, 5, generator=generator)
    y = torch.randint(3, (n,), generator=generator)
    split = torch.rand(n, generator=generator)
    masks = {"train_mask": split < 0.5, "val_mask": (split >= 0.5) & (split < 0.75), "test_mask": split >= 0.75}
    return Graph.from_edges(ends, n, weight, x=x, y=y, **masks, **options)


@pytest.fixture
def graph():
    return random_graph()


def spread(batch, rows, num_nodes):
    """The batch's rows of Â in the columns of the whole graph, [len(rows), num_nodes]."""
    out = torch.zeros(len(rows), num_nodes)
    out[:, batch.nodes] = batch.a_hat.to_dense()[rows]
    return out


# -- neighbours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"loops": False}, {"weights": False}])
def test_all_neighbours_give_the_rows_of_a_hat(options):
    graph = random_graph(**options)
    batch = NeighborSampler(graph, [None]).sample(torch.tensor([7, 3, 38]))
    assert batch.nodes[batch.targets].tolist() == [7, 3, 38]
    torch.testing.assert_close(spread(batch, batch.targets, 40), graph.a_hat.to_dense()[[7, 3, 38]])
    # And the edges are the graph's own, without loops that it does not have.
    own = batch.adjacency.to_dense()[batch.targets]
    torch.testing.assert_close(own, graph.adjacency.to_dense()[[7, 3, 38]][:, batch.nodes])
    for key in ("x", "y", "train_mask", "val_mask", "test_mask"):
        assert torch.equal(getattr(batch, key), getattr(graph, key)[batch.nodes])


def test_all_neighbours_give_the_outputs_of_the_whole_graph(graph):
    model = GCN(5, 8, 3, num_layers=3).eval()
    whole = model(graph.x, graph.a_hat)
    for batch in NeighborSampler(graph, [None] * 3, batch_size=7):
        torch.testing.assert_close(model(batch.x, batch.a_hat)[batch.targets], whole[batch.nodes[batch.targets]])
        field = batch.receptive_field(batch.targets, 3)
        torch.testing.assert_close(model(field.x, field.a_hat), whole[batch.nodes[batch.targets]])


def copies(graph, count):
    """So many copies of a graph as one: a batch of all of it draws each row so many times, independently."""
    n = graph.num_nodes
    shift = n * torch.arange(count).repeat_interleave(graph.num_edges)
    edges, weight = graph.edge_index.repeat(1, count) + shift, graph.adjacency.value.repeat(count)
    return Graph.from_edges(edges, count * n, weight, x=graph.x.repeat(count, 1))


def mean_and_error(matrix, count):
    """Of the blocks on the diagonal, the mean, and its standard error."""
    n = matrix.shape[0] // count
    row, col = matrix.row, matrix.col.long()
    blocks = torch.zeros(count, n, n).index_put((row // n, row % n, col % n), matrix.value)
    return blocks.mean(0), blocks.std(0) / count**0.5


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.filterwarnings("ignore:the symmetric normalisation of a directed graph")
def test_rows_are_those_of_a_hat_on_average(replace, directed):
    graph = random_graph(directed=directed)
    whole = copies(graph, 3000)
    batch = NeighborSampler(whole, [3], replace=replace).sample(
        torch.arange(whole.num_nodes), torch.Generator().manual_seed(0)
    )
    mean, error = mean_and_error(batch.a_hat, 3000)
    assert bool(((mean - graph.a_hat.to_dense()).abs() <= 5 * error + 1e-6).all())
    assert float(error.max()) > 0.05 / 3000**0.5  # it did draw
    assert int(batch.a_hat.rowptr.diff().max()) == 4


def test_two_products_are_right_on_average():
    graph = random_graph(loops=False)
    whole = copies(graph, 4000)
    targets = 4 + 40 * torch.arange(4000)
    batch = NeighborSampler(whole, [3, 2]).sample(targets, torch.Generator().manual_seed(0))
    draws = (batch.a_hat @ (batch.a_hat @ batch.x))[batch.targets]
    exact = (graph.a_hat @ (graph.a_hat @ graph.x))[4]
    assert bool(((draws.mean(0) - exact).abs() <= 5 * draws.std(0) / 4000**0.5).all())
    assert float(draws.std(0).min()) > 0.05


def test_fan_outs_are_kept_and_neighbours_are_drawn_alike(graph):
    source = torch.arange(1, 11)
    star = Graph.from_edges(torch.stack([source, torch.zeros_like(source)]), 11, x=torch.ones(11, 1))
    whole = copies(star, 2000)
    with pytest.warns(UserWarning, match="directed graph"):
        sampler = NeighborSampler(whole, [4])
    batch = sampler.sample(11 * torch.arange(2000), torch.Generator().manual_seed(0))
    assert batch.num_nodes == 5 * 2000
    count = torch.bincount(batch.nodes % 11, minlength=11)[1:]
    assert bool(((count / 2000 - 0.4).abs() < 0.06).all())  # 5.5 standard deviations
    with_all = NeighborSampler(graph, [100, 100]).sample(torch.tensor([0]))
    exact = NeighborSampler(graph, [None, None]).sample(torch.tensor([0]))
    torch.testing.assert_close(with_all.a_hat.to_dense(), exact.a_hat.to_dense())


def test_the_same_seed_gives_the_same_batches(graph):
    sampler = NeighborSampler(graph, [2, 2], batch_size=8)

    def epoch(seed):
        batches = sampler.batches(graph.train_mask, torch.Generator().manual_seed(seed))
        return [(b.nodes.tolist(), b.targets.tolist(), b.a_hat.value.tolist()) for b in batches]

    assert epoch(1) == epoch(1) != epoch(2)
    torch.manual_seed(3)
    first = [b.nodes.tolist() for b in sampler]
    torch.manual_seed(3)
    assert first == [b.nodes.tolist() for b in sampler]


@pytest.mark.parametrize("make", [
    lambda g: NeighborSampler(g, [2, 2], batch_size=8), lambda g: RandomNodeSampler(g, 9),
    lambda g: ClusterSampler(g, partition(g, 6), 2),
])  # fmt: skip
def test_each_node_is_a_target_once(graph, make):
    sampler = make(graph)
    for nodes, expected in ((None, torch.arange(40)), (graph.train_mask, graph.train_mask.nonzero().squeeze(1))):
        batches = list(sampler.batches(nodes))
        assert torch.equal(torch.cat([b.nodes[b.targets] for b in batches]).sort().values, expected)
        assert len(batches) <= sampler.num_batches(len(expected))
        assert all(len(b.targets) for b in batches)


def test_fan_outs_beyond_any_degree_cost_no_more_than_all_neighbours(graph):
    exact = NeighborSampler(graph, [None, None]).sample(torch.tensor([0]))
    start = time.perf_counter()
    batch = NeighborSampler(graph, [10**9, 10**9]).sample(torch.tensor([0]))
    assert time.perf_counter() - start < 1  # 10**9 numbers take 8 GB and several seconds
    assert torch.equal(batch.a_hat.value, exact.a_hat.value)


def test_a_batch_has_the_classes_of_the_whole(graph):
    for sampler in (
        NeighborSampler(graph, [1], 2),
        RandomNodeSampler(graph, 2),
        ClusterSampler(graph, torch.arange(40)),
    ):
        for batch in sampler:
            assert batch.num_classes == batch.to(torch.float64).num_classes == batch.replace(name="a").num_classes == 3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_masks_that_are_no_bools_are_not_taken_for_ids(graph, dtype):
    for use in (
        lambda nodes: list(NeighborSampler(graph).batches(nodes)), lambda nodes: predict(GCN(5, 8, 3), graph, nodes),
        lambda nodes: graph.subgraph(nodes), lambda nodes: predict(GCN(5, 8, 3), graph, nodes, batch_size=3),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"nodes: got zeros and ones.*nodes\.bool\(\)"):
            use(graph.test_mask.to(dtype))


def test_nodes_given_twice_and_none(graph):
    with pytest.raises(InputError, match="nodes: an id is given twice"):
        list(NeighborSampler(graph).batches(torch.tensor([3, 1, 3])))
    none = torch.empty(0, dtype=torch.int64)
    for sampler in (NeighborSampler(graph), RandomNodeSampler(graph, 9), ClusterSampler(graph, torch.arange(40))):
        assert list(sampler.batches(none)) == []
    model = GCN(5, 8, 3)
    for nodes in (torch.tensor([3, 1, 3]), none):
        torch.testing.assert_close(predict(model, graph, nodes, batch_size=2), predict(model, graph, nodes))


def test_another_matrix_in_the_place_of_a_hat(graph):
    operator = graph.normalize(norm="rw")
    batch = NeighborSampler(graph, [None], operator=operator).sample(torch.tensor([5]))
    torch.testing.assert_close(spread(batch, batch.targets, 40), operator.to_dense()[[5]])


def test_a_graph_without_edges_or_loops():
    graph = Graph.from_edges([[], []], 4, x=torch.ones(4, 2))
    batch = NeighborSampler(graph, [2, 2]).sample(torch.tensor([3, 1]))
    assert torch.equal(batch.a_hat.to_dense(), torch.eye(2))
    assert batch.num_edges == 0


# -- what a batch is --------------------------------------------------------------------------------------------------


def test_a_batch_keeps_its_a_hat(graph):
    batch = next(iter(NeighborSampler(graph, [2, 2], batch_size=8)))
    drawn = batch.a_hat.to_dense()
    for other in (
        batch.replace(x=batch.x + 1), batch.to("cpu"), batch.to(torch.float64), copy.deepcopy(batch),
        pickle.loads(pickle.dumps(batch)),
    ):  # fmt: skip
        torch.testing.assert_close(other.a_hat.to_dense().float(), drawn)
        assert torch.equal(other.nodes, batch.nodes)
        assert torch.equal(other.targets, batch.targets)
    assert batch.to(torch.float64).a_hat.dtype == batch.to(torch.float64).x.dtype == torch.float64
    with pytest.raises(InputError, match=r"operator="):
        batch.normalize(norm="rw")
    own = batch.replace(adjacency=batch.adjacency)  # its own edges, no longer a sample of others
    with pytest.warns(UserWarning, match="directed graph"):
        assert not torch.allclose(own.a_hat.to_dense(), drawn)


def test_gradients_through_a_batch_are_those_of_its_matrix(graph):
    batch = next(iter(NeighborSampler(graph.to(torch.float64), [2, 2], batch_size=8)))
    x = torch.randn(batch.num_nodes, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: batch.a_hat @ x, (x,))


# -- random nodes and clusters ----------------------------------------------------------------------------------------


def test_random_nodes_are_right_on_average():
    graph = random_graph()
    whole, sums = copies(graph, 500), torch.zeros(40, 40)
    sampler, generator = RandomNodeSampler(whole, 5000), torch.Generator().manual_seed(0)
    for _ in range(4):
        for batch in sampler.batches(None, generator):
            row, col = batch.nodes[batch.a_hat.row] % 40, batch.nodes[batch.a_hat.col.long()] % 40
            sums.index_put_((row, col), batch.a_hat.value, accumulate=True)
    exact, off = graph.a_hat.to_dense(), ~torch.eye(40, dtype=torch.bool)
    torch.testing.assert_close((sums / 2000)[~off], exact[~off])  # the diagonal is never scaled
    # An entry is there with p = 1/4, as 1/p times its value; of 500 copies in 4 epochs.
    assert bool((((sums / 2000 - exact).abs() <= 5 * exact * 3**0.5 / 2000**0.5 + 1e-6) | ~off).all())


def test_two_of_four_nodes_meet_every_third_time():
    graph = Graph.from_dense(torch.ones(4, 4) - torch.eye(4))  # Â is 1/4 throughout
    for batch in RandomNodeSampler(graph, 2):
        torch.testing.assert_close(batch.a_hat.to_dense(), torch.tensor([[0.25, 0.75], [0.75, 0.25]]))


def test_clusters_are_subgraphs_with_an_a_hat_of_their_own(graph):
    parts = torch.arange(40) % 5
    for batch in ClusterSampler(graph, parts, parts_per_batch=2):
        assert 0 < len(set(parts[batch.nodes].tolist())) <= 2
        own = Graph.from_dense(graph.adjacency.to_dense()[batch.nodes][:, batch.nodes])
        torch.testing.assert_close(batch.a_hat.to_dense(), own.a_hat.to_dense())


def test_subgraph(graph):
    nodes = torch.tensor([9, 2, 30])
    part = graph.subgraph(nodes)
    assert torch.equal(part.x, graph.x[[2, 9, 30]])
    torch.testing.assert_close(part.adjacency.to_dense(), graph.adjacency.to_dense()[[2, 9, 30]][:, [2, 9, 30]])
    assert part.num_nodes == graph.subgraph(torch.zeros(40, dtype=torch.bool).index_fill(0, nodes, True)).num_nodes
    named = gcnlab.load("karate").subgraph(torch.tensor([33, 0]))
    assert named.num_nodes == 2
    with pytest.raises(InputError, match="id 2 is given twice"):
        graph.subgraph(torch.tensor([2, 3, 2]))


def test_partition_finds_communities(tmp_path):
    graph = write_communities(tmp_path / "graph", 3000, 30_000, num_classes=6, num_features=0, homophily=0.95)
    parts = partition(graph, 6)
    sizes = torch.bincount(parts, minlength=6)
    assert int(sizes.max()) <= 1.05 * 3000 / 6 + 1
    source, target = graph.edge_index
    kept = float((parts[source] == parts[target]).float().mean())
    assert kept > 0.6  # a random partition keeps a sixth
    assert torch.equal(parts, partition(graph, 6))
    assert int(partition(graph, 1).max()) == 0
    assert sorted(torch.bincount(partition(Graph.from_edges([[], []], 10), 3)).tolist()) in ([2, 4, 4], [3, 3, 4])


@pytest.mark.parametrize(("make", "message"), [
    (lambda g: NeighborSampler(g, []), "fan_outs: got"),
    (lambda g: NeighborSampler(g, 10), "fan_outs: got 10"),
    (lambda g: NeighborSampler(g, [0]), r"fan_outs\[0\]: got 0, expected at least 1"),
    (lambda g: NeighborSampler(g, [2], batch_size=0), "batch_size: got 0"),
    (lambda g: NeighborSampler(g, [2], operator=SparseMatrix.eye(3)), "operator: got shape"),
    (lambda g: NeighborSampler(g, [2]).sample(torch.tensor([1, 1])), "given twice"),
    (lambda g: NeighborSampler(g, [2]).sample(torch.tensor([40])), "id 40 at 0"),
    (lambda g: NeighborSampler(g, None), "fan_outs: got None"),
    (lambda g: NeighborSampler(g, {2, 3}), "fan_outs: got {2, 3}"),
    (lambda g: NeighborSampler(g, [2], replace="no"), "replace: got 'no'"),
    (lambda g: NeighborSampler(g, [2], operator="rw"), "operator: got str"),
    (lambda g: NeighborSampler(g, [-1]), r"fan_outs\[0\]: got -1, expected at least 1"),
    (lambda g: partition(g, 41), "num_parts: got 41"),
    (lambda g: RandomNodeSampler(g, 1), "batch_size: got 1"),
    (lambda g: ClusterSampler(g, torch.zeros(3, dtype=torch.int64)), "parts: got"),
    (lambda g: ClusterSampler(g, torch.zeros(40, dtype=torch.int64), 0), "parts_per_batch: got 0"),
    (lambda g: partition(g, 0), "num_parts: got 0"),
    (lambda g: partition(g, 2, num_passes=0), "num_passes: got 0"),
])  # fmt: skip
def test_bad_arguments(graph, make, message):
    with pytest.raises(InputError, match=message):
        make(graph)


@pytest.mark.parametrize("make", [lambda g: partition(g, 2), lambda g: NeighborSampler(g, [2])])
def test_what_is_no_graph_is_refused(make):
    with pytest.raises(InputTypeError, match=r"graph: got str, expected a gcnlab\.Graph"):
        make("cora")


def test_a_negative_degree_is_refused():
    graph = Graph.from_edges([[0, 1], [1, 0]], edge_weight=[-2.0, -2.0])
    with pytest.raises(InputError, match="degree of node 0 -1"):
        NeighborSampler(graph)


# -- training ---------------------------------------------------------------------------------------------------------


def test_full_neighbourhoods_in_one_batch_train_as_the_whole_graph(graph):
    def train(batching):
        torch.manual_seed(0)
        model = GCN(5, 8, 3, dropout=0.0)
        history = fit(model, graph, epochs=5, batching=batching)
        return history, predict(model, graph)

    whole, whole_out = train("full")
    sampled, sampled_out = train(NeighborSampler(graph, [None, None], batch_size=100))
    torch.testing.assert_close(sampled.metrics["val_loss"], whole.metrics["val_loss"])
    torch.testing.assert_close(sampled_out, whole_out)
    assert "NeighborSampler(fan_outs=(None, None)" in sampled.batching


@pytest.mark.parametrize("make", [
    lambda g: NeighborSampler(g, [2, 2], batch_size=8), lambda g: RandomNodeSampler(g, 9),
    lambda g: ClusterSampler(g, partition(g, 6), 2),
])  # fmt: skip
def test_training_repeats_and_resumes_to_the_bit(graph, make, tmp_path):
    def train(epochs, checkpoint=None):
        model = GCN(5, 8, 3)
        torch.manual_seed(0)
        for p in model.parameters():
            torch.nn.init.normal_(p)
        return fit(model, graph, epochs=epochs, batching=make(graph), select="last", checkpoint=checkpoint)

    whole = train(6)
    path = tmp_path / "c.pt"
    train(3, gcnlab.Checkpoint(path))
    resumed = train(6, gcnlab.Checkpoint(path, resume=True))
    for other in (train(6), resumed):
        assert all(torch.equal(other.states[name], value) for name, value in whole.states.items())
    assert torch.equal(resumed.metrics["val_loss"], whole.metrics["val_loss"])
    with pytest.raises(gcnlab.errors.CheckpointMismatchError, match="batching"):
        fit(GCN(5, 8, 3), graph, select="last", checkpoint=gcnlab.Checkpoint(path, resume=True))


def test_auto_takes_the_whole_graph_where_it_fits(graph, monkeypatch, capsys):
    history = fit(GCN(5, 8, 3), graph, epochs=1, batching="auto")
    assert history.batching.startswith("full batch: a step on all of the graph needs 0 MiB of ")
    assert capsys.readouterr().err == f"gcnlab: {history.batching}\n"
    monkeypatch.setattr("gcnlab.train.nodes.available_memory", lambda: estimate_full_batch(graph, GCN(5, 8, 3)))
    history = fit(GCN(5, 8, 3), graph, epochs=1, batching="auto", progress=False)
    assert history.batching.startswith("batches of NeighborSampler(fan_outs=(10, 10), batch_size=1024")
    assert history.batching.endswith("more than half")
    assert not capsys.readouterr().err

    class Plain(torch.nn.Linear):
        def forward(self, x, a_hat):
            return a_hat @ super().forward(x)

    with pytest.raises(InputError, match="NeighborSampler"):
        fit(Plain(5, 3), graph, epochs=1, batching="auto")
    fit(Plain(5, 3), graph, epochs=1, batching=NeighborSampler(graph, [3]))


def test_the_estimate_is_above_what_a_step_takes(graph):
    model = GCN(5, 8, 3)
    assert estimate_full_batch(graph, model) >= graph.estimate_memory(model)


def test_validation_draws_the_same_at_each_epoch(graph):
    history = fit(GCN(5, 8, 3), graph, epochs=4, lr=0.0, batching=NeighborSampler(graph, [1, 1], batch_size=4))
    assert len(set(history.metrics["val_loss"].flatten().tolist())) == 1
    assert len(set(history.metrics["train_loss"].flatten().tolist())) == 4


class Mean(nn.Module):
    """Two layers of means over neighbours, which may be cut to what the targets read."""

    layerwise, num_layers, operator = True, 2, "random_walk"

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([GCNConv(5, 8), GCNConv(8, 3)])

    def forward(self, x, operators):
        first, second = operators if isinstance(operators, list) else [operators] * 2
        return self.layers[1](self.layers[0](x, first).relu(), second)


@pytest.mark.parametrize(("make", "kind"), [(Mean, "random_walk"), (lambda: SAGEConv(5, 3), "random_walk"), (lambda: GINConv(5, 3), "adjacency"),
                                            (lambda: SAGEConv(5, 3, "max"), "adjacency"), (lambda: ChebConv(5, 3), "l_tilde(2.0)")])  # fmt: skip
def test_a_sampler_that_draws_another_matrix_is_refused(make, kind):
    graph = random_graph(loops=False)
    operator = graph.matrix(kind)
    for sampler in (NeighborSampler(graph, [None, None]), RandomNodeSampler(graph, 40)):
        with pytest.raises(
            InputError,
            match=rf"batching: {type(sampler).__name__}\(.* draws rows of graph.a_hat, but .* is called with .*; give the sampler operator=graph\.",
        ):
            fit(make(), graph, batching=sampler)
    # Given it, batches of all neighbours and of all nodes train as the whole graph does.
    torch.manual_seed(0)
    whole = make()
    fit(whole, graph, epochs=2)
    for sampler in (
        NeighborSampler(graph, [None, None], 40, operator=operator), RandomNodeSampler(graph, 40, operator),
        ClusterSampler(graph, torch.zeros(40, dtype=torch.int64)),
    ):  # fmt: skip
        torch.manual_seed(0)
        model = make()
        history = fit(model, graph, epochs=2, batching=sampler)
        assert history.operator == model.trained_operator == kind
        assert next(iter(sampler)).matrix("a_hat" if sampler.operator is not None else kind).kind == kind
        torch.testing.assert_close(predict(model, graph), predict(whole, graph), rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)
    model = make()
    with pytest.warns(UserWarning, match="got graph.a_hat, but its formula takes graph"):  # asked for by name
        fit(model, graph, epochs=1, batching=NeighborSampler(graph, [None, None], operator=graph.a_hat))
    assert model.trained_operator == "a_hat"


def test_auto_draws_the_matrix_that_the_layers_name(graph, monkeypatch):
    monkeypatch.setattr("gcnlab.train.nodes.available_memory", lambda: 1000)
    history = fit(Mean(), graph, epochs=1, batching="auto", progress=False)
    assert history.operator == "random_walk"
    assert "NeighborSampler" in history.batching
    history = fit(GCN(5, 8, 3), graph, epochs=1, batching="auto", progress=False, operator=graph.a_tilde)
    assert history.operator == "a_tilde"


def test_prediction_in_batches_has_the_matrix_of_the_training(graph):
    model = Mean()
    for _ in range(2):
        expected = predict(model, graph)
        torch.testing.assert_close(predict(model, graph, batch_size=7), expected)
        torch.testing.assert_close(expected, model(graph.x, graph.normalize(None, "rw")))
        fit(model, graph, epochs=1)
    gcn = GCN(5, 8, 3)
    for operator in (graph.adjacency, graph.normalize("fill", "rw"), graph.a_tilde):
        fit(gcn, graph, epochs=1, operator=operator)
        torch.testing.assert_close(predict(gcn, graph, batch_size=7), gcn(graph.x, operator))


def test_bad_batching(graph):
    model = GCN(5, 8, 3)
    with pytest.raises(InputError, match=r"batching: got 'some'"):
        fit(model, graph, batching="some")
    with pytest.raises(InputError, match="another graph"):
        fit(model, graph, batching=NeighborSampler(random_graph(seed=1)))
    with pytest.raises(InputError, match="give it to the sampler"):
        fit(model, graph, batching=NeighborSampler(graph), operator=graph.a_hat)
    with pytest.raises(InputError, match="2 fan-outs, but the model 3 layers"):
        fit(GCN(5, 8, 3, num_layers=3), graph, batching=NeighborSampler(graph))


# -- prediction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GCN(5, 8, 3, num_layers=3), GRAND(5, 8, 3)])
@pytest.mark.parametrize("batch_size", [7, 100])
def test_prediction_in_batches_is_that_of_the_whole_graph(graph, model, batch_size):
    torch.testing.assert_close(predict(model, graph, batch_size=batch_size), predict(model, graph))
    nodes = torch.tensor([30, 2, 39])
    torch.testing.assert_close(predict(model, graph, nodes, batch_size=2), predict(model, graph, nodes))
    operator = graph.normalize(norm="rw")
    torch.testing.assert_close(
        predict(model, graph, operator=operator, batch_size=batch_size), predict(model, graph, operator=operator)
    )


def test_prediction_of_few_nodes_computes_what_they_read(monkeypatch):
    """On a path the two nodes at one end read three in the first of two layers."""
    ends = torch.arange(49)
    path = Graph.from_edges(
        torch.stack([torch.cat([ends, ends + 1]), torch.cat([ends + 1, ends])]), x=torch.rand(50, 5)
    )
    model, rows = GCN(5, 8, 3), []
    layer = model.layer
    monkeypatch.setattr(model, "layer", lambda i, h, a_hat: rows.append((i, a_hat.shape[0])) or layer(i, h, a_hat))
    found = predict(model, path, [1, 0, 1], batch_size=2)
    assert rows == [(0, 2), (0, 1), (1, 2)]
    torch.testing.assert_close(found, predict(model, path)[[1, 0, 1]])
    assert predict(model, path, torch.arange(0), batch_size=2).shape == (0, 3)


def test_prediction_with_batch_norm_in_batches(graph):
    model = GCN(5, 8, 3, norm=True)
    fit(model, graph, epochs=3)
    torch.testing.assert_close(predict(model, graph, batch_size=7), predict(model, graph))
    history = fit(model, graph, epochs=2, batching=NeighborSampler(graph, [3, 3], batch_size=8))
    assert bool(history.metrics["train_loss"].isfinite().all())


def test_no_layer_reads_the_nodes_themselves(graph):
    nodes = torch.randperm(40)
    assert torch.equal(graph.receptive_field(nodes, 0).x, graph.x[nodes])


def test_sparse_features_in_batches(graph):
    sparse = graph.with_features("identity")
    model = GCN(40, 8, 3)
    torch.testing.assert_close(predict(model, sparse, batch_size=9), predict(model, sparse))


def test_a_batch_of_a_batch_has_the_drawn_a_hat(graph):
    batch = next(iter(NeighborSampler(graph, [2, 2], batch_size=8)))
    model = GCN(5, 8, 3).eval()
    torch.testing.assert_close(predict(model, batch, batch_size=3), predict(model, batch))
    again = NeighborSampler(batch, [None, None]).sample(batch.targets)
    out = model(again.x, again.a_hat)[again.targets]
    torch.testing.assert_close(out, model(batch.x, batch.a_hat)[batch.targets])


def test_prediction_in_batches_wants_a_layerwise_model(graph):
    with pytest.raises(InputError, match="layerwise model"):
        predict(torch.nn.Linear(5, 3), graph, batch_size=3)


def test_what_is_too_large_for_memory_goes_to_a_file(monkeypatch):
    assert large_empty((3, 4), torch.float32).shape == (3, 4)
    monkeypatch.setattr("gcnlab.memory.available_memory", lambda: 100)
    large = large_empty((50, 4), torch.float32)
    large.fill_(2)
    assert float(large.sum()) == 400
    assert large.untyped_storage().filename is not None


# -- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.bench
def test_a_batch_of_1024_takes_25_ms():
    import time

    graph = Graph.from_edges(power_law_edges(200_000, 4_000_000), 200_000)
    sampler, seconds = NeighborSampler(graph, (10, 10)), []
    for _ in range(20):
        targets = torch.randperm(200_000)[:1024]
        start = time.perf_counter()
        sampler.sample(targets)
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[10] < 0.025


@pytest.mark.parametrize("slack", [-0.1, float("nan")])
def test_parts_need_room(slack):
    with pytest.raises(InputError, match=rf"slack: got {slack}, expected a finite number at least 0"):
        partition(Graph.from_edges([[0, 1], [1, 0]]), 2, slack=slack)


def test_a_sample_of_the_edges_is_not_taken_for_all_of_them(graph, tmp_path):
    sampled = NeighborSampler(graph, [2]).sample(torch.tensor([7, 3]))
    assert (
        repr(sampled)
        == f"Subgraph(Graph({sampled.num_nodes} nodes, {sampled.num_edges} stored edges, 5 features, 3 classes), 2 of them targets)"
    )
    for refused in (
        lambda g: g.subgraph(torch.tensor([0, 1])), lambda g: g.to_undirected(), lambda g: g.with_features("degree"),
        lambda g: g.save(tmp_path / "g"), lambda g: Graph.from_graphs([g]), lambda g: gcnlab.batch([g.replace(y=0)]),
        lambda g: gcnlab.links.split_edges(g), lambda g: gcnlab.links.sample_non_edges(g, 1),
    ):  # fmt: skip
        with pytest.raises(InputError, match="this batch has a sample of the edges"):
            refused(sampled)
    with pytest.raises(InputError, match="Subgraph: a sampler makes one"):
        type(sampled).from_edges([[0], [1]])
    cluster = next(iter(ClusterSampler(graph, torch.arange(40) // 20)))  # has all edges between its nodes
    for part in (cluster.subgraph(torch.tensor([0, 1])), cluster.to_undirected(), Graph.from_graphs([cluster])):
        assert part.num_nodes > 0
    assert cluster.with_features("degree").num_features == 1


def test_a_graph_in_host_memory_feeds_a_model_on_a_device():
    train = (
        "[float(v) for v in (torch.manual_seed(1), fit(GCN(2, 4, 2, dropout=0).to({device}), graph, epochs=2, select='last', "
        "progress=False, batching=NeighborSampler(graph, [None] * 2, 2)))[1].metrics['train_loss'].flatten()]"
    )
    losses = [seen_on_device(train.format(device=device)) for device in ("D", "'cpu'")]
    torch.testing.assert_close(*(torch.tensor(eval(each)) for each in losses))
    for model in ("GCN(2, 4, 2).to({device})", "gcnlab.GRAND(2, 4, 2).to({device})"):
        made = f"(torch.manual_seed(1), predict({model}, graph, batch_size=2))[1].tolist()"
        found = [seen_on_device(made.format(device=device)) for device in ("D", "'cpu'")]
        assert found[0] == found[1]


def test_learnt_weights_and_operators_written_to_are_not_sampled():
    graph = gcnlab.load("karate").replace(x=torch.rand(34, 3))
    a = graph.adjacency
    learnt = Graph(a.with_value(a.value.clone().requires_grad_()), x=graph.x, y=graph.y)
    for sampler in (lambda: NeighborSampler(learnt, [None], 34), lambda: RandomNodeSampler(learnt, 10)):
        with pytest.raises(
            InputError, match=r"graph: its edge weights are learnt .*, and a sampler takes their degrees once"
        ):
            sampler()
    operator = graph.a_hat.with_value(graph.a_hat.value.clone())
    sampler = NeighborSampler(graph, [None], 34, operator=operator)
    next(iter(sampler))
    operator.value.mul_(3)
    with pytest.raises(InputError, match="operator: has been written to since it was given"):
        next(iter(sampler))
