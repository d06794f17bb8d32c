"""One model, or the models of many seeds as one: parameters, outputs and running averages behind one face.

Many seeds of a small model are many small products; stacked, they are a few large ones. The weights get a leading
dimension [num_seeds, ...], `torch.func.vmap` runs the model over it, and every seed keeps its own initialisation,
dropout, optimizer state and early stopping. Element-wise optimizers (SGD, Adam, ...) treat a stack of weights as they
treat each alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..distributed import Replica
from ..errors import InputError
from ..generators import generators_kept
from ..graph import Graph, GraphBatch
from ..graph.blocks import BatchBlocks
from ..layers.norm import BatchNorm
from ..sparse import SparseMatrix
from ..sparse.blocks import at_once

Check = Callable[[Tensor], Tensor]


class Stack:
    """The models of one or several seeds, trained together.

    Attributes:
        model: the module that is run; of several seeds, with the weights of each.
        num_seeds: of this stack.
        device: the type of device that the weights are on.
        params: name -> what the optimizer trains: the weights of the model, or [num_seeds, ...] of several.
        replica: in a process group, what averages the gradients of its ranks.
    """

    replica: Replica | None = None

    def __init__(
        self, model: nn.Module, num_seeds: int, params: dict[str, Tensor], precision: str, check: Check
    ) -> None:
        if params and not any(p.requires_grad for p in params.values()):
            raise InputError("model: all of its parameters are frozen; unfreeze those that shall train.")
        if any(p.is_inference() for p in params.values()):
            raise InputError(
                "model: its weights were made under torch.inference_mode, which nothing can train; make it outside."
            )
        self.model, self.num_seeds, self.params = model, num_seeds, params
        self.device = next(iter(params.values())).device.type if params else "cpu"
        self._in_16_bits, self._check = precision == "bfloat16", check
        # `fit` has switched autocast off on a CPU and on CUDA, for as long as it trains.
        self._casts = self._in_16_bits or self.device not in ("cpu", "cuda")

    @staticmethod
    def of(models: Sequence[nn.Module], precision: str, check: Check) -> Stack:
        """`check` looks at the outputs of one seed, [num_rows, num_outputs], and returns them."""
        return SeveralSeeds(models, precision, check) if len(models) > 1 else OneSeed(models[0], precision, check)

    def forward(self, arguments: tuple[Any, ...]) -> Tensor:
        """The outputs, [num_seeds, num_rows, num_outputs]."""
        if not self._casts:
            return self._run(arguments)
        with torch.autocast(self.device, torch.bfloat16, enabled=self._in_16_bits):
            return self._run(arguments)

    def _run(self, arguments: tuple[Any, ...]) -> Tensor:
        raise NotImplementedError

    def current(self) -> dict[str, Tensor]:
        """name -> the weights, and where there are any the buffers, [num_seeds, ...]."""
        raise NotImplementedError

    def gradients(self) -> dict[str, Tensor]:
        """name -> the gradient of each of `params` that the last step used."""
        # A frozen weight may still have the gradient of an earlier training.
        return {name: p.grad for name, p in self.params.items() if p.requires_grad and p.grad is not None}


class OneSeed(Stack):
    """One model, trained in place."""

    def __init__(self, model: nn.Module, precision: str, check: Check) -> None:
        super().__init__(model, 1, dict(model.named_parameters()), precision, check)

    def _run(self, arguments: tuple[Any, ...]) -> Tensor:
        called = self.model if self.replica is None or not self.model.training else self.replica
        return self._check(called(*arguments)).unsqueeze(0)

    def current(self) -> dict[str, Tensor]:
        return {name: value.unsqueeze(0) for name, value in self.model.state_dict().items()}


class SeveralSeeds(Stack):
    """The weights of several models side by side; one of the modules is run with those of each.

    So are their buffers, which batch norms move. The models read the same, or each its own of `BatchBlocks`.
    """

    def __init__(self, models: Sequence[nn.Module], precision: str, check: Check) -> None:
        params = {
            name: torch.stack([m.get_parameter(name).detach() for m in models]).requires_grad_(p.requires_grad)
            for name, p in models[0].named_parameters()
        }
        super().__init__(models[0], len(models), params, precision, check)
        self.buffers = {
            name: torch.stack([m.get_buffer(name) for m in models]) for name, _ in models[0].named_buffers()
        }
        self._places: list[tuple[dict[str, Any], str]] = []
        for kind, names in (("_parameters", self.params), ("_buffers", self.buffers)):
            for name in names:
                module, _, own = name.rpartition(".")
                self._places.append((getattr(self.model.get_submodule(module), kind), own))

    def _run(self, arguments: tuple[Any, ...]) -> Tensor:
        blocks = arguments[0] if isinstance(arguments[0], BatchBlocks) else None
        values = [*self.params.values(), *self.buffers.values()]

        def one(*own: Tensor) -> Tensor:
            read = arguments if blocks is None else blocks.arguments(*own)
            self._put(at_once(lambda: tuple(values)))
            return self._check(self.model(*read))

        kept = [owner[name] for owner, name in self._places]
        try:
            return torch.func.vmap(one, randomness="different")(*(values[:1] if blocks is None else blocks.of_each()))
        finally:
            self._put(kept)

    def _put(self, values: Sequence[Tensor]) -> None:
        """Put values in the places of the module's weights and buffers; functional_call takes a tenth of a step for it."""
        for (owner, name), value in zip(self._places, values, strict=True):
            owner[name] = value

    def can_run(self, arguments: tuple[Any, ...]) -> bool:
        """Whether torch.func.vmap runs the model in training; nothing is changed by the trial."""
        kept, is_training = self.buffers, self.model.training
        self.buffers = {name: value.clone() for name, value in kept.items()}
        try:
            with generators_kept(), torch.no_grad():
                self.model.train()
                self.forward(arguments)
            return True
        except Exception:  # whatever is wrong with a model, the training of one says it better
            return False
        finally:
            self.buffers = kept
            self.model.train(is_training)

    def current(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.params.items()} | self.buffers


class RunningAverage:
    """The running average of a stack's weights and buffers; with a decay of 0 there is none.

    Attributes:
        values: name -> the average, [num_seeds, ...]; empty where there is none.
    """

    def __init__(self, stack: Stack, decay: float) -> None:
        self.stack, self.decay = stack, decay
        current = stack.current() if decay else {}
        self.values = {name: value.clone() for name, value in current.items() if value.is_floating_point()}

    def update(self, num_steps: int) -> None:
        """Move the average towards the weights of the newest of `num_steps` steps."""
        if self.decay:
            decay, live = min(self.decay, (1 + num_steps) / (10 + num_steps)), self.stack.current()
            torch._foreach_lerp_(list(self.values.values()), [live[name] for name in self.values], 1 - decay)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within the block the stack has the averaged weights, which are validated and kept; then its own again."""
        own = {name: value.clone() for name, value in self.stack.current().items()} if self.decay else {}
        with torch.no_grad():
            self._show(self.values)
            yield
            self._show(own)

    def _show(self, values: dict[str, Tensor]) -> None:
        for name, value in self.stack.current().items() if values else ():
            if name in values:
                value.copy_(values[name])


def can_be_stacked(first: nn.Module, make: Callable[[], nn.Module], has_counts: bool = False) -> bool:
    """Whether torch.func.vmap can run one of the modules that `make` makes with the weights of each.

    They have no name twice for one weight, hold the same beside their weights, and have no buffers: but those of
    `BatchNorm`, where the batches count the nodes, so that it moves them by itself.
    """
    norms = [module for module in first.modules() if has_counts and isinstance(module, BatchNorm)]
    num_buffers = sum(len(list(norm.buffers())) for norm in norms)
    if len(list(first.buffers())) > num_buffers:
        return False
    if len(first.state_dict()) > len(list(first.parameters())) + num_buffers:
        return False
    pairs = zip(first.modules(), make().modules(), strict=True)
    return all(_is_same(value, vars(n).get(name)) for m, n in pairs for name, value in vars(m).items())


def _is_same(v: Any, w: Any) -> bool:
    """Whether two values are the same, as far as they are tensors and plain values.

    Nothing is like a matrix of learnt values: a stack has weights of its own, which the matrix would not follow.
    """
    if isinstance(v, Graph | GraphBatch):
        graph = v.graph if isinstance(v, GraphBatch) else v
        return not any(value.requires_grad for value in graph.values.values())
    if isinstance(v, Tensor):
        return isinstance(w, Tensor) and v.shape == w.shape and torch.equal(v, w)
    if isinstance(v, SparseMatrix):
        return (
            isinstance(w, SparseMatrix)
            and not v.value.requires_grad
            and all(map(_is_same, (v.rowptr, v.col, v.value), (w.rowptr, w.col, w.value)))
        )
    if isinstance(v, (list, tuple)):
        return isinstance(w, type(v)) and len(v) == len(w) and all(map(_is_same, v, w))
    return v == w if isinstance(v, (bool, int, float, str)) else True
