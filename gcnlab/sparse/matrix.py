"""The sparse matrix: three plain tensors in CSR form, what can be asked of them, and what can be made of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checks import check_choice, check_count, check_dense, check_flag, check_list
from ..errors import InputError, InputTypeError
from ..inputs import as_tensor, as_values, check_edge_index, check_ids, check_weight, is_table, largest_id, table_matrix
from ..machine import is_same_device
from ..memory import LARGE, check_large
from .kernels import INT32_MAX, INT64_MAX, LIBRARY, OPERATORS, SpMM, apply_function, csr, row_index

if TYPE_CHECKING:
    import scipy.sparse


LIBRARY.define("spmm(Tensor rowptr, Tensor col, Tensor value, Tensor x) -> Tensor")


LIBRARY.define("sddmm(Tensor rowptr, Tensor col, Tensor g, Tensor x) -> Tensor")


LIBRARY.define("transpose(Tensor rowptr, Tensor col, SymInt num_cols) -> (Tensor, Tensor, Tensor)")


# --------------------------------------------------------------------------------------------------------------------
# The matrix
# --------------------------------------------------------------------------------------------------------------------


class SparseMatrix:
    """A sparse matrix in canonical CSR form: columns sorted within each row, no entry stored twice.

    Immutable. `S @ x` multiplies with a dense `x` of shape [num_cols], [num_cols, C] or [batch, num_cols, C], with
    gradients for `x` and for the values, or with another SparseMatrix. Indices are int32 where they fit, else int64.

    The constructor trusts its arguments; `from_edges`, `from_scipy`, `from_dense` and `from_torch` check theirs.

    Args:
        rowptr: [num_rows + 1], where each row starts in `col` and `value`.
        col: [nnz], column of each entry.
        value: [nnz], value of each entry.
        shape: (num_rows, num_cols).
        symmetric: that S equals its transpose up to rounding, as `is_symmetric` finds out. Products with the transpose
            then use S itself.
        t_pattern: (t_rowptr, t_col, order), where they are known: row pointer and columns of the transpose, whose entry e
            is the entry order[e] of S.
        kind: the attribute of this name.

    Attributes:
        symmetric: whether S is known to be its own transpose; `is_symmetric` finds it out.
        is_brief: whether it lives for one step, as a batch does: making its transpose would take longer than using it.
        kind: which matrix of a Graph this is, or is cut out of, in the words of `Graph.matrix`: "a_hat", for one. None
            for any other matrix, also for one made of it by other values or another pattern.

    >>> s = SparseMatrix.from_dense([[0.0, 2.0], [1.0, 0.0]])
    >>> s @ torch.tensor([[1.0], [10.0]])
    tensor([[20.],
            [ 1.]])
    """

    kind: str | None = None
    is_brief: bool = False

    def __init__(
        self,
        rowptr: Tensor,
        col: Tensor,
        value: Tensor,
        shape: Sequence[int],
        *,
        symmetric: bool = False,
        t_pattern: tuple[Tensor, Tensor, Tensor] | None = None,
        kind: str | None = None,
        is_brief: bool = False,
    ) -> None:
        self.rowptr, self.col, self.value = _contiguous(rowptr), _contiguous(col), _contiguous(value)
        self.shape = (int(shape[0]), int(shape[1]))
        # `t_pattern`, in a list that all matrices of one pattern share: what one of them finds, the others know.
        self._pattern: list[tuple[Tensor, Tensor, Tensor]] = [] if t_pattern is None else [t_pattern]
        self.symmetric = symmetric
        self._transposed: SparseMatrix | None = None  # the transpose that is kept
        # Whose transpose this is. It refers weakly, since the two in a circle would live until Python's collector comes: a
        # step's memory would not serve the next step.
        self._origin: weakref.ref[SparseMatrix] | None = None
        self._version = 0  # of the values, when the transpose that is kept was made
        if kind is not None:
            self.kind = kind
        if is_brief:
            self.is_brief = True

    # -- making one ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_coo(
        cls,
        row: Tensor,
        col: Tensor,
        value: Tensor | None = None,
        shape: Sequence[int] = (0, 0),
        duplicates: str = "sum",
    ) -> SparseMatrix:
        """From row and column ids that are known to be int64 and in range; `value` defaults to ones.

        `duplicates`: "sum" adds the values of an entry given twice, "first" keeps the first, "error" refuses.
        """
        check_choice("duplicates", duplicates, ("sum", "first", "error"))
        num_rows, num_cols = _check_shape(shape)
        if num_rows * num_cols > INT64_MAX:
            raise InputError(f"shape: {num_rows} x {num_cols} is more places than an int64 can number.")
        check_large(
            "shape", f"a matrix of {num_rows:,} rows", 28 * num_rows, row.device, "number only the nodes there are."
        )
        given = value
        if value is None:
            value = torch.ones(row.shape[0], device=row.device)
        key = row * num_cols + col
        if not bool((key[1:] > key[:-1]).all()):
            key, order = key.sort(stable=True)
            value = value[order]
            is_first = torch.ones_like(key, dtype=torch.bool)
            torch.ne(key[1:], key[:-1], out=is_first[1:])
            if not bool(is_first.all()):
                if duplicates == "error":
                    at = int(order[(~is_first).nonzero()[0]])
                    raise InputError(
                        f"edge {at} ({int(col[at])} -> {int(row[at])}) is given twice; "
                        'pass duplicates="sum" or "first" to merge such edges.'
                    )
                group = is_first.cumsum(0) - 1
                key = key[is_first]
                if duplicates == "first":
                    value = value[is_first]
                else:  # summed in float32 at least
                    wide = value.to(torch.promote_types(value.dtype, torch.float32))
                    value = wide.new_zeros(key.shape[0]).index_add_(0, group, wide).to(value.dtype)
        index = torch.int32 if max(num_rows, num_cols, key.shape[0]) <= INT32_MAX else torch.int64
        row, col = key.div(max(num_cols, 1), rounding_mode="floor"), key.remainder(max(num_cols, 1))
        rowptr = torch.zeros(num_rows + 1, dtype=torch.int64, device=key.device)
        rowptr[1:] = torch.bincount(row, minlength=num_rows).cumsum(0)
        if value is given and not value.requires_grad:  # a matrix of its own; learnt values it follows
            value = value.clone()
        return cls(rowptr.to(index), col.to(index), value, (num_rows, num_cols))

    @classmethod
    def from_edges(
        cls,
        edge_index: Any,
        num_nodes: int | None = None,
        edge_weight: Any = None,
        shape: Sequence[int] | None = None,
        duplicates: str = "sum",
    ) -> SparseMatrix:
        """From an edge list: entry [target, source] for each edge source -> target.

        Args:
            edge_index: integers [2, num_edges], sources then targets: a tensor, an array or two lists. (A square
                [2, 2] is read this way round too: it cannot be told from its transpose.)
            num_nodes: N of an N x N matrix; by default the largest id + 1.
            edge_weight: [num_edges] real numbers; by default ones.
            shape: (num_targets, num_sources) where the matrix is not square; instead of `num_nodes`.
            duplicates: what to do with an edge given twice: "sum", "first" or "error".

        Raises:
            InputTypeError: `edge_index` is not made of integers.
            InputError: a wrong shape, an id out of range, a weight that is NaN or infinite.
        """
        edge_index = check_edge_index(edge_index)
        if shape is None:
            num_nodes = largest_id(edge_index) + 1 if num_nodes is None else check_count("num_nodes", num_nodes)
            shape = (num_nodes, num_nodes)
        elif num_nodes is not None:
            raise InputError("num_nodes and shape were both given; pass one.")
        else:
            shape = _check_shape(shape)
        check_ids(edge_index, shape)
        value = None if edge_weight is None else check_weight(edge_weight, edge_index.shape[1]).to(edge_index.device)
        source, target = edge_index
        return cls.from_coo(target, source, value, shape, duplicates)

    @classmethod
    def from_scipy(
        cls,
        matrix: scipy.sparse.sparray | scipy.sparse.spmatrix,
        name: str = "matrix",
        check_finite: bool = True,
    ) -> SparseMatrix:
        """From any scipy sparse matrix or array; entries given twice are summed, float32 unless it is float64.

        `name` is what errors call it; `check_finite` refuses NaN and infinities. So in `from_dense` and `from_torch`.
        """
        if not hasattr(matrix, "tocoo"):
            raise InputTypeError(f"{name}: got {type(matrix).__name__}, expected a scipy sparse matrix.")
        if matrix.ndim != 2:
            raise InputError(f"{name}: got shape {matrix.shape}, expected two dimensions.")
        if hasattr(matrix, "check_format"):  # tocoo() trusts the row pointer, and writes out of bounds if it is wrong
            try:
                matrix.check_format(full_check=True)
            except ValueError as error:
                raise InputError(f"{name}: is not a valid scipy matrix: {error}.") from None
        coo = matrix.tocoo()
        row, col = (torch.from_numpy(part.astype("int64")) for part in (coo.row, coo.col))
        value = _check_entries(name, row, col, coo.data, coo.shape, check_finite)
        return cls.from_coo(row, col, value, coo.shape)

    @classmethod
    def from_dense(cls, matrix: Any, name: str = "matrix", check_finite: bool = True) -> SparseMatrix:
        """From a dense [num_rows, num_cols] tensor, array or nested list; its non-zeros are stored."""
        matrix = table_matrix(name, matrix) if is_table(matrix) else matrix
        matrix = as_tensor(name, matrix, "a tensor, an array or lists of numbers")
        if matrix.layout != torch.strided:
            raise InputTypeError(f"{name}: got layout {matrix.layout}, expected a dense tensor; use from_torch.")
        if matrix.dim() != 2:
            raise InputError(f"{name}: got shape {tuple(matrix.shape)}, expected two dimensions.")
        row, col = matrix.nonzero(as_tuple=True)
        value = _check_entries(name, row, col, matrix[row, col], matrix.shape, check_finite)
        return cls.from_coo(row, col, value, matrix.shape)

    @classmethod
    def from_torch(cls, matrix: Tensor, name: str = "matrix", check_finite: bool = True) -> SparseMatrix:
        """From a torch sparse tensor in COO, CSR or CSC layout. Its invariants are checked."""
        if not isinstance(matrix, Tensor) or matrix.layout not in (
            torch.sparse_coo,
            torch.sparse_csr,
            torch.sparse_csc,
        ):
            found = matrix.layout if isinstance(matrix, Tensor) else type(matrix).__name__
            raise InputTypeError(f"{name}: got {found}, expected a torch sparse tensor (COO, CSR or CSC).")
        if matrix.dim() != 2 or matrix.dense_dim():
            raise InputError(
                f"{name}: got shape {tuple(matrix.shape)} with {matrix.dense_dim()} dense dimensions, "
                "expected two dimensions, both sparse."
            )
        if matrix.layout == torch.sparse_coo:
            row, col = matrix._indices()
            value = matrix._values()
        else:
            is_csr = matrix.layout == torch.sparse_csr
            pointer = matrix.crow_indices() if is_csr else matrix.ccol_indices()
            inner = matrix.col_indices().long() if is_csr else matrix.row_indices().long()
            value = matrix.values()
            major, nnz = matrix.shape[0 if is_csr else 1], inner.shape[0]
            ordered = bool((pointer.diff() >= 0).all())
            if pointer.shape[0] != major + 1 or not ordered or int(pointer[0]) != 0 or int(pointer[-1]) != nnz:
                raise InputError(
                    f"{name}: the row or column pointer of this {tuple(matrix.shape)} tensor is not valid."
                )
            outer = row_index(pointer, nnz)
            row, col = (outer, inner) if is_csr else (inner, outer)
        value = _check_entries(name, row, col, value, matrix.shape, check_finite)
        return cls.from_coo(row, col, value, matrix.shape)

    @classmethod
    def eye(cls, size: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> SparseMatrix:
        """The identity I, [size, size]."""
        size = check_count("size", size)
        check_large(
            "size", f"an identity of {size:,} rows", 16 * size, torch.device(device), "number only the nodes there are."
        )
        index = torch.arange(size + 1, device=device, dtype=torch.int32 if size <= INT32_MAX else torch.int64)
        return cls(index, index[:-1], torch.ones(size, dtype=dtype, device=device), (size, size), symmetric=True)

    def with_value(self, value: Tensor) -> SparseMatrix:
        """The same pattern with other values, [nnz]; what is known of the pattern's transpose is shared."""
        other = SparseMatrix(self.rowptr, self.col, value, self.shape)
        other._pattern = self._pattern
        return other

    def mark_symmetric(self) -> SparseMatrix:
        """Itself, which from now on knows that it is symmetric: `symmetric=True` for a matrix that is there already."""
        self.symmetric = True
        return self

    def with_kind(self, kind: str) -> SparseMatrix:
        """The same entries under another kind; this matrix keeps its own."""
        other = SparseMatrix(self.rowptr, self.col, self.value, self.shape)
        other.__dict__.update({**self.__dict__, "kind": kind})
        return other

    def __getstate__(self) -> dict[str, Any]:
        # A copy or a pickle makes its own transpose.
        return {**self.__dict__, "_pattern": [], "_transposed": None, "_origin": None}

    def __getitem__(self, index: Any) -> Any:
        raise InputTypeError(
            "a SparseMatrix takes no index: S.select_rows(ids) and S.select_cols(ids) are parts of it, and S.to_dense() is a "
            "tensor. (graph.x is one of the two by its share of non-zeros.)"
        )

    # -- looking at it ------------------------------------------------------------------------------------------------

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.col.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.value.dtype

    @property
    def device(self) -> torch.device:
        return self.value.device

    @property
    def density(self) -> float:
        """Share of entries that are stored, between 0 and 1."""
        return self.nnz / max(self.shape[0] * self.shape[1], 1)

    @property
    def row(self) -> Tensor:
        """Row of each entry, [nnz] int64."""
        return row_index(self.rowptr, self.nnz)

    @property
    def t_pattern(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """(t_rowptr, t_col, order) of the transpose, where it is known: its entry e is the entry order[e] of S."""
        return self._pattern[0] if self._pattern else None

    def __repr__(self) -> str:
        return (
            f"SparseMatrix({self.shape[0]} x {self.shape[1]}, {self.nnz} entries, "
            f"{str(self.dtype).removeprefix('torch.')}, {self.device})"
        )

    def row_sums(self) -> Tensor:
        """S 1, [num_rows], in float32 at least."""
        dtype = torch.promote_types(self.dtype, torch.float32)
        self._check_columns("row_sums", 8)
        return self.to(dtype) @ torch.ones(self.shape[1], dtype=dtype, device=self.device)

    def diagonal(self) -> Tensor:
        """S_ii, [min(shape)]."""
        on_diagonal = self.row == self.col
        out = torch.zeros(min(self.shape), dtype=self.dtype, device=self.device)
        return out.index_put((self.col[on_diagonal].long(),), self.value[on_diagonal])

    def is_symmetric(self) -> bool:
        """Whether S equals its transpose up to rounding.

        Functions such as `numpy.corrcoef` leave S_ij and S_ji a few bits apart. So the two count as equal if they differ
        by at most 1e-5 of the larger one (1e-9 in float64, one rounding in bfloat16 and float16) plus 5e-7 of the
        largest value in S (9e-16 in float64). An entry that has no partner is never put down to rounding.
        """
        if self.shape[0] != self.shape[1]:
            return False
        t = self.T
        if not (torch.equal(self.rowptr, t.rowptr) and torch.equal(self.col, t.col)):
            return False
        a, b = self.value.detach(), t.value.detach()
        if torch.equal(a, b):
            return True
        if not a.is_floating_point():
            return False
        eps, larger = torch.finfo(a.dtype).eps, torch.maximum(a.abs(), b.abs())
        relative = max(eps, 1e-9 if a.dtype == torch.float64 else 1e-5)
        absolute = 4 * min(eps, torch.finfo(torch.float32).eps)  # values near 0 that were made by cancellation
        return bool(((a - b).abs() <= relative * larger + absolute * larger.max()).all())

    # -- algebra ------------------------------------------------------------------------------------------------------

    @property
    def T(self) -> SparseMatrix:
        """The transpose, made when first asked for and kept; a symmetric matrix that knows it is its own.

        Of learned values only the pattern's transpose is kept: they change, each backward pass needs a graph of its
        own, and entry (i, j) has another derivative than entry (j, i).
        """
        kept, learned = self._known_transpose, self.value.requires_grad
        is_compiling = torch.compiler.is_compiling()
        if kept is not None and kept is not self and not is_compiling and self._version != _version_of(self.value):
            kept = None  # its values are those of before
        if kept is not None and (not learned or (kept is not self and kept.value.requires_grad)):
            return kept
        # What is kept serves a training later, which takes no tensors of inference_mode.
        if not is_compiling and torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                return self.T
        if not self._pattern:
            self._check_columns("T", 16)
            self._pattern.append(OPERATORS.transpose(self.rowptr, self.col, self.shape[1]))
        rowptr, col, order = self._pattern[0]
        t = SparseMatrix(rowptr, col, self.value.index_select(0, order), self.shape[::-1])
        if is_compiling:
            t._transposed = self
        else:
            t._origin = weakref.ref(self)
        if not learned:
            self._transposed, self._version = t, 0 if is_compiling else _version_of(self.value)
        return t

    @property
    def _known_transpose(self) -> SparseMatrix | None:
        if self.symmetric:
            return self
        return self._origin() if self._transposed is None and self._origin is not None else self._transposed

    def _check_columns(self, argument: str, num_bytes: int) -> None:
        """Raise MemoryLimitError where some bytes for each column would not fit: ids of columns may be any numbers."""
        remedy = "number only the columns there are: torch.unique(ids, return_inverse=True)."
        check_large(argument, f"a matrix of {self.shape[1]:,} columns", num_bytes * self.shape[1], self.device, remedy)

    def __mul__(self, factor: Any) -> SparseMatrix:
        """Every value times a number, or a tensor of one."""
        if not isinstance(factor, (int, float)) and not (isinstance(factor, Tensor) and not factor.dim()):
            return NotImplemented
        return self.with_value(self.value * factor)

    __rmul__ = __mul__

    def __add__(self, other: Any) -> SparseMatrix:
        """The sum of two matrices of one shape; entries of both at one place become one."""
        if not isinstance(other, SparseMatrix):
            return NotImplemented
        if other.shape != self.shape or not is_same_device(other.device, self.device):
            raise InputError(
                f"S + T: S is {self.shape[0]} x {self.shape[1]} on {self.device}, T {other.shape[0]} x {other.shape[1]} on "
                f"{other.device}."
            )
        row, col = torch.cat([self.row, other.row]), torch.cat([self.col.long(), other.col.long()])
        return SparseMatrix.from_coo(row, col, torch.cat([self.value, other.value]), self.shape)

    def __sub__(self, other: Any) -> SparseMatrix:
        return self + -1.0 * other if isinstance(other, SparseMatrix) else NotImplemented

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, SparseMatrix):
            return self._matmul_sparse(other)
        if not isinstance(other, Tensor):
            return NotImplemented
        check_dense("x", other)
        if other.dim() not in (1, 2, 3) or other.shape[max(other.dim() - 2, 0)] != self.shape[1]:
            raise InputError(
                f"S @ x: S is {self.shape[0]} x {self.shape[1]} and x has shape {tuple(other.shape)}; "
                f"expected [{self.shape[1]}], [{self.shape[1]}, C] or [batch, {self.shape[1]}, C]."
            )
        if not is_same_device(other.device, self.device):
            raise InputError(f"S @ x: S is on {self.device} and x on {other.device}; move one with .to(device).")
        if other.dim() == 1:
            return self._product(other.unsqueeze(1)).squeeze(1)
        if other.dim() == 3:  # one S for all signals: [batch, num_cols, C] -> [num_cols, batch * C]
            columns = other.movedim(1, 0)
            return self._product(columns.flatten(1)).unflatten(1, columns.shape[1:]).movedim(0, 1)
        return self._product(other)

    def __rmatmul__(self, x: Any) -> Any:
        """x S for a dense x [num_rows], [R, num_rows] or [batch, R, num_rows]."""
        if not isinstance(x, Tensor):
            return NotImplemented
        check_dense("x", x)
        if x.dim() not in (1, 2, 3) or x.shape[-1] != self.shape[0]:
            raise InputError(
                f"x @ S: x has shape {tuple(x.shape)} and S is {self.shape[0]} x {self.shape[1]}; "
                f"expected [{self.shape[0]}], [R, {self.shape[0]}] or [batch, R, {self.shape[0]}]."
            )
        return self.T.__matmul__(x) if x.dim() == 1 else self.T.__matmul__(x.mT).mT

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """`x @ S` and `nn.Linear` of S arrive here; under torch.compile `S @ x` too, operands swapped (torch 2.13)."""
        if func is torch.nn.functional.linear and isinstance(args[0], cls):
            weight, bias = [*args[1:], *(kwargs or {}).values(), None][:2]
            out = args[0] @ weight.t()
            return out if bias is None else out + bias
        if func not in (Tensor.matmul, Tensor.__matmul__) or not isinstance(args[1], cls):
            name = getattr(func, "__name__", func)
            raise InputTypeError(
                f"torch's {name} does not take a SparseMatrix; products (@, nn.Linear, gcnlab's layers) and "
                "gcnlab.dropout do, and S.to_dense() is a tensor."
            )
        x, matrix = args
        if not torch.compiler.is_compiling():
            return matrix.__rmatmul__(x)
        swapped, literal = x.shape[max(x.dim() - 2, 0)] == matrix.shape[1], x.shape[-1] == matrix.shape[0]
        if swapped and literal:
            raise InputError(
                f"torch.compile does not tell S @ x from x @ S, and both fit S {matrix.shape} and x {tuple(x.shape)}; "
                "write S.__matmul__(x) or S.__rmatmul__(x)."
            )
        return matrix.__matmul__(x) if swapped else matrix.__rmatmul__(x)

    def _product(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and (size := self.shape[0] * x.shape[1]) >= LARGE // 8:
            check_large(
                "S @ x", f"a product of {self.shape[0]:,} x {x.shape[1]:,}", size * x.element_size(), x.device,
                "multiply with fewer columns at a time.", 0.9,
            )  # fmt: skip
        value = self.value
        if x.dtype != value.dtype:
            if x.dtype not in (torch.bfloat16, torch.float16) or value.dtype != torch.float32:
                raise InputError(
                    f"S @ x: S is {value.dtype} and x {x.dtype}; convert one with .to({value.dtype}) or .to({x.dtype})."
                )
            value = value.to(x.dtype)  # low precision in, low precision out; the kernels sum in float32
        # Under vmap x.requires_grad is False, whatever the batch says.
        needs_t = torch.is_grad_enabled() and (x.requires_grad or torch._C._functorch.is_batchedtensor(x))
        if needs_t and (self._pattern or self._known_transpose or not self.is_brief or x.device.type != "cpu"):
            t = self.T
            if t is not self:
                return apply_function(
                    SpMM, self.rowptr, self.col, value, t.rowptr, t.col, t.value.to(x.dtype), x, False
                )
        return apply_function(SpMM, self.rowptr, self.col, value, None, None, None, x, self.symmetric)

    def _matmul_sparse(self, other: SparseMatrix) -> SparseMatrix:
        if self.shape[1] != other.shape[0]:
            raise InputError(
                f"S @ R: shapes {self.shape} and {other.shape} do not fit: {self.shape[1]} != {other.shape[0]}."
            )
        if torch.is_grad_enabled() and (self.value.requires_grad or other.value.requires_grad):
            raise InputError("S @ R: the product of two sparse matrices has no gradient; use detached values.")
        # A row of the product has at most as many entries as there are products in it, and as there are columns.
        products = SparseMatrix(
            self.rowptr, self.col, other.rowptr.diff()[self.col.long()].double(), self.shape
        ).row_sums()
        most = int(products.clamp(max=other.shape[1]).sum())
        check_large(
            "S @ R",
            f"a product of up to {most:,} entries",
            12 * most,
            self.device,
            "multiply with one after the other: S @ (R @ x).",
            0.9,
        )
        return SparseMatrix.from_torch(self.to_torch() @ other.to_torch())

    def scale(self, rows: Tensor | None = None, cols: Tensor | None = None) -> SparseMatrix:
        """diag(rows) S diag(cols); `rows` is [num_rows], `cols` [num_cols]."""
        factor = rows[self.row] if rows is not None else torch.ones((), dtype=self.dtype, device=self.device)
        if cols is not None:
            factor = factor * cols[self.col.long()]  # first, so that a symmetric S stays symmetric to the last bit
        return self.with_value(self.value * factor)

    def row_normalized(self) -> SparseMatrix:
        """Each row divided by its sum; a row that sums to zero stays as it is. (Kipf & Welling 2017, section 5.2.)"""
        total = self.row_sums()
        return self.scale(rows=torch.where(total == 0, torch.ones_like(total), 1 / total)).to(self.dtype)

    def with_self_loops(self, mode: str | None = "fill") -> SparseMatrix:
        """S with the identity added exactly once.

        Args:
            mode: "fill": the diagonal becomes 1 where it is 0 and stays where it is not, so that filling twice
                changes nothing. "add": the literal S + I, which counts a loop that is already there a second time.
                None: S itself.
        """
        check_choice("mode", mode, ("fill", "add", None))
        if self.shape[0] != self.shape[1]:
            raise InputError(
                f"self_loops: the matrix is {self.shape[0]} x {self.shape[1]}, but only a square one has any."
            )
        if mode is None:
            return self
        # Insert the loops where they belong: sorting all entries again takes ten times as long.
        row, col = self.row, self.col.long()
        loop = row == col
        value = self.value + loop if mode == "add" else torch.where(loop & (self.value == 0), 1.0, self.value)
        is_new = torch.ones(self.shape[0], dtype=torch.int64, device=self.device).index_fill(0, row[loop], 0)
        if not bool(is_new.any()):
            return self.with_value(value)
        num_new = starts(is_new)  # in the rows before
        place = torch.arange(self.nnz, device=self.device) + num_new[row] + torch.where(col > row, is_new[row], 0)
        num_before = torch.zeros_like(is_new).index_add_(0, row, (col < row).long())  # entries left of the diagonal
        nodes = is_new.nonzero().squeeze(1)
        loop_place = self.rowptr.long()[nodes] + num_before[nodes] + num_new[nodes]
        nnz = self.nnz + nodes.shape[0]
        index = self.rowptr.dtype if nnz <= INT32_MAX else torch.int64
        new_col = torch.full((nnz,), -1, dtype=index, device=self.device)
        new_col[place], new_col[loop_place] = self.col.to(index), nodes.to(index)
        if bool((new_col < 0).any()):  # two entries took one place
            raise InputError("self_loops: the columns of a row are not sorted; SparseMatrix.from_coo sorts them.")
        new_value = value.new_ones(nnz).index_copy(0, place, value)
        return SparseMatrix((self.rowptr.long() + num_new).to(index), new_col, new_value, self.shape)

    def select_rows(self, rows: Tensor) -> SparseMatrix:
        """The given rows in the given order, [len(rows), num_cols]."""
        rows = rows.long()
        start = self.rowptr[rows].long()
        length = self.rowptr[rows + 1].long() - start
        rowptr = starts(length)
        nnz = int(rowptr[-1])
        entry = torch.arange(nnz, device=self.device) + torch.repeat_interleave(
            start - rowptr[:-1], length, output_size=nnz
        )
        col, value = self.col.index_select(0, entry), self.value.index_select(0, entry)
        rowptr, shape = rowptr.to(self.rowptr.dtype), (rows.shape[0], self.shape[1])
        return SparseMatrix(rowptr, col, value, shape, kind=self.kind, is_brief=self.is_brief)

    def select_cols(self, cols: Tensor) -> SparseMatrix:
        """The given columns in the given order, which must be increasing, [num_rows, len(cols)]."""
        self._check_columns("select_cols", self.col.element_size())
        new_id = torch.full((self.shape[1],), -1, dtype=self.col.dtype, device=self.device)
        new_id[cols.long()] = torch.arange(cols.shape[0], dtype=self.col.dtype, device=self.device)
        col = new_id.index_select(0, self.col)  # -1 for a column that is not selected
        part = SparseMatrix(self.rowptr, col, self.value, (self.shape[0], cols.shape[0])).select_entries(col >= 0)
        part.kind, part.is_brief = self.kind, self.is_brief
        return part

    def select_entries(self, keep: Tensor) -> SparseMatrix:
        """The stored entries for which `keep`, bool [nnz], is True, in a matrix of the same shape."""
        rowptr = starts(keep)[self.rowptr.long()].to(self.rowptr.dtype)
        return SparseMatrix(rowptr, self.col[keep], self.value[keep], self.shape)

    # -- into other forms ---------------------------------------------------------------------------------------------

    def to(self, target: torch.device | torch.dtype | str) -> SparseMatrix:
        """On another device, or with values of another dtype; itself where nothing changes."""
        if isinstance(target, torch.dtype):
            return self if target == self.dtype else self.map(lambda t: t.to(target) if t.is_floating_point() else t)
        return self if is_same_device(target, self.device) else self.map(lambda t: t.to(target))

    def map(self, f: Callable[[Tensor], Tensor]) -> SparseMatrix:
        """The matrix of f(t) for each tensor t that it is made of, where f keeps entries in their places, as `to` does."""
        pattern = None if self.symmetric or self.t_pattern is None else self.t_pattern
        return SparseMatrix(
            f(self.rowptr), f(self.col), f(self.value), self.shape, symmetric=self.symmetric, kind=self.kind,
            t_pattern=None if pattern is None else (f(pattern[0]), f(pattern[1]), f(pattern[2])),
        )  # fmt: skip

    def to_dense(self) -> Tensor:
        """The dense tensor [num_rows, num_cols].

        Raises MemoryLimitError where it would take more than half of the memory that is free.
        """
        num_bytes = self.shape[0] * self.shape[1] * self.value.element_size()
        what = f"a dense matrix of {self.shape[0]:,} x {self.shape[1]:,}"
        check_large("to_dense", what, num_bytes, self.device, "the SparseMatrix itself multiplies: S @ x.")
        out = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        return out.index_put((self.row, self.col.long()), self.value)

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """A scipy CSR matrix; the values are detached and copied to the CPU where needed."""
        from scipy.sparse import csr_matrix

        value = self.value.float() if self.dtype in (torch.bfloat16, torch.float16) else self.value  # scipy has neither
        parts = [part.detach().cpu().numpy() for part in (value, self.col, self.rowptr)]
        return csr_matrix(tuple(parts), shape=self.shape)

    def to_torch(self) -> Tensor:
        """A torch sparse CSR tensor."""
        return csr(self.rowptr, self.col, self.value, self.shape[1])


def with_self_loops_reference(s: SparseMatrix, mode: str = "fill") -> SparseMatrix:
    """S with the identity added exactly once: its entries and the loops, sorted together."""
    loops = torch.arange(s.shape[0], device=s.device)
    if mode == "fill":  # only where the diagonal is 0, in the place of a 0 that is stored
        loops, s = loops[s.diagonal() == 0], s.select_entries((s.row != s.col) | (s.value != 0))
    row, col = torch.cat([s.row, loops]), torch.cat([s.col.long(), loops])
    return SparseMatrix.from_coo(row, col, torch.cat([s.value, s.value.new_ones(len(loops))]), s.shape)


def starts(sizes: Tensor) -> Tensor:
    """Where each of consecutive segments starts: [0, s_1, s_1 + s_2, ...], one more than there are sizes, int64."""
    starts = torch.zeros(sizes.shape[0] + 1, dtype=torch.int64, device=sizes.device)
    torch.cumsum(sizes, 0, out=starts[1:])
    return starts


def stacked(matrices: list[SparseMatrix], shift: Tensor, shape: tuple[int, int]) -> SparseMatrix:
    """The matrices below each other, the columns of the i-th moved by shift[i]."""
    nnz = starts(torch.tensor([matrix.nnz for matrix in matrices]))
    index = matrices[0].rowptr.dtype if max(*shape, int(nnz[-1])) < 2**31 else torch.int64
    pieces = zip(matrices, shift.tolist(), nnz.tolist(), strict=False)
    rowptr, col = [], []
    for matrix, column, entry in pieces:
        rowptr.append(matrix.rowptr[:-1].long() + entry)
        col.append(matrix.col.long() + column)
    return SparseMatrix(
        torch.cat([*rowptr, nnz[-1:].to(rowptr[0].device)]).to(index),
        torch.cat(col).to(index),
        torch.cat([m.value for m in matrices]),
        shape,
    )


def register_tree(cls: type[SparseMatrix], *options: str) -> None:
    """Make the matrices of a class nodes of torch's trees, so that torch.func, torch.compile and torch.export take them.

    The kind is not part of the tree: a tree_map may change the values, and an exported program takes matrices of any kind.

    Args:
        cls: SparseMatrix, or a class of it.
        *options: plain attributes that it has beside those of SparseMatrix.
    """

    def flatten(matrix: SparseMatrix) -> tuple[list[Any], Any]:
        context = (matrix.shape, matrix.symmetric, *(getattr(matrix, option) for option in options))
        return [matrix.rowptr, matrix.col, matrix.value, matrix._pattern], context

    def unflatten(children: Iterable[Any], context: Any) -> SparseMatrix:
        rowptr, col, value, pattern = children
        shape, symmetric, *values = context
        matrix = cls(rowptr, col, value, shape, symmetric=symmetric)
        matrix._pattern = pattern
        matrix.__dict__.update(zip(options, values, strict=True))
        return matrix

    def flatten_with_keys(matrix: SparseMatrix) -> tuple[list[Any], Any]:  # torch.export names its inputs by them
        children, context = flatten(matrix)
        names = ("rowptr", "col", "value", "_pattern")
        keyed = [(torch.utils._pytree.GetAttrKey(name), child) for name, child in zip(names, children, strict=True)]
        return keyed, context

    torch.utils._pytree.register_pytree_node(
        cls,
        flatten,
        unflatten,
        serialized_type_name=f"gcnlab.{cls.__name__}",
        flatten_with_keys_fn=flatten_with_keys,
        to_dumpable_context=list,
        from_dumpable_context=lambda context: (tuple(context[0]), *context[1:]),  # JSON makes lists of tuples
    )


register_tree(SparseMatrix)


# --------------------------------------------------------------------------------------------------------------------
# Checks at the door
# --------------------------------------------------------------------------------------------------------------------


def _contiguous(part: Tensor) -> Tensor:
    """As kernels read it: a column of a table is copied. A pytree may hold other things than tensors."""
    return part.contiguous() if isinstance(part, Tensor) else part


def _version_of(value: Tensor) -> int:
    """How often the tensor has been written to; those of inference_mode do not count it."""
    return 0 if value.is_inference() else value._version


def _check_shape(shape: Any) -> tuple[int, int]:
    sizes = check_list("shape", shape, "two sizes", 2)
    if len(sizes) > 2:
        raise InputError(f"shape: got {shape!r}, expected two sizes.")
    return check_count("shape[0]", sizes[0]), check_count("shape[1]", sizes[1])


def _check_entries(name: str, row: Tensor, col: Tensor, value: Any, shape: Sequence[int], check_finite: bool) -> Tensor:
    """The values of a matrix's entries as floats, if all stand inside it and are finite."""
    bad = (row < 0) | (row >= shape[0]) | (col < 0) | (col >= shape[1])
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise InputError(f"{name}: entry {at} is at ({int(row[at])}, {int(col[at])}), outside {tuple(shape)}.")
    check_flag("check_finite", check_finite)
    value = as_values(name, value, row.shape[0])
    bad = ~torch.isfinite(value.detach())
    if check_finite and bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise InputError(
            f"{name}: {int(bad.sum())} values are not finite; "
            f"the first is {value[at]} at ({int(row[at])}, {int(col[at])})."
        )
    return value
