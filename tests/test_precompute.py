"""Propagation made beforehand: the matrices and their files, training on their rows, and labels as inputs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from checks import ZOO, assert_close
from test_train import one_thread

from gcnlab import Graph, SparseMatrix, precompute
from gcnlab.errors import CorruptFileError, InputError
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
    write = precompute._write
    monkeypatch.setattr(precompute, "_write", lambda path, *rest: written.append(path.name) or write(path, *rest))
    again = hops(x.clone(), graph.a_hat, 1, tmp_path)
    assert written == []
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(hops(x, graph.a_hat, 2, tmp_path)) == 3
    assert written == ["hop_2.npy"]
    assert len(hops(x, graph.a_hat, 0, tmp_path)) == 1
    assert sorted(json.loads((tmp_path / "hops.json").read_text())) == ["dtype", "format", "inputs", "sha256", "shape"]


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
    """Rows of 32 MiB hops: what the process holds beside the maps is a chunk."""
    code = """
import sys, torch, numpy, json
from gcnlab import SparseMatrix, precompute
precompute._CHUNK = 1 << 18
n, c = 1 << 18, 64
file = numpy.lib.format.open_memmap(sys.argv[1] + "/x.npy", "w+", numpy.float32, (n, c))
file[:] = 1
file.flush(); del file
x = precompute._map(precompute.Path(sys.argv[1]) / "x.npy")
i = torch.arange(n + 1, dtype=torch.int32)
s = SparseMatrix(i, i[:-1].flip(0).contiguous(), torch.ones(n), (n, n))
def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) << 10
small = precompute.hops(torch.ones(4, 4), SparseMatrix.eye(4), 1, sys.argv[1] + "/small")
before, most = anonymous(), 0
write = precompute.bytes_of
def watch(tensor):
    global most
    most = max(most, anonymous())
    return write(tensor)
precompute.bytes_of = watch
found = precompute.hops(x, s, 2, sys.argv[1] + "/hops")
assert float(found[2].sum()) == n * c
print(json.dumps([most - before, x.nbytes]))
"""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    grown, num_bytes = json.loads(done.stdout)
    assert num_bytes == 64 << 20
    assert grown < 12 << 20
