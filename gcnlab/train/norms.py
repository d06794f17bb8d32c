"""Batch norms in training: a single row, and running averages of the weights that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..errors import InputError
from ..machine import warn_caller
from ..sparse.blocks import at_once

AVERAGED_ROWS = 256  # of an epoch's last batches, which batch norms take their running averages from
AVERAGED_GRAPHS = 128  # of the training, whose nodes are some thousand rows


@contextmanager
def single_rows_allowed(batch_size: int) -> Iterator[Callable[[nn.Module], None]]:
    """Within the block, batch norms of the models that the yielded function is given normalise a single row by their
    running averages, and say so once.

    One row has no variance, and torch refuses it: after a whole epoch, where the last batch is the one that has it.
    """
    handles: list[Any] = []
    evaluated: set[nn.Module] = set()
    is_said = False

    def before(norm: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal is_said
        inputs = (*inputs, *named.values())
        if not norm.training or not inputs or inputs[0].dim() < 2 or inputs[0].numel() != inputs[0].shape[1]:
            return
        if any(count is not None for count in inputs[1:]):  # `models.BatchNorm`: the row stands for several nodes
            return
        if norm.running_mean is None:
            raise InputError(
                f"batch_size: with {batch_size}, a batch norm without running averages met a batch of a single row, which "
                "has no variance; choose another, so that each batch has two rows or more."
            )
        if not is_said:
            is_said = True
            warn_caller(
                f"batch_size: with {batch_size}, a batch norm met a batch of a single row, which has no variance, and took "
                "its running averages for it; choose another, so that each batch has two rows or more."
            )
        evaluated.add(norm.eval())

    def after(norm: Any, inputs: tuple[Any, ...], output: Any) -> None:
        if norm in evaluated:
            evaluated.remove(norm.train())

    before.reads_sizes = after.reads_sizes = True  # type: ignore[attr-defined]  # `layers.fused` keeps to them

    def allow(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(module.register_forward_hook(after, always_call=True))

    try:
        yield allow
    finally:
        for handle in handles:
            handle.remove()


def keeps_averages(module: nn.Module) -> bool:
    """Whether training moves the module's running averages: not those of a frozen norm, nor with a momentum of 0."""
    norm: Any = module
    is_norm = isinstance(module, nn.modules.batchnorm._NormBase)
    return is_norm and module.training and norm.running_mean is not None and norm.momentum != 0


@contextmanager
def averages_made_again(norms: Sequence[Any], num_batches: Sequence[Tensor]) -> Iterator[None]:
    """Within the block, norms normalise as in training, and their running averages become those over the block's values.

    An average that follows the training is one of values that earlier weights made, and at first of where it started.
    A model is scored, and kept, with the averages that its own weights give ("precise batch norm", Wu & Johnson 2021).
    Of the model the norms alone are in training mode: nothing is dropped in an evaluation either.

    Args:
        norms: the batch norms.
        num_batches: their counts of the batches of training, which these do not join.
    """
    sizes = dict.fromkeys(norms, 0.0)  # values of each channel so far

    def weigh(norm: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if norm.training:  # else it is given a single row
            h, *counts = (*inputs, *named.values())
            if counts and counts[0] is not None:  # `models.BatchNorm`: rows that stand for several nodes
                at_once(lambda m: add_counts(norm, m), counts[0])
            else:
                add(norm, h.numel() / norm.num_features)

    def add_counts(norm: Any, m: Tensor) -> Tensor:
        add(norm, float(m.sum()) if m.dim() == 1 else 1.0)  # several trainings have one batch each
        return m

    def add(norm: Any, size: float) -> None:
        sizes[norm] = sizes[norm] + size
        norm.momentum = size / sizes[norm]

    weigh.reads_sizes = True  # type: ignore[attr-defined]
    before = [norm.momentum for norm in norms], [count.clone() for count in num_batches]
    handles = [norm.register_forward_pre_hook(weigh, with_kwargs=True) for norm in norms]
    try:
        for norm in norms:
            norm.train()
        yield
    finally:
        for norm, handle, momentum in zip(norms, handles, before[0], strict=True):
            handle.remove()
            norm.eval()
            norm.momentum = momentum
        for count, of_training in zip(num_batches, before[1], strict=True):
            count.copy_(of_training)
