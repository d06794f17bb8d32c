"""Graphs of points, superpixels and meshes against brute force, scikit-learn, scikit-image and networkx."""

import itertools
import math
import sys

import networkx as nx
import numpy as np
import pytest
import torch
from sklearn.neighbors import kneighbors_graph

from gcnlab import Graph
from gcnlab.errors import InputError, InputTypeError
from gcnlab.graph import knn_graph
from gcnlab.image import Superpixels, superpixel_collection, superpixel_graph

pytestmark = pytest.mark.usefixtures("one_thread")


def cloud(num_points, dimensions, dtype=torch.float32):
    return torch.randn(num_points, dimensions, generator=torch.Generator().manual_seed(0), dtype=dtype)


def nearest(points, k):
    """B[i, j] = 1 where j is among the k nearest others of i: all distances, sorted."""
    points = np.asarray(points, dtype=np.float64)
    out = np.zeros((len(points), len(points)))
    for i, p in enumerate(points):
        distance = [(math.dist(p, q), j) for j, q in enumerate(points) if j != i]
        for _, j in sorted(distance)[:k]:
            out[i, j] = 1
    return out


# -- neighbours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "dimensions", "k"), [(53, 2, 5), (31, 1, 1), (29, 11, 7), (7, 3, 6), (2, 3, 1)])
def test_neighbours_are_those_of_brute_force(n, dimensions, k):
    points = cloud(n, dimensions)
    b = nearest(points, k)
    directed = knn_graph(points, k, symmetry=None)
    np.testing.assert_array_equal(directed.adjacency.to_dense(), b)  # row i: what reaches i
    np.testing.assert_array_equal(b, kneighbors_graph(points.numpy(), k).toarray())
    np.testing.assert_array_equal(knn_graph(points, k).adjacency.to_dense(), np.maximum(b, b.T))
    np.testing.assert_array_equal(knn_graph(points, k, symmetry="mutual").adjacency.to_dense(), b * b.T)
    for graph, is_directed in ((directed, bool((b != b.T).any())), (knn_graph(points, k), False)):
        assert graph.is_directed == is_directed
        assert graph.num_duplicates == 0


@pytest.mark.parametrize("symmetry", ["union", "mutual", None])
def test_a_loop_is_added_to_the_neighbours(symmetry):
    points = cloud(19, 2)
    without = knn_graph(points, 3, symmetry=symmetry).adjacency.to_dense()
    looped = knn_graph(points, 3, symmetry=symmetry, loop=True, weight="gaussian").adjacency.to_dense()
    assert torch.equal(looped != 0, (without + torch.eye(19)) != 0)
    assert torch.equal(looped.diagonal(), torch.ones(19))


@pytest.mark.parametrize("symmetry", ["union", "mutual", None])
@pytest.mark.parametrize("sigma", [None, 0.7])
def test_gaussian_weights(symmetry, sigma):
    k, points = 4, cloud(37, 3, torch.float64)
    p = points.numpy()
    pattern = knn_graph(points, k, symmetry=symmetry).adjacency.to_dense().numpy()
    kth = [sorted(math.dist(a, b) for b in p)[k] for a in p]  # the first is the point itself
    width = np.mean(kth) if sigma is None else sigma
    expected = np.array([[math.exp(-(math.dist(a, b) ** 2) / width**2) for b in p] for a in p]) * pattern
    graph = knn_graph(points, k, symmetry=symmetry, weight="gaussian", sigma=sigma)
    np.testing.assert_allclose(graph.adjacency.to_dense(), expected, rtol=1e-6)
    assert graph.is_directed == (symmetry is None)


def test_points_at_one_place_are_neighbours():
    points = torch.cat([torch.zeros(5, 2), torch.ones(4, 2)])
    for weight in ("binary", "gaussian"):
        a = knn_graph(points, 3, symmetry=None, weight=weight).adjacency.to_dense()
        assert torch.equal(a.sum(1), torch.full((9,), 3.0))  # distance 0: weight 1
        assert not a.diagonal().any()
        assert not a[:5, 5:].any()
        assert not a[5:, :5].any()


def test_knn_graph_takes_arrays_and_lists_and_keeps_features():
    points = cloud(17, 2)
    graph = knn_graph(points, 3, x=points, y=torch.zeros(17, dtype=torch.int64), name="cloud")
    assert torch.equal(graph.x, points)
    assert graph.name == "cloud"
    for form in (points.numpy(), points.tolist(), points.double()):
        assert torch.equal(knn_graph(form, 3).edge_index, graph.edge_index)
    assert knn_graph(points, 3).x is None
    assert knn_graph(np.array([[0], [1], [3]]), 1).num_edges == 4  # integers are coordinates too


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (torch.zeros(5), {}, r"points: got shape \(5,\), expected \[num_points, dimensions\]"),
        (torch.zeros(5, 0), {}, r"points: got shape \(5, 0\)"),
        (torch.tensor([[0.0], [math.nan], [1.0]]), {}, "points: 1 values are NaN or infinite, the first in row 1"),
        (torch.zeros(5, 2), {"k": 5}, "k: got 5 neighbours, expected at least 1 and fewer than the 5 points"),
        (torch.zeros(5, 2), {"k": 0}, "k: got 0 neighbours"),
        (torch.zeros(0, 2), {}, "k: got 1 neighbours, .* fewer than the 0 points"),
        (torch.zeros(5, 2), {"symmetry": "both"}, 'symmetry: got \'both\', expected "union", "mutual" or None'),
        (torch.zeros(5, 2), {"weight": "heat"}, 'weight: got \'heat\', expected "binary" or "gaussian"'),
        (torch.zeros(5, 2), {"sigma": 0.0}, r"sigma: got 0\.0, expected a finite number above 0"),
    ],
)
def test_knn_errors_say_what_is_wrong(points, options, message):
    with pytest.raises(InputError, match=message):
        knn_graph(points, **{"k": 1, **options})
    with pytest.raises(InputTypeError, match=r"points: got torch\.complex64, expected real coordinates"):
        knn_graph(torch.zeros(5, 2, dtype=torch.complex64), 1)
    with pytest.raises(InputTypeError, match=r"k: got 2\.5, expected an integer"):
        knn_graph(torch.zeros(5, 2), 2.5)


# -- superpixels ------------------------------------------------------------------------------------------------------


def picture(height, width, channels):
    """Four tinted quarters under a little noise."""
    generator = np.random.default_rng(0)
    tint = generator.uniform(0.2, 0.8, (2, 2, channels))
    image = tint.repeat(-(-height // 2), 0)[:height].repeat(-(-width // 2), 1)[:, :width]
    return (image + generator.uniform(-0.1, 0.1, image.shape)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_superpixels_are_the_regions_that_touch(channels, connectivity):
    pytest.importorskip("skimage")
    image = picture(23, 29, channels)
    graph, segments = superpixel_graph(image, 31, connectivity=connectivity, compactness=30.0)
    labels = segments.numpy()
    assert sorted(set(labels.ravel())) == list(range(graph.num_nodes))
    assert 10 < graph.num_nodes < 60

    steps = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if connectivity == 8 else [])
    touching = nx.Graph()
    for r, c in itertools.product(range(23), range(29)):
        for down, right in steps:
            if r + down < 23 and 0 <= c + right < 29 and labels[r, c] != labels[r + down, c + right]:
                touching.add_edge(labels[r, c], labels[r + down, c + right])
    found = {(int(u), int(v)) for u, v in graph.edge_index.t()}
    assert found == {edge for u, v in touching.edges for edge in ((u, v), (v, u))}
    assert not graph.is_directed
    assert bool((graph.adjacency.value == 1).all())

    assert graph.num_features == channels + 3
    for node in range(graph.num_nodes):
        rows, columns = np.nonzero(labels == node)
        expected = [
            *image[rows, columns].mean(0),
            rows.mean() / 23,
            columns.mean() / 29,
            len(rows) / (23 * 29),
        ]
        np.testing.assert_allclose(graph.x[node], expected, rtol=1e-5)


def test_regions_are_those_of_scikit_image():
    measure = pytest.importorskip("skimage.graph")
    image = picture(23, 29, 3)
    graph, segments = superpixel_graph(image, 31, connectivity=8)
    rag = measure.rag_mean_color(image, segments.numpy(), connectivity=2)
    found = {frozenset(edge) for edge in graph.edge_index.t().tolist()}
    assert found == {frozenset(map(int, edge)) for edge in rag.edges}
    for node in rag:
        np.testing.assert_allclose(graph.x[node, :3], rag.nodes[node]["mean color"], rtol=1e-5)


def test_a_prediction_is_painted_back():
    pytest.importorskip("skimage")
    image = torch.zeros(12, 16, dtype=torch.uint8)
    image[:, 8:] = 255
    found = superpixel_graph(image, 8, y=torch.tensor(1))
    assert isinstance(found, Superpixels)
    assert torch.equal(found.graph.x[found.segments][:, :, 0], image / 255)  # no superpixel crosses the border
    assert float(found.graph.x[:, -1].sum()) == pytest.approx(1.0)
    assert int(found.graph.y) == 1


def test_images_come_in_several_forms():
    pytest.importorskip("skimage")
    image = (255 * picture(14, 15, 3)).astype(np.uint8)
    graph, segments = superpixel_graph(image, 20)
    for form in (torch.from_numpy(image), image / np.float32(255)):
        other = superpixel_graph(form, 20)
        assert torch.equal(other.segments, segments)
        torch.testing.assert_close(other.graph.x, graph.x)
    gray = superpixel_graph(image[..., 0], 20)
    assert torch.equal(gray.segments, superpixel_graph(image[..., :1], 20).segments)
    strided = torch.from_numpy(image).transpose(0, 1)
    assert superpixel_graph(strided, 20).segments.shape == (15, 14)
    single = superpixel_graph(np.ones((1, 1)), 75)
    assert single.graph.num_nodes == 1
    assert single.graph.num_edges == 0


def test_compactness_makes_regions_compact():
    pytest.importorskip("skimage")
    image = picture(40, 40, 1)

    def spread(compactness):
        graph, segments = superpixel_graph(image, 30, compactness=compactness)
        place = torch.stack(torch.meshgrid(*[torch.arange(40) / 40] * 2, indexing="ij"), -1)
        return float((graph.x[segments][..., 1:3] - place).square().sum(-1).mean())

    assert spread(10.0) < 0.8 * spread(0.02)


def test_superpixel_errors_say_what_is_wrong(monkeypatch):
    for image, options, message in (
        (np.zeros((3, 4, 2, 1)), {}, r"image: got shape \(3, 4, 2, 1\), expected \[height, width\] or"),
        (np.zeros((0, 4)), {}, r"image: got shape \(0, 4\)"),
        (
            np.zeros((3, 32, 32)),
            {},
            r"image: got shape \(3, 32, 32\), whose channels seem to come first; .*movedim\(0, 2\)",
        ),
        (np.full((2, 2), np.nan), {}, "image: 4 values are NaN or infinite"),
        (np.zeros((3, 4)), {"num_segments": 0}, "num_segments: got 0, expected at least 1"),
        (np.zeros((3, 4)), {"connectivity": 6}, "connectivity: got 6, expected 4 or 8"),
    ):
        with pytest.raises(InputError, match=message):
            superpixel_graph(image, **options)
    with pytest.raises(InputTypeError, match=r"image: got torch\.int64, expected uint8, or floats"):
        superpixel_graph(np.zeros((3, 4), dtype=np.int64))

    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(
        InputError, match=r"needs the package scikit-image, .*; pip install scikit-image, or 'gcnlab\[superpixels\]'"
    ):
        superpixel_graph(np.zeros((3, 4)))


@pytest.mark.parametrize("shape", [(6, 12, 14), (6, 12, 14, 3)])
def test_a_collection_of_superpixels_has_the_graph_of_each_image(shape):
    pytest.importorskip("skimage")
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for y, names in (
        (torch.tensor([0, 1, 2, 0, 1, 2]), None),
        (list("bacbac"), ("a", "b", "c")),
        (torch.rand(6), None),
    ):
        for given in (images, images.numpy(), list(images)):
            found = superpixel_collection(given, y, 9, connectivity=8)
            assert (len(found), found.class_names) == (6, names)
            for i, graph in enumerate(found):
                one = superpixel_graph(images[i], 9, connectivity=8).graph
                assert torch.equal(graph.x, one.x)
                assert torch.equal(graph.adjacency.to_dense(), one.adjacency.to_dense())
                expected = y[i] if names is None else names.index(y[i])
                assert graph.y.item() == float(expected)
    sizes = superpixel_collection([images[0], images[1, :7]], [0, 1], 9)
    assert torch.equal(sizes[1].x, superpixel_graph(images[1, :7], 9).graph.x)


def test_superpixel_collection_names_what_is_wrong():
    for images, y, message in (
        (
            torch.rand(20, 14, 3),
            [0],
            r"images: got shape \(20, 14, 3\), which seems to be one picture .*images\[None\]",
        ),
        (torch.rand(20, 14), [0], r"images: got shape \(20, 14\), expected \[N, height, width\]"),
        (torch.rand(2, 3, 12, 14), [0, 1], r"image: got shape \(3, 12, 14\), whose channels seem to come first"),
        (torch.rand(2, 12, 14), [0], "y: got 1 labels for 2 images"),
        (torch.rand(2, 12, 14), [0, -1], "y: label -1 at 1"),
        ([], [], "images: got none"),
    ):
        with pytest.raises(InputError, match=message):
            superpixel_collection(images, y)


# -- meshes -----------------------------------------------------------------------------------------------------------

CUBE = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]  # seen from outside
CUBE_FACES = torch.tensor([face for a, b, c, d in SIDES for face in ([a, b, c], [a, c, d])])


def test_mesh_edges_are_the_sides_of_the_triangles():
    graph = Graph.from_mesh(CUBE, CUBE_FACES)
    expected = nx.Graph()
    for a, b, c in CUBE_FACES.tolist():
        nx.add_cycle(expected, [a, b, c])
    assert expected.number_of_edges() == 18  # 12 edges of the cube and a diagonal a side: V - E + F = 8 - 18 + 12 = 2
    np.testing.assert_array_equal(graph.adjacency.to_dense(), nx.to_numpy_array(expected, nodelist=range(8)))
    assert torch.equal(graph.x, CUBE.float())
    assert not graph.is_directed
    assert graph.num_duplicates == 0


def test_mesh_weights_are_lengths():
    a = Graph.from_mesh(CUBE * 2.0, CUBE_FACES, weight="length").adjacency.to_dense()
    for i, j in itertools.product(range(8), range(8)):
        length = math.dist(2.0 * CUBE[i], 2.0 * CUBE[j])
        assert float(a[i, j]) in (0, pytest.approx(length))
    assert torch.equal(a != 0, Graph.from_mesh(CUBE, CUBE_FACES).adjacency.to_dense() != 0)


@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e15])
def test_normals_are_the_weighted_mean_of_the_triangles(scale):
    vertices = (CUBE + 0.1 * cloud(8, 3)) * scale
    x = Graph.from_mesh(vertices, CUBE_FACES, features="coordinates+normals").x
    assert torch.equal(x[:, :3], vertices)
    v = vertices.double().numpy() / scale
    for node in range(8):
        total = np.zeros(3)
        for face in CUBE_FACES.tolist():
            if node in face:
                i = face.index(node)
                p, q, r = v[face[i]], v[face[i - 2]], v[face[i - 1]]
                total += np.cross(q - p, r - p)  # twice the area times the normal
        np.testing.assert_allclose(x[node, 3:], total / np.linalg.norm(total), atol=1e-5)
        assert float(x[node, 3:] @ (vertices[node] / scale - 0.5)) > 0  # outwards


def test_normals_of_a_vertex_without_area_are_zero():
    vertices = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [5.0, 5.0, 5.0]]
    graph = Graph.from_mesh(vertices, [[0, 1, 2]], features="normals", y=3)
    assert graph.num_edges == 6
    assert graph.num_features == 3
    assert not graph.x.to_dense().any()
    assert int(graph.y) == 3
    assert Graph.from_mesh(vertices, []).num_edges == 0
    assert Graph.from_mesh(torch.zeros(0, 3), []).num_nodes == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64, np.uint8])
def test_mesh_dtypes(dtype, index):
    vertices = CUBE.to(dtype)
    graph = Graph.from_mesh(vertices.numpy(), CUBE_FACES.numpy().astype(index), features="normals", weight="length")
    assert graph.x.dtype == graph.adjacency.dtype == dtype


@pytest.mark.parametrize(
    ("vertices", "faces", "options", "message"),
    [
        (CUBE, [[0, 1, 2], [3, 4, 8]], {}, r"faces: triangle 1 is \[3, 4, 8\], expected vertex ids .* below 8"),
        (CUBE, [[0, -1, 2]], {}, r"faces: triangle 0 is \[0, -1, 2\], expected vertex ids of at least 0"),
        (CUBE, [[0, 1, 2], [3, 4, 3]], {}, r"faces: triangle 1 is \[3, 4, 3\], which has a vertex twice"),
        (CUBE, SIDES, {}, r"faces: got shape \(6, 4\), .*; cut each face into triangles"),
        (CUBE, CUBE_FACES.T, {}, r"faces: got shape \(3, 12\), .*; its transpose has: pass faces\.T"),
        (CUBE.T, CUBE_FACES, {}, r"vertices: got shape \(3, 8\), expected \[num_vertices, 3\]"),
        (CUBE[:, :2], CUBE_FACES, {"features": "normals"}, r"vertices: got shape \(8, 2\), but normals need"),
        (CUBE / 0, CUBE_FACES, {}, "vertices: .* values are NaN or infinite, the first in row 0"),
        (CUBE, CUBE_FACES, {"features": "colour"}, 'features: got \'colour\', expected "coordinates", "normals" or'),
        (CUBE, CUBE_FACES, {"features": None}, "features: got None, expected"),
        (CUBE, CUBE_FACES, {"weight": "area"}, "weight: got 'area', expected None or \"length\""),
    ],
)
def test_mesh_errors_say_what_is_wrong(vertices, faces, options, message):
    with pytest.raises(InputError, match=message):
        Graph.from_mesh(vertices, faces, **options)
    with pytest.raises(InputTypeError, match=r"vertices: got torch\.complex64, expected real coordinates"):
        Graph.from_mesh(CUBE.to(torch.complex64), CUBE_FACES)
    with pytest.raises(InputTypeError, match=r"faces: got dtype torch\.float32, expected integers"):
        Graph.from_mesh(CUBE, CUBE_FACES.float())
