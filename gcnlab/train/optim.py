"""The optimizer, its groups of parameters, clipped gradients and recorded steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

from ..checks import check_list, check_number
from ..errors import CheckpointMismatchError, InputError, InputTypeError
from .objective import Batch, Scores


class Adam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) with L2 weight decay added to the gradient, in the numbers of `torch.optim.Adam`.

    It exists because torch's imports its compiler when first made, about 1.6 seconds that a short training does not
    have. In all else it is a `torch.optim.Optimizer`: hooks, schedulers, copies and pickles work, its state has the names
    of torch's, and each of the two loads the other's `state_dict()`.

    Args:
        params: parameters, or groups {"params": [...], "lr": ..., "weight_decay": ...}.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: factor of the L2 term.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        lr, eps = check_number("lr", lr, least=0), check_number("eps", eps, least=0)
        weight_decay = check_number("weight_decay", weight_decay, least=0)
        beta1, beta2 = check_list("betas", betas, "two numbers", 2)
        betas = check_number("betas[0]", beta1, least=0, below=1), check_number("betas[1]", beta2, least=0, below=1)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    # torch wraps these methods so that their first call imports its compiler; here they are called unwrapped.

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if on := [name for name in _NOT_HERE if param_group.get(name)]:
            raise InputError(f"{on[0]}: gcnlab.Adam has no such setting; torch.optim.Adam has.")
        _unwrapped("add_param_group")(self, param_group)
        if any(p.is_complex() for p in self.param_groups[-1]["params"]):
            raise InputTypeError("params: some are complex, which torch.optim.Adam takes.")

    def state_dict(self) -> dict[str, Any]:
        return _unwrapped("state_dict")(self)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if set_to_none or p.grad is None else p.grad.detach().zero_()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from the state of an `Adam` of gcnlab or torch.

        Raises CheckpointMismatchError where it is of another optimizer, or torch's had a setting that this one has not.
        """
        groups = [dict(group) for group in state_dict["param_groups"]]
        if not all("params" in group for group in groups):  # of gcnlab 1.0
            sizes = [len(group["params"]) for group in self.param_groups]
            ids = torch.arange(sum(sizes)).split(sizes)
            groups = [{**group, "params": part.tolist()} for group, part in zip(groups, ids, strict=True)]
        for group in groups:
            on = [name for name in _NOT_HERE if group.pop(name, False)]
            if on or not group.keys() >= self.defaults.keys():
                found = f"one with {on[0]}=True" if on else f"an optimizer of {', '.join(group)}"
                raise CheckpointMismatchError(
                    f"optimizer: the state is of {found}, and gcnlab.Adam has none; go on with the optimizer that it is of."
                )
            for name in ("foreach", "capturable", "differentiable", "fused"):  # how torch computes the same
                group.pop(name, None)
        state = {}
        for i, found in state_dict["state"].items():
            steps, mean, square = found if isinstance(found, (tuple, list)) else (found[name] for name in _STATE)
            state[i] = dict(zip(_STATE, (int(steps), mean.clone(), square.clone()), strict=True))
        _unwrapped("load_state_dict")(self, {"state": state, "param_groups": groups})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns what `closure`, which computes the loss and its gradients, gives."""
        own = (self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks)
        every = (torch_optimizer._global_optimizer_pre_hooks, torch_optimizer._global_optimizer_post_hooks)
        return (self.profile_hook_step(Adam._step) if any((*own, *every)) else Adam._step)(self, closure)

    # torch would wrap `step` for hooks and profiles, which takes a fiftieth of an epoch on Cora where there are none.
    step.hooked = True  # type: ignore[attr-defined]

    @torch.no_grad()
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            used = [(p, self.state[p]) for p in group["params"] if p.grad is not None]
            for p, state in used:
                if not state:
                    state.update(zip(_STATE, (0, torch.zeros_like(p), torch.zeros_like(p)), strict=True))
            # Parameters that have taken as many steps take the next together, in loops that torch runs.
            for steps in {state["step"] for _, state in used}:
                self._step_together([part for part in used if part[1]["step"] == steps], steps + 1, group)
        return loss

    def _step_together(self, used: list[tuple[Tensor, dict[str, Any]]], steps: int, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        params: Any = [p for p, _ in used]
        means: Any = [state["exp_avg"] for _, state in used]
        squares: Any = [state["exp_avg_sq"] for _, state in used]
        for _, state in used:
            state["step"] = steps
        grads: Any = [p.grad for p in params]
        if all(map(_is_plain, params, grads, means, squares)):  # one pass over the memory instead of nine
            torch._fused_adam_(
                params, grads, means, squares, [], [torch.tensor(float(steps))] * len(params),
                lr=float(group["lr"]), beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"],
                amsgrad=False, maximize=False,
            )  # fmt: skip
            return
        if group["weight_decay"]:
            grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, (1 - beta2**steps) ** 0.5)
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_addcdiv_(params, means, denominators, value=-float(group["lr"]) / (1 - beta1**steps))


def _is_plain(p: Tensor, *others: Tensor) -> bool:
    """Whether torch's fused Adam, which reads memory as it comes and checks nothing, may be given these.

    16-bit numbers would be rounded otherwise than torch's Adam rounds them by default.
    """
    return p.dtype in (torch.float32, torch.float64) and all(
        t.is_cpu and t.dtype == p.dtype and t.shape == p.shape and t.layout == torch.strided and t.is_contiguous()
        for t in (p, *others)
    )


_NOT_HERE = ("amsgrad", "maximize", "decoupled_weight_decay")  # settings of torch's Adam


_STATE = ("step", "exp_avg", "exp_avg_sq")  # of each parameter: steps, mean and mean square of its gradients


def _unwrapped(method: str) -> Callable[..., Any]:
    return getattr(torch.optim.Optimizer, method).__wrapped__


def takes_steps_alone(optimizer: Any) -> None:
    """Raise InputError for an optimizer that computes the loss several times a step, as LBFGS does."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise InputError(
            f"optimizer: {type(optimizer).__name__} needs a closure that computes the loss again, and fit computes it once a "
            "step; gcnlab.Adam, torch.optim.AdamW and torch.optim.SGD take such steps."
        )


class Schedule:
    """What sets the learning rate: "one-cycle", which steps with each batch, a scheduler of torch's, or nothing.

    Attributes:
        scheduler: torch's, or None.
    """

    def __init__(
        self, wanted: Callable[[Any], Any] | str | None, optimizer: Any, total_steps: int, num_seeds: int
    ) -> None:
        self._per_batch = isinstance(wanted, str)
        self.scheduler: Any = None if wanted is None else wanted(optimizer) if callable(wanted) else None
        if self._per_batch:
            self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, [group["lr"] for group in optimizer.param_groups], total_steps,
                pct_start=0.2 if total_steps != 5 else 0.0,  # a fifth of five ends at step 0, and torch divides by it
                cycle_momentum=False,
            )  # fmt: skip
        self._reads_loss = isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        if self._reads_loss and (num_seeds > 1 or self.scheduler.mode != "min"):
            raise InputError(
                f"scheduler: ReduceLROnPlateau of mode {self.scheduler.mode!r} with {num_seeds} seeds at once; it is given "
                'the loss, so that its mode is "min", and has one learning rate, so that seeds train one by one: '
                "seeds_at_once=1."
            )

    def after_batch(self) -> None:
        if self._per_batch:
            self.scheduler.step()

    def after_epoch(self) -> None:
        if self.scheduler is not None and not (self._per_batch or self._reads_loss):
            self.scheduler.step()

    def after_validation(self, loss: Tensor) -> None:
        if self._reads_loss:
            self.scheduler.step(float(loss))

    def state_dict(self) -> dict[str, Any] | None:
        return None if self.scheduler is None else self.scheduler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state)


def clip_gradients(grads: Sequence[Tensor], most: float, num_seeds: int) -> None:
    """Scale the gradients [num_seeds, ...] of each seed, or those of one, in place, to a common norm of at most `most`."""
    grads = [grad.unsqueeze(0) for grad in grads] if num_seeds == 1 else grads
    norm = torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
    factor = (most / norm.clamp(min=most)).to(grads[0].dtype)
    for grad in grads:
        grad.mul_(factor.view(-1, *[1] * (grad.dim() - 1)))


class Recorded:
    """A training step on one batch as a CUDA graph: its kernels run again, on the memory of the recorded run."""

    def __init__(self, step: Callable[[Batch], Scores]) -> None:
        self.step = step
        self.graph: Any = None

    def __call__(self, batch: Batch) -> Scores:
        if self.graph is None:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # what is made at a first run is made before the recording
                for _ in range(3):
                    self.step(batch)
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.result = self.step(batch)
        self.graph.replay()
        return self.result


def parameter_groups(
    params: Mapping[str, Tensor], weight_decay: float | Mapping[str, float] | None
) -> list[dict[str, Any]]:
    """Groups of the parameters that are not frozen, one a value of the weight decay."""
    trained = {name: p for name, p in params.items() if p.requires_grad}
    if weight_decay is None:
        return [{"params": list(trained.values())}]
    for value in weight_decay.values() if isinstance(weight_decay, Mapping) else (weight_decay,):
        check_number("weight_decay", value, least=0)
    if not isinstance(weight_decay, Mapping):
        return [{"params": list(trained.values()), "weight_decay": weight_decay}]
    for part in weight_decay:
        if not any(_is_in(name, part) for name in params):
            raise InputError(f"weight_decay: {part!r} is no part of the model, which has {', '.join(params)}.")
    groups: dict[float, list[Tensor]] = {}
    for name, p in trained.items():
        decay = next((value for part, value in weight_decay.items() if _is_in(name, part)), 0.0)
        groups.setdefault(decay, []).append(p)
    return [{"params": group, "weight_decay": decay} for decay, group in groups.items()]


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
