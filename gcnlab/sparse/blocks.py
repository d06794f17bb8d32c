"""Matrices of several models that run as one: the blocks of one block-diagonal matrix, and all of them in one product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter

from .matrix import SparseMatrix


def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`; under torch.func.vmap one call for all of its items.

    There, tensors among the arguments are given with the items in a leading dimension, [num_items, ...], and those that
    the function returns have it, too. So the function takes tensors with that dimension and without. It may write to
    them. torch's own way, an autograd.Function with a rule for vmap, takes 0.2 ms a call, and this a fifth of it.
    """
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return function(*arguments)
    interpreter: Any = retrieve_current_functorch_interpreter()
    if interpreter.key() != torch._C._functorch.TransformType.Vmap:
        return function(*arguments)
    level, size = interpreter.level(), interpreter.batch_size()
    with interpreter.lower():
        out = function(*(_leading(a, level, size) if isinstance(a, Tensor) else a for a in arguments))

    def item(tensor: Tensor) -> Tensor:
        return torch._C._functorch._add_batch_dim(tensor, 0, level)

    return tuple(map(item, out)) if isinstance(out, tuple) else item(out)


def _leading(tensor: Tensor, level: int, size: int) -> Tensor:
    plain, dim = torch._C._functorch._unwrap_batched(tensor, level)
    return plain.expand(size, *plain.shape) if dim is None else plain.movedim(dim, 0) if dim else plain


class Block(SparseMatrix):
    """One of T matrices [num_rows, num_cols] that are the blocks of one, in a function that torch.func.vmap runs over them.

        diag(S_1, ..., S_T) [x_1; ...; x_T] = [S_1 x_1; ...; S_T x_T]

    `S @ x` is the product of the item's block with the item's x; that of all items is one product with the whole. Nothing
    else is known of a block: it has no entries to be read, but those that a subclass adds.

    Args:
        whole: diag(S_1, ..., S_T), [T * num_rows, T * num_cols].
        num_blocks: T.
    """

    def __init__(self, whole: SparseMatrix, num_blocks: int) -> None:
        self.whole, self.num_blocks = whole, num_blocks
        self.shape = (whole.shape[0] // num_blocks, whole.shape[1] // num_blocks)
        self.kind, self.symmetric = whole.kind, whole.symmetric

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name}: one block of several has products alone.")

    def __repr__(self) -> str:
        return f"Block({self.shape[0]} x {self.shape[1]}, one of {self.num_blocks})"

    @property
    def dtype(self) -> torch.dtype:
        return self.whole.dtype

    @property
    def device(self) -> torch.device:
        return self.whole.device

    def map(self, f: Callable[[Tensor], Tensor]) -> Block:
        return Block(self.whole.map(f), self.num_blocks)

    def row_sums(self) -> Tensor:
        return at_once(lambda: self._items(self.whole.row_sums()))

    def row_normalized(self) -> Block:
        return Block(self.whole.row_normalized(), self.num_blocks)

    def _product(self, x: Tensor) -> Tensor:
        return at_once(lambda x: self._items(self.whole @ x.flatten(0, 1)), x)

    def _items(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, (self.num_blocks, self.shape[0]))
