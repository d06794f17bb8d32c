"""Propagation made beforehand: the matrices and their files, training on their rows, and labels as inputs."""

import copy
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checks import ZOO, assert_close
from test_train import one_thread

from gcnlab import (
    GCN,
    SIGN,
    Checkpoint,
    EarlyStopping,
    Graph,
    NodeRows,
    SGConv,
    SparseMatrix,
    files,
    fit,
    load,
    memory,
    precompute,
    predict,
)  # fmt: skip
from gcnlab.checkpoint import write_checkpoint
from gcnlab.errors import CheckpointMismatchError, CorruptFileError, InputError, InputTypeError, MemoryLimitError
from gcnlab.files import write_array, write_json
from gcnlab.models import load_model
from gcnlab.precompute import hops

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(precompute, "_CHUNK", 11)  # entries: two or three rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["undirected", "weighted", "isolated", "no edges", "one node", "no nodes"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_hops_are_powers_of_a_hat(name, dtype, is_sparse, tmp_path, small_chunks):
    graph = ZOO[name].graph(dtype)
    torch.manual_seed(0)
    dense = torch.randn(graph.num_nodes, 5, dtype=dtype) * (torch.rand(graph.num_nodes, 5) < 0.5)
    x = SparseMatrix.from_dense(dense) if is_sparse else dense
    a_hat = graph.a_hat.to_dense()
    on_disk, in_memory = hops(x, graph.a_hat, 3, tmp_path / "hops"), hops(x, graph.a_hat, 3)
    expected = dense
    for k in range(4):
        assert on_disk[k].dtype == dtype
        assert_close(on_disk[k], expected, 1e-6 if dtype == torch.float32 else 1e-14)
        assert torch.equal(on_disk[k], in_memory[k])
        assert np.array_equal(np.load(tmp_path / "hops" / f"hop_{k}.npy"), on_disk[k])
        expected = a_hat @ expected


def test_what_is_there_is_opened_and_more_is_added(tmp_path, monkeypatch):
    graph = ZOO["undirected"].graph(torch.float32)
    x = torch.rand(7, 3)
    first = hops(x, graph.a_hat, 1, tmp_path)
    written = []
    write = precompute.write_array
    monkeypatch.setattr(precompute, "write_array", lambda path, *rest: written.append(path.name) or write(path, *rest))
    again = hops(x.clone(), graph.a_hat, 1, tmp_path)
    assert written == []
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(hops(x, graph.a_hat, 2, tmp_path)) == 3
    assert written == ["hop_2.npy"]
    assert len(hops(x, graph.a_hat, 0, tmp_path)) == 1
    assert sorted(json.loads((tmp_path / "hops.json").read_text())) == [
        "dtype",
        "format",
        "gcnlab",
        "inputs",
        "sha256",
        "shape",
    ]


@pytest.mark.parametrize("version", ["0.9", None], ids=["another version", "1.0"])
def test_hops_of_another_version_are_made_again(tmp_path, version):
    graph, x = ZOO["undirected"].graph(torch.float32), torch.rand(7, 3)
    expected = hops(x, graph.a_hat, 2)
    hops(x, graph.a_hat, 2, tmp_path)
    wrong = [write_array(tmp_path / f"hop_{k}.npy", torch.float32, (7, 3), [torch.zeros(7, 3)]) for k in range(3)]
    index = json.loads((tmp_path / "hops.json").read_text()) | {"sha256": wrong, "gcnlab": version}
    write_json(tmp_path / "hops.json", {key: value for key, value in index.items() if value is not None})
    with pytest.warns(UserWarning, match=f"its hops are of gcnlab {version or '1.0'}, and are made again"):
        found = hops(x, graph.a_hat, 1, tmp_path)
    found += hops(x, graph.a_hat, 2, tmp_path)[2:]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    with pytest.raises(InputError, match="holds hops of another X or S"):
        hops(x + 1, graph.a_hat, 1, tmp_path)


def test_hops_of_other_inputs_are_refused(tmp_path):
    graph, x = ZOO["undirected"].graph(torch.float32), torch.rand(7, 3)
    hops(x, graph.a_hat, 1, tmp_path)
    changed = x.clone()
    changed[3, 2] += 1e-6
    for other, s in ((changed, graph.a_hat), (x, graph.normalize(None)), (x[:, :2], graph.a_hat)):
        with pytest.raises(InputError, match=r"folder: .* holds hops of another X or S .* or delete this one"):
            hops(other, s, 1, tmp_path)


def test_files_that_are_changed_are_refused(tmp_path):
    graph, x = ZOO["undirected"].graph(torch.float32), torch.rand(7, 3)
    hops(x, graph.a_hat, 1, tmp_path)
    path, index = tmp_path / "hop_1.npy", tmp_path / "hops.json"
    right = path.read_bytes()
    for wrong in (right[:-1], right[:-1] + bytes([right[-1] ^ 1]), right + b"\0", b""):
        path.write_bytes(wrong)
        with pytest.raises(CorruptFileError, match=r"hop_1.npy: does not have the sha256 .*; delete the folder"):
            hops(x, graph.a_hat, 1, tmp_path)
    path.unlink()
    with pytest.raises(CorruptFileError, match=r"hop_1.npy: is missing"):
        hops(x, graph.a_hat, 1, tmp_path)
    for wrong in ("{", "[]", '{"sha256": 3}'):
        index.write_text(wrong)
        with pytest.raises(CorruptFileError, match=r"hops.json: is not what gcnlab wrote"):
            hops(x, graph.a_hat, 1, tmp_path)


KILLED = """
import os, sys, torch
from gcnlab import precompute, Graph
graph = Graph.from_edges([[0, 1], [1, 0]], 100)
chunks = 0
product = precompute._product
def dying(s, h):
    for chunk in product(s, h):
        yield chunk
        os._exit(9)
precompute._CHUNK = 30
precompute._product = dying
precompute.hops(torch.ones(100, 3), graph.a_hat, 2, sys.argv[1])
"""


def test_a_killed_run_leaves_no_half_file(tmp_path):
    folder = tmp_path / "hops"
    assert subprocess.run([sys.executable, "-c", KILLED, folder], timeout=60).returncode == 9
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert names == ["hop_0.npy", "hops.json"]
    graph = Graph.from_edges([[0, 1], [1, 0]], 100)
    found = hops(torch.ones(100, 3), graph.a_hat, 2, folder)
    assert torch.equal(found[2], hops(torch.ones(100, 3), graph.a_hat, 2)[2])
    assert not list(folder.glob("*tmp"))


def test_a_read_only_folder_is_read(tmp_path):
    graph, x = ZOO["undirected"].graph(torch.float32), torch.rand(7, 3)
    hops(x, graph.a_hat, 1, tmp_path)
    os.chmod(tmp_path, 0o555)
    try:
        assert len(hops(x, graph.a_hat, 1, tmp_path)) == 2
        with pytest.raises(InputError, match=r"folder: .* cannot be written"):
            hops(x, graph.a_hat, 2, tmp_path)
    finally:
        os.chmod(tmp_path, 0o755)


def test_memory_does_not_grow_with_the_matrix(tmp_path):
    """Hops of 32 MiB: what the process holds beside the maps is a chunk or some."""
    code = """
import sys, torch, numpy, json
from gcnlab import SparseMatrix, files, precompute
precompute._CHUNK = 1 << 17
n, c = 1 << 17, 64
file = numpy.lib.format.open_memmap(sys.argv[1] + "/x.npy", "w+", numpy.float32, (n, c))
file[:] = 1
file.flush(); del file
x = precompute.map_array(precompute.Path(sys.argv[1]) / "x.npy", torch.float32)
i = torch.arange(n + 1, dtype=torch.int32)
s = SparseMatrix(i, i[:-1].flip(0).contiguous(), torch.ones(n), (n, n))
def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) << 10
small = precompute.hops(torch.ones(4, 4), SparseMatrix.eye(4), 1, sys.argv[1] + "/small")
before, most = anonymous(), 0
write = files.bytes_of
def watch(tensor):
    global most
    most = max(most, anonymous())
    return write(tensor)
files.bytes_of = watch
found = precompute.hops(x, s, 2, sys.argv[1] + "/hops")
assert float(found[2].sum()) == n * c
print(json.dumps([most - before, x.nbytes]))
"""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    grown, num_bytes = json.loads(done.stdout)
    assert num_bytes == 32 << 20
    assert grown < 8 << 20


def test_wrong_inputs_of_hops():
    graph, x = ZOO["undirected"].graph(torch.float32), torch.rand(7, 3)
    for call, error, message in (
        (lambda: hops(x, graph.a_hat.to_dense(), 1), InputError, r"s: got Tensor, expected a SparseMatrix \[7, 7\]"),
        (lambda: hops(x[:5], graph.a_hat, 1), InputError, r"s: got shape \(7, 7\), expected \[5, 5\]"),
        (lambda: hops(x.double(), graph.a_hat, 1), InputTypeError, r"x: got torch.float64 .* s of torch.float32"),
        (
            lambda: hops(x.bfloat16(), graph.a_hat.to(torch.bfloat16), 1),
            InputTypeError,
            r"both float32 or both float64",
        ),
        (lambda: hops(x, graph.a_hat, -1), InputError, r"num_hops: got -1"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_hops_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    graph, x = ZOO["undirected"].graph(torch.float32), torch.rand(7, 3)
    monkeypatch.setattr(memory, "available_memory", lambda: 100)
    with pytest.raises(MemoryLimitError, match=r"x: 3 dense matrices of 7 x 3 needs .*; with a folder they are files"):
        hops(x, graph.a_hat, 2)
    monkeypatch.setattr("gcnlab.files.shutil.disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(InputError, match=r"folder: .* needs .* GiB more, and its disk has 0.00 GiB free"):
        hops(x, graph.a_hat, 2, tmp_path)


# -- rows to train on -------------------------------------------------------------------------------------------------


def labelled(num_nodes=40, seed=0):
    """A ring with chords, a class for each third, features that hint at it, and masks of 20, 10 and 10 nodes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(num_nodes) * 3 // num_nodes
    ring = torch.arange(num_nodes)
    pairs = torch.cat([torch.stack([ring, (ring + step) % num_nodes]) for step in (1, 2)], 1)
    x = torch.nn.functional.one_hot(y, 3) + torch.randn(num_nodes, 3, generator=generator)
    part = torch.tensor([0, 1, 0, 2] * (num_nodes // 4))
    masks = {f"{name}_mask": part == i for i, name in enumerate(("train", "val", "test"))}
    return Graph.from_edges(torch.cat([pairs, pairs.flip(0)], 1), num_nodes, x=x, y=y, **masks)


GRAPH = labelled()
FEATURES = hops(GRAPH.x, GRAPH.a_hat, 2)


def test_widths_and_inputs():
    rows = NodeRows(GRAPH, FEATURES, label_hops=2)
    assert rows.widths == [3, 3, 3, 3, 3]
    known, ids = rows.train_ids[:4], torch.tensor([30, 2, 7])
    y = torch.zeros(40, 3)
    y[known] = torch.nn.functional.one_hot(GRAPH.y[known], 3).float()
    a_hat = GRAPH.a_hat.to_dense()
    expected = [GRAPH.x, FEATURES[1], FEATURES[2], a_hat @ y, a_hat @ a_hat @ y]
    for found, wanted in zip(rows.inputs(ids, rows.labels(known)), expected, strict=True):
        assert_close(found, wanted[ids], 1e-6)
    guess = torch.full((40, 3), 1 / 3)
    assert_close(rows.labels(known, guess)[0], a_hat @ torch.where(y.sum(1, keepdim=True) > 0, y, guess), 1e-6)
    assert torch.equal(guess, torch.full((40, 3), 1 / 3))


class Watch(SIGN):
    """Keeps what it is given in training."""

    def forward(self, xs):
        if self.training:
            self.seen.append(xs)
        return super().forward(xs)


def watched(rows, **options):
    torch.manual_seed(0)
    model = Watch(rows.widths, 5, 3, dropout=0.0)
    model.seen = []
    return model, fit(model, rows, progress=False, **options)


def test_every_training_node_once_an_epoch_in_an_order_drawn_anew():
    rows = NodeRows(GRAPH.replace(x=None), [torch.arange(40.0).unsqueeze(1)])
    model, _ = watched(rows, epochs=2, batch_size=7)
    sizes = [len(xs[0]) for xs in model.seen]
    assert sizes == [7, 7, 6] * 2
    orders = [torch.cat([xs[0] for xs in model.seen[i : i + 3]]).flatten().long() for i in (0, 3)]
    assert all(torch.equal(order.sort().values, rows.train_ids) for order in orders)
    assert not torch.equal(*orders)


def test_a_nodes_own_label_never_reaches_its_input():
    """Features that name the node; the label inputs of each step, made anew without the labels it learns from."""
    rows = NodeRows(GRAPH, [torch.arange(40.0).unsqueeze(1)], label_hops=2)
    model, _ = watched(rows, epochs=4, batch_size=5)
    a_hat = GRAPH.a_hat.to_dense()
    halves = []
    for first in range(0, len(model.seen), 2):
        steps = model.seen[first : first + 2]
        ids = torch.cat([xs[0] for xs in steps]).flatten().long()
        assert len(ids) == len(ids.unique()) == 10
        known = rows.train_ids[~torch.isin(rows.train_ids, ids)]
        y = torch.zeros(40, 3)
        y[known] = torch.nn.functional.one_hot(GRAPH.y[known], 3).float()
        assert_close(torch.cat([xs[1] for xs in steps]), (a_hat @ y)[ids], 1e-6)
        assert_close(torch.cat([xs[2] for xs in steps]), (a_hat @ a_hat @ y)[ids], 1e-6)
        halves.append(frozenset(ids.tolist()))
    assert len(set(halves)) == 4


def test_validation_reads_the_labels_of_training_nodes_alone():
    class Validated(SIGN):
        def forward(self, xs):
            if not any(module.training for module in self.modules()):  # its norms are while their averages are made
                seen.append(xs)
            return super().forward(xs)

    seen = []
    rows = NodeRows(GRAPH, FEATURES[:1], label_hops=1)
    fit(Validated(rows.widths, 5, 3), rows, epochs=2, progress=False)
    y = torch.nn.functional.one_hot(GRAPH.y, 3) * GRAPH.train_mask.unsqueeze(1)
    assert len(seen) == 2
    for xs in seen:
        assert_close(xs[1], (GRAPH.a_hat.to_dense() @ y.float())[GRAPH.val_mask], 1e-6)


@pytest.mark.parametrize("reuse", [0, 2])
def test_labels_of_other_nodes_are_never_read(reuse):
    y = GRAPH.y.clone()
    y[GRAPH.test_mask] = (y[GRAPH.test_mask] + 1) % 3
    graphs = GRAPH, GRAPH.replace(y=y)
    logits = []
    for graph in graphs:
        rows = NodeRows(graph, FEATURES, label_hops=2, reuse=reuse)
        model, _ = watched(rows, epochs=3, batch_size=5)
        logits.append(predict(model, rows))
    assert torch.equal(*logits)
    y = GRAPH.y.clone()
    y[GRAPH.val_mask] = (y[GRAPH.val_mask] + 1) % 3
    other = NodeRows(GRAPH.replace(y=y), FEATURES, label_hops=2, reuse=reuse)
    assert torch.equal(predict(model, other), logits[0])  # validation labels are not an input either


def test_reuse_by_hand():
    rows = NodeRows(GRAPH, FEATURES, label_hops=1, reuse=1)
    torch.manual_seed(0)
    model = SIGN(rows.widths, 5, 3).eval()
    a_hat, y = GRAPH.a_hat.to_dense(), torch.zeros(40, 3)
    y[rows.train_ids] = torch.nn.functional.one_hot(GRAPH.y[rows.train_ids], 3).float()
    with torch.no_grad():
        first = model([*FEATURES, a_hat @ y])
        y[~GRAPH.train_mask] = first.softmax(1)[~GRAPH.train_mask]
        expected = model([*FEATURES, a_hat @ y])
    assert_close(predict(model, rows), expected, 1e-5)
    assert_close(predict(model, rows, GRAPH.test_mask), expected[GRAPH.test_mask], 1e-5)
    ids = torch.tensor([5, 3])
    assert_close(predict(model, rows, ids), expected[ids], 1e-5)
    assert not torch.allclose(first, expected, atol=1e-4)


def test_files_train_to_the_same_bits_as_memory(tmp_path):
    results = []
    for features in (FEATURES, hops(GRAPH.x, GRAPH.a_hat, 2, tmp_path)):
        _, history = watched(NodeRows(GRAPH, features, label_hops=1), epochs=4, batch_size=6)
        results.append(history)
    assert all(torch.equal(value, results[1].states[name]) for name, value in results[0].states.items())
    assert results[0].metrics["val_loss"].tolist() == results[1].metrics["val_loss"].tolist()


def test_a_model_without_norm_trains_all_seeds_at_once():
    rows = NodeRows(GRAPH, FEATURES, label_hops=1)
    history = fit(
        lambda: SIGN(rows.widths, 5, 3, norm=False, dropout=0.0), rows, seeds=3, epochs=20, batch_size=8, progress=False
    )
    assert history.states["layers.0.weight"].shape[0] == 3
    assert float(history.metrics["train_loss"][-1].max()) < float(history.metrics["train_loss"][0].min())


def test_resume_is_exact(tmp_path):
    rows = NodeRows(GRAPH, FEATURES, label_hops=1)

    def train(epochs, path, **options):
        torch.manual_seed(0)
        return fit(
            SIGN(rows.widths, 5, 3), rows, epochs=epochs, batch_size=6, progress=False, callbacks=[EarlyStopping(50)],
            checkpoint=Checkpoint(path, **options),
        )  # fmt: skip

    whole = train(6, tmp_path / "whole")
    train(3, tmp_path / "part")
    resumed = train(6, tmp_path / "part", resume=True)
    assert all(torch.equal(value, resumed.states[name]) for name, value in whole.states.items())
    assert whole.metrics["train_loss"].tolist() == resumed.metrics["train_loss"].tolist()
    other = NodeRows(GRAPH, FEATURES, GRAPH.normalize(None), label_hops=1)
    with pytest.raises(CheckpointMismatchError, match="operator"):
        fit(SIGN(rows.widths, 5, 3), other, epochs=7, batch_size=6, callbacks=[EarlyStopping(50)], progress=False,
            checkpoint=Checkpoint(tmp_path / "part", resume=True))  # fmt: skip


WITHOUT_Y = Graph.from_edges([[0, 1], [1, 0]], 2)
TARGETS = Graph.from_edges([[0, 1], [1, 0]], 2, y=torch.rand(2), train_mask=torch.tensor([True, True]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NodeRows(WITHOUT_Y, [torch.ones(2, 1)]), "graph: has no y or no train_mask"),
        (lambda: NodeRows(GRAPH, []), "features: got no list of matrices"),
        (lambda: NodeRows(GRAPH, GRAPH.x), "features: got no list of matrices"),
        (
            lambda: NodeRows(GRAPH, [GRAPH.x, GRAPH.x[1:]]),
            r"number 1 is torch.float32 of shape \(39, 3\), expected .*40",
        ),
        (lambda: NodeRows(GRAPH, [GRAPH.x, GRAPH.x.double()]), r"number 1 is torch.float64"),
        (lambda: NodeRows(GRAPH, FEATURES, label_hops=-1), "label_hops: got -1"),
        (lambda: NodeRows(GRAPH, FEATURES, reuse=1), "reuse: got 1, but with label_hops=0"),
        (lambda: NodeRows(GRAPH, FEATURES, SparseMatrix.eye(3), 1), r"operator: got shape \(3, 3\)"),
        (lambda: NodeRows(TARGETS, [torch.ones(2, 1)], label_hops=1), "label_hops: take one class a node"),
        (
            lambda: fit(SIGN([3], 2, 3), NodeRows(GRAPH, [GRAPH.x / 0])),
            r"features: number 0, rows from 0 on: \d+ values",
        ),
        (lambda: fit(SIGN([3], 2, 3), NodeRows(GRAPH.replace(val_mask=None), [GRAPH.x])), "data: .* has no val_mask"),
        (lambda: fit(SIGN([3], 2, 3), NodeRows(GRAPH, FEATURES), epochs=1), "xs: got 3 matrices, expected 1"),
        (
            lambda: fit(SIGN([3], 2, 3), NodeRows(GRAPH, FEATURES), operator=GRAPH.a_hat),
            "operator: goes with a Graph or a GraphCollection, not with NodeRows",
        ),
        (lambda: fit(SIGN([3], 2, 3), NodeRows(GRAPH, FEATURES), loss="mse"), "data: has y torch.int64"),
        (lambda: SIGN([], 2, 3), r"in_channels: got \[\], expected at least 1"),
        (lambda: SIGN([3], 2, 3, num_layers=0), "num_layers: got 0, expected at least 1"),
        (lambda: SIGN([3], 2, 3, combine="mean"), "combine: got 'mean'"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(InputError, match=message):
        call()


# -- the model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("combine", ["cat", "sum"])
def test_sign_is_its_formula(combine):
    torch.manual_seed(0)
    model = SIGN([3, 3, 2], 5, 4, num_layers=3, combine=combine, norm=False).eval()
    xs = [torch.randn(7, c) for c in (3, 3, 2)]
    p = {name: value.double().numpy() for name, value in model.state_dict().items()}
    parts = [x.double().numpy() @ p[f"inputs.{k}.weight"].T + p.get(f"inputs.{k}.bias", 0) for k, x in enumerate(xs)]
    h = np.concatenate(parts, 1) if combine == "cat" else sum(parts)
    for i in range(2):
        h = np.maximum(h, 0) @ p[f"layers.{i}.weight"].T + p[f"layers.{i}.bias"]
    assert_close(model(xs), torch.from_numpy(h), 1e-5)
    assert len(p) == (10 if combine == "cat" else 8)


def test_one_layer_on_the_last_hop_is_sgc():
    torch.manual_seed(0)
    layer, model = SGConv(3, 4, num_hops=2), SIGN([3], 99, 4, num_layers=1)
    with torch.no_grad():
        model.inputs[0].weight.copy_(layer.weight.T)
        model.inputs[0].bias.copy_(layer.bias)
    assert_close(model(FEATURES[-1:]), layer(GRAPH.x, GRAPH.a_hat), 1e-5)


def test_checkpoints_make_the_model(tmp_path):
    rows = NodeRows(GRAPH, FEATURES)
    model, history = watched(rows, epochs=2, checkpoint=None)
    header = {"model": {"class": "SIGN", "config": model.config}, "seeds": [0], "epoch": 2}
    write_checkpoint(tmp_path / "model", header, history.states)
    loaded, _ = load_model(tmp_path / "model")
    assert torch.equal(predict(loaded, rows), predict(model, rows))


def test_a_gcn_with_batch_norm_is_its_formula():
    torch.manual_seed(0)
    model = GCN(3, 5, 4, num_layers=3, norm=True, dropout=0.0).train()
    a, h = GRAPH.a_hat.to_dense().double(), GRAPH.x.double()
    for i, layer in enumerate(model.layers):
        h = a @ h @ layer.weight.double() + layer.bias.double()
        if i < 2:
            h = ((h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()).relu()
    assert_close(model(GRAPH.x, GRAPH.a_hat), h, 1e-4)
    assert not model.layerwise  # its training computes all nodes, whose statistics these are
    history = fit(model, GRAPH, epochs=5, progress=False)
    assert_close(model(GRAPH.x, GRAPH.a_hat), predict(model, GRAPH), 1e-6)
    part = GRAPH.receptive_field(GRAPH.test_mask, 3)
    assert_close(model(part.x, part.a_hat), predict(model, GRAPH, GRAPH.test_mask), 1e-5)
    assert history.best("val_loss").shape == (1,)


def test_input_dropout_is_that_of_x_alone():
    x = torch.ones(5, 3)
    for input_dropout, drops in ((0.0, False), (None, True)):
        model = GCN(3, 2, 2, num_layers=1, dropout=0.9, input_dropout=input_dropout).train()
        outputs = torch.stack([model(x, torch.eye(5)) for _ in range(5)])
        assert bool((outputs != outputs[0]).any()) == drops


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_bytes_of_a_plan(tmp_path):
    graph = labelled()
    counts = {"nodes": 40, "listed_edges": 80, "features": 3, "classes": 3, "train": 20, "val": 10}
    model = SIGN([3, 3, 3, 3], 5, 3)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    told = precompute.plan(model, counts, num_hops=2, label_hops=1, reuse=1, batch_size=4)
    hops(graph.x, graph.a_hat, 2, tmp_path)
    assert told.disk_bytes == sum(file.stat().st_size - 128 for file in tmp_path.glob("*.npy"))  # each has a header
    tensors = [t for s in (graph.adjacency, graph.a_hat) for t in (s.rowptr, s.col, s.value)]
    tensors += [graph.x, graph.y, graph.train_mask, graph.val_mask, graph.test_mask]
    assert told.graph_bytes == sum(t.nbytes for t in tensors)
    step = memory.estimate_step(model, [torch.zeros(4, 3)] * 4)
    assert told.train_bytes == max(8 * 40 * 3, 3 * 40 * 3 * 4 + step, 4 * 41 + 8 * 160 + 7 * 40 * 3 * 4)
    assert min(told.hop_seconds, told.epoch_seconds, told.predict_seconds, told.smooth_seconds) > 0
    assert told.load_bytes > told.graph_bytes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.training


def test_products_of_a_plan_grow_with_entries_and_columns():
    small, more, wide = (
        precompute._seconds_of_product(*size) for size in ((500, 9000, 8), (500, 90000, 8), (500, 9000, 512))
    )
    assert more > 2 * small
    assert wide > 2 * small


def test_rows_say_what_they_hold():
    graph = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]], x=torch.rand(3, 7), y=[0, 1, 0], train_mask=[True] * 3)
    assert repr(NodeRows(graph, hops(graph.x, graph.a_hat, 1))) == "NodeRows(3 nodes, inputs of 7, 7 columns)"
    with pytest.raises(InputTypeError, match=r"features: number 0 is a SparseMatrix, expected a dense tensor"):
        NodeRows(graph, [SparseMatrix.eye(3)])


def test_hops_elsewhere_do_not_ask_for_the_memory_of_the_cpu(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 100)
    x, s = torch.ones(1000, 10), SparseMatrix.eye(1000)
    with pytest.raises(MemoryLimitError):
        hops(x, s, 2)
    assert [tuple(h.shape) for h in hops(x.to("meta"), s.to("meta"), 2)] == [(1000, 10)] * 3
    with pytest.raises(InputError, match="s: is on meta, but x is on cpu"):
        hops(x, s.to("meta"), 2)


def test_hops_of_another_shape_are_refused(tmp_path):
    """With a right sha256 in the index, as another program may write it."""
    x, s = torch.randn(5, 3), SparseMatrix.eye(5)
    hops(x, s, 1, tmp_path / "h")
    index = json.loads((tmp_path / "h" / "hops.json").read_text())
    index["sha256"][1] = files.write_array(tmp_path / "h" / "hop_1.npy", torch.float32, (3, 5), [torch.randn(15)])
    (tmp_path / "h" / "hops.json").write_text(json.dumps(index))
    with pytest.raises(CorruptFileError, match=r"hop_1.npy: has shape \[3, 5\], expected \[5, 3\]"):
        hops(x, s, 1, tmp_path / "h")
    for wrong in (None, "x", [1], [None], {}):
        (tmp_path / "h" / "hops.json").write_text(json.dumps({**index, "sha256": wrong}))
        with pytest.raises(CorruptFileError, match=r"hops.json: is not what gcnlab wrote"):
            hops(x, s, 1, tmp_path / "h")


def test_rows_written_to_later_are_no_rows():
    graph = load("karate")
    features = [torch.ones(34, 2), torch.ones(34, 3)]
    rows = NodeRows(graph, features)
    copied = copy.deepcopy(rows)
    features[1].add_(1.0)
    for read in (
        lambda: rows.inputs(torch.arange(3)),
        lambda: rows.widths,
        lambda: fit(SIGN([2, 3], 4, 2), rows, epochs=1),
    ):
        with pytest.raises(InputError, match=r"features\[1\]: has been written to since it was given"):
            read()
    assert copied.widths == [2, 3]
    with torch.inference_mode():
        found = hops(torch.ones(34, 2), graph.a_hat, 2)
        rows = NodeRows(graph, found, label_hops=1)
    assert fit(SIGN(rows.widths, 4, 2, norm=False), rows, epochs=1, progress=False).best_epoch.tolist() == [1]
