import ast
import io
import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gcnlab import GCN, baselines, image, load, metrics, plot
from gcnlab.errors import InputError, InputTypeError
from gcnlab.layers import RelationalGCNConv
from gcnlab.models import GridGCN
from gcnlab.train import History

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["T-shirt/top", "Trouser", "Ankle boot"]


def random_images(*shape, seed=0):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def shown(axes):
    """What the one image of an axes was made of, as an array."""
    (picture,) = axes.images
    return np.asarray(picture.get_array())


def columns(figure, num_rows):
    """The arrays of a sheet of feature maps, column by column: [num_columns][num_rows]."""
    table = np.array(figure.axes).reshape(num_rows, -1)
    return [[shown(axes) for axes in column] for column in table.T]


def overlap(a, b):
    """The area that two of matplotlib's boxes share."""
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0.0) * max(height, 0.0)


def assert_maps(column, expected):
    """A column holds `expected` [num_rows, H, W], but for the rounding of convolutions with and without gradients."""
    torch.testing.assert_close(torch.tensor(np.stack(column)), expected.detach().double(), rtol=1e-5, atol=1e-6)


def heading(axes):
    return axes.get_title().splitlines()


def history():
    metrics = {
        f"{split}_{kind}": torch.rand(7, 2, generator=torch.Generator().manual_seed(1))
        for split in ("train", "val")
        for kind in ("loss", "accuracy")
    }
    return History([0, 1], metrics, torch.tensor([3, 5]), {})


def comparison_rows():
    """As crowded as a table of models gets, with some far below the others."""
    crowd = [
        ("dense", 101770, 0.878, 20), ("fashion-dnn", 235146, 0.86, 25), ("cnn-32x2", 113386, 0.904, 90),
        ("cnn-16x2", 55098, 0.89, 60), ("cnn-64x2", 243786, 0.909, 150), ("cnn-32x1", 693962, 0.91, 80),
        ("cnn-16x1", 347690, 0.905, 60), ("cnn-64x1", 1386506, 0.9105, 120), ("cnn-16x3", 8266, 0.85, 60),
        ("cnn-32x3", 24330, 0.872, 95), ("cnn-64x3", 84106, 0.885, 160), ("unpooled-cnn", 3989642, 0.855, 1200),
        ("dropout-cnn", 241546, 0.8907, 700), ("deep-cnn", 5240842, 0.9237, 9000),
    ]  # fmt: skip
    graph = [("isotropic GCN", 30000, 0.471, 200), ("isotropic GCN + coarsening", 40000, 0.826, 180)]
    rows = [
        {"model": name, "num_parameters": size, "test_accuracy": accuracy, "seconds": seconds, "family": family}
        for family, models in (("CNN", crowd), ("graph", graph))
        for name, size, accuracy, seconds in models
    ]
    mean = {"mean": 0.9396, "std": 0.0012, "per_seed": [0.9384, 0.9408]}
    return [*rows, {"model": "relational GCN", "num_parameters": 78434, "test_accuracy": mean, "seconds": 1600}]


def noisy_curves(*lengths):
    generator = torch.Generator().manual_seed(0)
    return [(0.7 + 0.1 * torch.rand(length, generator=generator)).tolist() for length in lengths]


def confusing_logits():
    """Of eight images in three classes, four wrong: the surest is 6, then 1, 3 and 4."""
    logits = torch.zeros(8, 3)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    logits[range(8), labels] = 2.0
    for i, wrong, by in ((6, 2, 9.0), (1, 0, 5.0), (3, 1, 4.0), (4, 2, 3.0)):
        logits[i, wrong] = by
    return labels, logits


LABELS, LOGITS = confusing_logits()
MAKERS = {
    "history": lambda **o: plot.history(history(), **o),
    "folds": lambda **o: plot.folds(noisy_curves(*[30] * 10), **o),
    "feature_maps": lambda **o: plot.feature_maps(baselines.cnn(3, 3), random_images(3, 28, 28), **o),
    "samples": lambda **o: plot.samples(random_images(11, 9, 7), [0, 1, 2] * 3 + [1, 2], NAMES, [0] * 11, **o),
    "one sample": lambda **o: plot.samples(random_images(1, 9, 7, 3), [2], NAMES, [1], **o),
    "mistakes": lambda **o: plot.mistakes(random_images(8, 9, 7), LABELS, LOGITS, NAMES, **o),
    "no mistakes": lambda **o: plot.mistakes(random_images(8, 9, 7), LOGITS.argmax(1), LOGITS, NAMES, **o),
    "confusion": lambda **o: plot.confusion(torch.full((12, 12), 1234567), NAMES * 4, **o),
    "confusion of many": lambda **o: plot.confusion(torch.eye(43).long() * 9 + 1, **o),
    "accuracies": lambda **o: plot.accuracies({"a name": [0.5, 0.51, 0.5], "another": [0.3]}, 0.6, **o),
    "comparison": lambda **o: plot.comparison(comparison_rows(), **o),
    "comparison, alike": lambda **o: plot.comparison([{**row, "family": None} for row in comparison_rows()[2:5]], **o),
    "comparison of one": lambda **o: plot.comparison(comparison_rows()[:1], **o),
}


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_no_text_overlaps_another_or_leaves_the_picture(maker):
    from matplotlib.text import Text

    figure = maker(title="A title of more than a few words, as long as such titles tend to become")
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible()]
    # Ticks beyond the ends of an axis are there, but not drawn.
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            outside = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
            texts = [text for text in texts if all(text not in (tick.label1, tick.label2) for tick in outside)]
    boxes = {text: text.get_window_extent(renderer) for text in texts if text.get_text().strip()}
    assert len(boxes) > 1 or figure.get_suptitle().count("\n")
    for text, box in boxes.items():
        assert overlap(box, figure.bbox) == pytest.approx(box.width * box.height), text
    for (a, box_a), (b, box_b) in itertools.combinations(boxes.items(), 2):
        assert overlap(box_a, box_b) < 1, (a, b)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_picture_is_saved_and_titled(maker, tmp_path):
    figure = maker(path=tmp_path / "new" / "a.png", title="A title")
    assert figure.get_suptitle().startswith("A title")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_the_ending_says_the_format(tmp_path):
    for name, start in (("a.pdf", b"%PDF"), ("a.svg", b"<?xml"), ("A.PNG", b"\x89PNG")):
        plot.confusion([[1]], path=tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_failure_leaves_the_old_file_and_nothing_else(maker, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(figure, file, **options):
        file.write(b"\x89PNG half of a picture")
        raise RuntimeError("no memory")

    (tmp_path / "a.png").write_bytes(b"the old picture")
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        maker(path=tmp_path / "a.png")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.png", b"the old picture")]


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_where_it_cannot_go_is_said_at_once(maker, tmp_path):
    for path, match in (
        (tmp_path / "a.jpeg", r"path: got .*a\.jpeg, expected a name that ends in \.png, \.pdf, \.svg"),
        (tmp_path / "a", "path: got .*expected a name that ends in"),
        (tmp_path / "a.png", r"path: .* is a folder"),
    ):
        (tmp_path / "a.png").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=match):
            maker(path=path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"a picture needs the package matplotlib, .*; pip install matplotlib"):
        plot.confusion([[1]])


def test_matplotlib_is_imported_when_a_picture_is_made_and_pyplot_never():
    code = """
import sys
from gcnlab import plot
assert not any(name.startswith("matplotlib") for name in sys.modules)
plot.comparison([{"model": "a", "num_parameters": 7, "test_accuracy": 0.5, "seconds": 3}])
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pictures_know_nothing_of_training():
    """A History is drawn by its three attributes, so that training may draw itself."""
    nodes = list(ast.walk(ast.parse(Path(plot.__file__).read_text(encoding="utf-8"))))
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level}
    assert {"image", "trace"} <= names
    assert not any(name.partition(".")[0] in ("train", "recipes", "reporting") for name in names if name)


def test_names_are_shown_as_they_are():
    """Two dollars would be mathematics to matplotlib, and a name that is not valid there an error."""
    figure = plot.confusion([[3, 1], [0, 2]], ["$_^$", "a name longer than there is room for"])
    figure.savefig(io.BytesIO())
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["$_^$", "a name longer tha…"]
    plot.samples(random_images(1, 3, 3), [0], ["$_^$"]).savefig(io.BytesIO())


# -- feature maps -----------------------------------------------------------------------------------------------------


def test_feature_maps_of_a_cnn():
    torch.manual_seed(0)
    model, images = baselines.cnn(5, 2), random_images(3, 28, 28)
    figure = plot.feature_maps(model, images, channel=3, names=["zero", "twenty-three", "twenty-eight"])
    x = images.unsqueeze(1) / 255
    found = columns(figure, 3)
    assert len(found) == 5
    assert np.array_equal(np.stack(found[0]), (images / 255).double().numpy())
    table = np.array(figure.axes).reshape(3, 5)
    assert [axes.get_ylabel() for axes in table[:, 0]] == ["zero", "twenty-three", "twenty-eight"]
    for i, name, size in ((1, "1 Conv2d", 26), (2, "3 MaxPool2d", 13), (3, "4 Conv2d", 11), (4, "6 MaxPool2d", 5)):
        assert_maps(found[i], model[: int(name[0]) + 1](x)[:, 3])
        low, high = np.min(found[i]), np.max(found[i])
        span = f"{low:.3g} to {high:.3g}" if low < high else f"{low:.3g} everywhere"
        assert heading(table[0, i]) == [name, f"{size} x {size}", span]
        assert {axes.images[0].get_clim() for axes in table[:, i]} == {(low, high)}
    assert figure.get_suptitle() == "Channel 3 of the layers of Sequential"


def test_feature_maps_of_chosen_layers():
    model, images = baselines.cnn(5, 2), random_images(2, 28, 28)
    figure = plot.feature_maps(model, images.numpy(), layers=["5", "2"])
    x = images.unsqueeze(1) / 255
    _, deep, shallow = columns(figure, 2)
    assert_maps(deep, model[:6](x)[:, 1])
    assert_maps(shallow, model[:3](x)[:, 1])
    assert (np.stack(shallow) >= 0).all()


def test_several_channels_of_one_image_are_one_figure():
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AvgPool2d(2)), random_images(1, 9, 12, 3)
    x = images.movedim(-1, 1) / 255
    for channels, layers in ((range(16), [0]), ([3, 1], ["0", 2]), ((5,), None)):
        figure = plot.feature_maps(model, images, layers, channels, names=["noise"])
        picture, *maps = [axes for axes in figure.axes if axes.images]
        assert picture.get_title() == "noise"
        expected = [
            h[0, list(channels)] for name in map(str, layers or (0, 2)) for h in [model[: int(name) + 1](x).detach()]
        ]
        assert [axes.get_title() for axes in maps] == [str(c) for _ in expected for c in channels]
        for i, values in enumerate(expected):
            assert_maps([shown(axes) for axes in maps[i * len(channels) : (i + 1) * len(channels)]], values)
        low, high = float(expected[0].min()), float(expected[0].max())
        assert maps[0].get_ylabel() == f"0\nConv2d\n7 x 10\n{low:.3g} to {high:.3g}"
        assert {axes.images[0].get_clim() for axes in maps[: len(channels)]} == {(low, high)}
        assert figure.get_suptitle() == f"{len(channels)} channels of the layers of Sequential"
    for channels, count in ((range(2), 2), ([], 1)):
        with pytest.raises(
            InputError, match=rf"channel: got {re.escape(repr(channels))} for {count} images, expected one"
        ):
            plot.feature_maps(model, random_images(count, 9, 12, 3), [0], channels)
    with pytest.raises(InputError, match="channel: got 16, but '0' makes 16 channels"):
        plot.feature_maps(model, images, [0], range(17))


def test_a_layer_of_one_value_is_marked():
    (_, dead) = plot.feature_maps(nn.Sequential(nn.ReLU()), torch.zeros(1, 5, 5), [0], channel=0).axes
    assert dead.get_title() == "0 ReLU\n5 x 5\n0 everywhere"


def test_a_layer_inside_another_is_named_where_its_number_is_given():
    with pytest.raises(InputError, match=r"layers: the model has no '20', expected .*: 'features.20', "):
        plot.feature_maps(baselines.explainable_cnn(), torch.rand(1, 40, 40, 3), [20])


@pytest.mark.parametrize("conv", ["relational", "isotropic"])
def test_feature_maps_of_a_grid_gcn(conv):
    """Node signals come back as images: at 7 x 9, 4 x 5 and 2 x 3, each laid out row by row."""
    torch.manual_seed(0)
    model, grid, images = GridGCN(1, [3, 4, 5], 2, 1, conv=conv).eval(), image.grid_graph(7, 9), random_images(2, 7, 9)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean)
    figure = plot.feature_maps(model, images, channel=2, grid=grid)
    found = columns(figure, 2)
    names = [f"levels.{i}.0.conv" for i in range(3)]
    assert [heading(axes)[0] for axes in figure.axes[1:4]] == names
    assert [heading(axes)[2] for axes in figure.axes[1:4]] == ["7 x 9", "4 x 5", "2 x 3"]
    norms = columns(plot.feature_maps(model, images, [f"levels.{i}.0.norm" for i in range(3)], 2, grid), 2)
    h, level = image.to_signals(images), grid
    with torch.no_grad():
        for i in range(3):
            if i:
                h, level = image.coarsen(h, level)
            layer = model.levels[i][0]
            z = layer["conv"](h, level.relations if conv == "relational" else level.operator)
            assert_maps(np.reshape(found[i + 1], (2, -1)), z[:, :, 2])
            z = layer["norm"](z.flatten(0, 1)).view_as(z)
            assert_maps(np.reshape(norms[i + 1], (2, -1)), z[:, :, 2])
            h = z.relu()
    pixel = columns(plot.feature_maps(Shift(), images, ["conv"], 0, grid), 2)[1][0][5, 2]
    assert pixel == images[0, 5, 1] / 255  # its left neighbour


class Shift(nn.Module):
    """Moves the image one pixel to the right."""

    def __init__(self):
        super().__init__()
        self.conv = RelationalGCNConv(1, 1, 9, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[3] = 1.0  # the source at (0, -1)

    def forward(self, x, grid):
        return self.conv(x, grid.relations)


def test_feature_maps_with_another_operator():
    model, grid, images = GCN(3, 4, 2, dropout=0.0), image.grid_graph(5, 6), torch.rand(2, 3, 5, 6)
    figure = plot.feature_maps(model, images, grid=grid, operator=grid.a_hat)
    signals = images.flatten(2).transpose(1, 2)
    assert_maps(columns(figure, 2)[1], model.layers[0](signals, grid.a_hat)[:, :, 1].view(2, 5, 6))
    assert np.array_equal(shown(figure.axes[0]), images[0].movedim(0, -1).double().numpy())  # in colour


class Odd(nn.Module):
    """Runs its layers in another order than it defines them, one twice, one never; a ReLU works in place."""

    def __init__(self):
        super().__init__()
        self.ConvBlock = nn.ModuleDict({"second": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(2)})
        self.first = nn.Conv2d(1, 2, 3)
        self.never = nn.Conv2d(2, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.two = nn.Identity()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        h = self.relu(self.first(x))
        second, norm = self.ConvBlock["second"], self.ConvBlock["norm"]
        h = norm(second(second(h)))
        self.two((h, h))
        return self.fc(h.mean((2, 3)))


def test_the_order_is_that_of_the_forward_and_the_values_those_of_the_layer():
    torch.manual_seed(0)
    model, images = Odd(), torch.rand(2, 6, 6)
    figure = plot.feature_maps(model, images)
    assert [heading(axes)[0] for axes in figure.axes[1:3]] == ["first Conv2d", "ConvBlock.second"]
    _, first, second = columns(figure, 2)
    made = model.first(images.unsqueeze(1))
    assert made[:, 1].min() < 0  # which the ReLU would have cut
    assert_maps(first, made[:, 1])
    block = model.ConvBlock["second"]
    assert_maps(second, block(block(made.relu()))[:, 1])  # the last time


def test_the_model_is_left_as_it_was():
    model, images = Odd().train(), torch.rand(2, 6, 6)
    model.ConvBlock["norm"].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    plot.feature_maps(model, images)
    with pytest.raises(InputError):
        plot.feature_maps(model, images, channel=7)
    with pytest.raises(RuntimeError):
        plot.feature_maps(model, torch.rand(2, 6, 6, 3))  # the model's own complaint
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_feature_maps_follow_the_models_dtype():
    model = nn.Sequential(nn.Conv2d(1, 2, 3)).double()
    figure = plot.feature_maps(model, random_images(1, 5, 5))
    assert len(figure.axes) == 2
    assert len(plot.feature_maps(nn.Sequential(nn.AvgPool2d(2)), torch.rand(1, 6, 6), channel=0).axes) == 2


GRID = image.grid_graph(6, 6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layers": ["frist"]}, r"layers: the model has no 'frist', expected a name .*: 'first', "),
        ({"layers": [""]}, r"layers: the model has no ''"),
        ({"layers": ["never"]}, r"layers: 'never' did not run, expected a layer that makes maps, \[batch, C, H, W\]"),
        ({"layers": ["fc"]}, r"layers: 'fc' makes \(2, 2\), expected a layer that makes maps"),
        ({"layers": ["two"]}, r"layers: 'two' makes a tuple, expected a layer"),
        ({"channel": 2}, r"channel: got 2, but 'first' makes 2 channels, from 0"),
        ({"channel": -1}, r"channel: got -1"),
        ({"channel": 1.0}, r"channel: got 1.0, expected an integer"),
        ({"names": ["one"]}, r"names: got 1 for 2 images"),
        ({"images": torch.rand(6, 6)}, r"images: got shape \(6, 6\), expected \[N, H, W\].*images\[None\]"),
        ({"images": torch.rand(2, 5, 6, 7)}, r"images: got shape \(2, 5, 6, 7\), expected .* 1, 3 or 4 channels"),
        ({"images": torch.rand(2, 3, 6, 3)}, r"images: got shape \(2, 3, 6, 3\), .* either first or last"),
        ({"images": torch.rand(0, 6, 6)}, r"images: got shape \(0, 6, 6\)"),
        ({"images": torch.rand(25, 6, 6)}, r"images: got 25, expected at most 24, such as images\[:24\]"),
        ({"images": torch.full((2, 6, 6), math.nan)}, r"images: 72 values are NaN or infinite"),
        ({"images": [[[0, 1]]]}, r"images: got dtype torch.int64, expected uint8"),
        ({"images": "a.png"}, r"images: got str"),
        ({"operator": GRID.a_hat}, r"operator: got one, but no grid"),
        ({"grid": image.grid_graph(7, 9)}, r"grid: is of 7 x 9 pixels, but the images are 6 x 6"),
        ({"grid": GRID.a_hat}, r"grid: got SparseMatrix, expected a Grid; gcnlab.image.grid_graph makes one"),
    ],
)
def test_feature_maps_name_what_is_wrong(options, match):
    with pytest.raises((InputError, InputTypeError), match=match):
        plot.feature_maps(Odd(), **{"images": torch.rand(2, 6, 6), **options})


def test_feature_maps_want_some_layers_but_not_a_hundred():
    with pytest.raises(InputError, match=r"layers: 0 convolutions .* make maps, .*such as layers=\['0', '1'\]"):
        plot.feature_maps(baselines.dense(), random_images(2, 28, 28))
    many = nn.Sequential(*[nn.Conv2d(1, 1, 1) for _ in range(25)])
    with pytest.raises(InputError, match=r"layers: 25 convolutions .* expected 1 to 24; name those to show"):
        plot.feature_maps(many, torch.rand(1, 2, 2), channel=0)
    assert len(plot.feature_maps(many, torch.rand(1, 2, 2), list(map(str, range(25))), 0).axes) == 26
    grid = image.grid_graph(6, 6)
    with pytest.raises(InputError, match=r"layers: 'head' makes \(1, 2\), expected .* \[batch, num_nodes, C\]"):
        plot.feature_maps(GridGCN(1, [2], 2), torch.rand(1, 6, 6), ["head"], grid=grid)


# -- sheets -----------------------------------------------------------------------------------------------------------


def framed(figure):
    return [axes.spines["top"].get_linewidth() == 2 for axes in figure.axes if axes.images]


def test_samples():
    images, labels = random_images(11, 5, 6), torch.arange(11) % 3
    figure = plot.samples(images, labels, NAMES, columns=4)
    assert len(figure.axes) == 12
    assert not figure.axes[11].axison
    for axes, picture, label in zip(figure.axes, images, labels, strict=False):
        assert np.array_equal(shown(axes), (picture / 255).double().numpy())
        assert axes.get_title() == NAMES[label]
    assert not any(framed(figure))
    assert figure.get_suptitle() == "Samples"
    assert [axes.get_title() for axes in plot.samples(images[:3], [7, 0, 2]).axes] == ["7", "0", "2"]


def test_wrong_predictions_are_marked_by_more_than_a_colour():
    figure = plot.samples(random_images(4, 5, 6), [0, 1, 2, 0], NAMES, predictions=torch.tensor([0, 2, 2, 1]))
    assert framed(figure) == [False, True, False, True]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["T-shirt/top", "Trouser\n✗ Ankle boot", "Ankle boot", "T-shirt/top\n✗ Trouser"]
    assert [axes.title.get_color() for axes in figure.axes] == ["black", plot.VERMILION, "black", plot.VERMILION]
    assert figure.get_suptitle().startswith("2 of 4 predictions are wrong")


def test_images_of_every_kind():
    colour = random_images(2, 5, 6, 3)
    for given in (colour, colour.numpy(), colour.movedim(-1, 1), colour / 255, (colour / 255).double()):
        found = shown(plot.samples(given, [0, 1]).axes[1])
        assert found == pytest.approx((colour[1] / 255).numpy())
    grey = torch.rand(2, 5, 6)
    assert np.array_equal(shown(plot.samples(grey.unsqueeze(-1), [0, 1]).axes[0]), grey[0].double().numpy())
    standard = (grey - 0.5) / 0.25  # neither below 0 nor above 1 is cut
    low, high = standard.min(), standard.max()
    expected = ((standard - low) / (high - low))[1].numpy()
    assert shown(plot.samples(standard, [0, 1]).axes[1]) == pytest.approx(expected, abs=1e-6)
    assert not shown(plot.samples(torch.full((1, 2, 2), 7.0), [0]).axes[0]).any()  # one value everywhere


def test_mistakes_come_worst_first():
    images = random_images(8, 5, 6)
    figure = plot.mistakes(images, LABELS, LOGITS, NAMES, count=3)
    confidence = LOGITS.double().softmax(1)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        f"image 6\nT-shirt/top\n✗ Ankle boot {int(100 * confidence[6, 2])} %",
        f"image 1\nTrouser\n✗ T-shirt/top {int(100 * confidence[1, 0])} %",
        f"image 3\nT-shirt/top\n✗ Trouser {int(100 * confidence[3, 1])} %",
    ]
    assert titles[0].endswith("99 %")
    for axes, i in zip(figure.axes, (6, 1, 3), strict=True):
        assert np.array_equal(shown(axes), (images[i] / 255).double().numpy())
    assert all(framed(figure))
    assert "4 of 8 are wrong" in figure.get_suptitle()
    assert len(plot.mistakes(images, LABELS, LOGITS).axes) == 4  # there are no more
    assert plot.mistakes(images, LABELS, LOGITS).axes[0].get_title().startswith("image 6\n0\n✗ 2 ")


def test_no_mistakes_is_a_picture_too():
    figure = plot.mistakes(random_images(8, 5, 6), LOGITS.argmax(1), LOGITS)
    assert not figure.axes
    assert figure.get_suptitle() == "No mistakes\nall of 8 are right"


def test_confusion():
    matrix = torch.tensor([[8, 2, 0], [1, 9, 0], [0, 0, 0]])
    figure = plot.confusion(matrix, NAMES)
    axes, _ = figure.axes  # the other is the colour bar
    assert shown(axes) == pytest.approx(np.array([[0.8, 0.2, 0], [0.1, 0.9, 0], [0, 0, 0]]))
    assert {text.get_position()[::-1]: text.get_text() for text in axes.texts} == {
        (0, 0): "8", (0, 1): "2", (1, 0): "1", (1, 1): "9",
    }  # fmt: skip
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == NAMES
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert "accuracy 85.00 % of 20" in figure.get_suptitle()
    many = plot.confusion(torch.eye(31)).axes[0]
    assert not many.texts
    assert len(many.get_xticklabels()) == 31


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: plot.samples(random_images(2, 3, 3), [0, 3], NAMES), r"labels: 3 at 1, expected a class from 0 to 2"),
        (lambda: plot.samples(random_images(2, 3, 3), [0, -1]), r"labels: -1 at 1, expected a class from 0\."),
        (lambda: plot.samples(random_images(2, 3, 3), [0]), r"labels: got shape \(1,\) for 2 images"),
        (lambda: plot.samples(random_images(2, 3, 3), [0.0, 1.0]), r"labels: got torch.float32, expected integers"),
        (lambda: plot.samples(random_images(2, 3, 3), [0, 1], NAMES, [0, 4]), r"predictions: 4 at 1, expected"),
        (lambda: plot.samples(random_images(2, 3, 3), [0, 1], columns=0), r"columns: got 0, expected at least 1"),
        (lambda: plot.samples(random_images(201, 2, 2), [0] * 201), r"images: got 201, expected at most 200"),
        (lambda: plot.mistakes(random_images(8, 3, 3), LABELS, LOGITS[:7]), r"logits: got shape \(7, 3\) for 8 images"),
        (lambda: plot.mistakes(random_images(8, 3, 3), LABELS, LOGITS[:, :1]), r"logits: .*pad\(z, \(1, 0\)\)"),
        (lambda: plot.mistakes(random_images(8, 3, 3), LABELS, LOGITS / 0), r"logits: 24 are NaN .* in row 0"),
        (
            lambda: plot.mistakes(random_images(8, 3, 3), LABELS, LOGITS, NAMES[:2]),
            r"class_names: got 2 for logits of 3",
        ),
        (
            lambda: plot.mistakes(random_images(8, 3, 3), LABELS + 1, LOGITS),
            r"labels: 3 at 2, expected a class from 0 to 2",
        ),
        (lambda: plot.mistakes(random_images(8, 3, 3), LABELS, LOGITS, count=0), r"count: got 0, expected 1 to 200"),
        (
            lambda: plot.confusion(torch.ones(2, 3)),
            r"matrix: got shape \(2, 3\), expected \[num_classes, num_classes\]",
        ),
        (lambda: plot.confusion([]), r"matrix: got shape \(0,\)"),
        (lambda: plot.confusion([[1, -2], [0, 1]]), r"matrix: -2 at \(0, 1\), expected counts from 0"),
        (lambda: plot.confusion([[1, 0], [0, 0.5]]), r"matrix: 0.5 at \(1, 1\), expected counts"),
        (lambda: plot.confusion([[1, 0], [math.nan, 1]]), r"matrix: nan at \(1, 0\), expected counts"),
        (lambda: plot.confusion([[0, 0], [0, 0]]), r"matrix: all counts are 0"),
        (lambda: plot.confusion([[1, 0], [0, 1]], NAMES), r"class_names: got 3 for a matrix of 2 classes"),
    ],
)
def test_sheets_name_what_is_wrong(make, match):
    with pytest.raises((InputError, InputTypeError), match=match):
        make()


# -- models and folds -------------------------------------------------------------------------------------------------


def test_comparison():
    rows = comparison_rows()
    figure = plot.comparison(rows)
    for axes, key in zip(figure.axes, ("num_parameters", "seconds"), strict=True):
        assert axes.get_xscale() == "log"
        points = {line.get_label(): line.get_xydata().tolist() for line in axes.lines if len(line.get_xydata())}
        drawn = [point for container in axes.containers for point in container.lines[0].get_xydata().tolist()]
        accuracies = [*(row["test_accuracy"] for row in rows[:-1]), 0.9396]
        assert drawn == [[row[key], accuracy] for row, accuracy in zip(rows, accuracies, strict=True)], points
        assert [container.get_label() for container in axes.containers[:2]] == ["CNN", "graph"]
        numbers = {text.get_text(): text.xy for text in axes.texts}
        assert numbers == {str(i): (row[key], a) for i, (row, a) in enumerate(zip(rows, accuracies, strict=True), 1)}
    models, families = figure.legends
    assert [text.get_text() for text in models.get_texts()] == [f"{i}  {row['model']}" for i, row in enumerate(rows, 1)]
    assert [text.get_text() for text in families.get_texts()] == ["CNN", "graph"]
    looks = [(line.get_color(), line.get_marker()) for line in models.get_lines()]
    assert looks[0] == looks[13] != looks[14] == looks[15] != looks[16]
    assert looks[0] == (axes.containers[0].lines[0].get_color(), axes.containers[0].lines[0].get_marker())
    assert len(plot.comparison(rows[-1:]).legends) == 1  # of no family
    long = plot.comparison([{**rows[0], "model": "$_^$" * 11, "family": "$_^$"}])
    assert [text.get_text() for legend in long.legends for text in legend.get_texts()] == [
        "1  " + ("$_^$" * 11)[:39] + "…",
        "$_^$",
    ]
    long.savefig(io.BytesIO())
    (only,) = plot.comparison([{"model": "one", "num_parameters": 5, "test_accuracy": 0.9, "seconds": 7}]).axes[:1]
    assert only.get_xlim() == (2.5, 10)


def test_a_family_has_one_colour_and_marker_in_every_picture():
    def styles(*families):
        rows = [
            {"model": str(f), "family": f, "num_parameters": 9, "test_accuracy": 0.9, "seconds": 0.9} for f in families
        ]
        axes = plot.comparison(rows).axes[1]
        assert axes.xaxis.get_major_formatter()(0.9) == "0.9"
        return {c.get_label(): (c.lines[0].get_color(), c.lines[0].get_marker()) for c in axes.containers}

    both = styles("CNN", "graph network", "transformer")
    assert len(set(both.values())) == 3
    assert styles("graph network") == {"graph network": both["graph network"]}
    assert styles("transformer", "CNN") == {"transformer": both["transformer"], "CNN": both["CNN"]}
    assert len(set(styles(*"abcdef").values())) == 6


def test_numbers_stand_near_their_points_and_cover_none():
    """Also in a crowd, beside the one that makes the scale; a line leads to a number that is not next to its point."""
    generator = torch.Generator().manual_seed(0)
    crowd = [
        {"model": f"model {i}", "num_parameters": 1e4 * 10**a, "test_accuracy": 0.85 + 0.06 * b, "seconds": 60 * 9**c}
        for i, (a, b, c) in enumerate(torch.rand(13, 3, generator=generator, dtype=torch.float64).tolist())
    ]
    num_lines = 0
    for rows in (comparison_rows(), [*crowd, {**crowd[0], "model": "another", "test_accuracy": 0.2, "seconds": 9000}]):
        figure = plot.comparison(rows)
        renderer, unit = figure.canvas.get_renderer(), figure.dpi / 72
        for axes in figure.axes:
            boxes = [text.get_window_extent(renderer) for text in axes.texts]
            points = axes.transData.transform([text.xy for text in axes.texts]).tolist()
            for text, box, (x, y) in zip(axes.texts, boxes, points, strict=True):
                assert not any(other.contains(x, y) for other in boxes)
                far = math.dist((x, y), ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)) / unit
                assert far < 31
                assert (text.arrow_patch is not None) == (math.hypot(*text.xyann) > 12)
                num_lines += text.arrow_patch is not None
            assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    assert num_lines > 1


def test_half_the_errors_are_one_step_up():
    figure = plot.comparison([{**ROW, "test_accuracy": accuracy} for accuracy in (0.2, 0.6, 0.8, 0.9, 0.95, 1.0)])
    axes = figure.axes[0]
    heights = axes.transData.transform([(7, accuracy) for accuracy in (0.2, 0.6, 0.8, 0.9, 0.95)])[:, 1]
    assert np.diff(heights) == pytest.approx(np.full(4, heights[1] - heights[0]))
    assert np.isfinite(axes.transData.transform([(7, 1.0)])).all()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["0.0 %", "50.0 %", "80.0 %", "90.0 %", "95.0 %", "98.0 %", "99.0 %", "99.5 %", "99.8 %", "99.9 %"]


ROW = {"model": "a", "num_parameters": 7, "test_accuracy": 0.5, "seconds": 3.0}


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([], r"rows: got none"),
        ([ROW, {"model": "b"}], r"rows: row 1 has no 'test_accuracy'; it has model"),
        ([{**ROW, "test_accuracy": 92.4}], r"rows: 'test_accuracy' of row 0 is 92.4, expected a fraction"),
        ([{**ROW, "test_accuracy": math.nan}], r"rows: 'test_accuracy' of row 0 is nan"),
        ([{**ROW, "test_accuracy": {"std": 0.1}}], r"rows: 'test_accuracy' of row 0 is None"),
        ([{**ROW, "num_parameters": 0}], r"rows: 'num_parameters' of row 0 is 0, expected a number above 0"),
        ([ROW, {**ROW, "seconds": None}], r"rows: 'seconds' of row 1 is None, expected a number above 0"),
        ([{**ROW, "seconds": math.inf}], r"rows: 'seconds' of row 0 is inf"),
        ([{**ROW, "family": i} for i in range(7)], r"rows: got 7 families, expected at most 6"),
    ],
)
def test_comparison_names_what_is_wrong(rows, match):
    with pytest.raises(InputError, match=match):
        plot.comparison(rows)


def test_folds():
    curves = noisy_curves(9, 9, 9)
    figure = plot.folds(curves)
    *thin, mean, chosen = figure.axes[0].lines
    for line, curve in zip(thin, curves, strict=True):
        assert line.get_xydata().tolist() == [[i + 1, value] for i, value in enumerate(curve)]
    expected = np.mean(curves, 0)
    assert mean.get_ydata() == pytest.approx(expected)
    best = int(expected.argmax())
    assert list(chosen.get_xdata()) == [best + 1] * 2
    accuracy, std = 100 * expected[best], 100 * np.std(curves, 0)[best]
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["each of 3 folds", "their mean", f"highest mean: epoch {best + 1}, {accuracy:.1f} % ± {std:.1f}"]


def test_folds_that_stopped_early():
    curves = noisy_curves(9, 5, 12)
    *thin, mean, _ = plot.folds(curves).axes[0].lines
    assert [len(line.get_xdata()) for line in thin] == [9, 5, 12]
    assert mean.get_ydata() == pytest.approx(np.mean([curve[:5] for curve in curves], 0))


def test_curves_of_whatever_was_measured():
    """Only the three attributes are asked for; long curves are drawn at some of their epochs, the last one included."""
    told = SimpleNamespace(
        seeds=[3], metrics={"train_loss": torch.linspace(9, 1, 1000).unsqueeze(1)}, best_epoch=torch.tensor([700])
    )
    (axes,) = plot.history(told).axes  # no accuracy was measured
    line, kept = axes.lines
    epochs, values = line.get_xydata().T
    assert (axes.get_ylabel(), len(epochs), epochs[0], epochs[-1]) == ("loss", 300, 1, 1000)
    assert values == pytest.approx(told.metrics["train_loss"][epochs.astype(int) - 1, 0].numpy())
    assert list(kept.get_xdata()) == [700, 700]
    assert not axes.collections  # one seed has no band
    (loss, accuracy) = plot.history(history()).axes
    assert [axes.get_ylabel() for axes in (loss, accuracy)] == ["loss", "accuracy"]
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--", ":"]
    assert len(loss.collections) == 2
    assert all(float(tick).is_integer() for tick in loss.get_xticks())


def test_accuracies():
    values = {"GCN": [0.5, 0.75, 0.5, 1.0], "MLP": (0.25,)}
    figure = plot.accuracies(values, published=0.8)
    first, second = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["GCN", "MLP"]
    dots = [line.get_xydata().tolist()[0] for line in first.lines if line.get_marker() == "o"]
    assert dots == [[0.5, 0], [0.5, 1], [0.75, 0], [1.0, 0]]  # those that would touch stand above each other
    mean, published = (line.get_xdata()[0] for line in first.lines if line.get_marker() != "o")
    assert (mean, published) == pytest.approx((0.6875, 0.8))
    (band,) = first.patches
    std = np.std(values["GCN"])
    box = band.get_extents().transformed(first.transData.inverted())
    assert (box.x0, box.width) == pytest.approx((0.6875 - std, 2 * std))
    assert first.get_xlim() == second.get_xlim()
    assert "dashed: published" in figure.get_suptitle()
    (only,) = plot.accuracies({"": [0.5, 0.5]}).axes
    assert only.get_ylabel() == ""


@pytest.mark.parametrize(
    ("values", "published", "match"),
    [
        ({}, None, r"values: got \{\}, expected the accuracies of one name at least"),
        ({"a": [0.5], "b": []}, None, r"values: got .*, expected the accuracies"),
        ({"a": [0.5, 71.3]}, None, r"values\['a'\]\[1\]: got 71.3, expected a finite number at least 0"),
        ({"a": [math.nan]}, None, r"values\['a'\]\[0\]: got nan"),
        ({"a": [0.5]}, 82.0, r"published: got 82.0, expected"),
    ],
)
def test_accuracies_name_what_is_wrong(values, published, match):
    with pytest.raises(InputError, match=match):
        plot.accuracies(values, published)


@pytest.mark.parametrize(
    ("curves", "match"),
    [
        ([], r"curves: got none, expected the validation accuracy of every fold"),
        ([[0.5], []], r"curves: curve 1 is empty"),
        ([[0.5, 0.6], [0.5, math.nan]], r"curves: nan in curve 1, epoch 2; expected a fraction"),
        ([[71.3]], r"curves: 71.3 in curve 0, epoch 1; expected a fraction"),
    ],
)
def test_folds_name_what_is_wrong(curves, match):
    with pytest.raises(InputError, match=match):
        plot.folds(curves)


# -- the real images --------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_the_tutorials_picture(tmp_path):
    """Test images 0, 23 and 28 (ankle boots, all three), channel 1, of the tutorial's CNN and of a graph network."""
    fashion = load("fashion-mnist")
    images, labels = fashion.test_images[[0, 23, 28]], fashion.test_labels[[0, 23, 28]]
    assert [fashion.class_names[label] for label in labels] == ["Ankle boot"] * 3
    cnn = plot.feature_maps(baselines.cnn(), images, path=tmp_path / "cnn.png")
    assert [heading(axes)[1] for axes in cnn.axes[:5]] == ["28 x 28", "26 x 26", "13 x 13", "11 x 11", "5 x 5"]
    grid = image.grid_graph(28, 28)
    gcn = plot.feature_maps(GridGCN(1, [2, 3, 4], 10), images, grid=grid, path=tmp_path / "gcn.png")
    assert [heading(axes)[-2] for axes in gcn.axes[1:7:2]] == ["28 x 28", "14 x 14", "7 x 7"]
    for figure in (cnn, gcn):
        assert np.array_equal(np.stack(columns(figure, 3)[0]), (images / 255).double().numpy())
    logits = torch.eye(10)[(fashion.test_labels[:50] + (torch.arange(50) % 9 == 4)) % 10] * 4
    figure = plot.mistakes(fashion.test_images[:50], fashion.test_labels[:50], logits, fashion.class_names)
    assert {int(axes.get_title().split()[1]) for axes in figure.axes if axes.images} == {4, 13, 22, 31, 40, 49}
    counts = metrics.confusion_matrix(logits, fashion.test_labels[:50], 10)
    assert "accuracy 88.00 % of 50" in plot.confusion(counts, fashion.class_names).get_suptitle()
