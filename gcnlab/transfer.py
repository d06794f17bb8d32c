"""Transfer learning: what a model has learnt on one task, kept for another.

    model = replace_head(copy.deepcopy(trained), num_classes=5)    # fine-tuning: everything goes on from there
    unfreeze(freeze(model), depth=1)                               # feature extraction: the new head alone trains

A layer is a module with weights of its own, such as a convolution or a linear layer; a batch norm belongs to the layer
before it. Layers count in the order of their definition, which in gcnlab's models is that of the forward.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import Tensor, nn

from .checks import check_count
from .contracts import config_of
from .errors import InputError, did_you_mean

Model = TypeVar("Model", bound=nn.Module)
Layer = list[tuple[str, nn.Module]]  # names and modules
_NORMS = nn.modules.batchnorm._NormBase  # batch and instance norms, which may keep running averages


def freeze(model: Model, parts: str | Iterable[str] | None = None) -> Model:
    """Keep weights as they are, and the batch norms among them in evaluation mode, whatever `model.train()` says.

    Evaluation mode because a batch norm that normalises by the new images' mean and variance, and averages them, gives
    other features than those that were learnt. Dropout stays what the model's mode says.

    Args:
        model: changed in place, and given back.
        parts: names of modules, such as "levels.0" of a GridGCN or "1" of a Sequential; by default all of the model.

    Raises:
        InputError: the model has no such part.

    >>> model = freeze(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 5)), ["0", "1"])
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['2.weight', '2.bias']
    """
    modules = dict(model.named_modules())
    for part in [""] if parts is None else [parts] if isinstance(parts, str) else parts:
        if part not in modules:
            names = list(filter(None, modules))
            raise InputError(f"parts: the model has no {part!r}; it has {', '.join(names)}.{did_you_mean(part, names)}")
        modules[part].requires_grad_(False)
        for module in modules[part].modules():
            _set_frozen(module, True)
    return model


def unfreeze(model: Model, depth: int | None = None) -> Model:
    """Let the last `depth` layers train again, or all of them; those before stay as they are.

    Do it before a `fit`: an optimizer gets the weights that train at its start.

    Args:
        model: changed in place, and given back.
        depth: layers from the end, 1 for the head alone.

    Raises:
        InputError: the model has fewer layers.

    >>> model = unfreeze(freeze(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 5))), depth=1)
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['2.weight', '2.bias']
    """
    layers = _layers(model)
    if depth is not None and not 1 <= check_count("depth", depth) <= len(layers):
        names = ", ".join(layer[0][0] for layer in layers)
        raise InputError(f"depth: got {depth}, expected 1 to {len(layers)}, the model's layers: {names}.")
    for _, module in (part for layer in layers[-(depth or len(layers)) :] for part in layer):
        for p in module.parameters(recurse=False):
            p.requires_grad_(True)
        _set_frozen(module, False)
    return model


def replace_head(model: Model, num_classes: int) -> Model:
    """A new last layer for other classes: linear, with torch's start, for as many features as the old one.

    Args:
        model: one whose last layer is linear, as GridGCN, GraphClassifier and the baselines have it; changed in place,
            and given back.
        num_classes: outputs of the new head; 1 for a two-class (sigmoid) head.

    Raises:
        InputError: the last layer is not linear.

    >>> replace_head(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 10)), 5)[2]
    Linear(in_features=3, out_features=5, bias=True)
    """
    num_classes = check_count("num_classes", num_classes, 1)
    layers = _layers(model)
    name, old = layers[-1][-1] if layers else ("none", model)
    if not isinstance(old, nn.Linear) or old is model:
        raise InputError(
            f"model: its last layer is {name}, of {type(old).__name__}; expected a part that is an nn.Linear."
        )
    weight = old.weight
    new = nn.Linear(old.in_features, num_classes, old.bias is not None, device=weight.device, dtype=weight.dtype)
    model.set_submodule(name, new.train(old.training))
    if isinstance(config := config_of(model), dict):  # what a checkpoint says of the model
        changed: Any = {key: num_classes for key in ("num_classes", "out_channels") if key in config}
        model.config = config | changed
    return model


def _layers(model: nn.Module) -> list[Layer]:
    """The layers in order, with each the norms that follow it."""
    layers: list[Layer] = []
    for name, module in model.named_modules():
        is_norm = isinstance(module, _NORMS)
        if is_norm and layers:
            (_beside(model, name, layers) or layers[-1]).append((name, module))
        elif is_norm or any(True for _ in module.parameters(recurse=False)):
            layers.append([(name or type(module).__name__, module)])
    return layers


def _beside(model: nn.Module, norm: str, layers: list[Layer]) -> Layer | None:
    """The layer of the same place where norms have a list of their own: convs.1 of GraphClassifier's norms.1."""
    *parent, norms, place = ["", *norm.split(".")]
    whole = model.get_submodule(norm.rpartition(".")[0])
    if not norms or not all(isinstance(part, _NORMS) for part in whole.children()):
        return None
    for layer in reversed(layers):
        parts = ["", *layer[0][0].split(".")]
        if parts[: len(parent)] == parent and parts[len(parent) + 1 : len(parent) + 2] == [place]:
            return layer
    return None


def _set_frozen(module: Any, frozen: bool) -> None:
    if isinstance(module, _NORMS):
        if not hasattr(module, "frozen"):
            module.register_forward_pre_hook(_evaluate_while_frozen)
        module.frozen = frozen  # type: ignore[assignment]


def _evaluate_while_frozen(norm: Any, inputs: tuple[Tensor, ...]) -> None:
    if norm.frozen:
        norm.eval()
