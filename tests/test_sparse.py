import copy
import gc
import pickle
import weakref

import numpy as np
import oracles
import pytest
import scipy.sparse
import torch
from checks import assert_close, compiling, dense_copy
from torch.autograd import forward_ad
from torch.func import grad, vmap
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gcnlab import SparseMatrix, dropout
from gcnlab.deep import drop_edge
from gcnlab.errors import InputError, InputTypeError
from gcnlab.sparse import kernels, spmm_reference


def test_sums_and_multiples():
    a = SparseMatrix.from_dense([[0.0, 2.0], [3.0, 0.0]])
    b = SparseMatrix.eye(2)
    for found, expected in (
        (a + b, [[1.0, 2.0], [3.0, 1.0]]),
        (b - a, [[1.0, -2.0], [-3.0, 1.0]]),
        (a - a, [[0.0, 0.0], [0.0, 0.0]]),
        (2 * a, [[0.0, 4.0], [6.0, 0.0]]),
        (a * torch.tensor(0.5), [[0.0, 1.0], [1.5, 0.0]]),
    ):
        assert found.to_dense().tolist() == expected
    epsilon = torch.tensor(0.5, requires_grad=True)
    ((epsilon * a + b) @ torch.ones(2, 1)).sum().backward()
    assert float(epsilon.grad) == 5.0
    with pytest.raises(InputError, match=r"S \+ T: S is 2 x 2 on cpu, T 3 x 3 on cpu"):
        a + SparseMatrix.eye(3)
    for wrong in (lambda: a + 1.0, lambda: a * a, lambda: a - torch.eye(2), lambda: a * torch.ones(2)):
        with pytest.raises(TypeError):
            wrong()


pytestmark = pytest.mark.usefixtures("one_thread")

ROWS, COLS = 7, 11


def random_dense(rows=ROWS, cols=COLS, density=0.3, dtype=torch.float64, seed=0):
    """Some entries, an empty row and an empty column where there is room."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(rows, cols, generator=generator, dtype=torch.float64)
    dense *= torch.rand(rows, cols, generator=generator) < density
    if rows > 2 and cols > 2:
        dense[1], dense[:, 2] = 0.0, 0.0
        dense[0, 0] = 1.5
    return dense.to(dtype)


def randn(*shape, dtype=torch.float64, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def assert_canonical(matrix):
    """CSR with columns sorted within each row and no entry twice, int32 where it fits."""
    assert matrix.rowptr.dtype == matrix.col.dtype == torch.int32
    assert matrix.rowptr.shape == (matrix.shape[0] + 1,)
    assert matrix.col.shape == matrix.value.shape == (matrix.nnz,)
    assert int(matrix.rowptr[0]) == 0
    assert int(matrix.rowptr[-1]) == matrix.nnz
    for start, stop in zip(matrix.rowptr, matrix.rowptr[1:], strict=False):
        columns = matrix.col[int(start) : int(stop)].tolist()
        assert columns == sorted(set(columns))
        assert all(0 <= c < matrix.shape[1] for c in columns)


# -- making one -------------------------------------------------------------------------------------------------------


def shuffled_coo(dense, generator):
    """(row, col, value) of `dense` with each value split in two, in random order."""
    row, col = dense.nonzero(as_tuple=True)
    part = dense[row, col] * torch.rand(row.shape[0], generator=generator)
    order = torch.randperm(2 * row.shape[0], generator=generator)
    value = torch.cat([part, dense[row, col] - part])
    return row.repeat(2)[order], col.repeat(2)[order], value[order]


def from_edges(dense):
    row, col, value = shuffled_coo(dense, torch.Generator().manual_seed(2))
    return SparseMatrix.from_edges(torch.stack([col, row]), edge_weight=value, shape=dense.shape)


def from_uncoalesced(dense):
    row, col, value = shuffled_coo(dense, torch.Generator().manual_seed(3))
    matrix = torch.sparse_coo_tensor(torch.stack([row, col]), value, dense.shape)
    assert not len(row) or not matrix.is_coalesced()
    return SparseMatrix.from_torch(matrix)


def from_unsorted_csr(dense):
    row, col = dense.nonzero(as_tuple=True)
    flipped = (row * dense.shape[1] - col).argsort()
    crow = torch.cat([torch.zeros(1, dtype=torch.int64), (dense != 0).sum(1).cumsum(0)])
    with torch.sparse.check_sparse_tensor_invariants(False):
        matrix = torch.sparse_csr_tensor(crow, col[flipped], dense[row, col][flipped], dense.shape)
    return SparseMatrix.from_torch(matrix)


DOORS = {
    "edges": from_edges,
    "scipy csr": lambda dense: SparseMatrix.from_scipy(scipy.sparse.csr_array(dense.numpy())),
    "scipy csc": lambda dense: SparseMatrix.from_scipy(scipy.sparse.csc_matrix(dense.numpy())),
    "scipy coo": lambda dense: SparseMatrix.from_scipy(scipy.sparse.coo_matrix(dense.numpy())),
    "scipy lil": lambda dense: SparseMatrix.from_scipy(scipy.sparse.lil_matrix(dense.numpy())),
    "scipy dok": lambda dense: SparseMatrix.from_scipy(scipy.sparse.dok_array(dense.numpy())),
    "dense": SparseMatrix.from_dense,
    "nested list": lambda dense: SparseMatrix.from_dense(dense.tolist()).to(dense.dtype),
    "numpy": lambda dense: SparseMatrix.from_dense(dense.numpy()),
    "numpy, transposed view": lambda dense: SparseMatrix.from_dense(dense.numpy().T).T,
    "torch coo": lambda dense: SparseMatrix.from_torch(dense.to_sparse_coo()),
    "torch coo, uncoalesced": from_uncoalesced,
    "torch csr": lambda dense: SparseMatrix.from_torch(dense.to_sparse_csr()),
    "torch csr, unsorted": from_unsorted_csr,
    "torch csc": lambda dense: SparseMatrix.from_torch(dense.to_sparse_csc()),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_the_same_canonical_matrix(door):
    dense = random_dense()
    matrix = DOORS[door](dense)
    assert_canonical(matrix)
    assert matrix.shape == (ROWS, COLS)
    assert matrix.nnz == int((dense != 0).sum())
    np.testing.assert_allclose(dense_copy(matrix), dense.numpy(), atol=1e-7 if door == "nested list" else 1e-15)


@pytest.mark.parametrize(
    ("door", "shape"),
    [
        (door, shape)
        for door in DOORS
        for shape in [(0, 0), (0, 5), (5, 0), (3, 2), (1, 1)]
        if shape[0] or door != "nested list"  # a list of no rows has no columns to count
    ],
    ids=str,
)
def test_every_door_takes_empty_matrices(door, shape):
    matrix = DOORS[door](torch.zeros(shape, dtype=torch.float64))
    assert_canonical(matrix)
    assert (matrix.shape, matrix.nnz) == (shape, 0)
    assert matrix.T.shape == shape[::-1]
    x = torch.ones(shape[1], 3, dtype=torch.float64, requires_grad=True)
    out = matrix @ x
    assert torch.equal(out, torch.zeros(shape[0], 3, dtype=torch.float64))
    out.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))
    assert matrix.row_normalized().nnz == matrix.with_value(matrix.value).nnz == 0
    assert matrix.density == 0.0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("sum", [[0.0, 5.0], [4.0, 0.0]]), ("first", [[0.0, 2.0], [4.0, 0.0]])],
)
def test_duplicates_by_hand(mode, expected):
    matrix = SparseMatrix.from_edges([[1, 0, 1], [0, 1, 0]], edge_weight=[2.0, 4.0, 3.0], duplicates=mode)
    assert matrix.to_dense().tolist() == expected


def test_duplicates_refused():
    with pytest.raises(InputError, match=r"edge 2 \(1 -> 0\) is given twice"):
        SparseMatrix.from_edges([[1, 0, 1], [0, 1, 0]], duplicates="error")
    with pytest.raises(InputError, match=r'duplicates: got \'mean\', expected "sum", "first" or "error"'):
        SparseMatrix.from_edges([[1], [0]], duplicates="mean")


def test_edges_are_target_by_source():
    matrix = SparseMatrix.from_edges([[2], [0]], edge_weight=[7.0])
    assert matrix.to_dense().tolist() == [[0, 0, 7], [0, 0, 0], [0, 0, 0]]
    rectangular = SparseMatrix.from_edges([[4], [1]], shape=(2, 5))
    assert (rectangular.row.tolist(), rectangular.col.tolist(), rectangular.shape) == ([1], [4], (2, 5))


def test_weights_of_edges_keep_their_dtype_and_gradient():
    edge_index = torch.tensor([[0, 1, 0, 2], [1, 0, 1, 2]])
    weight = torch.tensor([2.0, 3.0, 5.0, 7.0], dtype=torch.float64, requires_grad=True)
    matrix = SparseMatrix.from_edges(edge_index, edge_weight=weight)
    assert matrix.dtype == torch.float64
    x = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    (torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64) * (matrix @ x)).sum().backward()
    assert weight.grad.tolist() == [2.0, 10.0, 2.0, 400.0]  # g[target] x[source], of both that were merged
    assert SparseMatrix.from_edges(edge_index, edge_weight=[1, 2, 3, 4]).dtype == torch.float32
    assert SparseMatrix.from_edges(edge_index).dtype == torch.float32


@pytest.mark.parametrize(("limit", "expected"), [(12, torch.int64), (13, torch.int32)], ids=str)
@pytest.mark.parametrize("what", ["entries", "rows", "cols"])
def test_index_dtype_at_the_limit(monkeypatch, what, limit, expected):
    monkeypatch.setattr("gcnlab.sparse.matrix.INT32_MAX", limit)
    ids = torch.arange(13)
    row, col, shape = {
        "entries": (ids // 4, ids % 4, (5, 5)),
        "rows": (ids[:2], ids[:2], (13, 3)),
        "cols": (ids[:2], ids[:2], (3, 13)),
    }[what]
    matrix = SparseMatrix.from_coo(row, col, shape=shape)
    assert matrix.rowptr.dtype == matrix.col.dtype == matrix.T.rowptr.dtype == matrix.T.col.dtype == expected
    x = randn(shape[1], 3, dtype=torch.float32).requires_grad_()
    out = matrix @ x
    assert_close(out.detach(), torch.from_numpy(dense_copy(matrix)) @ x.detach().double(), 1e-6)
    out.sum().backward()
    assert_close(x.grad, torch.from_numpy(dense_copy(matrix)).sum(0)[:, None].expand(-1, 3), 1e-6)


def test_too_many_places_for_an_int64():
    with pytest.raises(InputError, match=r"shape: 3 x 4611686018427387904 is more places than an int64 can number"):
        SparseMatrix.from_edges([[2**61, 5], [2, 1]], shape=(3, 2**62))


# -- the transpose ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 11), (11, 7), (5, 5), (1, 13), (13, 1)], ids=str)
def test_transpose(shape):
    dense = random_dense(*shape, density=0.5)
    matrix = SparseMatrix.from_dense(dense)
    assert_canonical(matrix.T)
    assert np.array_equal(dense_copy(matrix.T), dense.numpy().T)
    assert matrix.T is matrix.T
    assert matrix.T.T is matrix


def test_a_pattern_is_transposed_once_for_all_its_values(monkeypatch):
    matrix = SparseMatrix.from_dense(random_dense())
    early = matrix.with_value(matrix.value * 2)  # made before the transpose is
    matrix.T  # noqa: B018
    monkeypatch.setattr("gcnlab.sparse.matrix.OPERATORS", None)  # from here on nothing can be transposed any more
    for factor, other in [(2, early), (3, matrix.with_value(matrix.value * 3))]:
        assert np.array_equal(dense_copy(other.T), factor * dense_copy(matrix).T)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_matrix_is_freed_at_once(symmetric):
    """Not when Python's collector comes: a step's matrices would pile up, and each step take memory anew."""
    dense = random_dense(7, 7)
    matrix = SparseMatrix.from_dense(dense)
    matrix = matrix.mark_symmetric() if symmetric else matrix
    transposed, gone = matrix.T, weakref.ref(matrix)
    assert transposed.T is matrix
    gc.disable()
    try:
        if symmetric:
            del transposed
        del matrix
        assert gone() is None
    finally:
        gc.enable()
    if not symmetric:
        assert np.array_equal(dense_copy(transposed.T), dense.numpy())


def test_symmetric_matrix_is_its_own_transpose():
    dense = random_dense(7, 7)
    matrix = SparseMatrix.from_dense(dense + dense.T)
    assert matrix.is_symmetric()
    assert SparseMatrix.eye(5).T.T.is_symmetric()
    marked = matrix.mark_symmetric()
    assert marked.T is marked
    assert marked.to(torch.float32).T.dtype == torch.float32
    assert not marked.with_value(torch.arange(marked.nnz)).is_symmetric()  # other values need not be


@pytest.mark.parametrize(
    "dense",
    [[[0.0, 1.0], [2.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]], [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]],
    ids=["another value", "another pattern", "not square"],
)
def test_not_symmetric(dense):
    assert not SparseMatrix.from_dense(dense).is_symmetric()


def test_learned_values_are_never_stale():
    """The transpose of values that an optimizer changes in place follows them, forward and backward."""
    dense = random_dense(5, 5)
    matrix = SparseMatrix.from_dense(dense + dense.T)
    value = matrix.value.clone().requires_grad_()
    learned = matrix.with_value(value)
    with torch.no_grad():
        learned.T  # noqa: B018
    learned.mark_symmetric()
    for _ in range(3):
        x = randn(5, 3).requires_grad_()
        value.grad = None
        (learned @ x).square().sum().backward()
        left = (x.mT @ learned).square().sum()
        grad_value = torch.autograd.grad(left, value)[0]
        a = torch.from_numpy(dense_copy(learned)).requires_grad_()
        assert_close(x.grad, 2 * a.mT @ (a @ x))
        expected = torch.autograd.grad((x.mT @ a).square().sum(), a)[0]
        assert_close(grad_value, expected[learned.row, learned.col.long()])
        with torch.no_grad():
            value.mul_(torch.linspace(0.5, 2.0, value.shape[0]))  # no longer symmetric


# -- the product ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "width"), [((), None), *((batch, width) for batch in [(), (1,), (3,), (0,)] for width in [0, 1, 5])]
)
def test_product_with_dense(batch, width):
    dense = random_dense()
    matrix = SparseMatrix.from_dense(dense)
    x = randn(*batch, COLS, *([] if width is None else [width]))
    assert_close(matrix @ x, torch.from_numpy(dense.numpy() @ x.numpy()))
    y = randn(*batch, *([] if width is None else [width]), ROWS)
    assert_close(y @ matrix, torch.from_numpy(y.numpy() @ dense.numpy()))


def test_product_with_sparse():
    a, b = random_dense(7, 11), random_dense(11, 5, seed=5)
    product = SparseMatrix.from_dense(a) @ SparseMatrix.from_dense(b)
    assert_canonical(product)
    np.testing.assert_allclose(dense_copy(product), a.numpy() @ b.numpy(), atol=1e-14)


MISFITS = [
    (lambda s, n: s @ torch.ones(7, 3), r"S @ x: S is 7 x 11 and x has shape \(7, 3\); expected \[11\], \[11, C\]"),
    (lambda s, n: s @ torch.ones(7), r"S @ x: S is 7 x 11 and x has shape \(7,\)"),
    (lambda s, n: s @ torch.ones(2, 7, 3), r"x has shape \(2, 7, 3\)"),
    (lambda s, n: s @ torch.ones(2, 2, 11, 3), r"x has shape \(2, 2, 11, 3\)"),
    (lambda s, n: s @ torch.tensor(1.0), r"x has shape \(\)"),
    (lambda s, n: torch.ones(11) @ s, r"x @ S: x has shape \(11,\) and S is 7 x 11; expected \[7\], \[R, 7\]"),
    (lambda s, n: torch.ones(3, 11) @ s, r"x @ S: x has shape \(3, 11\)"),
    (lambda s, n: s @ n, r"S @ R: shapes \(7, 11\) and \(7, 11\) do not fit: 11 != 7"),
    (lambda s, n: s @ torch.ones(11, 2).double(), r"S is torch.float32 and x torch.float64; convert one with \.to"),
    (lambda s, n: s.to(torch.float64) @ torch.ones(11, 2), r"S is torch.float64 and x torch.float32"),
    (lambda s, n: s.to(torch.bfloat16) @ torch.ones(11, 2), r"S is torch.bfloat16 and x torch.float32"),
    (lambda s, n: s @ torch.ones(11, 2, device="meta"), r"S is on cpu and x on meta; move one with \.to"),
    (lambda s, n: s @ n.with_value(n.value.clone().requires_grad_()).T, "product of two sparse matrices has no grad"),
]


@pytest.mark.parametrize(("product", "message"), MISFITS, ids=[message[:40] for _, message in MISFITS])
def test_operands_that_do_not_fit(product, message):
    matrix = SparseMatrix.from_dense(random_dense(dtype=torch.float32))
    with pytest.raises(InputError, match=message):
        product(matrix, matrix.with_value(matrix.value))


@pytest.mark.parametrize("other", [3.0, [1.0] * 11, None, "x"], ids=repr)
def test_operands_of_no_use(other):
    matrix = SparseMatrix.from_dense(random_dense())
    with pytest.raises(TypeError, match="unsupported operand"):
        matrix @ other
    with pytest.raises(TypeError, match="unsupported operand"):
        other @ matrix


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("fbgemm", [True, False], ids=["FBGEMM", "MKL"])
@pytest.mark.parametrize("width", [1, 3, 16, 257])
def test_fast_product_is_the_reference(monkeypatch, width, fbgemm, dtype):
    if fbgemm and not kernels._HAS_FBGEMM:
        pytest.skip("this build of torch has no FBGEMM")
    monkeypatch.setattr(kernels, "_HAS_FBGEMM", fbgemm)
    matrix = SparseMatrix.from_dense(random_dense(23, 29, 0.4, dtype))
    x = randn(29, width, dtype=dtype)
    parts = matrix.rowptr, matrix.col, matrix.value
    expected = spmm_reference(*(part.double() if part.is_floating_point() else part for part in parts), x.double())
    assert_close(expected, matrix.to_dense().double() @ x.double())
    found = matrix @ x
    assert found.dtype == dtype
    # one rounding to dtype at the end; the sums of up to 29 products are in float32 at least
    slack = matrix.with_value(matrix.value.abs()).to_dense().double() @ x.abs().double()
    eps = torch.finfo(dtype).eps / 2 + 29 * (1e-16 if dtype == torch.float64 else torch.finfo(torch.float32).eps)
    assert bool(((found.double() - expected).abs() <= slack * eps + torch.finfo(dtype).smallest_normal).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_fast_product_of_views(dtype):
    """Rows skipped, columns skipped, transposed, expanded: x is read by its strides, and the values by theirs."""
    matrix = SparseMatrix.from_dense(random_dense(7, 11, 0.5, dtype))
    base = randn(22, 22, dtype=dtype)
    expanded_value = matrix.with_value(torch.ones((), dtype=dtype).expand(matrix.nnz))
    strided_value = matrix.with_value(matrix.value.repeat_interleave(2)[::2])
    for s in (matrix, expanded_value, strided_value):
        for x in (base[::2, :5], base[:11, ::3], base[:5, :11].T, base[:1, :5].expand(11, 5), base[3:14, 7:8]):
            assert_close(
                (s @ x).double(), s.to_dense().double() @ x.double(), 0.05 if dtype == torch.bfloat16 else 1e-5
            )


def test_low_precision_features_on_a_float32_operator():
    matrix = SparseMatrix.from_dense(random_dense(dtype=torch.float32))
    x = randn(COLS, 3, dtype=torch.bfloat16).requires_grad_()
    out = matrix @ x
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert_close(x.grad, matrix.to_dense().sum(0)[:, None].expand(-1, 3), 0.02)


# -- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 3), (5,), (2, 5, 3)], ids=str)
@pytest.mark.parametrize("side", ["S @ x", "x @ S"])
def test_gradients_of_values_and_x(side, shape):
    matrix = SparseMatrix.from_dense(random_dense(5, 5, 0.6))

    def f(value, x):
        s = matrix.with_value(value)
        return s @ x if side == "S @ x" else (x.mT if x.dim() > 1 else x) @ s

    inputs = matrix.value.clone().requires_grad_(), randn(*shape).requires_grad_()
    assert torch.autograd.gradcheck(f, inputs, nondet_tol=0.0)
    assert torch.autograd.gradgradcheck(f, inputs, nondet_tol=0.0)


def test_second_derivatives_of_a_rectangular_product():
    matrix = SparseMatrix.from_dense(random_dense(3, 5, 0.7))
    inputs = matrix.value.clone().requires_grad_(), randn(5, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda value, x: (matrix.with_value(value) @ x).square(), inputs, nondet_tol=0)


def test_gradient_of_x_through_a_symmetric_matrix():
    dense = random_dense(5, 5)
    matrix = SparseMatrix.from_dense(dense + dense.T).mark_symmetric()
    x = randn(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: matrix @ x, x, nondet_tol=0.0)
    assert torch.autograd.gradgradcheck(lambda x: (matrix @ x).square(), x, nondet_tol=0.0)


@pytest.mark.parametrize(
    "f",
    [
        lambda s: s.to_dense(),
        lambda s: s.T.to_dense(),
        lambda s: s.row_sums(),
        lambda s: s.diagonal(),
        lambda s: s.row_normalized().to_dense(),
        lambda s: s.with_self_loops("fill").to_dense(),
        lambda s: s.with_self_loops("add").to_dense(),
        lambda s: s.scale(rows=torch.arange(1.0, 6).double(), cols=torch.arange(2.0, 7).double()).to_dense(),
        lambda s: s.select_rows(torch.tensor([3, 0, 3])).to_dense(),
        lambda s: s.select_cols(torch.tensor([0, 3, 4])).to_dense(),
    ],
    ids=[
        "to_dense",
        "T",
        "row_sums",
        "diagonal",
        "row_normalized",
        "fill",
        "add",
        "scale",
        "select_rows",
        "select_cols",
    ],
)
def test_gradients_of_values_through(f):
    matrix = SparseMatrix.from_dense(random_dense(5, 5, 0.6).abs())
    value = matrix.value.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: f(matrix.with_value(value)), value, nondet_tol=0.0)


# -- torch.func -------------------------------------------------------------------------------------------------------


def vmap_cases():
    matrix = SparseMatrix.from_dense(random_dense(5, 7, 0.5))
    symmetric = SparseMatrix.from_dense(random_dense(7, 7) + random_dense(7, 7).T).mark_symmetric()
    values, x = randn(3, matrix.nnz), randn(3, 7, 2, seed=4)

    def product(value, x):
        return matrix.with_value(value) @ x

    return {
        "x": (lambda x: matrix @ x, (x,), 0),
        "x, last dimension": (lambda x: matrix @ x, (x.movedim(0, 2),), 2),
        "x, symmetric": (lambda x: symmetric @ x, (x,), 0),
        "x, vector": (lambda x: matrix @ x, (x[..., 0],), 0),
        "x, batch inside": (lambda x: matrix @ x, (randn(3, 2, 7, 5),), 0),
        "x, from the left": (lambda x: x.mT @ matrix.T, (x,), 0),
        "values": (lambda value: product(value, x[0]), (values,), 0),
        "values, last dimension": (lambda value: product(value, x[0]), (values.T,), 1),
        "both": (product, (values, x), 0),
        "both, x other way": (product, (values, x.movedim(0, 1)), (0, 1)),
        "nested over x": (vmap(lambda x: matrix @ x), (randn(3, 2, 7, 5),), 0),
        "nested over values": (vmap(product, (0, None)), (randn(3, 2, matrix.nnz), x), 0),
        "nested over both": (vmap(product), (randn(3, 2, matrix.nnz), randn(3, 2, 7, 5, seed=6)), 0),
        "nested, x inside": (vmap(product, (None, 0)), (values, randn(3, 2, 7, 5)), 0),
        "nested, x outside": (vmap(product, (0, None)), (randn(2, matrix.nnz), x), (None, 0)),
        "nested, values outside": (lambda value: vmap(lambda x: product(value, x))(x), (values,), 0),
    }


@pytest.mark.parametrize("name", vmap_cases())
def test_vmap(name):
    """vmap, vmap of grad, and backward through vmap against a Python loop."""
    f, inputs, in_dims = vmap_cases()[name]
    dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(inputs)

    def at(i):
        return [t if dim is None else t.select(dim, i) for t, dim in zip(inputs, dims, strict=True)]

    def loss(*inputs):
        return f(*inputs).square().sum()

    assert_close(vmap(f, in_dims)(*inputs), torch.stack([f(*at(i)) for i in range(3)]))

    every = tuple(range(len(inputs)))
    found = vmap(grad(loss, every), in_dims)(*inputs)
    alone = []
    for i in range(3):
        leaves = [t.clone().requires_grad_() for t in at(i)]
        alone.append(torch.autograd.grad(loss(*leaves), leaves))
    leaves = [t.clone().requires_grad_() for t in inputs]
    through = torch.autograd.grad(vmap(loss, in_dims)(*leaves).sum(), leaves)
    for k, dim in enumerate(dims):
        expected = torch.stack([gradients[k] for gradients in alone])
        assert_close(found[k], expected, what=name)
        assert_close(through[k], expected.sum(0) if dim is None else expected.movedim(0, dim), what=name)


def test_matrix_as_an_argument_of_vmap():
    matrix = SparseMatrix.from_dense(random_dense())
    x = randn(3, COLS, 2)
    found = vmap(lambda s, x: s @ x, (None, 0))(matrix, x)
    assert_close(found, torch.stack([matrix @ x_i for x_i in x]))


def test_backward_through_vmap_uses_the_kept_transpose(monkeypatch):
    """Many seeds at once must not sort the matrix in every backward pass."""
    matrix = SparseMatrix.from_dense(random_dense())
    x = randn(3, COLS, 2).requires_grad_()
    vmap(lambda x: (matrix @ x).sum())(x).sum().backward()
    out = vmap(lambda x: (matrix @ x).sum())(x).sum()
    monkeypatch.setattr(torch.ops.gcnlab, "transpose", None)
    x.grad = None
    out.backward()
    assert_close(x.grad, matrix.to_dense().sum(0)[None, :, None].expand_as(x))


class SeenOperators(TorchDispatchMode):
    """Names of gcnlab's operators that run within it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names += [func.name()] if func.namespace == "gcnlab" else []
        return func(*args, **(kwargs or {}))


def test_modes_see_the_operators():
    """Plain tensors go to the kernels at once; what traces or counts operators still sees those of gcnlab."""
    matrix, x = SparseMatrix.from_dense(random_dense()), randn(COLS, 2).requires_grad_()
    value = matrix.value.clone().requires_grad_()
    with SeenOperators() as seen:
        out = matrix.with_value(value) @ x
        out.sum().backward()
    assert sorted(seen.names) == ["gcnlab::sddmm", "gcnlab::spmm", "gcnlab::spmm", "gcnlab::transpose"]
    expected = torch.autograd.grad((matrix.with_value(value) @ x).sum(), (value, x))
    assert torch.equal(value.grad, expected[0])
    assert torch.equal(x.grad, expected[1])


@pytest.mark.parametrize("records", [True, False])
def test_forward_derivatives_are_refused(records):
    """A product has none; where no gradient is recorded either, its value alone would be wrong without a word."""
    with forward_ad.dual_level(), torch.set_grad_enabled(records), pytest.raises(NotImplementedError, match="jvp"):
        SparseMatrix.eye(3) @ forward_ad.make_dual(torch.ones(3, 2), torch.ones(3, 2))


def test_matrix_serves_after_a_transform():
    """What the matrix kept inside of grad() is of use outside: product, backward, pickle."""
    matrix = SparseMatrix.from_dense(random_dense())
    x = randn(COLS, 2)
    inside = grad(lambda x: (matrix @ x).square().sum())(x)
    leaf = x.clone().requires_grad_()
    (matrix @ leaf).square().sum().backward()
    assert_close(leaf.grad, inside)
    assert torch.equal(pickle.loads(pickle.dumps(matrix)).T.value, matrix.T.value)


# -- torch.compile ----------------------------------------------------------------------------------------------------

COMPILED = {
    "S @ x": (lambda s, x: s @ x, (11, 3)),
    "S @ vector": (lambda s, x: s @ x, (11,)),
    "S @ batch": (lambda s, x: s @ x, (2, 11, 3)),
    "x @ S": (lambda s, x: x @ s, (3, 7)),
    "with_value": (lambda s, x: s.with_value(s.value * x.sum()) @ x, (11, 3)),
    "S.__matmul__(x) where both fit": (lambda s, x: s.__matmul__(x), (11, 7)),
    "S.__rmatmul__(x) where both fit": (lambda s, x: s.__rmatmul__(x), (11, 7)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", COMPILED)
def test_compile(name, dtype):
    f, shape = COMPILED[name]
    dense = random_dense(dtype=dtype)
    matrix = SparseMatrix.from_dense(dense)
    x = randn(*shape, dtype=dtype).requires_grad_()
    with compiling():
        found = torch.compile(f, fullgraph=True, backend="aot_eager")(matrix, x)
        (gradient,) = torch.autograd.grad(found.square().sum(), x)
    expected = f(matrix, x)
    assert_close(found, expected, 1e-6)
    assert_close(gradient, torch.autograd.grad(expected.square().sum(), x)[0], 1e-5)


def test_compile_of_a_symmetric_matrix():
    matrix = SparseMatrix.from_dense(random_dense(7, 7) + random_dense(7, 7).T).mark_symmetric()
    x = randn(7, 3).requires_grad_()
    with compiling():
        found = torch.compile(lambda x: matrix @ x, fullgraph=True, backend="aot_eager")(x)
        found.sum().backward()
    assert_close(found, matrix.to_dense() @ x)
    assert_close(x.grad, matrix.to_dense().sum(1)[:, None].expand_as(x))


def test_compile_refuses_what_it_cannot_tell_apart():
    matrix, x = SparseMatrix.from_dense(random_dense()), randn(11, 7)
    with compiling():
        with pytest.raises(torch._dynamo.exc.Unsupported, match=r"does not tell S @ x from x @ S.*write S.__matmul__"):
            torch.compile(lambda s, x: s @ x, backend="eager", fullgraph=True)(matrix, x)
        assert_close(
            torch.compile(lambda s, x: s @ x, backend="eager")(matrix, x), matrix @ x
        )  # a graph break is right


@pytest.mark.parametrize("batch", [(), (3,)], ids=["one", "batch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_operators_as_torch_wants_them(batch, dtype):
    """torch.library.opcheck: schema, fake kernels against real ones, and tracing of each raw operator."""
    matrix = SparseMatrix.from_dense(random_dense(dtype=dtype))
    value = randn(*batch, matrix.nnz, dtype=dtype)
    x, g = randn(*batch, COLS, 3, dtype=dtype), randn(*batch, ROWS, 3, dtype=dtype)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.gcnlab.spmm.default, (matrix.rowptr, matrix.col, value, x), test_utils=tests)
    torch.library.opcheck(torch.ops.gcnlab.sddmm.default, (matrix.rowptr, matrix.col, g, x), test_utils=tests)
    torch.library.opcheck(torch.ops.gcnlab.transpose.default, (matrix.rowptr, matrix.col, COLS), test_utils=tests)


# -- algebra ----------------------------------------------------------------------------------------------------------


def test_row_normalized():
    dense = random_dense().abs()
    matrix = SparseMatrix.from_dense(dense)
    expected = oracles.row_normalized(dense)
    np.testing.assert_allclose(dense_copy(matrix.row_normalized()), expected, rtol=1e-12)
    np.testing.assert_allclose(matrix.row_normalized().row_sums(), torch.where(dense.sum(1) == 0, 0.0, 1.0), atol=1e-12)
    zero_sum = SparseMatrix.from_dense([[2.0, -2.0], [0.0, 4.0]])
    assert zero_sum.row_normalized().to_dense().tolist() == [[2.0, -2.0], [0.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sums_of_low_precision_are_in_float32(dtype):
    """Two thousand ones are 2,000 in float32; added up in bfloat16 they stop at 256."""
    matrix = SparseMatrix.from_dense(torch.ones(1, 2003, dtype=dtype))
    assert matrix.row_sums().tolist() == [2003.0]
    assert matrix.row_normalized().dtype == dtype
    assert torch.equal(matrix.row_normalized().value, torch.full((2003,), 1 / 2003).to(dtype))
    twice = SparseMatrix.from_edges([[0] * 2003, [0] * 2003], edge_weight=torch.ones(2003, dtype=dtype))
    assert torch.equal(twice.value, torch.tensor([2003.0]).to(dtype))


def test_row_sums_and_diagonal():
    dense = random_dense()
    matrix = SparseMatrix.from_dense(dense)
    assert_close(matrix.row_sums(), dense.sum(1))
    assert torch.equal(matrix.diagonal(), dense.diagonal())
    assert torch.equal(SparseMatrix.from_dense(dense.T).diagonal(), dense.diagonal())
    assert matrix.density == matrix.nnz / (ROWS * COLS)
    assert repr(matrix) == f"SparseMatrix(7 x 11, {matrix.nnz} entries, float64, cpu)"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("fill", [[1.0, 2.0, 0.0], [0.0, 5.0, 0.0], [3.0, 0.0, 1.0]]),
        ("add", [[1.0, 2.0, 0.0], [0.0, 6.0, 0.0], [3.0, 0.0, 1.0]]),
        (None, [[0.0, 2.0, 0.0], [0.0, 5.0, 0.0], [3.0, 0.0, 0.0]]),
    ],
)
def test_self_loops_by_hand(mode, expected):
    matrix = SparseMatrix.from_dense([[0.0, 2.0, 0.0], [0.0, 5.0, 0.0], [3.0, 0.0, 0.0]])
    looped = matrix.with_self_loops(mode)
    assert looped.to_dense().tolist() == expected
    assert_canonical(looped)
    if mode == "fill":
        assert looped.with_self_loops(mode).to_dense().tolist() == expected


def test_filling_a_loop_that_is_stored_as_zero():
    stored_zero = SparseMatrix.from_coo(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([0.0, 2.0]), (2, 2))
    assert stored_zero.with_self_loops().to_dense().tolist() == [[1.0, 0.0], [2.0, 1.0]]


def test_self_loops_refused():
    with pytest.raises(InputError, match=r'mode: got \'twice\', expected "fill", "add" or None'):
        SparseMatrix.eye(3).with_self_loops("twice")
    with pytest.raises(InputError, match="self_loops: the matrix is 7 x 11, but only a square one has any"):
        SparseMatrix.from_dense(random_dense()).with_self_loops()


def test_scale():
    dense = random_dense()
    rows, cols = randn(ROWS), randn(COLS, seed=8)
    matrix = SparseMatrix.from_dense(dense)
    for kwargs, expected in (
        ({"rows": rows}, rows[:, None] * dense),
        ({"cols": cols}, dense * cols),
        ({"rows": rows, "cols": cols}, rows[:, None] * dense * cols),
        ({}, dense),
    ):
        assert_close(matrix.scale(**kwargs).to_dense(), expected)


@pytest.mark.parametrize("rows", [[0, 3, 6], [6, 0, 3], [1], [2, 2, 2], []], ids=str)
def test_select_rows(rows):
    dense = random_dense()
    rows = torch.tensor(rows, dtype=torch.int64)
    selected = SparseMatrix.from_dense(dense).select_rows(rows)
    assert_canonical(selected)
    assert torch.equal(selected.to_dense(), dense[rows])


@pytest.mark.parametrize("cols", [[0, 3, 10], [2], [], list(range(11))], ids=str)
def test_select_cols(cols):
    dense = random_dense()
    cols = torch.tensor(cols, dtype=torch.int64)
    selected = SparseMatrix.from_dense(dense).select_cols(cols)
    assert_canonical(selected)
    assert torch.equal(selected.to_dense(), dense[:, cols])


def test_eye():
    assert torch.equal(SparseMatrix.eye(5, torch.float64).to_dense(), torch.eye(5, dtype=torch.float64))
    x = randn(5, 3)
    assert torch.equal(SparseMatrix.eye(5, torch.float64) @ x, x)
    assert SparseMatrix.eye(0).shape == (0, 0)


# -- into other forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_into_other_forms(dtype):
    dense = random_dense(dtype=dtype)
    matrix = SparseMatrix.from_dense(dense)
    assert torch.equal(matrix.to_dense(), dense)
    assert np.array_equal(matrix.to_scipy().toarray(), dense.double().numpy())
    assert matrix.to_torch().layout == torch.sparse_csr
    assert torch.equal(matrix.to_torch().to_dense(), dense)
    assert torch.equal(matrix.with_value(matrix.value.clone().requires_grad_()).to_dense().detach(), dense)


def test_to_dtype_and_device():
    matrix = SparseMatrix.from_dense(random_dense())
    transposed = matrix.T
    assert matrix.to(torch.float64) is matrix
    assert matrix.to("cpu") is matrix
    single = matrix.to(torch.float32)
    assert (single.dtype, single.col.dtype, single.T.dtype) == (torch.float32, torch.int32, torch.float32)
    assert np.array_equal(dense_copy(single.T), dense_copy(transposed.to(torch.float32)))
    meta = matrix.to("meta")
    assert {str(part.device) for part in (meta.rowptr, meta.col, meta.value, meta.T.col)} == {"meta"}


@pytest.mark.parametrize("kind", ["plain", "transposed before", "symmetric"])
def test_pytree_round_trip(kind):
    dense = random_dense(7, 7)
    matrix = SparseMatrix.from_dense(dense + dense.T if kind == "symmetric" else dense)
    if kind == "transposed before":
        matrix.T  # noqa: B018
    if kind == "symmetric":
        matrix.mark_symmetric()
    leaves, spec = _pytree.tree_flatten({"s": matrix})
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves)
    back = _pytree.tree_unflatten(leaves, spec)["s"]
    assert back.shape == matrix.shape
    assert torch.equal(back.to_dense(), matrix.to_dense())
    assert torch.equal(back.T.to_dense(), matrix.to_dense().T)
    assert (back.T is back) == (kind == "symmetric")
    zeros = _pytree.tree_map(lambda t: torch.zeros_like(t) if t.is_floating_point() else t, matrix)
    assert not zeros.to_dense().any()


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
@pytest.mark.parametrize("kind", ["plain", "symmetric", "learned"])
def test_copies(kind, copier):
    dense = random_dense(7, 7)
    matrix = SparseMatrix.from_dense(dense + dense.T if kind == "symmetric" else dense)
    if kind == "symmetric":
        matrix.mark_symmetric()
    if kind == "learned":
        matrix = matrix.with_value(matrix.value.clone().requires_grad_())
    matrix.T  # noqa: B018
    back = copier(matrix)
    assert torch.equal(back.to_dense(), matrix.to_dense())
    assert torch.equal(back.T.to_dense(), matrix.to_dense().T)
    assert back.T is back or kind != "symmetric" or copier is copy.copy
    assert back.value.requires_grad == (kind == "learned")


@pytest.mark.parametrize("symmetric", [False, True])
def test_what_keeps_the_kind_and_what_drops_it(symmetric):
    dense = random_dense(7, 7)
    matrix = SparseMatrix.from_dense(dense + dense.T if symmetric else dense)
    assert matrix.kind is None
    if symmetric:
        matrix.mark_symmetric()
    named = matrix.with_kind("a_hat")
    assert (named.kind, matrix.kind, named.T is named) == ("a_hat", None, symmetric)
    some = torch.tensor([1, 4])
    for same in (
        named.to(torch.float32), named.to("meta"), copy.copy(named), copy.deepcopy(named),
        pickle.loads(pickle.dumps(named)), named.select_rows(some), named.select_cols(some),
        named.with_self_loops(None), dropout(named, 0.0), dropout(named, 0.5, training=False),
    ):  # fmt: skip
        assert same.kind == "a_hat"
    for other in (
        named.with_value(named.value), 2 * named, named + named, named - named, named @ named, named.row_normalized(),
        named.scale(rows=torch.ones(7, dtype=dense.dtype)), named.with_self_loops(), dropout(named, 0.5), drop_edge(named, pairs=False),
        _pytree.tree_map(lambda t: 2 * t, named), SparseMatrix.from_scipy(named.to_scipy()),
    ):  # fmt: skip
        assert other.kind is None
    assert (named.T.kind == "a_hat") == symmetric


def test_a_pickle_does_not_hold_the_transpose():
    matrix = SparseMatrix.from_dense(random_dense(23, 29, 0.5))
    before = len(pickle.dumps(matrix))
    matrix.T  # noqa: B018
    assert len(pickle.dumps(matrix)) == before


def test_a_matrix_from_a_list_is_of_the_default_dtype():
    assert SparseMatrix.from_dense([[1, 2]]).dtype == torch.float32
    assert SparseMatrix.from_dense([[1.0, 2.0]]).dtype == torch.float32
    assert SparseMatrix.from_dense(np.ones((1, 2))).dtype == torch.float64
    assert SparseMatrix.from_scipy(scipy.sparse.eye(3, dtype=np.int8)).dtype == torch.float32


def test_input_is_not_aliased():
    array = np.ones((2, 2))
    matrix = SparseMatrix.from_dense(array)
    array[:] = 7.0
    assert matrix.to_dense().tolist() == [[1.0, 1.0], [1.0, 1.0]]
    read_only = np.ones((2, 2))
    read_only.setflags(write=False)
    assert SparseMatrix.from_dense(read_only).nnz == 4


@pytest.mark.parametrize("given", [torch.eye(3), "matrix", None], ids=["tensor", "str", "None"])
def test_wrong_kind_of_matrix(given):
    with pytest.raises(InputTypeError, match=r"matrix: got \w+, expected a scipy sparse matrix"):
        SparseMatrix.from_scipy(given)
    with pytest.raises(InputTypeError, match=r"matrix: got .*, expected a torch sparse tensor"):
        SparseMatrix.from_torch(given)


def test_linear_takes_a_sparse_matrix_and_other_functions_say_what_does():
    s = SparseMatrix.from_dense(torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]]))
    for linear in (torch.nn.Linear(2, 5), torch.nn.Linear(2, 5, bias=False)):
        torch.testing.assert_close(linear(s), linear(s.to_dense()))
        linear(s).square().sum().backward()
        sparse_grad, linear.weight.grad = linear.weight.grad, None
        linear(s.to_dense()).square().sum().backward()
        torch.testing.assert_close(sparse_grad, linear.weight.grad)
    with pytest.raises(InputTypeError, match=r"relu does not take a SparseMatrix.*to_dense"):
        torch.relu(s)


def test_values_of_each_seed_make_their_transposes():
    """vmap over the values and x of a matrix that keeps no transpose, and its derivatives, against one by one."""
    torch.manual_seed(0)
    row, col = torch.tensor([[0, 2, 1], [1, 0, 2]])
    values, x = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, 3, 5, dtype=torch.float64)

    def f(value, x):
        matrix = SparseMatrix.from_coo(row, col, torch.ones(3, dtype=torch.float64), (3, 3)).with_value(value)
        return (matrix @ x).square().sum()

    together = vmap(grad(f, (0, 1)))(values, x)
    for i in range(4):
        for found, expected in zip(together, grad(f, (0, 1))(values[i], x[i]), strict=True):
            assert_close(found[i], expected)


def test_values_are_contiguous_wherever_they_come_from():
    """Kernels of a GPU read them one after the other, whatever their stride."""
    columns = torch.arange(1.0, 9).view(4, 2).requires_grad_()
    weight = columns[:, 1]
    pattern = SparseMatrix.from_dense([[0.0, 1, 1], [1, 0, 1]])
    csr = torch.sparse_csr_tensor(pattern.rowptr, pattern.col, weight, pattern.shape)
    coo = torch.sparse_coo_tensor(torch.stack([pattern.row, pattern.col.long()]), weight, pattern.shape)
    ids = torch.tensor([[1, 0], [2, 0], [0, 1], [2, 1]]).T  # strided, too
    for made in (
        pattern.with_value(weight), SparseMatrix(pattern.rowptr, pattern.col, weight, pattern.shape),
        SparseMatrix.from_torch(csr), SparseMatrix.from_torch(coo), SparseMatrix.from_edges(ids, None, weight, (2, 3)),
        SparseMatrix.from_edges([[1, 2, 0, 2], [0, 0, 1, 1]], None, weight.detach().numpy(), (2, 3)),
        pattern.with_value(torch.ones(()).expand(4)),
    ):  # fmt: skip
        assert all(part.is_contiguous() for part in (made.rowptr, made.col, made.value))
    made = pattern.with_value(weight)
    assert (made @ torch.eye(3)).tolist() == [[0, 2, 4], [6, 0, 8]]
    (made @ torch.ones(3, 1)).sum().backward()
    assert columns.grad.tolist() == [[0, 1]] * 4


def test_a_product_is_given_contiguous_values(monkeypatch):
    """vmap over columns of values, and gradients that are expanded, make strided ones within."""
    seen = []
    monkeypatch.setattr(
        torch, "sparse_csr_tensor", lambda *a, f=torch.sparse_csr_tensor, **k: (seen.append(a[2]), f(*a, **k))[1]
    )
    s = SparseMatrix.from_dense(torch.tensor([[0.0, 1, 1], [1, 0, 1]], dtype=torch.float64))
    values, x = torch.rand(4, 5, dtype=torch.float64), torch.rand(3, 2, dtype=torch.float64)
    product = lambda value: s.with_value(value) @ x  # noqa: E731
    found = torch.func.vmap(product, in_dims=1)(values)
    assert len(seen) == 5
    assert all(value.is_contiguous() for value in seen)
    torch.testing.assert_close(found, torch.stack([product(value) for value in values.T]))
    for value in (values[:, 0], values[0, :1].expand(4)):
        out = torch.ops.gcnlab.spmm(s.rowptr, s.col, value, x)
        assert seen[-1].is_contiguous()
        torch.testing.assert_close(out, spmm_reference(s.rowptr, s.col, value, x))


def test_one_device_has_several_names():
    s = SparseMatrix.eye(3)
    assert s.to("cpu:0") is s
    assert (s @ torch.ones(3, 1, device="cpu:0")).tolist() == [[1.0]] * 3
    assert (s + SparseMatrix.eye(3, device="cpu:0")).nnz == 3
    for other in ("meta", torch.device("meta", 0)):
        with pytest.raises(InputError, match=r"S is on cpu and x on meta"):
            s @ torch.ones(3, 1, device=other)


@pytest.mark.parametrize(("row", "columns"), [(2, [0, 3, 1]), (1, [3, 2, 0]), (1, [2, 0, 3])])
def test_self_loops_of_unsorted_columns_are_refused(row, columns):
    """The constructor trusts its arguments; a place that two entries take leaves another with what was in memory."""
    rowptr = torch.tensor([0 if i <= row else 3 for i in range(5)])
    matrix = SparseMatrix(rowptr, torch.tensor(columns), torch.ones(3), (4, 4))
    for mode in ("fill", "add"):
        with pytest.raises(InputError, match="columns of a row are not sorted"):
            matrix.with_self_loops(mode)


def test_the_transpose_that_is_kept_is_of_the_values_that_are_there():
    a = SparseMatrix.from_dense([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0], [4.0, 0.0, 5.0]])
    for write in (lambda: None, lambda: a.value.mul_(10), lambda: a.value.copy_(torch.arange(5.0))):
        write()
        assert torch.equal(a.T.to_dense(), a.to_dense().T)
        x = torch.ones(3, 1, requires_grad=True)
        (a @ x).sum().backward()
        assert torch.equal(x.grad[:, 0], a.to_dense().sum(0))
    w = torch.nn.Parameter(a.value.clone())
    learnt = a.with_value(w)
    for _ in range(2):
        w.requires_grad_(False)
        x = torch.ones(3, 1, requires_grad=True)
        (learnt @ x).sum().backward()
        assert torch.equal(x.grad[:, 0], learnt.to_dense().sum(0))
        w.requires_grad_(True)
        with torch.no_grad():
            w.mul_(5)
