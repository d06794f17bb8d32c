"""Training on images: Signals, GridGCN, what fit does for them, the recipes of images and their comparison."""

import copy
import dataclasses
import json

import numpy as np
import PIL.Image
import pytest
import torch
from test_files import as_1_0
from test_image_data import idx_bytes
from test_train import one_thread
from torch import nn
from torch.nn import functional as F

import gcnlab
from gcnlab import Checkpoint, GridGCN, Signals, fit, metrics, predict
from gcnlab.augment import Augment
from gcnlab.checkpoint import sha256_of_tensors
from gcnlab.cli import main
from gcnlab.compare import ModelJob, compare, contenders, markdown, run_job, text_row
from gcnlab.data import ImageSet
from gcnlab.errors import CheckpointCorruptError, CheckpointMismatchError, CorruptFileError, InputError, InputTypeError
from gcnlab.files import read_arrays
from gcnlab.image import grid_graph
from gcnlab.models import load_model
from gcnlab.recipes import find, run
from gcnlab.recipes import images as image_recipes

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")
GRID = grid_graph(5, 7)


def stripes(count=60, seed=0):
    """Upright (0), lying (1) and no (2) stripes of 5 x 7 pixels, uint8, with noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (count,), generator=generator)
    images = torch.randint(0, 60, (count, 5, 7), generator=generator)
    images[y == 0, :, ::2] += 150
    images[y == 1, ::2, :] += 150
    return images.to(torch.uint8), y


# -- Signals ------------------------------------------------------------------------------------------------------------


def test_signals_for_graphs_and_for_cnns_hold_the_same_pixels():
    images, y = stripes(11)
    index = torch.tensor([3, 0, 10])
    x, grid = Signals(images, y, GRID).inputs(index)
    assert grid is GRID
    torch.testing.assert_close(x, images[index].flatten(1).unsqueeze(2) / 255)
    (pictures,) = Signals(images, y).inputs(index)
    torch.testing.assert_close(pictures, images[index].unsqueeze(1) / 255)
    colour = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    (pictures,) = Signals(colour, [0, 1]).inputs(slice(None))
    torch.testing.assert_close(pictures, colour.movedim(3, 1) / 255)


def test_each_image_is_in_one_batch_and_training_batches_alone_are_augmented():
    images, y = stripes(23)
    signals = Signals(images, y, GRID, Augment(["mirror"], mirror=1.0))
    torch.manual_seed(0)
    shuffled = list(signals.batches(5, shuffle=True))
    assert [len(labels) for _, labels in shuffled] == [5, 5, 5, 5, 3]
    seen = torch.cat([arguments[0] for arguments, _ in shuffled]).view(-1, 5, 7).flip(2)
    key = lambda x: sorted(map(tuple, (x.flatten(1) * 255).round().int().tolist()))  # noqa: E731
    assert key(seen) == key(images.float() / 255)
    plain = torch.cat([arguments[0] for arguments, _ in signals.batches(5)])
    torch.testing.assert_close(plain.view(-1, 5, 7), images / 255)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": torch.zeros(3, dtype=torch.int64)}, InputError, r"y: got 3 labels for 4 images"),
        (
            {"y": torch.zeros(4, 2, dtype=torch.int64)},
            InputError,
            r"y: got torch.int64 of shape \(4, 2\), expected one label per image",
        ),
        ({"y": torch.zeros(5, 2)}, InputError, r"y: got 5 labels for 4 images"),
        ({"y": torch.tensor([0, torch.inf, 0, 0])}, InputError, r"y: target inf at \[1\]"),
        ({"y": torch.tensor([0, 1, -1, 0])}, InputError, "y: label -1 at 2"),
        ({"y": ["a", "b", None, "b"]}, InputError, "y: image 2 has no label"),
        ({"grid": (5, 7)}, InputTypeError, "grid: got a tuple, expected what image.grid_graph gives"),
        ({"augment": "mirror"}, InputTypeError, "augment: got a str, expected a function"),
        (
            {"images": torch.rand(4, 3, 16, 17), "grid": None},
            InputError,
            r"images: got shape \(4, 3, 16, 17\), whose channels seem to come first; .*images.movedim\(1, 3\)",
        ),
        ({"grid": grid_graph(7, 5)}, InputError, r"grid: is of \(7, 5\), but the images are of \(5, 7\)"),
        (
            {"grid": grid_graph(5, 7, 3), "images": torch.rand(4, 5, 7, 3)},
            InputError,
            r"grid: is of \(5, 7, 3\), but the images are of \(5, 7\); grid_graph\(\*image_shape\[:2\]\) .* grid\(\)",
        ),
    ],
)
def test_bad_signals_are_named(change, error, message):
    arguments = {"images": stripes(4)[0], "y": torch.zeros(4, dtype=torch.int64), "grid": GRID, **change}
    with pytest.raises(error, match=message):
        Signals(**arguments)


def test_few_rows_of_many_channels_are_images_where_their_grid_says_so():
    assert Signals(torch.rand(4, 3, 16, 17), np.zeros(4, dtype=np.uint64), grid_graph(3, 16)).x.shape == (4, 48, 17)


def test_a_part_of_the_signals_is_what_its_images_make():
    images, y = stripes(23)
    augment = Augment(["mirror"])
    signals = Signals(images, y, GRID, augment)
    mask = y == 1
    for index in (slice(5), slice(None, None, -2), mask, mask.tolist(), torch.tensor([4, -1, 4]), [7]):
        part = signals[index]
        ids = torch.arange(23)[index] if not isinstance(index, slice) else torch.tensor(range(23)[index])
        expected = Signals(images[ids], y[ids], GRID, augment)
        assert torch.equal(part.y, expected.y)
        assert torch.equal(part.inputs(slice(None))[0], expected.inputs(slice(None))[0])
        assert (part.grid, part.augment, len(part)) == (GRID, augment, len(ids))
    assert len(signals) == 23
    assert signals[y < 2].num_classes == 2


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([3, 23], IndexError, "index: index 23 is out of bounds.*there are 23 images"),
        (torch.ones(22, dtype=torch.bool), IndexError, "index: .*mask.*there are 23 images"),
        (torch.ones(2), IndexError, "index: tensors used as indices must be"),
        (3, InputError, r"index: gives shape \(\), expected one image or more; one is signals\[i : i \+ 1\]"),
        (slice(5, 5), InputError, r"index: gives shape \(0,\)"),
    ],
)
def test_bad_parts_of_signals_are_named(index, error, message):
    with pytest.raises(error, match=message) as caught:
        Signals(*stripes(23), GRID)[index]
    assert isinstance(caught.value, gcnlab.GcnlabError)


BYTES = torch.arange(64, dtype=torch.uint8).view(1, 8, 8) * 4 + 3  # 3 to 255
OTHER_RANGES = {
    "bytes as floats": (BYTES.float(), r"floats from 3 to 255, taken as they are; images? / 255"),
    "as float64": (BYTES.double(), r"floats from 3 to 255"),
    "as float16": (BYTES.half(), r"floats from 3 to 255"),
    "from -1 to 1": (BYTES / 127.5 - 1, r"floats from -0.97\d* to 1, taken"),
    "standardised": ((BYTES / 255 - 0.3) / 0.3, r"floats from -0.96\d* to 2.33"),
    "divided twice": (BYTES / 255 / 255, r"floats up to 1 / 255, .* divided by 255 twice"),
    "zeros and ones as bytes": (BYTES // 128, r"bytes up to 1, taken as value / 255; images? \* 255"),
}


def doors_of_pixels():
    """What takes images, or one, with the words it uses for floats in another range."""
    cnn = nn.Sequential(nn.Conv2d(1, 3, 3))
    return {
        "Signals": lambda images: Signals(images, [0]),
        "Signals on a grid": lambda images: Signals(images, [0], grid_graph(8, 8)),
        "superpixel_graph": lambda images: gcnlab.image.superpixel_graph(images[0], 4),
        "feature_maps": lambda images: gcnlab.plot.feature_maps(cnn, images, ["0"]),
    }


@pytest.mark.parametrize("door", doors_of_pixels())
@pytest.mark.parametrize("kind", OTHER_RANGES)
def test_pixels_in_another_range_than_bytes_have_are_told(door, kind):
    if door == "superpixel_graph":
        pytest.importorskip("skimage")
    images, message = OTHER_RANGES[kind]
    if door == "feature_maps" and images.dtype == torch.uint8:
        message = "floats up to 1 / 255"  # it has made floats of them
    with pytest.warns(UserWarning, match=message):
        doors_of_pixels()[door](images)


@pytest.mark.parametrize("door", doors_of_pixels())
def test_pixels_in_the_range_of_bytes_are_not_told(door):
    if door == "superpixel_graph":
        pytest.importorskip("skimage")
    for images in (BYTES, BYTES / 255, BYTES.double() / 255, BYTES / 255 * 0.1, torch.zeros(1, 8, 8), BYTES * 0):
        doors_of_pixels()[door](images)


def test_bytes_as_floats_are_told_where_feature_maps_are_not():
    with pytest.warns(UserWarning, match="floats from 3 to 255"):
        gcnlab.image.to_signals(BYTES.float())
    for maps in (BYTES.float() + 0.5, -BYTES.float(), BYTES * 100.0, torch.randn(1, 8, 8)):
        gcnlab.image.to_signals(maps)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_any_width_train_a_model_of_torchs_default(dtype):
    images, y = stripes(12)
    images = (images / 255).to(dtype)
    for grid, model in ((GRID, GridGCN(1, [3], 3)), (None, nn.Sequential(nn.Flatten(), nn.Linear(35, 3)))):
        signals = Signals(images, y, grid)
        assert signals.inputs(slice(None))[0].dtype == torch.float32
        torch.testing.assert_close(
            signals.inputs(slice(None))[0], Signals(images.float(), y, grid).inputs(slice(None))[0]
        )
        fit(model, signals, epochs=1, select="last", progress=False)
        assert predict(model, signals).shape == (12, 3)
    for given in (images, stripes(12)[0]):
        double = Signals(given, y, GRID.to(torch.float64))
        assert predict(GridGCN(1, [3], 3).double(), double).dtype == torch.float64


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_picture_is_no_stack_of_narrow_ones(channels):
    photo = torch.rand(20, 14, channels)
    cnn = nn.Sequential(nn.Conv2d(channels, 2, 3))
    for door in (
        lambda x: Signals(x, torch.zeros(len(x))),
        lambda x: Signals(x, torch.zeros(len(x)), grid_graph(20, 14)),
        gcnlab.image.to_signals,
        lambda x: gcnlab.image.to_signals(x.numpy()),
        lambda x: gcnlab.plot.feature_maps(cnn, x),
        lambda x: gcnlab.plot.samples(x, [0] * len(x)),
        lambda x: gcnlab.plot.mistakes(x, [0] * len(x), torch.ones(len(x), 2)),
    ):
        message = (
            rf"images: got shape \(20, 14, {channels}\), which seems to be one picture .*; one image is images\[None\]"
        )
        with pytest.raises(InputError, match=message):
            door(photo)
    assert len(Signals(photo[None], [0], grid_graph(20, 14))) == 1
    assert (
        len(Signals(photo, torch.zeros(20), grid_graph(14, channels))) == 20
    )  # narrow images where their grid says so
    assert len(Signals(photo[..., None], torch.zeros(20))) == 20
    assert gcnlab.image.to_signals(photo, channels="none").shape == (20, 14 * channels, 1)


def test_images_without_labels_are_predicted_alone():
    images, y = stripes(12)
    model = GridGCN(1, [3], 3).eval()
    for signals in (Signals(images, None, GRID), Signals(images, grid=GRID)):
        assert repr(signals) == "Signals(12 images of 5 x 7, 1 channels, no labels)"
        assert torch.equal(predict(model, signals), predict(model, Signals(images, y, GRID)))
        assert torch.equal(predict(model, signals[3:5].to("cpu")), predict(model, signals)[3:5])
        with pytest.raises(InputError, match=r"y: these images have no labels; Signals\(images, y\) gives them some"):
            fit(model, signals, epochs=1, select="last", progress=False)


def test_images_that_are_no_signals_are_told_how_they_become_some():
    images, y = stripes(12)
    data = ImageSet(images, y, images, y)
    for given, remedy in (
        (data, r"got ImageSet, .* Signals\(data.train_images, data.train_labels, data.grid\(\)\)"),
        (images, r"got Tensor, .* Signals\(images, labels, grid\)"),
        (images.numpy(), r"got ndarray, .* Signals\(images, labels, grid\)"),
    ):
        with pytest.raises(InputTypeError, match=remedy):
            fit(GridGCN(1, [3], 3), given, y, epochs=1)
        with pytest.raises(InputTypeError, match=remedy):
            predict(GridGCN(1, [3], 3), given)


def test_indices_of_bytes_are_no_mask_and_masked_arrays_no_images():
    signals = Signals(torch.rand(5, 4, 4), torch.arange(5))
    assert signals[np.array([4, 3, 1], "u1")].y.tolist() == [4, 3, 1]
    for wrong in ("a", None, {0, 1}):
        with pytest.raises(InputTypeError, match="index: got"):
            signals[wrong]
    masked = np.ma.masked_array(np.full((2, 4, 4), 0.5, "f4"), False)
    masked[0, 0, 0] = np.ma.masked
    for door in (lambda: Signals(masked, [0, 1]), lambda: gcnlab.image.to_signals(masked)):
        with pytest.raises(InputTypeError, match="images: got MaskedArray, 1 values masked; fill them"):
            door()


# -- GridGCN ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (8, 8)])
@pytest.mark.parametrize("options", [{}, {"conv": "isotropic"}, {"coordinates": True, "num_layers": (1, 3)}])
def test_grid_gcn_is_what_its_formula_says(shape, options):
    torch.manual_seed(0)
    grid = grid_graph(*shape)
    model = GridGCN(2, [3, 5], 4, **options).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d)):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    x = torch.randn(3, grid.num_nodes, 2)
    h, level_grid = x, grid
    if model.coordinates:
        h = torch.cat([x, grid.coordinates.expand(3, -1, -1)], 2)
    for i, level in enumerate(model.levels):
        if i:
            pooled = F.max_pool2d(h.view(3, *level_grid.shape, -1).movedim(3, 1), 2, ceil_mode=True)
            h, level_grid = pooled.movedim(1, 3).flatten(1, 2), level_grid.coarser
        for j, layer in enumerate(level):
            if model.relational:
                z = (
                    layer["conv"]
                    .to_conv2d()(h.view(3, *level_grid.shape, -1).movedim(3, 1))
                    .movedim(1, 3)
                    .flatten(1, 2)
                )
            else:
                z = level_grid.a_hat.to_dense() @ h @ layer["conv"].weight
            norm = layer["norm"]
            z = (z - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
            h = (z + h if j else z).relu()
    expected = model.head(torch.cat([h.mean(1), h.amax(1)], 1))
    torch.testing.assert_close(model(x, grid), expected, rtol=1e-4, atol=1e-5)


def test_grid_gcn_refuses_levels_without_layers():
    with pytest.raises(InputError, match="num_layers: got"):
        GridGCN(1, [3, 5], 4, num_layers=[2])
    with pytest.raises(InputError, match="conv: got 'conv'"):
        GridGCN(1, [3], 4, conv="conv")


# -- fit ----------------------------------------------------------------------------------------------------------------


def test_fit_learns_stripes_that_only_relations_tell_apart():
    train, val = Signals(*stripes(120), GRID), Signals(*stripes(60, seed=1), GRID)
    accuracy = {}
    for conv in ("isotropic", "relational"):
        torch.manual_seed(0)
        model = GridGCN(1, [6], 3, conv=conv)
        fit(model, train, val, epochs=12, batch_size=20, lr=0.02, progress=False)
        accuracy[conv] = gcnlab.metrics.accuracy(predict(model, val), val.y)
    assert accuracy["relational"] > 0.95
    assert accuracy["isotropic"] < accuracy["relational"]


def test_a_class_that_only_the_validation_has_needs_its_logit():
    images, y = stripes(30)
    train, val = Signals(images, y, GRID)[y < 2], Signals(images, y, GRID)
    said = "no training image is of class 2, but 13 validation images are: the model cannot learn it"
    with pytest.warns(UserWarning, match=said):
        fit(GridGCN(1, [3], 3), train, val, epochs=1, progress=False)
    message = r"model: gave an output of shape .*the data have 3 classes"
    with pytest.warns(UserWarning, match=said), pytest.raises(InputError, match=message):
        fit(GridGCN(1, [3], 2), train, val, epochs=1, progress=False)
    fit(GridGCN(1, [3], 2), train, val[y < 2], epochs=1, progress=False)


@pytest.mark.parametrize("columns", [[], [1]], ids=["[N]", "[N, 1]"])
def test_a_two_class_head_learns_zeros_and_ones(columns):
    images, y = stripes(180)
    data = Signals(images, (y == 1).float().view(-1, *columns), GRID)
    assert repr(data) == "Signals(180 images of 5 x 7, 1 channels, 1 targets)"
    train, val = data[:120], data[120:]
    torch.manual_seed(0)
    model = GridGCN(1, [6], num_classes=1)
    history = fit(model, train, val, loss="binary", epochs=12, batch_size=20, lr=0.02, progress=False)
    logit, target = predict(model, val), val.y.view(-1, 1)
    assert float(history.best("val_accuracy")) > 0.95
    assert float(((logit > 0) == (target == 1)).double().mean()) == pytest.approx(float(history.best("val_accuracy")))
    expected = F.binary_cross_entropy_with_logits(logit, target)
    torch.testing.assert_close(history.best("val_loss")[0], expected, check_dtype=False)


@pytest.mark.parametrize(
    ("loss", "y", "val_y", "message"),
    [
        ("cross-entropy", torch.zeros(10), None, "data: has y torch.float32 .*one integer class per image"),
        ("binary", torch.zeros(10, dtype=torch.int64), None, "data: has y torch.int64 .*expected floats"),
        ("binary", torch.full((10,), 0.5), None, r'data: y has 0.5 at \[0\], but loss="binary" takes 0, 1'),
        ("binary", torch.full((10,), torch.nan), None, "data: of its images no target is known"),
        ("binary", torch.zeros(10), torch.full((10,), 2.0), r"val: y has 2 at \[0\]"),
        ("mse", torch.zeros(10), torch.zeros(10, 2), r"val: has y of shape \(10, 2\), but data of \(10,\)"),
        ("binary", torch.zeros(10, 2), None, r"model: gave an output of shape \(10, 1\), .*the data have 2 targets"),
    ],
)
def test_targets_that_do_not_go_with_the_loss_are_named(loss, y, val_y, message):
    images = stripes(10)[0]
    val = None if val_y is None else Signals(images, val_y, GRID)
    with pytest.raises(InputError, match=message):
        fit(GridGCN(1, [3], 1), Signals(images, y, GRID), val, loss=loss, epochs=1, select="last")


def test_running_average_is_what_is_validated_and_kept():
    """Against the same training by hand: SGD on one batch an epoch, the average after each step.

    A batch norm's averages are those that the averaged weights give, which a momentum of 1 takes from one batch.
    """
    images, y = stripes(16)
    data = Signals(images, y, GRID)
    torch.manual_seed(3)
    model = GridGCN(1, [4], 3).double()
    by_hand = copy.deepcopy(model)
    x = data.x.double() / 255

    class Double(Signals):
        def inputs(self, index, training=False):
            return self.x[index].double() / 255, self.grid

    doubled = Double(images, y, GRID)
    history = fit(
        model, doubled, doubled, epochs=4, batch_size=16, lr=0.1, optimizer=torch.optim.SGD, select="last", average=0.5,
        progress=False,
    )  # fmt: skip
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    average = {k: v.clone() for k, v in by_hand.state_dict().items()}
    for t in range(1, 5):
        by_hand.train()
        optimizer.zero_grad()
        F.cross_entropy(by_hand(x, GRID), y).backward()
        optimizer.step()
        decay = min(0.5, (1 + t) / (10 + t))
        for name, value in by_hand.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * value if value.is_floating_point() else value.clone()
    by_hand.load_state_dict(average)
    for norm in (module for module in by_hand.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.momentum = 1.0
    by_hand.train()(x, GRID)
    average = by_hand.state_dict() | {name: n for name, n in average.items() if name.endswith("num_batches_tracked")}
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, average[name], rtol=1e-9, atol=1e-11)
    by_hand.load_state_dict(average)
    by_hand.eval()
    expected = F.cross_entropy(by_hand(x, GRID), y)
    torch.testing.assert_close(history.metrics["val_loss"][-1, 0], expected.detach(), rtol=1e-9, atol=0)


def test_label_smoothing_is_torchs_and_validation_is_without_it():
    images, y = stripes(16)
    data = Signals(images, y, GRID)
    torch.manual_seed(0)
    model = GridGCN(1, [4], 3)
    untrained = copy.deepcopy(model).train()
    history = fit(model, data, data, epochs=1, batch_size=16, lr=0.0, label_smoothing=0.2, progress=False)
    x, grid = data.inputs(slice(None))
    expected = F.cross_entropy(untrained(x, grid), y, label_smoothing=0.2)
    torch.testing.assert_close(history.metrics["train_loss"][0, 0], expected.detach())
    plain = F.cross_entropy(predict(model, data), y)
    torch.testing.assert_close(history.metrics["val_loss"][0, 0], plain)


def test_one_cycle_steps_with_each_batch():
    data = Signals(*stripes(40), GRID)
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    fit(GridGCN(1, [4], 3), data, epochs=5, batch_size=10, lr=0.3, optimizer=Watched, scheduler="one-cycle",
        select="last", progress=False)  # fmt: skip
    assert len(rates) == 20
    assert max(rates) == pytest.approx(0.3)
    assert rates.index(max(rates)) == 3  # a fifth of the steps
    assert rates[-1] < 1e-4


def test_bfloat16_is_close_to_float32():
    data = Signals(*stripes(60), GRID)
    losses = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        model = GridGCN(1, [8], 3)
        history = fit(model, data, epochs=6, batch_size=20, lr=0.02, precision=precision, select="last", progress=False)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        losses[precision] = float(history.metrics["train_loss"][-1])
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.2)


@pytest.mark.parametrize("epochs", [1, 4, 5, 6])
def test_one_cycle_of_a_few_steps(epochs):
    history = fit(GridGCN(1, [4], 3), Signals(*stripes(10), GRID), epochs=epochs, batch_size=10, select="last",
                  scheduler="one-cycle", progress=False)  # fmt: skip
    assert len(history.epoch_seconds) == epochs


def test_a_checkpoint_of_a_grid_gcn_makes_the_model_again(tmp_path):
    data, path = Signals(*stripes(10), GRID), tmp_path / "grid.gcnlab"
    model = GridGCN(1, [4, 3], 3, num_layers=[2, 1])
    fit(model, data, epochs=1, select="last", progress=False, checkpoint=Checkpoint(path))
    assert torch.equal(predict(load_model(path)[0], data), predict(model, data))


def test_resume_of_images_is_exact(tmp_path):
    data = Signals(*stripes(40), GRID, Augment(["mirror", "shift"]))
    options = {"batch_size": 10, "average": 0.9, "scheduler": "one-cycle", "select": "last", "progress": False}

    def model():
        torch.manual_seed(0)
        return GridGCN(1, [4, 6], 3)

    class Stop(gcnlab.Callback):
        def after_epoch(self, epoch, metrics):
            if epoch == 3:
                raise KeyboardInterrupt

    straight = model()
    fit(straight, data, epochs=6, **options)
    path = tmp_path / "images.gcnlab"
    with pytest.raises(KeyboardInterrupt):
        fit(model(), data, epochs=6, checkpoint=Checkpoint(path, every=1), callbacks=[Stop()], **options)
    resumed = model()

    class Go(gcnlab.Callback):
        pass

    Go.__name__ = "Stop"  # settings of callbacks may differ, their kinds not
    fit(resumed, data, epochs=6, checkpoint=Checkpoint(path, every=1, resume=True), callbacks=[Go()], **options)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": 1.0}, "average: got 1.0"),
        ({"precision": "half"}, "precision: got 'half'"),
        ({"scheduler": "cosine"}, "scheduler: got 'cosine'"),
        ({"label_smoothing": 1.5}, "label_smoothing: got 1.5"),
        ({"label_smoothing": 0.1, "class_weight": torch.ones(3)}, "label_smoothing: got 0.1"),
        ({"select": "val_loss"}, "val: got none"),
    ],
)
def test_bad_options_of_images_are_named(options, message):
    data = Signals(*stripes(10), GRID)
    with pytest.raises(InputError, match=message):
        fit(GridGCN(1, [3], 3), data, **{"select": "last", **options})


# -- recipes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_set(monkeypatch):
    """A set of stripes that `load` gives for "digits"."""
    train, test = stripes(140), stripes(30, seed=1)
    images = ImageSet(*train, *test, augmentations=["mirror", "shift"], name="digits")
    monkeypatch.setattr("gcnlab.recipes.images.load", lambda name, root=None: images)
    return images


def test_predict_images(small_set, tmp_path, capsys):
    run("fashion-mnist-grid", dataset="digits", epochs=2, out=tmp_path)
    path = str(tmp_path / "model.gcnlab")
    model, header = load_model(path)
    assert main(["predict", path, "--data", "digits"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["image", "label", "probability"]
    log_p = image_recipes.predict_test(find("fashion-mnist-grid"), model, small_set)
    p = (log_p / header["temperature"]).softmax(1)
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(len(small_set.test_labels))]
    assert [row[1] for row in rows[1:]] == [small_set.class_names[i] for i in p.argmax(1).tolist()]
    assert [float(row[2]) for row in rows[1:]] == pytest.approx(p.amax(1).tolist(), abs=2e-6)
    small_set.test_images = small_set.test_images[:, :-1]
    small_set.train_images = small_set.train_images[:, :-1]
    assert main(["predict", path]) == 2
    assert "scale it to that size" in capsys.readouterr().err


def test_predict_pictures(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (6, 5, 3), dtype=np.uint8) // 3 for name in ("a.png", "b.png", "c.png")}
    for name, picture in pictures.items():
        for c, colour in enumerate(("blue", "red")):
            (tmp_path / "set" / colour).mkdir(parents=True, exist_ok=True)
            for i in range(8):
                some = picture // (i + 1)
                some[..., 2 * (1 - c)] += 150
                PIL.Image.fromarray(some).save(tmp_path / "set" / colour / f"{i}{name}")
    run("fashion-mnist-grid", dataset=str(tmp_path / "set"), epochs=20, seeds=1, out=tmp_path / "run")
    (tmp_path / "new").mkdir()
    for name, picture in pictures.items():
        picture[..., 2 * (name == "a.png")] += 150
        PIL.Image.fromarray(picture).save(tmp_path / "new" / name)
    (tmp_path / "new" / "Thumbs.db").write_bytes(bytes(9))
    command = ["predict", str(tmp_path / "run" / "model.gcnlab")]
    capsys.readouterr()
    assert main([*command, str(tmp_path / "new")]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows[1:]] == [
        [str(tmp_path / "new" / name), label] for name, label in (("a.png", "blue"), ("b.png", "red"), ("c.png", "red"))
    ]
    assert main([*command, str(tmp_path / "new" / "b.png"), str(tmp_path / "new" / "a.png")]) == 0
    assert [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]] == [rows[2], rows[1]]
    PIL.Image.fromarray(pictures["a.png"][..., 0]).save(tmp_path / "new" / "grey.png")
    PIL.Image.fromarray(np.repeat(pictures["a.png"][..., :1], 3, 2)).save(tmp_path / "new" / "grey as colour.png")
    assert main([*command, str(tmp_path / "new" / "grey.png")]) == 0
    grey = capsys.readouterr().out.splitlines()[1].split(",")[1:]
    assert main([*command, str(tmp_path / "new" / "grey as colour.png")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split(",")[1:] == grey
    PIL.Image.fromarray(pictures["a.png"][:4]).save(tmp_path / "wide.png")
    assert main([*command, str(tmp_path / "wide.png")]) == 2
    assert (
        "wide.png: is of shape (4, 5, 3), and the model was trained on (6, 5, 3); scale it" in capsys.readouterr().err
    )
    csv = tmp_path / "labels.csv"
    assert main([*command, "--out", str(csv), str(tmp_path / "new" / "a.png")]) == 0
    assert csv.read_text().splitlines()[1].split(",") == rows[1]
    assert main([*command, str(tmp_path)]) == 2
    assert "expected a picture, or a folder that holds pictures and no other folder (found " in capsys.readouterr().err
    assert main([*command, str(tmp_path / "none.png")]) == 2
    assert "none.png does not exist" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "wide.png"), "--data", "digits"]) == 2
    assert "go with a model of images, and without --data" in capsys.readouterr().err
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    assert main([*command, str(tmp_path / "broken.jpg")]) == 2
    assert "broken.jpg: not a readable image" in capsys.readouterr().err


def test_run_a_recipe_of_images(small_set, tmp_path):
    result = run("fashion-mnist-grid", dataset="digits", epochs=2, seeds=2, out=tmp_path)
    assert result["protocol"] == "holdout"
    assert result["num_parameters"] < 100_000
    assert len(result["test_accuracy"]["per_seed"]) == len(result["val_accuracy"]["per_seed"]) == 2
    assert result["epochs"] == 2
    model, header = load_model(tmp_path / "model.gcnlab")
    assert isinstance(model, GridGCN)
    assert header["test_accuracy"] == result["test_accuracy"]["per_seed"][header["seeds"][0]]
    assert header["val_accuracy"] == max(result["val_accuracy"]["per_seed"])
    assert header["class_names"] == list(small_set.class_names)
    _, val = image_recipes.parts(find("fashion-mnist-grid"), small_set)
    log_p = image_recipes.log_probabilities(model, val, header["mirrored"])
    assert header["temperature"] == pytest.approx(metrics.fit_temperature(log_p, val.y), rel=1e-6)
    assert not (tmp_path / "weights.npz").exists()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_run_on_idx_files_of_ones_own(tmp_path):
    for part, count in (("train", 140), ("t10k", 30)):
        images, labels = stripes(count)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images.numpy()))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels.numpy().astype(np.uint8)))
    result = run("fashion-mnist-grid", dataset=str(tmp_path), epochs=1)
    assert result["dataset"] == str(tmp_path)
    assert 0 <= result["test_accuracy"]["mean"] <= 1
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "edges.csv").write_text("source,target\n0,1\n1,2\n")
    (folder / "labels.csv").write_text("id,label\n0,a\n1,a\n2,b\n")
    with pytest.raises(InputError, match=r"dataset: .* holds no images, which fashion-mnist-grid classifies"):
        run("fashion-mnist-grid", dataset=str(folder), epochs=1)


def test_weights_that_were_written_score_as_they_did(small_set, tmp_path, monkeypatch):
    result = run("fashion-mnist-grid", dataset="digits", epochs=2, out=tmp_path)
    monkeypatch.setattr(image_recipes, "PRETRAINED", tmp_path)
    path = tmp_path / "fashion-mnist-grid.gcnlab"
    content = (tmp_path / "model.gcnlab").read_bytes()
    for written in (content, as_1_0(*read_arrays(tmp_path / "model.gcnlab"))):
        path.write_bytes(written)
        again = run("fashion-mnist-grid", dataset="digits", pretrained=True)
        assert again["test_accuracy"]["per_seed"] == result["test_accuracy"]["per_seed"]
        assert again["val_accuracy"] == result["val_accuracy"]
        assert again["epochs"] == 0
        assert again["seeds"] == [0]
    path.write_bytes(content[:-1])
    with pytest.raises(CheckpointCorruptError, match=r"fashion-mnist-grid.gcnlab: .* cut short or changed"):
        run("fashion-mnist-grid", dataset="digits", pretrained=True)
    path.write_bytes(content)
    small_set.name = "other"
    with pytest.raises(InputError, match="are of digits, not of other"):
        run("fashion-mnist-grid", dataset="digits", pretrained=True)
    path.rename(tmp_path / "fashion-mnist-grid-large.gcnlab")
    small_set.name = "digits"
    with pytest.raises(CheckpointMismatchError, match=r"large.gcnlab: does not fit the model: .* the model has"):
        run("fashion-mnist-grid-large", dataset="digits", pretrained=True)


def test_too_few_images_to_hold_some_out(small_set):
    small_set.train_images, small_set.train_labels = small_set.train_images[:11], small_set.train_labels[:11]
    with pytest.raises(InputError, match=r"dataset: digits has 11 training images, .* at least 12"):
        run("fashion-mnist-grid", dataset="digits", epochs=1)


def test_pretrained_needs_weights():
    with pytest.raises(InputError, match="pretrained: no weights of cora-gcn"):
        run("cora-gcn", pretrained=True)


def test_mirrored_images_are_averaged_where_the_set_allows_it(small_set):
    recipe = image_recipes.grid_recipe("tiny", (4,))
    torch.manual_seed(0)
    model = recipe.build(1, 3).eval()
    plain = predict(model, Signals(small_set.test_images, small_set.test_labels, GRID)).softmax(1)
    mirrored = predict(model, Signals(small_set.test_images.flip(2), small_set.test_labels, GRID)).softmax(1)
    torch.testing.assert_close(image_recipes.predict_test(recipe, model, small_set).exp(), (plain + mirrored) / 2)
    small_set.augmentations = ("shift",)
    torch.testing.assert_close(image_recipes.predict_test(recipe, model, small_set).exp(), plain)


def test_a_probability_too_small_for_a_float_is_no_infinity(small_set):
    class Sure(torch.nn.Module):
        def forward(self, x, grid):
            return torch.tensor([[300.0, 0.0, -300.0]]).expand(len(x), 3)

    recipe = image_recipes.grid_recipe("tiny", (4,))
    scores = image_recipes.predict_test(recipe, Sure(), small_set)
    assert scores[0].tolist() == [0.0, -300.0, -600.0]


# -- comparison ---------------------------------------------------------------------------------------------------------


def test_contenders_hold_every_baseline_and_both_kinds_of_grid():
    names = contenders()
    assert {"dense", "cnn-32x2", "deep-cnn", "deep-cnn+recipe", "isotropic", "relational"} <= set(names)
    assert names["deep-cnn"].tutorial is not None
    assert names["deep-cnn+recipe"].tutorial is None


def test_compare_is_resumed_line_by_line(tmp_path):
    said = []
    rows = compare("digits", ["relational"], epochs=1, out=tmp_path, threads=1, say=said.append)
    assert rows[0]["epochs"] == 1
    assert rows[0]["peak_memory_mib"] > 50
    assert 0 <= rows[0]["test_accuracy"] <= 1
    line = (tmp_path / "results.jsonl").read_text()
    assert compare("digits", ["relational"], epochs=1, out=tmp_path, threads=1) == rows
    assert (tmp_path / "results.jsonl").read_text() == line
    assert said == [text_row(rows[0])]
    assert (tmp_path / "comparison.md").read_text() == markdown(rows)
    assert json.loads((tmp_path / "comparison.json").read_text()) == rows
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    for changes, message in (
        ({"test_accuracy": "abc"}, "test_accuracy is 'abc', expected a finite number"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"history": {"val_loss": [0.5, None]}}, r"history is .*expected a dict of train_loss"),
        ({"versions": {}}, "versions is {}"),
        ({"model": None}, "model is None"),
    ):
        entry = json.loads(line)
        entry["result"] |= changes
        (tmp_path / "results.jsonl").write_text(f"{line}{json.dumps(entry)}\n")
        with pytest.raises(CorruptFileError, match=f"results.jsonl, line 2: is no result of a model .*{message}"):
            compare("digits", ["relational"], epochs=1, out=tmp_path)


@pytest.fixture
def compared(monkeypatch, tmp_path):
    """Compare a model on the images of a file, in this process: (rows, the models that were trained for them)."""
    images, y = stripes(60)
    arrays = {"x_train": images[:48], "y_train": y[:48], "x_test": images[48:], "y_test": y[48:]}
    trained = []

    def in_processes(function, jobs, count):
        trained.append(jobs[0].model)
        return [(jobs[0], function(jobs[0]))]

    def call(model, **changes):
        trained.clear()
        changed = {name: array.clone() for name, array in arrays.items()}
        for name, (place, value) in changes.items():
            changed[name][place] = value
        np.savez(tmp_path / "mine.npz", **changed)
        return compare(str(tmp_path / "mine.npz"), [model], 1, out=tmp_path / "out", threads=1), list(trained)

    monkeypatch.setattr(gcnlab.distributed, "in_processes", in_processes)
    monkeypatch.setattr(gcnlab.plot, "comparison", lambda *_: None)
    monkeypatch.setattr(gcnlab.plot, "history", lambda *_: None)
    return call


OTHER_DATA = r"results.jsonl: 1 of its results are of other data or of another version of gcnlab, and are made again"


def test_a_comparison_is_of_the_images_that_are_there(compared):
    (first,), trained = compared("isotropic-flat")
    assert trained == ["isotropic-flat"]
    assert compared("isotropic-flat") == ([first], [])
    (_, other), trained = compared("isotropic-flat+coordinates")
    assert (other["model"], trained) == ("isotropic-flat+coordinates", ["isotropic-flat+coordinates"])
    for changes in (
        {"x_train": ((3, 2, 2), 7)}, {"y_train": (slice(9), 1)}, {"x_test": ((0, 0, 0), 200)}, {"y_test": (slice(None), 1)}
    ):  # fmt: skip
        with pytest.warns(UserWarning, match=OTHER_DATA):
            rows, trained = compared("isotropic-flat", **changes)
        assert trained == ["isotropic-flat"]
        assert [row["model"] for row in rows] == ["isotropic-flat"]  # the other model has seen other images
        assert compared("isotropic-flat", **changes) == (rows, [])
    assert compared("isotropic-flat") == ([first, other], [])


def test_a_result_of_1_0_does_not_stand_for_images_that_it_does_not_name(compared, tmp_path):
    (row,), _ = compared("isotropic-flat")
    line = json.loads((tmp_path / "out" / "results.jsonl").read_text())
    line["job"] = json.dumps(
        {key: value for key, value in json.loads(line["job"]).items() if key not in ("data", "gcnlab")}
    )
    del line["result"]["versions"]
    line["result"]["test_accuracy"] = 2.0
    (tmp_path / "out" / "results.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.warns(UserWarning, match=OTHER_DATA):
        rows, trained = compared("isotropic-flat")
    assert ([row["test_accuracy"]], trained) == ([rows[0]["test_accuracy"]], ["isotropic-flat"])


def test_a_row_of_a_comparison_names_its_version(compared, tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr("gcnlab.__version__", "0.9.1")
        before.setattr("gcnlab.jobs.__version__", "0.9.1")
        compared("isotropic-flat")
        compared("isotropic-flat+coordinates")
    with pytest.warns(UserWarning, match=OTHER_DATA):
        rows, trained = compared("isotropic-flat")
    assert trained == ["isotropic-flat"]
    assert [row["versions"]["gcnlab"] for row in rows] == [gcnlab.__version__, "0.9.1"]
    assert "<td>0.9.1</td>" in (tmp_path / "out" / "report.html").read_text()
    assert [text_row(row).split()[-1] for row in rows] == [gcnlab.__version__, "0.9.1"]


def test_images_that_change_while_models_train_are_told(tmp_path):
    images, y = stripes(60)
    np.savez(tmp_path / "mine.npz", x_train=images[:48], y_train=y[:48], x_test=images[48:], y_test=y[48:])
    with pytest.raises(InputError, match=r"dataset: the images of .*mine.npz have changed since the comparison began"):
        run_job(ModelJob(str(tmp_path / "mine.npz"), "isotropic-flat", 1, data="of others"))


def test_a_torn_last_line_of_a_comparison_is_made_again(compared, tmp_path):
    (row,), _ = compared("isotropic-flat")
    compared("isotropic-flat+coordinates")
    path = tmp_path / "out" / "results.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[: len(second) // 2])
    rows, trained = compared("isotropic-flat+coordinates")
    assert (rows[0], trained) == (row, ["isotropic-flat+coordinates"])
    assert len(path.read_bytes().splitlines()) == 2
    assert compared("isotropic-flat") == (rows, [])


def test_a_picture_that_fails_takes_no_row_of_a_comparison(compared, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no font")

    monkeypatch.setattr(gcnlab.plot, "comparison", fail)
    with pytest.warns(UserWarning, match=r"comparison.png was not written; the numbers stand \(ValueError: no font\)"):
        (row,), _ = compared("isotropic-flat")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == [row]
    assert f"{100 * row['test_accuracy']:.2f} %" in (tmp_path / "out" / "report.html").read_text()


def test_compare_refuses_what_it_cannot_compare():
    for changes, message in (
        ({"dataset": "karate"}, "dataset: karate holds no images"),
        ({"dataset": "digits", "models": ["dense"]}, r"dense takes grey images of 28 x 28.*any size are isotropic,"),
        ({"dataset": "digits", "epochs": 0}, "epochs: got 0, expected at least 1"),
        ({"dataset": "digits", "threads": -1}, "threads: got -1, expected at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            compare(**{"models": ["isotropic-flat"], **changes})


def test_by_default_the_models_that_take_these_images_are_compared(monkeypatch, tmp_path):
    ran = []

    def in_processes(function, jobs, count):
        ran.extend(job.model for job in jobs)
        return [
            (jobs[0], {**run_job(ModelJob("digits", "isotropic-flat", epochs=1, threads=1)), "model": jobs[0].model})
        ]

    monkeypatch.setattr(gcnlab.distributed, "in_processes", in_processes)
    compare("digits", epochs=1, quick=True)
    assert ran == [name for name, recipe in contenders().items() if recipe.on_grid]
    assert "isotropic" in ran
    titles = []
    monkeypatch.setattr(gcnlab.plot, "comparison", lambda rows, path, title: titles.append(title))
    compare("digits", ["relational"], epochs=1, quick=True, out=tmp_path)  # more than there are: no subset
    monkeypatch.setattr("gcnlab.compare.QUICK", (300, 2))
    row = run_job(ModelJob("digits", "isotropic-flat", epochs=1, num_images=300, threads=1))
    monkeypatch.setattr(gcnlab.distributed, "in_processes", lambda function, jobs, count: [(jobs[0], row)])
    compare("digits", ["relational"], epochs=1, quick=True, out=tmp_path)
    assert titles == ["digits", "digits, a subset of 300 training images"]


def test_a_tutorials_figure_is_that_of_its_data_set():
    recipe = contenders()["deep-cnn"]
    assert set(recipe.published) == {("fashion-mnist", "tutorial")}
    row = run_job(ModelJob("digits", "isotropic-flat", epochs=1, num_images=10_000, threads=1))
    assert row["published"] is None
    assert row["training_images"] == 1438  # a set with fewer images gives all of them


def test_compare_names_an_unknown_model():
    with pytest.raises(InputError, match=r"models: 'relatonal' is unknown.*Did you mean 'relational'"):
        compare("digits", ["relatonal"])


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("fashion-mnist-grid", "342b1f9e67c7a2dcaa059a7259338b5b5ed72c3592cbba018c18ae1173ae99ea"),
        ("fashion-mnist-grid-large", "5e53ef34dbd162ef10eb4abebe3837f07747053429d62c8acfbde70d952eafe4"),
    ],
)
def test_the_weights_that_come_with_gcnlab_are_those_of_1_0(name, digest):
    model, header = load_model(image_recipes.PRETRAINED / f"{name}.gcnlab")
    assert sha256_of_tensors(model.state_dict().values()) == digest
    assert (header["recipe"], header["dataset"], header["mirrored"]) == (name, "fashion-mnist", True)
    assert header["temperature"] > 0


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "most_parameters", "accuracy"),
    [("fashion-mnist-grid", 100_000, 0.9422), ("fashion-mnist-grid-large", 300_000, 0.9489)],
)
def test_the_weights_that_come_with_gcnlab(name, most_parameters, accuracy):
    try:
        gcnlab.load("fashion-mnist", download=False)
    except gcnlab.GcnlabError:
        pytest.skip("fashion-mnist is not in GCNLAB_DATA")
    result = run(name, pretrained=True)
    assert result["num_parameters"] < most_parameters
    assert result["test_accuracy"]["mean"] == pytest.approx(accuracy, abs=3e-4)  # rounding differs between machines


def test_what_signals_refuse():
    images = torch.zeros(3, 4, 5, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"images: got none, expected at least one"):
        Signals(images[:0], [])
    with pytest.raises(InputError, match=r"batch_size: got 0, expected at least 1"):
        next(Signals(images, [0, 1, 2]).batches(0))
    with pytest.raises(InputError, match=r"pretrained: no weights of fashion-mnist-gcn come with gcnlab"):
        image_recipes.pretrained(dataclasses.replace(find("fashion-mnist-grid"), name="fashion-mnist-gcn"), images)


def test_images_and_grid_on_two_devices():
    with pytest.raises(InputError, match=r"grid: is on meta, but images is on cpu"):
        Signals(torch.rand(2, 3, 3), [0, 1], grid_graph(3, 3).to("meta"))


@pytest.mark.parametrize("kind", ["uint8", "floats", "channels"])
def test_images_given_in_a_buffer_are_copied_or_watched(kind):
    images, y = stripes(6)
    images = images if kind == "uint8" else images / 255 if kind == "floats" else images.unsqueeze(3).repeat(1, 1, 1, 3)
    array, labels = images.numpy().copy(), y.clone()
    copied, watched = Signals(array, labels, GRID), Signals(images, labels, GRID)
    part, alike = watched[:3], copy.deepcopy(watched)
    before = copied.inputs(slice(0, 6))[0].clone()
    array[:] = 0
    labels.fill_(2)
    assert torch.equal(copied.inputs(slice(0, 6))[0], before)
    assert torch.equal(copied.y, y)
    images.zero_()
    for read in (lambda: watched.inputs([0]), lambda: watched[:2], lambda: predict(GridGCN(1, [2], 3), watched)):
        with pytest.raises(InputError, match=r"images: has been written to since it was given"):
            read()
    assert torch.equal(part.inputs(slice(0, 3))[0], before[:3])
    assert torch.equal(alike.inputs(slice(0, 6))[0], before)


def test_what_inference_mode_made_of_a_grid_serves_a_training():
    with torch.inference_mode():
        grid, signals = grid_graph(4, 6), Signals(torch.rand(3, 4, 6), [0, 1, 0])
        grid.operator, list(grid.relations), grid.coarser, grid.adjacency, grid.relations
        GridGCN(1, [2, 2], 3, conv="isotropic")(signals.x, grid)
    x = signals.inputs(slice(0, 3))[0].flatten(1).unsqueeze(2)
    for model in (GridGCN(1, [2, 2], 3, conv="isotropic"), GridGCN(1, [2, 2], 3)):
        model(x, grid).sum().backward()
    layer = gcnlab.RelationalGCNConv(1, 2, 9)
    layer(x, list(grid.relations)).sum().backward()
    assert layer.weight.grad is not None
