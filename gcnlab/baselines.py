"""The image models that grid graphs are compared with, as the tutorials give them.

Every model is a composition of torch's layers behind one door, `Images`: floats [batch, channels, height, width] with
values in [0, 1]. It gives logits [batch, num_classes]; with num_classes=1, the one logit of a two-class (sigmoid) head.
Convolutions are without padding and pools are 2x2 unless a line says otherwise, so a 28x28 image goes 28 - 26 - 13 - 11
- 5 - 3 - 1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .checks import check_choice, check_count, check_flag
from .errors import InputError, InputTypeError
from .image.pixels import warn_of_range
from .layers import glorot_uniform
from .train import Adam


class Images(nn.Module):
    """The door: gives images back as they came, if the model behind can take them.

    Args:
        channels: 1 for grey, 3 for colour.
        size: height and width in pixels.
        or_larger: whether larger images will do, of any shape.

    Raises:
        InputTypeError: not a tensor of floats, such as the bytes of an image file.
        InputError: another shape.

    Warns of floats in another range, such as 0 to 255.

    >>> Images(1, 28)(torch.rand(5, 1, 28, 28)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(self, channels: int, size: int, or_larger: bool = False) -> None:
        super().__init__()
        self.channels, self.size = check_count("channels", channels, 1), check_count("size", size, 1)
        self.or_larger = check_flag("or_larger", or_larger)

    def forward(self, images: Tensor) -> Tensor:
        expected = f"floats in [0, 1] of shape [batch, {self.channels}, {self.size}, {self.size}]" + (
            " or larger" if self.or_larger else ""
        )
        if not isinstance(images, Tensor) or not images.is_floating_point():
            found = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise InputTypeError(
                f"images: got {found}, expected {expected}; of bytes, images.float() / 255 makes floats."
            )
        shape = tuple(images.shape)
        fits = len(shape) == 4 and shape[1] == self.channels
        if not fits or not (min(shape[2:]) >= self.size if self.or_larger else shape[2:] == (self.size, self.size)):
            raise InputError(
                f"images: got shape {shape}, expected {expected}; images.unsqueeze(1) gives grey images their channel, "
                "torch.nn.functional.pad and interpolate another size."
            )
        if not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()):
            warn_of_range(images, is_batch=True)
        return images

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.size}" + (", or_larger=True" if self.or_larger else "")


def keras_start(model: nn.Module) -> nn.Module:
    """Give every convolution and dense layer the start it has in Keras: Glorot-uniform weights, zero biases.

    >>> keras_start(nn.Linear(2, 3)).bias.tolist()
    [0.0, 0.0, 0.0]
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            glorot_uniform(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


# -- Fashion-MNIST: 28x28, one channel --------------------------------------------------------------------------------


def dense(num_classes: int = 10) -> nn.Sequential:
    """One hidden layer of 128 on the 784 pixels: 101,770 parameters."""
    return nn.Sequential(Images(1, 28), nn.Flatten(), *_dense_128(784, num_classes))


def fashion_dnn(num_classes: int = 10) -> nn.Sequential:
    """FashionDNN, 784 - 256 - 128 - 10: 235,146 parameters."""
    return nn.Sequential(
        Images(1, 28), nn.Flatten(),
        nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.25),
        nn.Linear(256, 128), nn.ReLU(),
        _head(128, num_classes),
    )  # fmt: skip


def cnn(filters: int = 32, convolutions: int = 2, num_classes: int = 10) -> nn.Sequential:
    """One to three times (3x3 convolution, ReLU, max pool), then dense 128: 113,386 parameters with two times 32.

    Args:
        filters: kernels of every convolution.
        convolutions: 1, 2 or 3; the maps that reach the dense layer are then 13x13, 5x5 or 1x1.
        num_classes: logits.
    """
    filters, convolutions = check_count("filters", filters, 1), check_choice("convolutions", convolutions, (1, 2, 3))
    blocks: list[nn.Module] = []
    channels, size = 1, 28
    for _ in range(convolutions):
        blocks += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        channels, size = filters, (size - 2) // 2
    return nn.Sequential(Images(1, 28), *blocks, nn.Flatten(), *_dense_128(channels * size * size, num_classes))


def unpooled_cnn(num_classes: int = 10) -> nn.Sequential:
    """Three linear convolutions and no pool; it overfits: 3,989,642 parameters."""
    return nn.Sequential(
        Images(1, 28), nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3), nn.Conv2d(32, 64, 3), nn.Flatten(),
        *_dense_128(64 * 22 * 22, num_classes),
    )  # fmt: skip


def dropout_cnn(num_classes: int = 10) -> nn.Sequential:
    """Three linear convolutions with pools between them, and dropout: 241,546 parameters."""
    return nn.Sequential(
        Images(1, 28),
        nn.Conv2d(1, 32, 3), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3), nn.Flatten(),
        nn.Linear(128 * 3 * 3, 128), nn.ReLU(), nn.Dropout(0.3),
        _head(128, num_classes),
    )  # fmt: skip


def deep_cnn(num_classes: int = 10) -> nn.Sequential:
    """Four convolutions and three dense layers, the tutorials' best: 5,240,842 parameters.

    The tutorial names no rate for the dropout after the dense layers; it is that of the others here.
    """
    return nn.Sequential(
        Images(1, 28),
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(0.5),
        nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 256, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(256 * 6 * 6, 512), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.5),
        _head(256, num_classes),
    )  # fmt: skip


def fashion_cnn(num_classes: int = 10) -> nn.Sequential:
    """FashionCNN, two convolutions with batch norm, three dense layers without ReLU: 1,475,338 parameters."""
    return nn.Sequential(
        Images(1, 28),
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64 * 6 * 6, 600), nn.Dropout(0.25), nn.Linear(600, 120), _head(120, num_classes),
    )  # fmt: skip


def _dense_128(in_features: int, num_classes: int) -> tuple[nn.Module, ...]:
    return nn.Linear(in_features, 128), nn.ReLU(), _head(128, num_classes)


def _head(in_features: int, num_classes: int) -> nn.Linear:
    return nn.Linear(in_features, check_count("num_classes", num_classes, 1))


@dataclass(frozen=True)
class Baseline:
    """A tutorial's model, its recipe and the accuracy that its author reports on Fashion-MNIST.

    Attributes:
        build: called with `num_classes`; gives the model with torch's start.
        reported: test accuracy as a fraction, or None where the tutorial gives none.
        source: what is known of that figure, and what of the recipe the tutorial leaves open.
        epochs: None where not given.
        batch_size: images; 32 is Keras' default.
        validation_split: fraction of the training images, the last ones, that Keras holds out. 0.0: the tutorial
            calls the test set its validation.
        lr: learning rate.
        keras: whether it is a Keras model: `keras_start`, and Keras' Adam.
    """

    build: Callable[..., nn.Sequential]
    reported: float | None
    source: str
    epochs: int | None = 5
    batch_size: int = 32
    validation_split: float = 0.0
    lr: float = 1e-3
    keras: bool = True

    def model(self, num_classes: int = 10) -> nn.Module:
        """A new model with the tutorial's start.

        >>> BASELINES["cnn-32x2"].model()(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 10])
        """
        model = self.build(num_classes=num_classes)
        return keras_start(model) if self.keras else model

    @property
    def optimizer(self) -> Callable[..., Adam]:
        """What makes the optimizer, for `fit`: Adam, with Keras' eps where it is Keras' model."""
        return partial(Adam, eps=1e-7 if self.keras else 1e-8)


def _cnn_row(filters: int, convolutions: int) -> Baseline:
    reported, source = {
        (32, 2): (0.904, "90.3 to 90.4 in two tutorials"),
        (16, 2): (0.890, "the same with 16 filters"),
        (64, 2): (0.909, "the same with 64 filters"),
        (32, 1): (0.910, "the same without the second convolution"),
        (32, 3): (None, "lower than with two convolutions; no figure"),
    }.get((filters, convolutions), (None, "no figure; one of the sweep"))
    return Baseline(partial(cnn, filters, convolutions), reported, source)


BASELINES: dict[str, Baseline] = {
    "dense": Baseline(dense, 0.878, "Keras tutorial"),
    "fashion-dnn": Baseline(fashion_dnn, 0.86, "PyTorch tutorial", batch_size=100, keras=False),
    **{f"cnn-{filters}x{times}": _cnn_row(filters, times) for filters in (16, 32, 64) for times in (1, 2, 3)},
    "unpooled-cnn": Baseline(
        unpooled_cnn, 0.855, "Keras tutorial on overfitting; batch size not given", epochs=25, validation_split=0.25
    ),
    "dropout-cnn": Baseline(
        dropout_cnn, 0.8907, "the same tutorial's remedy; batch size not given", epochs=25, validation_split=0.25
    ),
    "deep-cnn": Baseline(
        deep_cnn, 0.9237, "the tutorials' best; epochs, batch size and last dropout rates not given", epochs=None
    ),
    "fashion-cnn": Baseline(fashion_cnn, 0.90, "PyTorch tutorial", batch_size=100, keras=False),
}


# -- The classics -----------------------------------------------------------------------------------------------------


def lenet5(num_classes: int = 10) -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998) as taught today, with ReLU and max pooling, on grey 32x32: 61,706 parameters.

    The original has scaled tanh, trainable sub-sampling and a C3 that sees some of the maps only.
    """
    return nn.Sequential(
        Images(1, 32),
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.ReLU(),
        nn.Linear(120, 84), nn.ReLU(),
        _head(84, num_classes),
    )  # fmt: skip


VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels; a pool ends each group


def vgg16(num_classes: int = 10) -> nn.Sequential:
    """VGG16's convolutions (Simonyan & Zisserman 2015, column D) on 3x32x32 with a small head: 14,915,402 parameters.

    The convolutions have the names of torchvision's, so that its ImageNet weights fit: of `state`, its state_dict,
    `{name[9:]: value for name, value in state.items() if name.startswith("features.")}` goes into
    `model.features.load_state_dict`. The start is Keras', and so is the batch norm of the head.
    """
    features: list[nn.Module] = []
    in_channels = 3
    for group in VGG16:
        for channels in group:
            features += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
            in_channels = channels
        features.append(nn.MaxPool2d(2))

    def hidden(in_features: int) -> tuple[nn.Module, ...]:
        norm = nn.BatchNorm1d(256, eps=1e-3, momentum=0.01)  # Keras: epsilon 1e-3, momentum 0.99 of the old
        return nn.Linear(in_features, 256), norm, nn.Dropout(0.4), nn.ReLU()

    model = nn.Sequential(
        OrderedDict(
            images=Images(3, 32),
            features=nn.Sequential(*features),  # [batch, 512, 1, 1]
            flatten=nn.Flatten(),
            classifier=nn.Sequential(*hidden(512), *hidden(256), _head(256, num_classes)),
        )
    )
    keras_start(model)
    return model


def explainable_cnn(num_classes: int = 2) -> nn.Sequential:
    """Thirteen convolutions whose last maps are averaged, for colour images of 34x34 or larger: 14,983,106 parameters.

    VGG16's channels, without biases: [conv, BN, ReLU], dropout .3 after the first and .4 after each later one that no
    pool follows. The first convolution is without padding. The output is log-softmax: logits of which cross-entropy
    makes the same loss as of any others. (Of one logit it would be 0, so that num_classes=1 has none.) Its convolutions
    are `features`, numbered as tutorials count them: `features.0`, `features.4`, ... are convolutions. Weights that were
    saved when all layers were numbered from 0 still load.
    """
    layers: list[nn.Module] = []
    in_channels = 3
    for group in VGG16:
        for i, channels in enumerate(group):
            first = not layers
            layers += [nn.Conv2d(in_channels, channels, 3, padding=0 if first else 1, bias=False)]
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            layers.append(nn.MaxPool2d(2) if i == len(group) - 1 else nn.Dropout(0.3 if first else 0.4))
            in_channels = channels
    classifier = nn.Sequential(
        nn.Linear(512, 512, bias=False), nn.Dropout(0.5), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5),
        _head(512, num_classes), *([nn.LogSoftmax(1)] if num_classes > 1 else []),
    )  # fmt: skip
    model = nn.Sequential(
        OrderedDict(
            images=Images(3, 34, or_larger=True),
            features=nn.Sequential(*layers),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=classifier,
        )
    )
    model.register_load_state_dict_pre_hook(_name_numbered_layers)
    return model


def _name_numbered_layers(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give the weights of explainable_cnn as one flat Sequential (the door 0, features 1 to 52, classifier from 55) its names."""
    for key in list(state):
        number, dot, rest = key.removeprefix(prefix).partition(".")
        if number.isdigit():
            part = f"features.{int(number) - 1}" if int(number) <= 52 else f"classifier.{int(number) - 55}"
            state[f"{prefix}{part}{dot}{rest}"] = state.pop(key)


# -- torchvision's networks -------------------------------------------------------------------------------------------

# name -> (its last layer, the smallest image it takes)
_BACKBONES = {
    "vgg16": ("classifier.6", 32),
    "googlenet": ("fc", 32),
    "inception_v3": ("fc", 75),
    "resnet50": ("fc", 32),
    "mobilenet_v2": ("classifier.1", 32),
}
_TRAINABLE = ("none", "last", "all")
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green, blue in [0, 1]


class Backbone(nn.Sequential):
    """What `backbone` makes. Its frozen batch norms stay in evaluation mode: else training would move their averages."""

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self


def backbone(
    name: str,
    weights: Any = None,
    trainable: str = "none",
    cut_at: str | None = None,
    num_classes: int | None = None,
) -> Backbone:
    """A network of torchvision for transfer learning. The images are normalised inside; the auxiliary heads are left out.

    Args:
        name: "vgg16", "googlenet", "inception_v3", "resnet50" or "mobilenet_v2".
        weights: as torchvision takes them: "DEFAULT", "IMAGENET1K_V1", one of its enums; None for a random start.
        trainable: which weights of the network train: "none"; "last", those of its last part ("features.28",
            "inception5b", "Mixed_7c", "layer4", "features.18", or the last before the cut; without a cut vgg16's
            "classifier.3", and with neither cut nor new head ImageNet's own head); "all". A new head always trains.
        cut_at: a module's name ("layer3", "features.16"): what comes behind it is left out.
        num_classes: a new head, on the mean over each map where the cut leaves maps. None: no new head, so that the
            output is ImageNet's 1,000 logits, or the features at the cut.

    Shapes:
        images: float [batch, 3, height, width] in [0, 1]; 224x224 is usual, 299x299 for inception_v3.
        output: [batch, num_classes], or the features.

    Raises:
        InputError: an unknown name, layer or choice; or torchvision is not installed.
    """
    check_choice("name", name, _BACKBONES)
    check_choice("trainable", trainable, _TRAINABLE)
    num_classes = None if num_classes is None else check_count("num_classes", num_classes, 1)
    try:
        from torchvision import models, transforms
        from torchvision.models.feature_extraction import create_feature_extractor
    except (ImportError, RuntimeError, OSError, AttributeError) as problem:  # one of another build fails in any way
        raise InputError(
            f"name: {name!r} is a network of torchvision, which cannot be imported ({problem}); "
            "pip install torchvision, in the version that fits your torch."
        ) from problem
    last_layer, size = _BACKBONES[name]
    # Without this argument googlenet and inception_v3 warn; with weights it has to be False.
    options = {"init_weights": weights is None} if name in ("googlenet", "inception_v3") else {}
    network = models.get_model(name, weights=weights, **options)
    if name in ("googlenet", "inception_v3"):
        network.aux_logits = False  # else it gives a tuple in training; the argument is refused with weights
        for aux in ("aux1", "aux2") if name == "googlenet" else ("AuxLogits",):
            setattr(network, aux, None)
    if cut_at is not None:
        parts = [part for part, _ in network.named_modules() if part]
        if cut_at not in parts:
            top = ", ".join(part for part, _ in network.named_children())
            raise InputError(f"cut_at: {name} has no module {cut_at!r}; it has {top}, and their parts.")
        network = create_feature_extractor(network, {cut_at: "features"})
    elif num_classes is not None:
        network.set_submodule(last_layer, nn.Identity())
    _set_trainable(network, trainable)
    model = Backbone(
        OrderedDict(
            images=Images(3, size, or_larger=True),
            normalize=transforms.Normalize(_IMAGENET_MEAN, _IMAGENET_STD),
            network=network,
        )
    )
    if cut_at is not None:
        model.add_module("features", _Features())
    if num_classes is not None:
        with torch.no_grad():
            features = model.eval()(torch.zeros(1, 3, 96, 96))
        if features.dim() == 4:
            model.add_module("pool", nn.AdaptiveAvgPool2d(1))
            model.add_module("flatten", nn.Flatten())
        model.add_module("head", nn.Linear(features.shape[1], num_classes))
    return model.train()


class _Features(nn.Module):
    """torchvision's feature extractor gives a dict; this takes the one entry out."""

    def forward(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs["features"]


def _set_trainable(network: nn.Module, trainable: str) -> None:
    *_, last = (name for name, _ in network.named_parameters())  # in the order of the forward
    parts = last.split(".")
    part = ".".join(parts[: 2 if parts[0] in ("features", "classifier") else 1]) + "."
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trainable == "all" or (trainable == "last" and name.startswith(part)))
