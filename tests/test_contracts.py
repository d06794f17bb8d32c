"""What a model or an operator of your own may declare, and that gcnlab reads no private name of another file."""

import ast
from pathlib import Path

import pytest
import torch

import gcnlab
from gcnlab import GCN, GCNConv, GraphClassifier, NoStructure, SparseMatrix, contracts
from gcnlab.image import grid_graph

PACKAGE = Path(gcnlab.__file__).parent


def test_gcnlabs_own_models_meet_the_contracts():
    gcn, normed = GCN(2, 3, 2), GCN(2, 3, 2, norm="batch")
    assert (contracts.is_layerwise(gcn), contracts.num_operators(gcn), contracts.goes_by_layer(gcn)) == (True, 2, True)
    assert (contracts.is_layerwise(normed), contracts.num_operators(normed)) == (False, None)
    assert contracts.merges_nodes(GraphClassifier(2, 3, 2))
    assert contracts.merges_nodes(NoStructure(2, 3, 2))
    assert not contracts.merges_nodes(gcn)
    assert contracts.config_of(gcn)["hidden_channels"] == 3
    assert contracts.operators_of(GCNConv(2, 3)) == ("a_hat",)
    assert contracts.trained_operator(gcn) is None


def test_a_module_that_declares_nothing_meets_no_contract():
    model = torch.nn.Linear(2, 3)
    assert (contracts.is_layerwise(model), contracts.merges_nodes(model), contracts.goes_by_layer(model)) == (
        False,
    ) * 3
    assert contracts.num_operators(model) is contracts.config_of(model) is contracts.trained_operator(model) is None
    model.operator = torch.ones(1)  # of its author's, and no name of a matrix
    assert contracts.operators_of(model) == ()


def test_what_multiplies_is_an_operator_and_a_grid_has_relations():
    grid = grid_graph(2, 3)
    for operator in (grid.a_hat, grid.operator, torch.eye(6), torch.eye(6).to_sparse()):
        assert contracts.is_operator(operator)
        assert isinstance(operator, contracts.Operator)
    for other in (grid, None, [grid.a_hat]):
        assert not contracts.is_operator(other)
    assert contracts.convolves(grid.relations)
    assert isinstance(grid.relations, contracts.Relations)
    assert not contracts.convolves(list(grid.relations))


# What a file may read of an object of another library, and why; its modules (torch._C, os._exit) are told by their names.
LIBRARIES = ("torch", "torch_optimizer", "nn", "dist", "os", "argparse")
ALLOWED = {
    "_replace": "a documented method of every NamedTuple",
    "_version": "torch's count of writes to a tensor",
    "_indices": "torch's indices of a COO tensor that is not coalesced",
    "_values": "torch's values of a COO tensor that is not coalesced",
    "_cdata": "the address of a storage of torch's",
    "_getframe": "the frame of a caller, which sys has under no other name",
    "_current_frames": "the frames of all threads, likewise",
    "_actions": "argparse has no public list of a parser's options",
}
# Files that make copies of objects of their own classes past the constructor.
COPIES_ITS_OWN = {"graph/graph.py", "sparse/matrix.py", "image/signals.py", "image/grid.py", "graph/batches.py",
                  "graph/collection.py", "errors.py"}  # fmt: skip


def private_names(file, source):
    """(line, text) of each `obj._name` where obj is neither self nor cls, and no class of the file defines the name."""
    tree = ast.parse(source)
    own = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for part in ast.walk(node):
                if isinstance(part, ast.FunctionDef):
                    own.add(part.name)
                elif isinstance(part, ast.AnnAssign | ast.Assign):
                    targets = [part.target] if isinstance(part, ast.AnnAssign) else part.targets
                    own |= {t.id for t in targets if isinstance(t, ast.Name)}
                    own |= {t.attr for t in targets if isinstance(t, ast.Attribute) and ast.unparse(t.value) == "self"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        owner, name = ast.unparse(node.value), node.attr
        is_dunder = name.startswith("__")
        if owner in ("self", "cls", "super()") or name in ALLOWED or owner.partition(".")[0] in LIBRARIES:
            continue
        if is_dunder and (name not in ("__dict__", "__new__") or file in COPIES_ITS_OWN):
            continue
        if is_dunder or name not in own:
            yield node.lineno, ast.unparse(node)


def test_no_file_reads_a_private_name_of_another():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        found += [f"{file}:{line}: {text}" for line, text in private_names(file, path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", ["graph._derived", "matrix._pattern[0]", "graph.__dict__['x']", "Graph.__new__(Graph)", "f(x)._made"]
)
def test_the_look_for_private_names_finds_them(line):
    assert list(private_names("scale.py", f"class A:\n    _own = 1\n\nb._own\n{line}\n"))
    assert not list(private_names("scale.py", "class A:\n    _own = 1\n\nb._own\nself._x\ntuple._replace()\n"))


def test_a_matrix_knows_what_it_is_told():
    path = gcnlab.Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]])
    a = path.adjacency
    told = SparseMatrix(a.rowptr, a.col, a.value, a.shape, symmetric=True, kind="adjacency", is_brief=True)
    assert (told.symmetric, told.kind, told.is_brief, told.T is told) == (True, "adjacency", True, True)
    plain = SparseMatrix(a.rowptr, a.col, a.value, a.shape)
    assert (plain.symmetric, plain.kind, plain.is_brief, plain.t_pattern) == (False, None, False, None)
    given = SparseMatrix(a.rowptr, a.col, a.value, a.shape, t_pattern=(a.rowptr, a.col, torch.tensor([1, 0, 3, 2])))
    assert given.T.rowptr is a.rowptr
    assert torch.equal(given.T.to_dense(), plain.T.to_dense())
    assert given.with_kind("a_hat").t_pattern is given.t_pattern
    assert plain.mark_symmetric().T is plain
