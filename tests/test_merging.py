"""Alike nodes merged: the partition against networkx's colour refinement, the numbers against those of all nodes."""

import copy
import pickle
import random

import networkx as nx
import pytest
import torch
from torch.nn import functional as F
from torch.utils._pytree import tree_map

import gcnlab
from gcnlab import Graph, GraphClassifier, GraphCollection, GraphLoader, NoStructure, SparseMatrix
from gcnlab.errors import GcnlabError, InputError
from gcnlab.graph.merging import alike, merge


def collection(weighted: bool = False, one_hot: bool = False) -> GraphCollection:
    """Stars, cliques, paths, a graph without edges, one without nodes and one with a loop, all in float64.

    X is the degree one-hot (then kept sparse), or whether the node is the first and a constant.
    """
    shapes = [nx.star_graph(6), nx.complete_graph(5), nx.path_graph(7), nx.empty_graph(3), nx.empty_graph(0)]
    shapes += [nx.disjoint_union(nx.complete_graph(4), nx.cycle_graph(4)), nx.star_graph(3)]
    shapes[-1].add_edge(1, 1)
    graphs = []
    for i, shape in enumerate(shapes):
        edges = torch.tensor([*shape.edges, *((v, u) for u, v in shape.edges if u != v)]).reshape(-1, 2).T.long()
        low, high = edges.min(0).values, edges.max(0).values
        weight = (1 + (low + high) % 2).double() if weighted else torch.ones(edges.shape[1], dtype=torch.float64)
        degree = torch.tensor([d for _, d in shape.degree], dtype=torch.int64)
        first = torch.arange(len(shape)) == 0
        x = F.one_hot(degree, 11) if one_hot else torch.stack([first, torch.ones_like(first)], 1)
        x = x.double()
        graphs.append(Graph.from_edges(edges, len(shape), weight, x=x, y=i % 3))
    return GraphCollection.from_graphs(graphs)


def refined(graphs: GraphCollection) -> list[set[int]]:
    """Classes by the textbook: split by the multiset of (weight, class) over neighbours until nothing splits."""
    whole, n = graphs.whole, graphs.whole.num_nodes
    dense = whole.adjacency.to_dense()
    x = whole.x.to_dense() if isinstance(whole.x, SparseMatrix) else whole.x
    group = torch.repeat_interleave(graphs.sizes)
    colour = [(int(group[i]), tuple(x[i].tolist()), float(dense[i, i])) for i in range(n)]
    while True:
        seen = [
            (colour[i], tuple(sorted((float(dense[i, j]), str(colour[j])) for j in range(n) if dense[i, j])))
            for i in range(n)
        ]
        names = {key: str(k) for k, key in enumerate(dict.fromkeys(seen))}
        new = [names[key] for key in seen]
        if len(set(new)) == len(set(colour)):
            return [{i for i in range(n) if new[i] == name} for name in set(new)]
        colour = new


@pytest.mark.parametrize("weighted", [False, True])
def test_alike_is_colour_refinement(weighted):
    graphs = collection(weighted)
    group = torch.repeat_interleave(graphs.sizes)
    classes = alike(graphs.whole.adjacency, graphs.whole.x, group)
    found = [set((classes == c).nonzero().squeeze(1).tolist()) for c in range(int(classes.max()) + 1)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, refined(graphs)))
    assert bool((group[[min(part) for part in found]].diff() >= 0).all())  # numbered graph by graph


def test_alike_of_no_nodes():
    empty = SparseMatrix.from_edges([[], []], num_nodes=0)
    assert alike(empty, None, torch.empty(0, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("readout", ["mean", "sum", "mean+max+sum", "attention", "set2set"])
@pytest.mark.parametrize("sparse", [False, True])
def test_merged_gives_the_numbers_of_all_nodes(weighted, readout, sparse):
    graphs = collection(weighted, one_hot=sparse)
    merged = graphs.merged()
    assert merged.num_nodes < graphs.num_nodes
    assert isinstance(merged.whole.x, SparseMatrix) == sparse
    model = GraphClassifier(graphs.num_features, 5, 3, num_layers=2, readout=readout, dropout=0.0).double()
    results = []
    for data in (graphs, merged):
        one = copy.deepcopy(model)
        for batch in GraphLoader(data, batch_size=4):
            F.cross_entropy(one(batch.x, batch.a_hat, batch), batch.y).backward()
        one.eval()
        batch = data.batch([5, 0, 4, 1])
        out = one(batch.x, batch.a_hat, batch.p)
        results.append([out, *(p.grad for p in one.parameters()), *one.buffers()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_merged_counts_nodes_and_keeps_empty_graphs():
    graphs = collection()
    merged = graphs.merged()
    assert merged is not graphs
    assert len(merged) == len(graphs)
    batch = merged.batch()
    assert torch.equal(batch.p.row_sums(), graphs.sizes.double())
    assert merged.merged() is merged
    assert merged[1].multiplicity.sum() == 5


def test_merged_is_the_collection_where_nothing_is_alike():
    rigid = nx.balanced_tree(2, 2)
    edges = torch.tensor([*rigid.edges]).T
    graphs = GraphCollection.from_graphs([Graph.from_edges(edges, 7, x=torch.arange(7.0).unsqueeze(1), y=0)])
    assert graphs.merged() is graphs


def test_only_a_hat_is_known_of_a_merged_batch():
    batch = collection().merged().batch()
    assert batch.a_hat.shape[0] == batch.num_nodes
    with pytest.raises(InputError, match="a_hat alone"):
        _ = batch.a_tilde


def test_merge_refuses_classes_of_nodes_that_differ():
    path = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]])
    with pytest.raises(GcnlabError, match="differs"):
        merge(path.a_hat, torch.zeros(3, dtype=torch.int64))


def test_fit_merges_for_models_that_allow_it():
    graphs = collection()
    seen = []

    class Watched(NoStructure):
        def forward(self, x, a_hat, batch=None):
            seen.append(x.shape[0])
            return super().forward(x, a_hat, batch)

    class Single(Watched):
        merges_nodes = False

    for kind in (Watched, Single):
        gcnlab.fit(kind(2, 4, 3).double(), graphs, epochs=1, select="last", progress=False)
    assert seen[0] < graphs.num_nodes == seen[1]
    assert not GraphClassifier(2, 3, 2, readout="sort").merges_nodes
    assert GraphClassifier(2, 3, 2).merges_nodes


@pytest.mark.parametrize("merged", [False, True])
def test_loader_slices_are_the_batches_cut_one_by_one(merged):
    graphs = collection()
    graphs = graphs.merged() if merged else graphs
    loader = GraphLoader(graphs, batch_size=2, shuffle=True)
    for shelf in (2**22, 1):  # all batches from one shelf, and each from its own
        loader.SHELF = shelf
        torch.manual_seed(5)
        order = torch.randperm(len(graphs)).split(2)
        torch.manual_seed(5)
        for index, batch in zip(order, loader, strict=True):
            expected = graphs.batch(index)
            for name in ("adjacency", "a_hat", "p"):
                a, b = getattr(batch, name), getattr(expected, name)
                assert torch.equal(a.to_dense(), b.to_dense())
                assert torch.equal(a.T.to_dense(), b.to_dense().T)
            for name in ("x", "y", "ptr", "batch"):
                assert torch.equal(getattr(batch, name), getattr(expected, name)), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_norms_of_merged_nodes_are_summed_in_32_bits(precision):
    graphs = collection().batch()
    merged = collection().merged().batch()
    norms = []
    for part in (graphs, merged):
        torch.manual_seed(0)
        model = GraphClassifier(2, 5, 3, readout="mean+max")
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            model(part.x.float(), part.a_hat.to(torch.float32), part)
        norms.append(model.norms[0])
    assert norms[1].running_mean.dtype == torch.float32
    tolerance = 1e-6 if precision == "float32" else 1e-2
    for name in ("running_mean", "running_var"):
        assert torch.allclose(getattr(norms[0], name), getattr(norms[1], name), atol=tolerance)


def test_the_readout_matrix_says_how_many_nodes_a_row_stands_for():
    graphs, merged = collection().batch(), collection().merged().batch()
    assert graphs.p.multiplicity is graphs.multiplicity is None
    assert torch.equal(merged.p.multiplicity, merged.multiplicity)
    assert merged.p.to(torch.float32).multiplicity.dtype == torch.float32
    for p in (tree_map(lambda t: t, merged.p), copy.deepcopy(merged.p), pickle.loads(pickle.dumps(merged)).p):
        assert torch.equal(p.multiplicity, merged.multiplicity)
    # A batch without alike nodes has nothing to count, though others of its collection have.
    alone = [graph for graph in collection().merged() if bool((graph.multiplicity == 1).all())]
    assert alone
    assert all(graph.p.multiplicity is None for graph in alone)


def test_entries_of_a_p_of_your_own_are_weights_and_no_counts():
    """Whole numbers weigh a readout as any others do; counts are those that the batch says."""
    batch = collection().batch()
    own = SparseMatrix(batch.p.rowptr, batch.p.col, torch.full_like(batch.p.value, 3.0), batch.p.shape)
    norms = []
    for p in (batch.p, own):
        torch.manual_seed(0)
        model = GraphClassifier(batch.num_features, 5, 3).double()
        model(batch.x, batch.a_hat, p)
        norms.append(model.norms[0].running_mean)
    assert torch.equal(*norms)


def test_a_merged_batch_keeps_its_a_hat_wherever_it_goes():
    merged = collection().merged().batch()
    for other in (copy.deepcopy(merged), pickle.loads(pickle.dumps(merged)), merged.to("meta")):
        assert other.a_hat.shape == merged.a_hat.shape
        assert other.a_hat.nnz == merged.a_hat.nnz
        with pytest.raises(InputError, match="normalize: alike nodes are merged in this batch"):
            other.normalize(None, "rw")
    named = collection().merged()
    whole = named.whole.replace(name="named")
    assert whole.a_hat is named.whole.a_hat
    with pytest.raises(InputError, match="normalize: alike nodes are merged"):
        whole.a_tilde  # noqa: B018


def test_merged_counts_in_32_bits():
    """A star of 300 leaves: bfloat16 knows no 300."""
    leaves, centre = torch.arange(1, 302), torch.zeros(301, dtype=torch.int64)
    edges = torch.stack([torch.cat([leaves, centre]), torch.cat([centre, leaves])])
    graph = Graph.from_edges(edges, edge_weight=torch.ones(602, dtype=torch.bfloat16), x=torch.ones(302, 1), y=0)
    assert GraphCollection.from_graphs([graph]).merged().batch().multiplicity.tolist() == [1, 301]


def test_layers_of_ones_own_are_not_merged_for():
    class Loudest(gcnlab.GCNConv):
        """No sum over neighbours, whatever it inherits from."""

    assert GraphClassifier(2, 5, 3).merges_nodes
    assert not GraphClassifier(2, 5, 3, conv=Loudest).merges_nodes


# -- layer by layer ---------------------------------------------------------------------------------------------------


def molecules(num_graphs: int = 40) -> GraphCollection:
    """Small trees and rings of three kinds of atoms, in float64."""
    rng = random.Random(0)
    graphs = []
    for i in range(num_graphs):
        n = rng.randint(1, 9)
        edges = [(v, rng.randrange(v)) for v in range(1, n)] + [(0, n - 1)] * (n > 3)
        both = torch.tensor([*edges, *((v, u) for u, v in edges)]).reshape(-1, 2).T.long()
        x = F.one_hot(torch.tensor([rng.randrange(3) for _ in range(n)]), 3).double()
        graphs.append(Graph.from_edges(both, n, torch.ones(both.shape[1]).double(), x=x, y=i % 2, duplicates="first"))
    return GraphCollection.from_graphs(graphs)


@pytest.mark.parametrize("readout", ["mean+max+sum", "attention"])
@pytest.mark.parametrize("graphs", [molecules(), collection(), collection(weighted=True, one_hot=True)])
@pytest.mark.parametrize("batch_size", [3, 40])  # rows that are cut out; all rows
def test_batches_by_layer_give_the_numbers_of_all_nodes(graphs, readout, batch_size):
    torch.manual_seed(0)
    model = GraphClassifier(graphs.num_features, 5, 3, readout=readout, jumping_knowledge="cat", dropout=0.0).double()
    chunks = torch.randperm(len(graphs)).split(batch_size)
    by_layer = list(GraphLoader(graphs, batch_sampler=chunks, num_layers=3))
    rows = [r.shape[0] for r in by_layer[0].a_hat]
    for chunk, batch in zip(chunks, by_layer, strict=True):
        every = graphs.batch(chunk)
        assert torch.equal(batch.y, every.y)
        assert [float(p.multiplicity.sum()) for p in batch.p] == [every.num_nodes] * 3
        assert sum(rows) < 3 * max(every.num_nodes, 30)
        found, wanted = copy.deepcopy(model), copy.deepcopy(model)
        loss = [
            F.cross_entropy(found(batch.x, batch.a_hat, batch.p), batch.y),
            F.cross_entropy(wanted(every.x, every.a_hat, every), every.y),
        ]
        for part in loss:
            part.backward()
        torch.testing.assert_close(*loss)
        for (name, p), q in zip(found.named_parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, msg=name, rtol=1e-7, atol=1e-9)
        for p, q in zip(found.buffers(), wanted.buffers(), strict=True):
            torch.testing.assert_close(p, q)


def test_a_batch_by_layer_has_its_own_rows_alone():
    graphs = molecules()
    (few,) = GraphLoader(graphs, batch_sampler=[[0, 1]], num_layers=2)
    every = graphs.unfolded(2)
    assert [r.shape[0] for r in few.a_hat] < [r.shape[0] for r in every.operators]
    assert all(bool((p.multiplicity > 0).all()) for p in few.p)


def test_only_fixed_features_are_taken_by_layer():
    graphs = molecules()
    learnt = GraphCollection(graphs.whole.replace(x=graphs.whole.x.requires_grad_()), [0, graphs.num_nodes], [0])
    with pytest.raises(InputError, match="num_layers"):
        GraphLoader(learnt, num_layers=2)
    assert not learnt.is_worth_unfolding(2, 128)


def test_few_classes_are_worth_batches_by_layer():
    path = torch.stack([torch.arange(199), torch.arange(1, 200)])
    path = torch.cat([path, path.flip(0)], 1)
    paths = [Graph.from_edges(path, x=torch.ones(200, 2), y=0) for _ in range(20)]
    graphs = GraphCollection.from_graphs(paths)
    assert graphs.is_worth_unfolding(3, 16)
    assert not graphs.is_worth_unfolding(3, 2)
    unlike = graphs.whole.replace(x=torch.rand(graphs.num_nodes, 2))
    unlike = GraphCollection(unlike, torch.tensor([0, *graphs.sizes.cumsum(0)]), graphs.y)
    assert not unlike.is_worth_unfolding(3, 16)


def test_fit_by_layer_trains_the_model_of_all_nodes(monkeypatch):
    graphs = molecules()
    seen = []

    class Watched(GraphClassifier):
        def forward(self, x, a_hat, batch=None):
            seen.append(len(x))
            return super().forward(x, a_hat, batch)

    def trained(unfolds):
        monkeypatch.setattr(GraphCollection, "is_worth_unfolding", lambda *_: unfolds)
        torch.manual_seed(0)
        model = Watched(graphs.num_features, 4, 2, num_layers=3, jumping_knowledge="cat", dropout=0.0).double()
        return gcnlab.fit(model, graphs[:30], graphs[30:], seed=0, epochs=5, batch_size=8, progress=False)

    a, b = trained(True), trained(False)
    assert min(seen) == 3 < max(seen)  # the kinds of atoms, the atoms
    for name, value in a.states.items():
        torch.testing.assert_close(value, b.states[name], msg=name, rtol=1e-8, atol=1e-10)
    for name, value in a.metrics.items():
        torch.testing.assert_close(value, b.metrics[name])
