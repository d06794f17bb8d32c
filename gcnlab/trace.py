"""Run a model once to look at it, and leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode without gradients; afterwards each module is back in its own mode.

    Modules may be in different modes, such as a frozen batch norm in a model that trains. They are put back after an
    error, too.

    >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(1).eval())
    >>> with evaluation(model):
    ...     model[0].training
    False
    >>> model[0].training, model[1].training
    (True, False)
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@dataclass
class Call:
    """One call of a module: what was kept of its inputs and of its output."""

    module: nn.Module
    inputs: Any
    output: Any = None


def run_once(
    model: nn.Module,
    arguments: Sequence[Any],
    modules: Collection[nn.Module],
    keep_inputs: Callable[[nn.Module, tuple[Any, ...]], Any] = lambda module, inputs: None,
    keep_output: Callable[[nn.Module, Any], Any] = lambda module, output: None,
) -> tuple[list[Call], Any]:
    """Run the model once in evaluation mode, and record the calls of some of its modules.

    Args:
        model: left as it was, also after an error: the modes of its modules and their hooks.
        arguments: what the model is called with.
        modules: those whose calls are recorded.
        keep_inputs: gives what to keep of a module's inputs, at once, since a later module may write over them.
        keep_output: gives what to keep of a module's output, likewise.

    Returns:
        the calls in the order in which they began, and the output of the model.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> calls, output = run_once(model, [torch.ones(5, 3)], list(model), keep_output=lambda _, h: tuple(h.shape))
    >>> [(type(call.module).__name__, call.output) for call in calls]
    [('Linear', (5, 2)), ('ReLU', (5, 2))]
    """
    calls: list[Call] = []
    running: list[Call] = []  # a module may be inside another one

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        running.append(Call(module, keep_inputs(module, inputs)))
        calls.append(running[-1])

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        running.pop().output = keep_output(module, output)

    handles = [module.register_forward_pre_hook(enter) for module in modules]
    handles += [module.register_forward_hook(leave) for module in modules]
    try:
        with evaluation(model):
            output = model(*arguments)
    finally:
        for handle in handles:
            handle.remove()
    return calls, output
