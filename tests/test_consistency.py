"""Random propagation, the consistency of its samples, and the diffusion matrix, beside what the papers' formulas give."""

import numpy as np
import pytest
import torch
from checks import ZOO, assert_close
from test_train import graph, one_thread
from torch import nn

from gcnlab import GCN, GRAND, Consistency, Graph, SparseMatrix, fit, predict
from gcnlab.errors import CheckpointMismatchError, InputError, InputTypeError
from gcnlab.graph import GraphCollection
from gcnlab.metrics import accuracy, mean_average_distance
from gcnlab.propagate import diffusion, ppr_coefficients
from gcnlab.train import Checkpoint

__all__ = ["graph", "one_thread"]  # fixtures


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_consistency_is_the_papers_formula():
    torch.manual_seed(0)
    outputs = [3 * torch.randn(2, 6, 4, dtype=torch.float64) for _ in range(3)]
    z = np.stack([softmax(out.numpy()) for out in outputs])  # [samples, seeds, nodes, classes]
    mean = z.mean(0)
    sharp = mean ** (1 / 0.3) / (mean ** (1 / 0.3)).sum(-1, keepdims=True)
    distance = ((z - sharp) ** 2).sum(-1).mean(0)
    expected = 0.7 * distance.mean(-1)
    assert_close(Consistency(3, weight=0.7, temperature=0.3).loss(outputs, 1), torch.from_numpy(expected), 1e-12)

    sure = mean.max(-1) > 0.5
    assert 0 < sure.sum() < sure.size
    expected = 0.7 * np.array([distance[i][sure[i]].mean() for i in range(2)])
    found = Consistency(3, weight=0.7, temperature=0.3, confidence=0.5, warmup=10).loss(outputs, 4)
    assert_close(found, torch.from_numpy(0.4 * expected), 1e-12)
    assert_close(Consistency(3, confidence=0.999).loss(outputs, 1), torch.zeros(2, dtype=torch.float64))


def test_the_sharpened_mean_is_held_fixed():
    torch.manual_seed(0)
    out = torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True)
    Consistency(1, temperature=0.5).loss([out], 1).sum().backward()
    z = out.detach().softmax(-1)
    sharp = z**2 / (z**2).sum(-1, keepdim=True)
    upstream = 2 * (z - sharp) / 5
    expected = z * (upstream - (upstream * z).sum(-1, keepdim=True))
    assert_close(out.grad, expected, 1e-14)


class Fixed(nn.Module):
    """Logits that are weights: what the loss says of them is seen in their gradients."""

    def __init__(self, num_nodes, num_classes):
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(-1, 1, num_nodes * num_classes).view(num_nodes, num_classes))

    def forward(self, x, a_hat):
        return 1.0 * self.logits


def test_labels_outside_of_the_training_set_are_not_read(graph):
    def trained(y):
        model = Fixed(graph.num_nodes, graph.num_classes)
        history = fit(model, graph.replace(y=y), consistency=Consistency(2, temperature=0.5), epochs=3, select="last")
        return model.logits.detach(), history.metrics["train_loss"]

    other = torch.where(graph.train_mask, graph.y, (graph.y + 1) % graph.num_classes)
    (logits, loss), (again, other_loss) = trained(graph.y), trained(other)
    assert torch.equal(logits, again)
    assert torch.equal(loss, other_loss)
    start = Fixed(graph.num_nodes, graph.num_classes).logits
    assert bool((logits != start).any(1).all())  # every node has moved


def test_labelled_nodes_learn_from_their_labels_alone(graph):
    def stepped(consistency):
        model = Fixed(graph.num_nodes, graph.num_classes)
        fit(model, graph, consistency=consistency, epochs=1, lr=1.0, optimizer=torch.optim.SGD, select="last")
        return model.logits.detach()

    plain, consistent = stepped(None), stepped(Consistency(2, weight=9.0, temperature=0.5))
    assert_close(consistent[graph.train_mask], plain[graph.train_mask], 1e-6)
    assert not torch.allclose(consistent[~graph.train_mask], plain[~graph.train_mask])


@pytest.mark.parametrize("consistency", [None, Consistency(1, weight=0.0), Consistency(1, weight=2.0)])
def test_training_is_on_the_operator_that_is_given(graph, consistency):
    p = diffusion(graph.a_hat, ppr_coefficients(0.2, 4), top_k=8)
    model = GRAND(graph.num_features, 7, graph.num_classes, input_dropout=0.0, dropout=0.0, drop_node=0.0)
    with torch.no_grad():
        logits = model(graph.x, p)
    history = fit(model, graph, operator=p, consistency=consistency, epochs=1, lr=0.0)
    expected = nn.functional.cross_entropy(logits[graph.train_mask], graph.y[graph.train_mask])
    if consistency is not None:
        expected = expected + consistency.loss([logits[~graph.train_mask]], step=1)
    assert_close(history.metrics["train_loss"][0, 0], expected, 1e-6)


def test_without_randomness_and_weight_it_is_the_plain_loss(graph):
    def run(consistency):
        torch.manual_seed(0)
        return fit(
            GCN(graph.num_features, 7, graph.num_classes, dropout=0.0), graph, epochs=5, consistency=consistency
        ).metrics["val_loss"]

    assert_close(run(Consistency(3, weight=0.0)), run(None), 1e-6)


@pytest.mark.parametrize(("num_nodes", "num_labelled"), [(None, None), (9, None), (9, 5)])
def test_training_on_samples_learns_and_resumes_to_the_bit(graph, tmp_path, num_nodes, num_labelled):
    p = diffusion(graph.a_hat, ppr_coefficients(0.2, 4), top_k=8)
    consistency = Consistency(2, weight=0.2, warmup=20, num_nodes=num_nodes, num_labelled=num_labelled)

    def run(epochs, checkpoint=None):
        torch.manual_seed(1)
        model = GRAND(graph.num_features, 7, graph.num_classes)
        history = fit(
            model, graph, operator=p, consistency=consistency, epochs=epochs, seed=5, select="last", average=0.9,
            clip_norm=1.0, checkpoint=checkpoint,
        )  # fmt: skip
        return model, history

    model, whole = run(150)
    path = tmp_path / "training.gcnlab"
    run(70, Checkpoint(path, every=10))
    _, resumed = run(150, Checkpoint(path, resume=True))
    assert torch.equal(whole.metrics["train_loss"], resumed.metrics["train_loss"])
    assert all(torch.equal(whole.states[name], resumed.states[name]) for name in whole.states)
    logits = predict(model, graph, operator=p)
    assert accuracy(logits[graph.train_mask], graph.y[graph.train_mask]) > 0.8
    assert_close(predict(model, graph, graph.test_mask, operator=p), logits[graph.test_mask], 1e-6)
    with pytest.raises(CheckpointMismatchError, match="consistency"):
        fit(
            GRAND(graph.num_features, 7, graph.num_classes), graph, operator=p, epochs=150, seed=5, select="last",
            average=0.9, clip_norm=1.0, checkpoint=Checkpoint(path, resume=True),
        )  # fmt: skip


def test_an_epoch_goes_through_all_labelled_nodes_in_batches(graph):
    seen = []

    class Watched(GRAND):
        def forward(self, x, p):
            if self.training:
                seen.append(p[0].shape[0])
            return super().forward(x, p)

    model = Watched(graph.num_features, 7, graph.num_classes)
    num_train = int(graph.train_mask.sum())
    fit(model, graph, epochs=2, consistency=Consistency(1, num_nodes=6, num_labelled=5), select="last")
    assert num_train == 12
    assert seen == [5 + 6, 5 + 6, 2 + 6] * 2


@pytest.mark.parametrize("seeds_at_once", [1, 3])
def test_clipped_gradients_are_those_of_torch(graph, seeds_at_once):
    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            norms.append(torch.stack([p.grad.reshape(seeds, -1).square().sum(1) for p in of(self)]).sum(0).sqrt())
            super().step(closure)

    def of(optimizer):
        return [p for group in optimizer.param_groups for p in group["params"]]

    def make():
        return GCN(graph.num_features, 7, graph.num_classes, dropout=0.0)

    def norms_of(clip_norm):
        norms.clear()
        fit(make, graph, seeds=3, epochs=1, optimizer=Watched, clip_norm=clip_norm, seeds_at_once=seeds_at_once)
        return torch.cat(norms)

    norms, seeds = [], seeds_at_once
    free = norms_of(None)
    assert free.shape == (3,)
    assert float(free.min()) > 0.05
    assert_close(norms_of(0.05), torch.full((3,), 0.05), 1e-6)
    assert_close(norms_of(1e6), free, 1e-6)


def test_a_stack_of_seeds_trains_as_each_alone(graph):
    def make(drop_node=0.0):
        return lambda: GCN(graph.num_features, 7, graph.num_classes, dropout=0.0, drop_node=drop_node)

    options = {"seeds": 3, "epochs": 20, "consistency": Consistency(2, warmup=5), "select": "last"}
    stacked = fit(make(), graph, **options)
    alone = fit(make(), graph, seeds_at_once=1, **options)
    assert_close(stacked.metrics["train_loss"], alone.metrics["train_loss"], 1e-5)
    dropped = fit(make(0.5), graph, **options).metrics["train_loss"]
    assert dropped[0].unique().numel() == 3


def test_grand_is_its_formula_and_reads_only_the_rows_it_needs(graph):
    p = diffusion(graph.a_hat, ppr_coefficients(0.2, 4), top_k=8)
    model = GRAND(graph.num_features, 7, graph.num_classes).eval()
    w1, b1 = (t.detach().numpy() for t in (model.conv.weight, model.conv.bias))
    w2, b2 = (t.detach().numpy() for t in (model.head.weight, model.head.bias))
    h = p.to_dense().numpy() @ graph.x.numpy() @ w1 + b1
    expected = np.maximum(h, 0) @ w2.T + b2
    assert_close(model(graph.x, p), torch.from_numpy(expected), 1e-5)
    nodes = torch.tensor([7, 3])
    part = graph.receptive_field(nodes, 1, p)
    assert part.x.shape[0] <= 16
    assert_close(model(part.x, part.a_hat), torch.from_numpy(expected[nodes]), 1e-5)


@pytest.mark.parametrize("hidden", [None, 7])
def test_grand_normalises_what_it_propagates(graph, hidden):
    p = diffusion(graph.a_hat, ppr_coefficients(0.2, 4), top_k=8)
    model = GRAND(graph.num_features, hidden, graph.num_classes, norm=True).eval()
    mean, var = torch.rand(graph.num_features), torch.rand(graph.num_features) + 0.5
    model.norm.running_mean.copy_(mean)
    model.norm.running_var.copy_(var)
    h = p.to_dense() @ graph.x
    h = (h / h.norm(dim=1, keepdim=True) - mean) / (var + 1e-5).sqrt()
    out = h @ model.conv.weight + model.conv.bias
    expected = out if hidden is None else out.relu() @ model.head.weight.T + model.head.bias
    assert_close(model(graph.x, p), expected.detach(), 1e-5)
    assert_close(model(SparseMatrix.from_dense(graph.x), p), expected.detach(), 1e-5)


def test_grands_samples_drop_entries_of_p_and_mean_the_whole():
    torch.manual_seed(0)
    p = SparseMatrix.from_dense(torch.full((1, 4), 0.25))
    model = GRAND(4, 4, 4, input_dropout=0.0, dropout=0.0, drop_node=0.5)
    with torch.no_grad():
        model.conv.weight.copy_(torch.eye(4))
        model.head.weight.copy_(torch.eye(4))
        samples = torch.cat([model.train()(torch.eye(4), p) for _ in range(2000)])
    assert set(samples.unique().tolist()) == {0.0, 0.5}
    assert_close(samples.mean(0), torch.full((4,), 0.25), 0.03)
    assert float(torch.corrcoef(samples.T).triu(1).abs().max()) < 0.1  # each neighbour has a coin of its own


def test_drop_node_of_gcn_takes_all_features_of_a_node():
    torch.manual_seed(0)
    model = GCN(3, 3, 3, num_layers=1, dropout=0.0, drop_node=0.5).train()
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.eye(3))
        rows = model(torch.ones(1000, 3), SparseMatrix.eye(1000))
    assert set(map(tuple, rows.tolist())) == {(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)}
    assert abs(float((rows[:, 0] > 0).float().mean()) - 0.5) < 0.06


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("block", [1 << 24, 10])
def test_diffusion_is_a_polynomial_of_the_matrix(name, block, monkeypatch):
    monkeypatch.setattr("gcnlab.propagate._BLOCK", block)
    edges = ZOO[name]
    s = edges.graph().normalize(norm="rw" if name == "directed" else None, self_loops="fill")
    dense, theta = s.to_dense().numpy(), [0.5, -0.25, 0.125]
    expected = 0.5 * np.identity(len(dense)) - 0.25 * dense + 0.125 * dense @ dense
    assert_close(diffusion(s, theta).to_dense(), torch.from_numpy(expected), 1e-12)
    kept = diffusion(s, theta, top_k=2).to_dense().numpy()
    for row, whole in zip(kept, expected, strict=True):
        assert (row != 0).sum() <= 2
        np.testing.assert_allclose(np.sort(np.abs(row))[-2:], np.sort(np.abs(whole))[-2:], rtol=1e-12)
        np.testing.assert_allclose(row[row != 0], whole[row != 0], rtol=1e-12)


def test_coefficients_of_personalised_pagerank():
    theta = ppr_coefficients(0.2, 3)
    assert sum(theta) == pytest.approx(1)
    assert np.allclose(np.array(theta[1:]) / np.array(theta[:-1]), 0.8)
    dense = ZOO["undirected"].graph().a_hat.to_dense().numpy()
    exact = 0.2 * np.linalg.inv(np.identity(len(dense)) - 0.8 * dense)
    p = diffusion(ZOO["undirected"].graph().a_hat, ppr_coefficients(0.2, 200))
    assert_close(p.to_dense(), torch.from_numpy(exact), 1e-12)


def test_mean_average_distance():
    torch.manual_seed(0)
    h = torch.randn(30, 4, dtype=torch.float64)
    pairs = [(i, j) for i in range(30) for j in range(30) if i != j]
    expected = np.mean([1 - float(torch.cosine_similarity(h[i], h[j], 0)) for i, j in pairs])
    assert mean_average_distance(h) == pytest.approx(expected, abs=1e-12)
    assert mean_average_distance(torch.cat([h, torch.zeros(3, 4)])) == pytest.approx(expected, abs=1e-12)
    alike = torch.arange(1, 6).unsqueeze(1) * torch.tensor([[1.0, 2.0]])
    assert mean_average_distance(alike) == pytest.approx(0, abs=1e-12)
    assert mean_average_distance(torch.zeros(5, 2)) == 0


def test_what_is_refused(graph):
    for options, argument in (
        ({"num_samples": 0}, "num_samples"), ({"weight": -1.0}, "weight"), ({"temperature": 0.0}, "temperature"),
        ({"confidence": 1.0}, "confidence"), ({"warmup": -1}, "warmup"), ({"num_nodes": 0}, "num_nodes"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=argument):
            Consistency(**options)
    model = GCN(graph.num_features, 7, graph.num_classes)
    for operator in (graph.a_hat.select_rows(torch.arange(5)), [graph.a_hat]):
        with pytest.raises(InputError, match="operator: got"):
            fit(model, graph, operator=operator)
    whole = graph.replace(train_mask=torch.ones(graph.num_nodes, dtype=torch.bool), val_mask=None, test_mask=None)
    with pytest.raises(InputError, match="none is left"):
        fit(model, whole, consistency=Consistency(), select="last")
    with pytest.raises(InputError, match="clip_norm"):
        fit(model, graph, clip_norm=0.0)
    with pytest.raises(InputError, match="CUDA"):
        fit(model, graph, cuda_graph=True)
    with pytest.raises(InputError, match="cross-entropy"):
        fit(model, graph, loss=lambda logits, y: logits[:, 0], consistency=Consistency())
    graphs = [Graph.from_edges([[0, 1], [1, 0]], x=torch.ones(2, 3), y=torch.tensor(i)) for i in range(2)]
    with pytest.raises(InputError, match="one Graph"):
        fit(model, GraphCollection.from_graphs(graphs), consistency=Consistency(), select="last")
    with pytest.raises(InputTypeError, match="SparseMatrix"):
        GRAND(graph.num_features, 7, graph.num_classes)(graph.x, graph.a_hat.to_dense())
    for arguments, argument in (
        ((graph.a_hat.select_rows(torch.arange(5)), [1.0]), "s: "), ((graph.a_hat, []), "coefficients"),
        ((graph.a_hat, [float("nan")]), "coefficients"), ((graph.a_hat, [1.0], 0), "top_k"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=argument):
            diffusion(*arguments)
    for arguments, argument in (((0.0, 3), "alpha"), ((0.5, -1), "num_hops")):
        with pytest.raises(InputError, match=argument):
            ppr_coefficients(*arguments)
