import math
import re
import sys
import warnings
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gcnlab import Adam, GCNConv
from gcnlab.baselines import BASELINES, Images, backbone, cnn, explainable_cnn, keras_start, lenet5, vgg16
from gcnlab.errors import InputError, InputTypeError
from gcnlab.models import summary

pytestmark = pytest.mark.usefixtures("one_thread")

# name: (parameters, reported test accuracy, epochs, batch size, validation split), as the tutorials print them
PUBLISHED = {
    "dense": (101_770, 0.878, 5, 32, 0.0),
    "fashion-dnn": (235_146, 0.86, 5, 100, 0.0),
    "cnn-16x1": (347_690, None, 5, 32, 0.0),
    "cnn-16x2": (55_098, 0.890, 5, 32, 0.0),
    "cnn-16x3": (8_266, None, 5, 32, 0.0),
    "cnn-32x1": (693_962, 0.910, 5, 32, 0.0),
    "cnn-32x2": (113_386, 0.904, 5, 32, 0.0),
    "cnn-32x3": (24_330, None, 5, 32, 0.0),
    "cnn-64x1": (1_386_506, None, 5, 32, 0.0),
    "cnn-64x2": (243_786, 0.909, 5, 32, 0.0),
    "cnn-64x3": (84_106, None, 5, 32, 0.0),
    "unpooled-cnn": (3_989_642, 0.855, 25, 32, 0.25),
    "dropout-cnn": (241_546, 0.8907, 25, 32, 0.25),
    "deep-cnn": (5_240_842, 0.9237, None, 32, 0.0),
    "fashion-cnn": (1_475_338, 0.90, 5, 100, 0.0),
}
PYTORCH = ("fashion-dnn", "fashion-cnn")  # the tutorials in PyTorch; the others are Keras'

# what to call with num_classes, parameters with `num_classes` of the tutorial, the shape of an image
MODELS = {
    **{name: (BASELINES[name].model, PUBLISHED[name][0], 10, (1, 28, 28)) for name in PUBLISHED},
    "lenet5": (lenet5, 61_706, 10, (1, 32, 32)),
    "vgg16": (vgg16, 14_915_402, 10, (3, 32, 32)),
    "explainable_cnn": (explainable_cnn, 14_983_106, 2, (3, 34, 37)),
}


def test_the_table_is_the_tutorials():
    assert list(BASELINES) == list(PUBLISHED)
    for name, (_, *recipe) in PUBLISHED.items():
        row = BASELINES[name]
        assert [row.reported, row.epochs, row.batch_size, row.validation_split] == recipe, name
        assert row.keras == (name not in PYTORCH), name
        assert row.lr == 1e-3
        assert row.source
        (group,) = row.optimizer([torch.zeros(1)], lr=row.lr).param_groups
        assert (group["lr"], group["eps"]) == (1e-3, 1e-7 if row.keras else 1e-8), name


@pytest.mark.parametrize("name", MODELS)
def test_parameters_shapes_and_summary(name):
    build, parameters, num_classes, shape = MODELS[name]
    model = build()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters
    images = torch.rand(3, *shape)
    kept = images.clone()
    assert model.eval()(images).shape == (3, num_classes)
    assert torch.equal(images, kept)
    logit = build(num_classes=1).eval()(images)
    assert logit.shape == (3, 1)
    assert bool((logit != 0).all())  # as a log-softmax of one is

    lines = summary(model, images).splitlines()
    assert lines[-2:] == [f"total: {parameters:,} parameters", f"trainable: {parameters:,} parameters"]
    counted = 0
    for line in lines[1:-2]:
        if " = " in line:  # "12 (Linear)  (3, 10)  1,290 = 128 x 10 + 10"
            count, formula = re.search(r"([\d,]+) = ([^(]+)", line).groups()
            value = eval(formula.replace("²", "**2").replace("x", "*"))
            assert value == int(count.replace(",", "")), line
            counted += value
    assert counted == parameters


def test_summary_prints_the_formula_of_each_kind_of_layer():
    model = nn.Sequential(
        Images(2, 11),
        nn.Conv2d(2, 3, 5),
        nn.Conv2d(3, 6, (1, 7), bias=False, groups=3),
        nn.BatchNorm2d(6),
        nn.Flatten(),
        nn.Linear(42, 13),
        nn.Linear(13, 1, bias=False),
    )
    model[1].weight.requires_grad_(False)
    assert [" ".join(line.split()) for line in summary(model, torch.rand(2, 2, 11, 11)).splitlines()] == [
        "layer output shape parameters",
        "0 (Images) (2, 2, 11, 11) 0",
        "1 (Conv2d) (2, 3, 7, 7) 153 = 3 x 5² x 2 + 3",
        "2 (Conv2d) (2, 6, 7, 1) 42 = 6 x 1 x 7 x 1",
        "3 (BatchNorm2d) (2, 6, 7, 1) 12 = 2 x 6 (+ 2 x 6 not trained)",
        "4 (Flatten) (2, 42) 0",
        "5 (Linear) (2, 13) 559 = 42 x 13 + 13",
        "6 (Linear) (2, 1) 13 = 13 x 1",
        "total: 779 parameters",
        "trainable: 629 parameters",
    ]


def test_summary_counts_a_layer_once_and_one_that_is_never_called_too():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))
            self.twice, self.unused, self.conv = nn.Linear(3, 3), nn.Linear(3, 2), GCNConv(3, 5)

        def forward(self, x, a_hat):
            return self.conv(self.twice(self.twice(x)) * self.scale, a_hat)

    lines = [" ".join(line.split()) for line in summary(Odd(), torch.rand(7, 3), torch.eye(7)).splitlines()]
    assert lines[1:5] == [
        "(Odd) (7, 5) 1 = 1",
        "twice (Linear) (7, 3) 12 = 3 x 3 + 3",
        "unused (Linear) - 8 = 3 x 2 + 2",
        "conv (GCNConv) (7, 5) 20 = 3 x 5 + 5",
    ]
    assert lines[5].startswith("total: 41 parameters; a step on the whole graph holds about ")


@pytest.mark.parametrize("name", MODELS)
def test_start(name):
    """Keras': weights uniform within sqrt(6 / (fan_in + fan_out)), biases zero. PyTorch's: within 1 / sqrt(fan_in)."""
    torch.manual_seed(0)
    keras = name == "vgg16" or (name in BASELINES and BASELINES[name].keras)
    for layer in MODELS[name][0]().modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        size = math.prod(layer.kernel_size) if isinstance(layer, nn.Conv2d) else 1
        fan_out, fan_in = layer.weight.shape[0] * size, layer.weight.shape[1] * size
        bound = math.sqrt(6 / (fan_in + fan_out)) if keras else math.sqrt(1 / fan_in)
        largest = float(layer.weight.detach().abs().max())
        assert largest <= bound * (1 + 1e-6)
        assert largest > 0.9 * bound
        assert layer.bias is None or bool(layer.bias.any()) != keras


@pytest.mark.parametrize("name", MODELS)
def test_a_few_steps_lower_the_loss(name):
    """On images of two kinds that differ in one quarter, as the recipe's optimizer sees them."""
    torch.manual_seed(0)
    build, _, _, shape = MODELS[name]
    model = build().train()
    y = torch.tensor([0, 1, 0, 1, 0, 1])
    images = torch.rand(6, *shape) * 0.5
    images[y == 1, :, : shape[1] // 2, : shape[2] // 2] += 0.5
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # so that the losses differ by the steps alone
    optimizer = BASELINES[name].optimizer if name in BASELINES else Adam
    opt = optimizer(model.parameters(), lr=1e-4 if shape[0] == 3 else 1e-3)
    losses = []
    for _ in range(4):
        opt.zero_grad()
        loss = F.cross_entropy(model(images), y)
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 0.99 * losses[0], losses


def test_dropout_batch_norm_and_activations_stand_where_the_tutorials_have_them():
    def layers(model):
        kinds = {
            nn.Conv2d: "conv", nn.Linear: "dense", nn.MaxPool2d: "pool", nn.ReLU: "relu", nn.BatchNorm1d: "norm",
            nn.BatchNorm2d: "norm", nn.Flatten: "flatten", nn.AdaptiveAvgPool2d: "mean", nn.LogSoftmax: "log-softmax",
        }  # fmt: skip
        leaves = [m for m in model.modules() if not list(m.children()) and not isinstance(m, Images)]
        return " ".join(f"drop{m.p}" if isinstance(m, nn.Dropout) else kinds[type(m)] for m in leaves)

    for name, expected in {
        "dense": "flatten dense relu dense",
        "fashion-dnn": "flatten dense relu drop0.25 dense relu dense",
        "cnn-32x2": "conv relu pool conv relu pool flatten dense relu dense",
        "unpooled-cnn": "conv conv conv flatten dense relu dense",
        "dropout-cnn": "conv pool conv pool conv flatten dense relu drop0.3 dense",
        "deep-cnn": "conv relu conv relu pool drop0.5 conv relu conv relu pool drop0.5 flatten "
        "dense relu drop0.5 dense relu drop0.5 dense",
        "fashion-cnn": "conv norm relu pool conv norm relu pool flatten dense drop0.25 dense dense",
        "lenet5": "conv relu pool conv relu pool flatten dense relu dense relu dense",
    }.items():
        assert layers(MODELS[name][0]()) == expected, name
    assert layers(vgg16().classifier) == "dense norm drop0.4 relu dense norm drop0.4 relu dense"
    two, three = "conv norm relu {} conv norm relu pool", "conv norm relu {0} conv norm relu {0} conv norm relu pool"
    assert layers(explainable_cnn()) == " ".join(
        [
            two.format("drop0.3"),
            two.format("drop0.4"),
            *[three.format("drop0.4")] * 3,
            "mean flatten dense drop0.5 norm relu drop0.5 dense log-softmax",
        ]
    )
    assert [m.padding[0] for m in explainable_cnn().modules() if isinstance(m, nn.Conv2d)] == [0] + [1] * 12


def test_the_convolutions_of_explainable_cnn_are_numbered_as_tutorials_count_them():
    model = explainable_cnn(3)
    numbers = [int(name.split(".")[1]) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert numbers == list(range(0, 52, 4))
    flat = nn.Sequential(model.images, *model.features, model.pool, model.flatten, *model.classifier)
    other = explainable_cnn(3)
    assert not torch.equal(other.features[0].weight, model.features[0].weight)
    other.load_state_dict(flat.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    nn.Sequential(other).load_state_dict(nn.Sequential(flat).state_dict())
    images = torch.rand(1, 3, 34, 34)
    assert torch.equal(other.eval()(images), flat.eval()(images))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({})


def test_vgg16_has_the_names_of_torchvision():
    state = vgg16().state_dict()
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    names = [f"features.{i}.{kind}" for i in convolutions for kind in ("weight", "bias")]
    assert [name for name in state if name.startswith("features.")] == names
    assert [state[name].shape[:2] for name in names[::2]] == [
        (64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256),
        (512, 256), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512),
    ]  # fmt: skip
    model = vgg16()
    features = {name[9:]: value for name, value in state.items() if name.startswith("features.")}
    model.features.load_state_dict(features)
    assert torch.equal(model.features[28].weight, state["features.28.weight"])


def test_keras_start_leaves_batch_norm_and_missing_biases_alone():
    model = keras_start(nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2)))
    assert model[1].weight.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), InputTypeError, r"images: got torch.uint8.*float\(\) / 255"),
        ([[0.0]], InputTypeError, "images: got list, expected floats"),
        (torch.zeros(2, 28, 28), InputError, r"images: got shape \(2, 28, 28\), expected .*\[batch, 1, 28, 28\]"),
        (torch.zeros(2, 3, 28, 28), InputError, r"images: got shape \(2, 3, 28, 28\)"),
        (torch.zeros(2, 1, 32, 32), InputError, r"images: got shape \(2, 1, 32, 32\)"),
    ],
)
def test_the_door(images, error, message):
    with pytest.raises(error, match=message):
        BASELINES["cnn-16x3"].model()(images)


@pytest.mark.parametrize("images", [255 * torch.rand(2, 1, 28, 28), 2 * torch.rand(2, 1, 28, 28) - 1])
def test_the_door_tells_another_range_once(images):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for batch in (images, 0.9 * images):
            cnn()(batch)
    assert [str(warning.message)[:37] for warning in told] == ["images: floats outside of [0, 1], tak"]


def test_larger_images_where_the_model_takes_them():
    door = Images(3, 34, or_larger=True)
    assert door(torch.zeros(1, 3, 34, 50)).shape == (1, 3, 34, 50)
    with pytest.raises(InputError, match=r"got shape \(1, 3, 50, 33\), expected .*34, 34\] or larger"):
        door(torch.zeros(1, 3, 50, 33))


@pytest.mark.parametrize("convolutions", [0, 4])
def test_too_many_convolutions(convolutions):
    with pytest.raises(InputError, match=f"convolutions: got {convolutions}, expected 1, 2 or 3"):
        cnn(16, convolutions)


# -- backbones --------------------------------------------------------------------------------------------------------


class TinyVGG(nn.Module):
    """As torchvision's vgg16 is built, small."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(nn.Linear(28, 11), *(nn.Identity() for _ in range(5)), nn.Linear(11, 1000))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class Cut(nn.Module):
    """What torchvision's feature extractor gives: the modules up to a layer of `features`, and a dict."""

    def __init__(self, model, layer):
        super().__init__()
        self.features = model.features[: int(layer.removeprefix("features.")) + 1]

    def forward(self, x):
        return {"features": self.features(x)}


class Scale(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)

    def forward(self, x):
        return (x - self.mean) / self.std


@pytest.fixture
def tiny_torchvision(monkeypatch):
    """A stand-in, so that what `backbone` does itself is tested where torchvision is not installed."""
    names = ("torchvision", "torchvision.models", "torchvision.transforms", "torchvision.models.feature_extraction")
    root, models, transforms, extraction = modules = [ModuleType(name) for name in names]
    for name, module in zip(names, modules, strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    root.models, root.transforms, models.feature_extraction = models, transforms, extraction
    models.get_model = lambda name, weights: TinyVGG()
    transforms.Normalize = Scale
    extraction.create_feature_extractor = lambda model, nodes: Cut(model, *nodes)


def trained(model):
    return [name for name, p in model.named_parameters() if p.requires_grad]


@pytest.mark.usefixtures("tiny_torchvision")
@pytest.mark.parametrize(
    ("options", "expected", "width"),
    [
        ({}, [], 1000),
        ({"num_classes": 3}, ["head"], 3),
        ({"num_classes": 3, "trainable": "last"}, ["classifier.0", "head"], 3),
        ({"num_classes": 3, "trainable": "all"}, [*(f"features.{i}" for i in (0, 1, 3, 4)), "classifier.0", "head"], 3),
        ({"trainable": "last"}, ["classifier.6"], 1000),
        ({"cut_at": "features.2", "num_classes": 3}, ["head"], 3),
        ({"cut_at": "features.4", "trainable": "last"}, ["features.4"], 7),
        ({"cut_at": "features.2", "num_classes": 3, "trainable": "last"}, ["features.1", "head"], 3),
    ],
)
def test_what_of_a_backbone_trains(options, expected, width):
    model = backbone("vgg16", **options)
    parts = [name.rpartition(".")[0].removeprefix("network.") for name in trained(model)]
    assert list(dict.fromkeys(parts)) == expected
    assert model(torch.rand(2, 3, 32, 37)).shape[:2] == (2, width)


@pytest.mark.usefixtures("tiny_torchvision")
def test_a_frozen_backbone_stays_as_it_is():
    model = backbone("vgg16", cut_at="features.4", num_classes=2, trainable="last")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    opt = Adam([p for p in model.parameters() if p.requires_grad])
    F.cross_entropy(model.train()(torch.rand(3, 3, 32, 32)), torch.tensor([0, 1, 0])).backward()
    opt.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert changed == {f"network.features.4.{kind}" for kind in kinds} | {"head.weight", "head.bias"}


@pytest.mark.usefixtures("tiny_torchvision")
def test_features_at_a_cut():
    model = backbone("vgg16", cut_at="features.0").eval()
    images = torch.rand(2, 3, 32, 32)
    conv = model.network.features[0]
    expected = conv((images - torch.tensor([0.485, 0.456, 0.406])[:, None, None])
                    / torch.tensor([0.229, 0.224, 0.225])[:, None, None])  # fmt: skip
    torch.testing.assert_close(model(images), expected)


@pytest.mark.usefixtures("tiny_torchvision")
def test_backbone_refuses():
    with pytest.raises(InputError, match='name: got \'vgg\', expected "vgg16", "googlenet"'):
        backbone("vgg")
    with pytest.raises(InputError, match='trainable: got \'some\', expected "none", "last" or "all"'):
        backbone("vgg16", trainable="some")
    with pytest.raises(InputError, match="cut_at: vgg16 has no module 'layer4'; it has features, avgpool, classifier"):
        backbone("vgg16", cut_at="layer4")
    with pytest.raises(InputError, match=r"images: got shape \(1, 1, 28, 28\), expected .* or larger"):
        backbone("vgg16")(torch.rand(1, 1, 28, 28))


def test_without_torchvision_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match=r"torchvision, which cannot be imported .*pip install torchvision"):
        backbone("resnet50")


# name: (parameters of the network without auxiliary heads, a cut, its channels, the last part before the head)
TORCHVISION = {
    "vgg16": (138_357_544, "features.23", 512, "classifier.3"),
    "googlenet": (6_624_904, "inception4a", 512, "inception5b"),
    "inception_v3": (23_834_568, "Mixed_6e", 768, "Mixed_7c"),
    "resnet50": (25_557_032, "layer3", 1024, "layer4"),
    "mobilenet_v2": (3_504_872, "features.16", 160, "features.18"),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name):
    pytest.importorskip("torchvision")
    parameters, cut, channels, last = TORCHVISION[name]
    images = torch.rand(2, 3, 96, 96)
    whole = backbone(name)
    assert sum(p.numel() for p in whole.parameters()) == parameters
    assert trained(whole) == []
    assert whole.train()(images).shape == (2, 1000)

    tuned = backbone(name, trainable="last", num_classes=3)
    assert tuned.train()(images).shape == (2, 3)
    assert {name.startswith((f"network.{last}.", "head.")) for name in trained(tuned)} == {True}

    features = backbone(name, cut_at=cut)
    assert features(images).shape[1] == channels
    headed = backbone(name, cut_at=cut, num_classes=3)
    assert headed(images).shape == (2, 3)
    assert trained(headed) == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    "error", [RuntimeError("operator torchvision::nms does not exist"), OSError("undefined symbol")]
)
def test_a_torchvision_of_another_build(monkeypatch, error):
    def load(name, *_, load=__import__, **__):
        if name.startswith("torchvision"):
            raise error
        return load(name, *_, **__)

    monkeypatch.setattr("builtins.__import__", load)
    with pytest.raises(InputError, match=r"torchvision, which cannot be imported \(.*\); pip install torchvision"):
        backbone("resnet50")
