"""The block of the classic networks, and its norms: float64 oracles typed from the formulas, PyG's modules, 1.0's numbers."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from checks import assert_close, compiling
from torch import nn

import gcnlab
from gcnlab import GCN, GCNConv, Graph, GraphClassifier, GraphNorm, SAGEConv, SparseMatrix, fit, layers, models, predict
from gcnlab.checkpoint import write_checkpoint
from gcnlab.deep import PairNorm, pair_norm
from gcnlab.errors import InputError, InputTypeError
from gcnlab.memory import estimate_step
from gcnlab.models import load_model, summary

pytestmark = pytest.mark.usefixtures("one_thread")

N, F, H, C, L = 17, 11, 7, 3, 3
EVERY = {"norm": "layer", "residual": True, "input_linear": True, "output_linear": True}


def graph(dtype=torch.float64, num_nodes=N):
    torch.manual_seed(2)
    ends = torch.randint(0, num_nodes, (2, 3 * num_nodes))
    ends = ends[:, ends[0] != ends[1]].unique(dim=1)
    ends = torch.cat([ends, ends.flip(0)], 1).unique(dim=1)
    y = torch.arange(num_nodes) // 3 % C
    masks = {f"{name}_mask": torch.arange(num_nodes) % 3 == i for i, name in enumerate(("train", "val", "test"))}
    x = torch.randn(num_nodes, F, dtype=dtype)
    return Graph.from_edges(ends, num_nodes, torch.ones(ends.shape[1], dtype=dtype), x=x, y=y, **masks)


def block(dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = GCN(F, H, C, L, **options).to(dtype)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -1, 1)
    return model


def oracle(model, x, a, training=False):
    """The block by numpy, from the names and values of its weights."""
    w = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    config, h, seen = model.config, x, []
    if config.get("input_linear"):
        h = h @ w["input.weight"].T + w["input.bias"]
    for i in range(L):
        z = a @ h @ w[f"layers.{i}.weight"] + w[f"layers.{i}.bias"]
        if config.get("residual"):
            z = z + h @ w[f"residuals.{i}.weight"].T + w[f"residuals.{i}.bias"]
        if i == L - 1 and "output.weight" not in w:
            return z
        gamma, beta = (w.get(f"norms.{i}.{name}") for name in ("weight", "bias"))
        if config["norm"] == "layer":
            z = gamma * (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5) + beta
        elif config["norm"] is True and training:
            z = gamma * (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) + beta
        elif config["norm"] is True:
            mean, var = w[f"norms.{i}.running_mean"], w[f"norms.{i}.running_var"]
            z = gamma * (z - mean) / np.sqrt(var + 1e-5) + beta
        elif config["norm"] == "graph":
            z = z - w[f"norms.{i}.mean_scale"] * z.mean(0)
            z = gamma * z / np.sqrt((z**2).mean(0) + 1e-5) + beta
        elif config["norm"] == "pair":
            z = z - z.mean(0)
            z = z / np.sqrt((z**2).sum(1).mean() + 1e-5)
        h = np.maximum(z, 0)
        seen.append(h)
    jump = config.get("jumping_knowledge")
    h = np.concatenate(seen, 1) if jump == "cat" else np.stack(seen).max(0) if jump == "max" else h
    return h @ w["output.weight"].T + w["output.bias"]


OPTIONS = [
    {"norm": norm, "residual": r, "input_linear": i, "output_linear": o, "jumping_knowledge": jk}
    for norm in (None, "batch", "layer", "graph", "pair")
    for r, i, o, jk in itertools.product((False, True), (False, True), (False, True), (None, "cat", "max"))
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_against_the_formula(options):
    data, model = graph(), block(**options)
    x, a = data.x.numpy(), data.a_hat.to_dense().numpy()
    if options["norm"] == "batch":
        model(data.x, data.a_hat)  # moves the running averages
    model = model.eval()
    expected = torch.from_numpy(oracle(model, x, a))
    assert_close(model(data.x, data.a_hat), expected, 1e-10)
    assert_close(model(SparseMatrix.from_dense(data.x), data.a_hat), expected, 1e-10)
    assert_close(model(torch.stack([data.x, data.x]), data.a_hat), torch.stack([expected, expected]), 1e-10)
    logits, hidden = model(data.x, data.a_hat, hidden=True)
    assert_close(logits, expected, 1e-10)
    assert len(hidden) == (L if options["output_linear"] or options["jumping_knowledge"] else L - 1)
    assert all(h.shape == (N, H) and bool((h >= 0).all()) for h in hidden)
    again = GCN(**model.config)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert again.config == model.config


@pytest.mark.parametrize("norm", ["batch", "graph"])
def test_in_training_without_dropout(norm):
    data, model = graph(), block(norm=norm, residual=True, output_linear=True, dropout=0.0)
    expected = oracle(model, data.x.numpy(), data.a_hat.to_dense().numpy(), training=True)
    assert_close(model.train()(data.x, data.a_hat), torch.from_numpy(expected), 1e-10)


@pytest.mark.parametrize("norm", ["batch", "layer", None])
@pytest.mark.parametrize("jump", [None, "cat", "max"])
@pytest.mark.parametrize("pre", [False, True])
def test_against_pyg(pyg, norm, jump, pre):
    """The classic networks' block, made of PyG's modules."""
    data = graph(torch.float32)
    ours = block(
        torch.float32, norm=norm, residual=True, input_linear=pre, output_linear=True, jumping_knowledge=jump
    ).eval()
    theirs = [layer.to_pyg() for layer in ours.layers]
    norms = {"batch": pyg.nn.BatchNorm, "layer": partial(pyg.nn.LayerNorm, mode="node")}
    h, seen = data.x, []
    if pre:
        h = nn.functional.linear(h, ours.input.weight, ours.input.bias)
    for i, conv in enumerate(theirs):
        z = conv(h, data.edge_index) + nn.functional.linear(h, ours.residuals[i].weight, ours.residuals[i].bias)
        if norm:
            module = norms[norm](H).eval()
            (module.module if norm == "batch" else module).load_state_dict(ours.norms[i].state_dict())
            z = module(z)
        h = z.relu()
        seen.append(h)
    h = pyg.nn.JumpingKnowledge(jump)(seen) if jump else h
    assert_close(ours(data.x, data.a_hat), nn.functional.linear(h, ours.output.weight, ours.output.bias), 1e-5)


@pytest.mark.parametrize(("options", "places"), [
    ({"output_linear": True, "input_dropout": 0.0}, [("dropout", F, 0.0), *[("relu", H, 0.4)] * L]),
    ({"output_linear": True, "input_dropout": 0.2, "input_linear": True}, [("dropout", F, 0.2), ("dropout", H, 0.4), *[("relu", H, 0.4)] * L]),
    ({}, [("dropout", F, 0.4), *[("relu", H, 0.4)] * (L - 1)]),
], ids=["classic", "pre", "plain"])  # fmt: skip
def test_where_dropout_acts(monkeypatch, options, places):
    seen = []
    drop = lambda kind: lambda h, p, training: seen.append((kind, h.shape[1], p)) or (h.relu() if kind == "relu" else h)  # noqa: E731
    monkeypatch.setattr(models, "dropout", drop("dropout"))
    monkeypatch.setattr(models, "relu_dropout", drop("relu"))
    data, model = graph(), block(dropout=0.4, **options)
    model(data.x, data.a_hat)
    assert seen == places


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_plain_is_what_it_was(num_layers):
    """The draws, names and numbers of 1.0: Glorot weights layer by layer, zero biases, dropout on each layer's input."""
    torch.manual_seed(3)
    model = GCN(F, H, C, num_layers, norm=True, dropout=0.4, drop_node=0.2)
    torch.manual_seed(3)
    widths = [F, *[H] * (num_layers - 1), C]
    weights = [nn.init.xavier_uniform_(torch.empty(a, b)) for a, b in itertools.pairwise(widths)]
    names = [f"layers.{i}.{name}" for i in range(num_layers) for name in ("weight", "bias")]
    names += [f"norms.{i}.{name}" for i in range(num_layers - 1) for name in ("weight", "bias")]
    assert [name for name, _ in model.named_parameters()] == names
    assert all(torch.equal(layer.weight, w) for layer, w in zip(model.layers, weights, strict=True))
    assert set(model.config) == {
        "in_channels", "hidden_channels", "out_channels", "num_layers", "dropout", "drop_node", "input_dropout", "norm",
    }  # fmt: skip
    data = graph(torch.float32)
    torch.manual_seed(4)
    out = model(data.x, data.a_hat)
    torch.manual_seed(4)
    h = layers.dropout(gcnlab.models.drop_node(data.x, 0.2), 0.4)
    for i, layer in enumerate(model.layers):
        h = layer(h, data.a_hat)
        h = h if i == num_layers - 1 else layers.relu_dropout(model.norms[i](h), 0.4)
    assert torch.equal(out, h)


CONVS = ["GCNConv", "SAGEConv", "GATConv", "GINConv", "ChebConv", "SGConv"]


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("options", [{}, EVERY], ids=["plain", "every"])
def test_other_convolutions_get_their_matrix(tmp_path, conv, options):
    data = graph(torch.float32, 60)
    make = partial(GCN, F, H, C, L, conv=getattr(layers, conv), **options)
    torch.manual_seed(0)
    model = make()
    fit(model, data, epochs=2, seed=0, progress=False)
    (kind, *_) = layers.wanted_operators(model)
    expected = model.eval()(data.x, data.matrix(kind))
    assert model.trained_operator == kind
    assert_close(predict(model, data), expected, 1e-6)
    assert_close(predict(model, data, nodes=torch.tensor([3, 1])), expected[[3, 1]], 1e-5)
    if conv in ("GCNConv", "SAGEConv", "GATConv", "GINConv"):
        assert_close(predict(model, data, batch_size=13), expected, 1e-4)
    else:
        with pytest.raises(InputError, match="batch_size: got 13"):
            predict(model, data, batch_size=13)
    weights = {name: value.unsqueeze(0) for name, value in model.state_dict().items()}
    header = {"model": {"class": "GCN", "config": model.config}, "operator": kind}
    write_checkpoint(tmp_path / "model", header, weights)
    loaded, _ = load_model(tmp_path / "model")
    assert_close(predict(loaded, data), expected, 1e-6)
    assert type(loaded.layers[0]).__name__ == conv


@pytest.mark.parametrize("options", [{"norm": "graph"}, {"norm": "pair"}, {"jumping_knowledge": "cat"}], ids=str)
def test_what_reads_all_nodes_is_not_computed_in_parts(options):
    data, model = graph(torch.float32), block(torch.float32, **options)
    assert not model.layerwise
    with pytest.raises(InputError, match="batch_size: got 5"):
        predict(model, data, batch_size=5)
    with pytest.raises(InputError, match="layer: rows of this model's layers depend on more"):
        model.layer(0, data.x, data.a_hat)


def test_the_receptive_field_where_layers_read_neighbours_alone():
    data = graph()
    for options, is_layerwise in (
        ({"norm": "layer", "output_linear": True, "input_linear": True}, True),
        ({"residual": True}, False),
    ):
        model = block(**options).eval()
        assert model.layerwise == is_layerwise
        part = data.receptive_field(torch.tensor([4, 0]), L)
        if is_layerwise:
            assert_close(model(part.x, part.a_hat), model(data.x, data.a_hat)[[4, 0]], 1e-10)
        assert_close(predict(model, data, torch.tensor([4, 0])), model(data.x, data.a_hat)[[4, 0]], 1e-10)


def test_seeds_that_run_as_one_are_those_that_run_alone():
    data = graph(torch.float32)
    make = partial(GCN, F, H, C, L, dropout=0.0, **EVERY, jumping_knowledge="max")
    together = fit(make, data, epochs=3, seeds=[1, 2], progress=False)
    alone = [fit(make, data, epochs=3, seeds=[seed], progress=False) for seed in (1, 2)]
    for i, history in enumerate(alone):
        assert_close(together.metrics["train_loss"][:, i].double(), history.metrics["train_loss"][:, 0].double(), 1e-4)


def test_compiled_summed_up_and_measured():
    data, model = graph(torch.float32), block(torch.float32, **EVERY).eval()
    assert estimate_step(model, data.x, data.a_hat) > sum(p.nbytes for p in model.parameters())
    lines = " ".join(summary(model, data.x, data.a_hat).split())
    assert f"output (Linear) ({N}, {C})" in lines
    assert f"residuals.0 (Linear) ({N}, {H})" in lines
    assert f"total: {F * H + H + L * 2 * (H + 1) * H + L * 2 * H + H * C + C:,} parameters" in lines
    with compiling():
        assert_close(torch.compile(model, backend="eager")(data.x, data.a_hat), model(data.x, data.a_hat), 1e-5)


def test_what_is_refused():
    with pytest.raises(InputError, match='norm: got \'instance\', expected None, "batch", "layer", "graph", "pair"'):
        GCN(F, H, C, norm="instance")
    with pytest.raises(InputError, match="jumping_knowledge: got 'lstm'"):
        GCN(F, H, C, jumping_knowledge="lstm")
    with pytest.raises(InputError, match="conv: got 'NoConv'"):
        GCN(F, H, C, conv="NoConv")
    with pytest.raises(InputTypeError, match="conv: got 3, expected what makes a layer"):
        GCN(F, H, C, conv=3)
    assert GCN(F, H, C, conv=lambda a, b: SAGEConv(a, b)).config is None
    assert GCN(F, H, C, conv="SAGEConv").config["conv"] == "SAGEConv"
    assert "conv" not in GCN(F, H, C, conv=GCNConv).config


# -- norms ------------------------------------------------------------------------------------------------------------

SIZES = [4, 1, 7]
BATCH = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))


def graph_norm_oracle(h, norm):
    h = h - norm.mean_scale * h.mean(0)
    return norm.weight * h / (h.square().mean(0) + norm.eps).sqrt() + norm.bias


@pytest.mark.parametrize("order", ["in order", "mixed"])
def test_norms_by_graph(pyg, order):
    torch.manual_seed(0)
    h, place = torch.randn(12, H, dtype=torch.float64), torch.arange(12) if order == "in order" else torch.randperm(12)
    batch, norm = BATCH[place], GraphNorm(H).double()
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, -1, 1)
    for ours, oracle_of_one in (
        (norm, lambda part: graph_norm_oracle(part, norm)),
        (
            PairNorm(scale=1.3),
            lambda part: 1.3 * (part - part.mean(0)) / ((part - part.mean(0)).square().sum(1).mean() + 1e-5).sqrt(),
        ),
    ):
        expected = torch.empty_like(h)
        for g in range(3):
            expected[batch == g] = oracle_of_one(h[batch == g]).detach()
        assert_close(ours(h, batch), expected, 1e-12)
        p = SparseMatrix.from_dense((batch == torch.arange(3).unsqueeze(1)).double())
        assert_close(ours(h, p), expected, 1e-12)
        assert_close(ours(h), oracle_of_one(h), 1e-12)
        assert_close(ours(torch.stack([h, 2 * h])), torch.stack([oracle_of_one(h), oracle_of_one(2 * h)]), 1e-12)
    theirs = pyg.nn.GraphNorm(H).double()
    theirs.load_state_dict(norm.state_dict())
    if order == "in order":
        assert_close(norm(h, batch), theirs(h, batch), 1e-5)
        assert_close(PairNorm()(h, batch), pyg.nn.PairNorm()(h, batch), 1e-5)
    assert torch.autograd.gradcheck(lambda x: norm(x, batch), h.requires_grad_())
    assert torch.equal(PairNorm(2.0, 0.1)(h, batch), pair_norm(h, 2.0, 0.1, batch))


def test_norms_refuse_a_batch_of_other_nodes():
    for norm in (GraphNorm(H), PairNorm()):
        with pytest.raises(InputError, match="batch: is of 12 nodes, but h has shape"):
            norm(torch.ones(5, H), BATCH)
    with pytest.raises(InputError, match="x: got shape"):
        GraphNorm(H)(torch.ones(5, H + 1))


def test_a_classifier_of_graphs_with_a_norm_by_graph():
    rings = [
        graph(torch.float32, n).replace(y=torch.tensor(n % 2), train_mask=None, val_mask=None, test_mask=None)
        for n in (5, 8, 13)
    ]
    rings = [ring.with_features("constant") for ring in rings]
    collection = gcnlab.GraphCollection.from_graphs(rings)
    torch.manual_seed(0)
    model = GraphClassifier(1, H, 2, norm="graph").eval()
    batch = collection.batch()
    expected = torch.cat([model(ring.x, ring.a_hat) for ring in rings])
    assert_close(model(batch.x, batch.a_hat, batch), expected, 1e-5)
    merged = collection.merged().batch()
    assert_close(model(merged.x, merged.a_hat, merged), expected, 1e-5)
    assert model.merges_nodes
    assert not model.merges_by_layer
    fit(model, collection, epochs=2, seed=0, progress=False, select="last")
    assert GraphClassifier(**model.config).config == model.config
