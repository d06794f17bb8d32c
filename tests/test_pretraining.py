import pytest
import torch
from torch import nn

from gcnlab import GCN, Graph, load
from gcnlab.deep import kept_edges
from gcnlab.errors import InputError, NonFiniteError
from gcnlab.pretraining import pretrain


def model(graph, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GCN(graph.num_features, 16, 2, norm="batch", input_dropout=0.0, jumping_knowledge="cat", **options)


@pytest.fixture(scope="module")
def karate():
    return load("karate").with_features("identity")


def test_it_learns_to_tell_edges_and_reads_no_labels(karate):
    first, second = model(karate), model(karate)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    losses = pretrain(first, karate, epochs=150, seed=3)
    unlabelled = Graph(karate.adjacency, karate.x)
    assert pretrain(second, unlabelled, epochs=150, seed=3) == losses
    assert len(losses) == 150
    assert sum(losses[-20:]) < 0.92 * sum(losses[:20])
    after = first.state_dict()
    assert all(torch.equal(after[name], value) for name, value in second.state_dict().items())
    assert torch.equal(after["output.weight"], before["output.weight"])  # behind the hidden layers
    assert not torch.equal(after["layers.0.weight"], before["layers.0.weight"])
    assert not first.training


def test_the_score_of_an_edge_is_above_that_of_no_edge():
    """Two dense halves that no edge joins: pairs across them are told from hidden edges within them."""
    halves = torch.block_diag(torch.ones(12, 12), torch.ones(12, 12)).fill_diagonal_(0)
    graph = Graph.from_dense(halves, x=torch.eye(24))
    trained = model(graph, dropout=0.0)
    pretrain(trained, graph, epochs=200, mask=0.5, seed=0)
    with torch.no_grad():
        h = trained(graph.x, graph.a_hat, hidden=True)[1][-1]
    alike = torch.nn.functional.normalize(h) @ torch.nn.functional.normalize(h).T
    assert float(alike[:12, :12].mean()) > float(alike[:12, 12:].mean()) + 0.3


def test_seeds_and_the_generator_of_the_caller(karate):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b, c = (pretrain(model(karate), karate, epochs=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert a == b != c


@pytest.mark.parametrize("directed", [False, True])
def test_hidden_edges_do_not_stand_in_the_operator(directed):
    from gcnlab import pretraining

    edges = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 5, 0]])  # with a loop, which is never hidden
    if not directed:
        edges = torch.cat([edges, edges[:, :-1].flip(0)], 1)
    graph = Graph.from_edges(edges, x=torch.eye(6))
    torch.manual_seed(0)
    for _ in range(10):
        operator, hidden = pretraining._masked_operator(graph, "random_walk", 0.6, 100)
        there = operator.to_dense()
        for source, target in hidden.T.tolist():
            assert there[target, source] == 0
            assert graph.adjacency.to_dense()[target, source] == 1
            assert source != target
        assert directed or torch.equal(there > 0, there.T > 0)
        assert operator.kind == "random_walk"
    if not directed:
        assert pretraining._masked_operator(graph, "a_hat", 1.0, 2)[1].shape == (2, 2)  # max_pairs


def test_kept_edges_are_those_of_drop_edge():
    from gcnlab.deep import drop_edge

    adjacency = load("karate").adjacency
    torch.manual_seed(0)
    kept = kept_edges(adjacency, 0.4, pairs=True)
    torch.manual_seed(0)
    assert torch.equal(drop_edge(adjacency, 0.4).to_dense(), adjacency.select_entries(kept).to_dense())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"mask": 1.5}, "mask"),
        ({"lr": -1.0}, "lr"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"max_pairs": 0}, "max_pairs"),
        ({"seed": -1}, "seed"),
        ({"graph": load("karate")}, "with_features"),
        ({"graph": Graph.from_edges([[0, 1], [0, 1]], x=torch.eye(2))}, "no edge between two nodes"),
        ({"model": nn.Linear(34, 2)}, "cannot be called as model"),
        ({"model": GCN(34, 16, 2, num_layers=1)}, "no hidden layers"),
    ],
)
def test_what_cannot_be_meant(karate, change, message):
    options = {"model": model(karate), "graph": karate, "epochs": 2, **change}
    with pytest.raises((InputError, TypeError), match=message):
        pretrain(options.pop("model"), options.pop("graph"), **options)


def test_a_training_that_diverges(karate):
    with pytest.raises(NonFiniteError, match="pretraining"):
        pretrain(GCN(34, 16, 2), karate, epochs=50, lr=1e30)
