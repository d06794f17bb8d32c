"""Augmentation against loops over pixels, scipy's interpolation, and the graph operations that it is said to be."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from gcnlab import GCNConv, Graph, Readout
from gcnlab.augment import (
    Augment,
    erase,
    interpolate,
    mirror,
    mirror_map,
    rotate,
    selection_matrix,
    shear,
    shift,
    shift_map,
    zoom,
)
from gcnlab.errors import InputError, InputTypeError

pytestmark = pytest.mark.usefixtures("one_thread")

HEIGHT, WIDTH, CHANNELS = SHAPE_3 = (5, 7, 3)
SHAPE = (HEIGHT, WIDTH)
DTYPES = [torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64]


def signals(batch, dtype=torch.float32, shape=SHAPE, channels=CHANNELS):
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randint(1, 200, (batch, shape[0] * shape[1], channels), generator=generator)
    return numbers.to(dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def grid(height, width):
    """The grid graph, every pixel joined to those left, right, above and below; by a loop."""
    edges = []
    for r in range(height):
        for c in range(width):
            for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                if 0 <= r + down < height and 0 <= c + right < width:
                    edges.append((r * width + c, (r + down) * width + c + right))
    return Graph.from_edges(torch.tensor(edges).t(), height * width)


def moved(image, down, right):
    """An image [height, width, channels] moved by a loop over its pixels, zeros coming in."""
    out = torch.zeros_like(image)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            if 0 <= r - down < image.shape[0] and 0 <= c - right < image.shape[1]:
                out[r, c] = image[r - down, c - right]
    return out


def as_images(h):
    return h.view(len(h), *SHAPE, -1)


# -- selections -------------------------------------------------------------------------------------------------------


def test_mirror_is_a_relabelling_of_the_nodes():
    h, graph = signals(11), grid(*SHAPE)
    nodes = mirror_map(SHAPE)
    s = selection_matrix(nodes)
    mirrored = mirror(h, SHAPE, p=1.0)
    assert torch.equal(mirrored, h[:, nodes])
    assert torch.equal(mirrored, s @ h)
    assert torch.equal(as_images(mirrored), as_images(h).flip(2))
    a = graph.adjacency.to_dense()
    assert torch.equal(s.to_dense() @ a @ s.to_dense().T, a)  # the same graph under the other names

    torch.manual_seed(0)
    layer = GCNConv(CHANNELS, 2)
    out = layer(h, graph.a_hat)
    torch.testing.assert_close(layer(mirrored, graph.a_hat), out[:, nodes])
    torch.testing.assert_close(Readout("mean")(layer(mirrored, graph.a_hat)), Readout("mean")(out))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_mirror_takes_each_image_by_its_own_coin(dtype):
    h = signals(1009, dtype)
    out = mirror(h, SHAPE, seeded())
    assert out.dtype == dtype
    is_mirrored = (out == h[:, mirror_map(SHAPE)]).flatten(1).all(1)
    is_same = (out == h).flatten(1).all(1)
    assert bool((is_mirrored ^ is_same).all())
    assert float(is_mirrored.double().mean()) == pytest.approx(0.5, abs=0.06)  # four standard deviations
    assert torch.equal(mirror(h, SHAPE, p=0.0), h)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -3), (-1, 0), (0, 6), (-4, 6), (9, 0)])
def test_shift_map_is_a_loop_over_pixels(down, right):
    h = signals(2)
    expected = torch.stack([moved(image, down, right) for image in as_images(h)])
    assert torch.equal(as_images(selection_matrix(shift_map(SHAPE, down, right)) @ h), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shift_draws_every_place_for_each_image(dtype):
    h = signals(1009, dtype)
    out = shift(h, SHAPE, seeded(), size=2)
    assert out.dtype == dtype
    steps = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    padded = torch.cat([h, torch.zeros_like(h[:, :1])], 1)  # node -1
    hits = torch.stack([(out == padded[:, shift_map(SHAPE, *step)]).flatten(1).all(1) for step in steps])
    assert bool((hits.sum(0) == 1).all())  # each image is at exactly one place
    counts = hits.sum(1)
    assert int(counts.min()) > 15  # 40 expected, give or take 6
    assert int(counts.max()) < 70
    assert torch.equal(shift(h, SHAPE, size=0), h)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_erase_zeroes_one_rectangle(dtype):
    h = signals(1009, dtype)
    out = erase(h, SHAPE, seeded(), size=3)
    assert out.dtype == dtype
    gone = (as_images(out) == 0).all(-1)
    assert torch.equal((as_images(out) == 0).any(-1), gone)  # all channels of a node
    assert torch.equal(as_images(out)[~gone], as_images(h)[~gone])
    seen = {}
    for image in gone:
        rows, columns = image.any(1).nonzero().squeeze(1), image.any(0).nonzero().squeeze(1)
        sides = (len(rows), len(columns))
        assert int(image.sum()) == sides[0] * sides[1]  # a full rectangle
        seen[sides] = seen.get(sides, 0) + 1
    assert seen.pop((0, 0)) == pytest.approx(504, abs=64)
    assert set(seen) == {(a, b) for a in (1, 2, 3) for b in (1, 2, 3)}
    assert bool(gone.any(0).all())  # every node is erased somewhere
    assert torch.equal(erase(h, SHAPE, p=0.0), h)


def test_erase_is_limited_by_the_grid():
    gone = as_images(erase(signals(499), SHAPE, seeded(), size=100, p=1.0))[..., 0] == 0
    assert bool(gone.all(2).all(1).any())  # up to the whole grid
    assert bool(gone.any(2).any(1).all())


# -- interpolation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (8, 4), (1, 6), (1, 1)], ids=str)
def test_interpolate_is_scipys_affine_transform(shape):
    h = signals(13, torch.float64, shape)
    matrix = torch.eye(2, dtype=torch.float64) + 0.6 * torch.randn(13, 2, 2, dtype=torch.float64, generator=seeded())
    found = interpolate(h, shape, matrix).view(13, *shape, CHANNELS)
    middle = (np.array(shape) - 1) / 2
    for image, m, out in zip(h.view(13, *shape, CHANNELS).numpy(), matrix.numpy(), found.numpy(), strict=True):
        for channel in range(CHANNELS):
            expected = ndimage.affine_transform(
                image[..., channel], m, middle - m @ middle, order=1, mode="grid-constant", cval=0.0
            )
            np.testing.assert_allclose(out[..., channel], expected, atol=1e-9)


def test_interpolate_is_the_sum_in_its_docstring():
    h = signals(1, torch.float64)
    matrix = torch.tensor([[[0.9, 0.3], [-0.2, 1.1]]], dtype=torch.float64)
    places = np.array([(r - 2.0, c - 3.0) for r in range(HEIGHT) for c in range(WIDTH)])
    found = interpolate(h, SHAPE, matrix)[0].numpy()
    for i, place in enumerate(places):
        weight = np.maximum(1 - np.abs(matrix[0].numpy() @ place - places), 0).prod(1)
        np.testing.assert_allclose(found[i], weight @ h[0].numpy(), atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_quarter_turn_is_a_relabelling(dtype):
    square = signals(2, dtype, (6, 6))
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(2, 2, 2)
    out = interpolate(square, (6, 6), quarter)
    assert out.dtype == dtype
    turned = square.view(2, 6, 6, CHANNELS).rot90(-1, (1, 2))  # (row, column) shows what was at (-column, row)
    torch.testing.assert_close(
        out.view(2, 6, 6, CHANNELS),
        turned,
        atol=0.02 if dtype.is_floating_point else 0,
        rtol=1e-3 if dtype.is_floating_point else 0,
    )
    identity = torch.eye(2).expand(2, 2, 2)
    torch.testing.assert_close(interpolate(square, (6, 6), identity), square, atol=0.02, rtol=1e-3)


def test_integers_are_rounded():
    h = signals(17, torch.uint8)
    matrix = torch.eye(2) + 0.3 * torch.randn(17, 2, 2, generator=seeded())
    assert torch.equal(interpolate(h, SHAPE, matrix), interpolate(h.float(), SHAPE, matrix).round().to(torch.uint8))


def linear(shape):
    """The image whose values are its places: interpolating it shows M."""
    rows, columns = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    return torch.stack([rows, columns], -1).view(1, -1, 2)


def drawn_matrices(operation, **strength):
    """M of each of 997 images, from three nodes near the middle, which stay inside of the grid."""
    shape, batch = (41, 41), 997
    out = operation(linear(shape).expand(batch, -1, -1), shape, seeded(), **strength).view(batch, *shape, 2)
    return torch.stack([out[:, 21, 20], out[:, 20, 21]], 2)  # M (1, 0) and M (0, 1) as columns


def test_rotations_are_drawn_from_their_range():
    m = drawn_matrices(rotate, degrees=30.0)
    angle = torch.atan2(m[:, 1, 0], m[:, 0, 0])
    expected = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    torch.testing.assert_close(m, expected, atol=1e-4, rtol=0)
    check_uniform(angle / math.radians(30.0))


def test_shears_are_drawn_from_their_range():
    m = drawn_matrices(shear, degrees=30.0)
    expected = torch.eye(2).repeat(len(m), 1, 1)
    expected[:, 1, 0] = m[:, 1, 0]
    torch.testing.assert_close(m, expected, atol=1e-4, rtol=0)
    check_uniform(m[:, 1, 0].atan() / math.radians(30.0))


def test_zooms_are_drawn_from_their_range():
    m = drawn_matrices(zoom, fraction=0.25)
    torch.testing.assert_close(m, torch.eye(2) * m[:, :1, :1], atol=1e-4, rtol=0)
    check_uniform((1 / m[:, 0, 0] - 1) / 0.25)


def check_uniform(u):
    """u looks like U(-1, 1): within it, and each quarter has its share."""
    assert float(u.abs().max()) < 1.001
    share = torch.histc(u, 4, -1.001, 1.001) / len(u)
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.06, rtol=0)


def test_an_enlarged_image_is_larger():
    dot = torch.zeros(64, 41 * 41, 1)
    dot.view(64, 41, 41)[:, 18:23, 18:23] = 1
    area = zoom(dot, (41, 41), seeded(), fraction=0.5).sum((1, 2))
    factor = drawn_factors(64, 0.5)
    torch.testing.assert_close(area.sqrt(), 5 * factor, atol=0.7, rtol=0)


def drawn_factors(batch, fraction):
    shape = (41, 41)
    out = zoom(linear(shape).expand(batch, -1, -1), shape, seeded(), fraction).view(batch, *shape, 2)
    return 1 / out[:, 21, 20, 0]


# -- together ---------------------------------------------------------------------------------------------------------


def test_augment_is_one_after_the_other():
    h = signals(19, torch.uint8)
    augment = Augment(["shift", "mirror", "erase"], shift=1, mirror=0.3, erase=4)
    generator = seeded(5)
    expected = shift(h, SHAPE, generator, size=1)
    expected = mirror(expected, SHAPE, generator, p=0.3)
    expected = erase(expected, SHAPE, generator, size=4)
    assert torch.equal(augment(h, SHAPE, seeded(5)), expected)
    assert not torch.equal(Augment(["mirror", "shift", "erase"])(h, SHAPE, seeded(5)), expected)


def test_augment_interpolates_neighbours_once():
    shape, h = (41, 41), linear((41, 41)).expand(23, -1, -1)
    generator = seeded(6)
    one_by_one = h
    for operation in (rotate, zoom, shear):  # of a linear image, interpolating twice is exact away from the border
        one_by_one = operation(one_by_one, shape, generator)
    together = Augment(["rotate", "zoom", "shear"])(h, shape, seeded(6))
    inside = (slice(None), slice(15, 26), slice(15, 26))
    torch.testing.assert_close(
        together.view(23, 41, 41, 2)[inside], one_by_one.view(23, 41, 41, 2)[inside], atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("kind", Augment.KINDS)
def test_every_kind_is_seeded_and_pure(kind):
    h = signals(31)
    before = h.clone()
    augment = Augment([kind])
    first = augment(h, SHAPE, seeded(7))
    assert torch.equal(h, before)
    assert torch.equal(augment(h, SHAPE, seeded(7)), first)
    assert not torch.equal(augment(h, SHAPE, seeded(8)), first)
    torch.manual_seed(7)
    assert torch.equal(augment(h, SHAPE), first)  # without a generator torch's own, which has the same stream
    strided = h.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(augment(strided, SHAPE, seeded(7)), first)
    assert augment(h[:0], SHAPE).shape == (0, *h.shape[1:])
    assert augment(h[:, :, :0], SHAPE).shape == (31, 35, 0)


@pytest.mark.parametrize("kind", Augment.KINDS)
def test_gradients_reach_the_signals(kind):
    h = signals(3, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Augment([kind])(x, SHAPE, seeded(2)), h)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", Augment.KINDS)
def test_the_device_does_not_matter(kind):
    h, augment = signals(31), Augment([kind])
    found = augment(h.cuda(), SHAPE, seeded(3))
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), augment(h, SHAPE, seeded(3)), atol=0.05, rtol=1e-3)
    on_device = augment(h.cuda(), SHAPE, torch.Generator("cuda").manual_seed(0))
    assert on_device.device.type == "cuda"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: mirror(h, (5, 6)), r"signals: got shape \(2, 35, 3\), expected \[batch, 30, channels\].* 5 x 6"),
        (lambda h: mirror(h[0], SHAPE), r"signals: got shape \(35, 3\), expected \[batch, 35, channels\]"),
        (lambda h: mirror(h, (35,)), r"shape: got \(35,\), expected \(height, width\)"),
        (lambda h: mirror(h, SHAPE, p=1.5), "p: got 1.5, expected a probability"),
        (lambda h: erase(h, SHAPE, p=-1), "p: got -1, expected a probability"),
        (lambda h: erase(h, SHAPE, size=0), "size: got 0, expected at least 1"),
        (lambda h: shift(h, SHAPE, size=5), "size: got a shift of 5 nodes, which empties a grid of 5 x 7"),
        (lambda h: shift(h, SHAPE, size=-1), "size: got -1, expected at least 0"),
        (lambda h: shear(h, SHAPE, degrees=90), "degrees: got 90, expected a finite number above -90 and below 90"),
        (
            lambda h: shear(h, SHAPE, degrees=math.nan),
            "degrees: got nan, expected a finite number above -90 and below 90",
        ),
        (lambda h: rotate(h, SHAPE, degrees=math.nan), "degrees: got nan, expected a finite number"),
        (lambda h: zoom(h, SHAPE, fraction=1.0), "fraction: got 1.0, expected a finite number at least 0 and below 1"),
        (lambda h: interpolate(h, SHAPE, torch.eye(2)), r"matrix: got shape \(2, 2\), expected \[2, 2, 2\]"),
        (lambda h: Augment(["mirror", "flip"]), 'kinds: got \'flip\', expected "mirror", "shift", "erase", "rotate"'),
        (lambda h: selection_matrix(torch.tensor([0, 2])), "nodes: got 2 at 1, expected a node below 2, or -1"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call(signals(2))


def test_type_errors_say_what_is_wrong():
    with pytest.raises(InputTypeError, match="signals: got ndarray, expected a tensor"):
        mirror(np.zeros((2, 35, 3)), SHAPE)
    with pytest.raises(InputTypeError, match=r"size: got 1\.5, expected an integer"):
        shift(signals(2), SHAPE, size=1.5)
    with pytest.raises(InputTypeError, match=r"nodes: got torch\.float32 of shape"):
        selection_matrix(torch.ones(2))
