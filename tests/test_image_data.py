"""Image sets: idx files, CIFAR-10's binary form, a folder of images, digits; what is malformed names file and value."""

import gzip
import hashlib
import io
import random
import shutil
import struct
import sys
import time
import tracemalloc
import zlib

import numpy as np
import PIL.features
import PIL.Image
import PIL.ImageOps
import pytest
import torch

from gcnlab.data import ImageSet, catalog, fetch, idx, image_folder, image_sets, load, verify
from gcnlab.errors import (
    ChecksumError,
    DatasetFormatError,
    DatasetNotFoundError,
    GcnlabError,
    InputError,
    InputTypeError,
)

pytestmark = pytest.mark.usefixtures("one_thread")

HEIGHT, WIDTH = 3, 5
NUM = {"train": 23, "t10k": 7}


def idx_bytes(array, kind=8):
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class Truth:
    """A small image set, as arrays and as the files it is read from."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.images = {part: rng.integers(0, 256, (n, HEIGHT, WIDTH), dtype=np.uint8) for part, n in NUM.items()}
        self.labels = {part: rng.integers(0, 10, n).astype(np.uint8) for part, n in NUM.items()}
        self.labels["train"][:2] = 0, 9

    def files(self):
        return {
            f"{part}-{kind}-idx{1 if kind == 'labels' else 3}-ubyte": idx_bytes(values[part])
            for part in NUM
            for kind, values in (("images", self.images), ("labels", self.labels))
        }

    def write(self, folder, packed=True):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
        return folder

    def check(self, images):
        assert images.train_images.dtype == images.test_images.dtype == torch.uint8
        assert images.train_labels.dtype == images.test_labels.dtype == torch.int64
        assert np.array_equal(images.train_images.numpy(), self.images["train"])
        assert np.array_equal(images.test_images.numpy(), self.images["t10k"])
        assert images.train_labels.tolist() == self.labels["train"].tolist()
        assert images.test_labels.tolist() == self.labels["t10k"].tolist()


@pytest.fixture
def truth():
    return Truth()


@pytest.fixture
def toy(truth, monkeypatch, data_root):
    """A named set "toy" whose files lie in the data root; its entry in the catalog."""
    folder = truth.write(data_root / "toy" / "raw")
    files = [
        {
            "name": f"{name}.gz",
            "url": None,
            "origin": "a friend",
            "sha256": hashlib.sha256((folder / f"{name}.gz").read_bytes()).hexdigest(),
            "size": (folder / f"{name}.gz").stat().st_size,
            "unpacked_sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in truth.files().items()
    ]
    entry = {**catalog()["fashion-mnist"], "files": files}
    monkeypatch.setitem(catalog(), "toy", entry)
    return folder


# -- the set ----------------------------------------------------------------------------------------------------------


def make(**changes):
    parts = {
        "train_images": torch.zeros(4, 2, 3, dtype=torch.uint8),
        "train_labels": torch.tensor([0, 1, 1, 2]),
        "test_images": torch.zeros(1, 2, 3, dtype=torch.uint8),
        "test_labels": torch.tensor([1]),
    }
    return ImageSet(**{**parts, **changes})


def test_image_set():
    images = make(class_names=["a", "b", "c"], augmentations=["mirror"], name="letters")
    assert repr(images) == "ImageSet(letters: 4 training and 1 test images, 2 x 3 grey, 3 classes)"
    assert (images.num_classes, images.image_shape, images.augmentations) == (3, (2, 3), ("mirror",))
    colour = torch.zeros(4, 2, 3, 5, dtype=torch.uint8)
    images = make(train_images=colour, test_images=colour[:1], train_labels=torch.tensor([0, 255, 1, 2]).byte())
    assert repr(images) == "ImageSet(4 training and 1 test images, 2 x 3 in 5 channels, 256 classes)"
    assert images.image_shape == (2, 3, 5)
    assert images.train_labels.tolist() == [0, 255, 1, 2]
    assert images.class_names == tuple(map(str, range(256)))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train_images": torch.zeros(4, 2, 3)}, InputTypeError, r"train_images: got torch.float32, expected a uint8"),
        ({"train_images": [[0]]}, InputTypeError, r"train_images: got list"),
        (
            {"test_images": torch.zeros(1, 2).byte()},
            InputError,
            r"test_images: got shape \(1, 2\), expected \[N, H, W\]",
        ),
        ({"test_images": torch.zeros(0, 2, 3).byte()}, InputError, r"test_images: got shape \(0, 2, 3\)"),
        ({"test_images": torch.zeros(1, 3, 2).byte()}, InputError, r"images of 3 x 2 grey, .* have 2 x 3 grey"),
        ({"test_labels": torch.tensor([1.0])}, InputTypeError, r"test_labels: got torch.float32, expected integers"),
        ({"train_labels": torch.tensor([0, 1])}, InputError, r"train_labels: got 2 labels for 4 images"),
        (
            {"train_labels": torch.tensor([0, -1, 0, 0])},
            InputError,
            r"train_labels: label -1 at 1; labels must be at least 0",
        ),
        ({"class_names": ["a", "b"]}, InputError, r"train_labels: label 2 at 3; labels must be at least 0 and below 2"),
    ],
)
def test_what_fits_no_image_set(changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes)


def test_holdout():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 19 + [3])[torch.randperm(100, generator=torch.Generator())]
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1)
    whole = ImageSet(images, labels, images[:1], labels[:1])
    x, y, val_x, val_y = whole.holdout(20, seed=1)
    assert val_y.bincount(minlength=4).tolist() == [10, 6, 4, 0]  # 20 % of 50, 30, 19 and 1, each up to one image
    for part, part_y in ((x, y), (val_x, val_y)):
        ids = part[:, 0, 0].long()
        assert torch.equal(part_y, labels[ids])
        assert bool((ids.diff() > 0).all())  # in the order of the set
    assert sorted([*x.flatten().tolist(), *val_x.flatten().tolist()]) == list(range(100))
    again, other = whole.holdout(20, seed=1)[2], whole.holdout(20, seed=2)[2]
    assert torch.equal(val_x, again)
    assert not torch.equal(val_x, other)
    for num in range(1, 100):
        val_y = whole.holdout(num)[3]
        share = labels.bincount() * num / 100
        assert len(val_y) == num
        assert float((val_y.bincount(minlength=4) - share).abs().max()) <= 1
    for num in (0, 100, -1, 0.2, True):
        with pytest.raises(
            (InputError, InputTypeError), match=rf"num: got {num}, expected (at least 1|at most 99|an int)"
        ):
            whole.holdout(num)
    with pytest.raises(InputError, match=r"seed: got -1"):
        whole.holdout(5, seed=-1)


def test_holdout_draws_every_image_alike():
    labels = torch.tensor([0] * 6 + [1] * 4)
    drawn = sum(image_sets.draw_by_class(labels, 5, seed).float() for seed in range(2000)) / 2000
    assert torch.allclose(drawn, torch.tensor(0.5), atol=0.05)  # 4 standard deviations


# -- the catalog ------------------------------------------------------------------------------------------------------


def test_entries_are_complete():
    entries = {name: entry for name, entry in catalog().items() if entry["task"] == "image classification"}
    assert set(entries) == {"fashion-mnist", "mnist", "digits"}
    for name, entry in entries.items():
        assert set(entry["counts"]) == {"train", "test", "height", "width", "classes"}
        assert len(entry["class_names"]) == entry["counts"]["classes"] == 10
        assert ("mirror" in entry["augmentations"]) == (name == "fashion-mnist")
        assert len(entry["files"]) == (0 if name == "digits" else 4)
        for file in entry["files"]:
            assert len(bytes.fromhex(file["unpacked_sha256"])) == 32


def test_digits():
    from sklearn.datasets import load_digits

    images, content = load("digits"), load_digits()
    counts = catalog()["digits"]["counts"]
    assert (len(images.train_images), len(images.test_images)) == (counts["train"], counts["test"]) == (1438, 359)
    assert images.image_shape == (counts["height"], counts["width"])
    assert images.class_names == tuple("0123456789")
    assert images.augmentations == ("shift", "rotate", "shear", "zoom")
    found = torch.cat([images.train_images, images.test_images]).float().mul(16 / 255).round().byte()
    labels = torch.cat([images.train_labels, images.test_labels])
    expected = np.concatenate([content.images.reshape(-1, 64), content.target[:, None]], 1).astype(int).tolist()
    assert sorted(torch.cat([found.view(-1, 64), labels[:, None]], 1).tolist()) == sorted(expected)
    assert int(images.train_images.max()) == 255
    share = images.test_labels.bincount() / labels.bincount()
    assert float((share - 0.2).abs().max()) < 1 / 170
    assert torch.equal(load("digits").test_images, images.test_images)
    with pytest.raises(InputError, match=r"option 'seed' is unknown; digits takes no options"):
        load("digits", seed=1)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        DatasetNotFoundError, match=r"digits needs the package scikit-learn, .*; pip install scikit-learn"
    ):
        load("digits")


# -- idx files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_idx_by_path(truth, tmp_path, packed):
    images = load(truth.write(tmp_path / "shapes", packed))
    truth.check(images)
    assert (images.name, images.augmentations, images.class_names) == ("shapes", (), tuple("0123456789"))
    images.train_images += 1  # memory of its own, which may be written
    with pytest.raises(InputError, match=r"option 'seed' is unknown; .*shapes takes no options"):
        load(tmp_path / "shapes", seed=1)


def test_idx_by_name(truth, toy):
    images = load("toy")
    truth.check(images)
    assert (images.name, images.class_names[3], images.augmentations) == ("toy", "Dress", ("mirror", "shift", "erase"))
    assert sorted(file.name for file in toy.parent.iterdir()) == ["raw"]  # no processed form


def test_bytes_of_a_named_set_are_compared(truth, toy):
    content = (toy / "train-images-idx3-ubyte.gz").read_bytes()
    (toy / "train-images-idx3-ubyte.gz").write_bytes(content[:-1] + b"\1")
    with pytest.raises(ChecksumError, match=r"train-images-idx3-ubyte.gz: sha256 is"):
        load("toy")
    (toy / "train-images-idx3-ubyte.gz").write_bytes(content)
    changed = Truth(seed=1).files()["train-images-idx3-ubyte"]
    (toy / "train-images-idx3-ubyte").write_bytes(changed)  # beside the packed one, which is as it should be
    with pytest.raises(ChecksumError, match=r"train-images-idx3-ubyte \(unpacked\): sha256 is"):
        load("toy")


def test_every_damage_of_a_named_set_is_found(toy, trials):
    rng = random.Random(0)
    for _ in range(trials("damaged files, with a checksum", 300, 300)):
        path = rng.choice(sorted(toy.iterdir()))
        content = path.read_bytes()
        at = rng.randrange(len(content))
        rest = rng.choice([b"", bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]])
        path.write_bytes(content[:at] + rest)
        with pytest.raises(ChecksumError):
            load("toy")
        path.write_bytes(content)


def test_missing_files_of_a_named_set(toy):
    (toy / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DatasetNotFoundError, match=r"Put into .*raw these files: t10k-labels-idx1-ubyte.gz \(from a fri"
    ):
        load("toy")


def header(*sizes, magic=b"\0\0\x08"):
    return magic + bytes([len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
MALFORMED = [
    (IMAGES, b"", r"it ends within the 16 bytes of its header \(found 0\)"),
    (IMAGES, header(23, 3, 5)[:15], r"it ends within the 16 bytes of its header \(found 15\)"),
    (IMAGES, header(23, 3, 5, magic=b"\0\1\x08"), r"expected the magic number 00 00 08 03 .*found '00 01 08 03'"),
    (IMAGES, header(23, 3, 5, magic=b"\0\0\x0d"), r"\(unsigned bytes in 3 dimensions\) \(found '00 00 0d 03'\)"),
    (IMAGES, header(23, 3, 5, 1), r"magic number .*found '00 00 08 04'"),
    (LABELS, header(1, 1, 23), r"expected the magic number 00 00 08 01 .*found '00 00 08 03'"),
    (IMAGES, header(23, 3, 5) + bytes(344), r"states 345 bytes of values, but the file has 344 \(found '23 x 3 x 5'\)"),
    (IMAGES, header(23, 3, 5) + bytes(346), r"states 345 bytes of values, but the file goes on after them"),
    (IMAGES, header(23, 0, 5), r"sizes of 0, or more than \d+ bytes \(found '23 x 0 x 5'\)"),
    (IMAGES, header(2**32 - 1, 2**32 - 1, 2**32 - 1), r"sizes of 0, or more than 2147483648 bytes"),
    (IMAGES, header(2**20, 2**5, 2**6) + bytes(99), r"states 2147483648 bytes of values, but the file has 99"),
    (IMAGES, header(22, 3, 5) + bytes(330), r"train-labels.*: it has 23 labels, but there are 22 images"),
    (IMAGES, header(23, 5, 3) + bytes(345), r"t10k-images.*expected images of 5 x 3, .*\(found '3 x 5'\)"),
    (LABELS, header(24) + bytes(24), r"it has 24 labels, but there are 23 images"),
    (LABELS, header(23) + bytes(22) + b"\x0a", r"label 22 \(from 0\) is not within 0..9 \(found 10\)"),
]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("name", "content", "message"), MALFORMED)
def test_malformed_idx_files(truth, tmp_path, name, content, message, packed):
    truth.write(tmp_path, packed)
    (tmp_path / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DatasetFormatError, match=message):
        idx.read(tmp_path, "toy", catalog()["mnist"]["class_names"])


def test_small_file_that_unpacks_to_much(truth, tmp_path):
    truth.write(tmp_path)
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(header(23, 3, 5) + bytes(1 << 24)))
    tracemalloc.start()
    try:
        with pytest.raises(DatasetFormatError, match=r"states 345 bytes of values, but the file goes on after them"):
            load(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21  # bytes
    finally:
        tracemalloc.stop()


def test_idx_damage(truth, tmp_path, trials):
    """Truncated and flipped files of one's own: read, or refused, and nothing else."""
    rng = random.Random(0)
    truth.write(tmp_path)
    paths = sorted(tmp_path.iterdir())
    refused = 0
    for _ in range(trials("damaged files, without a checksum", 300, 300)):
        path = rng.choice(paths)
        content = bytearray(path.read_bytes())
        right = bytes(content)
        if rng.random() < 0.25:
            del content[rng.randrange(len(content)) :]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            truth.check(load(tmp_path))  # a flip in the gzip header that says nothing of the content
        except GcnlabError:
            refused += 1
        path.write_bytes(right)
    assert refused > 250
    (tmp_path / f"{LABELS}.gz").unlink()
    with pytest.raises(DatasetFormatError, match=r"train-labels-idx1-ubyte.gz: this file is missing, plain or as .gz"):
        load(tmp_path)
    (tmp_path / f"{LABELS}.gz").write_bytes(b"plain, whatever its name says")
    with pytest.raises(DatasetFormatError, match=r"expected the magic number 00 00 08 01"):
        load(tmp_path)


# -- CIFAR-10 ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def cifar(tmp_path):
    """A folder in CIFAR-10's binary form, and its images [N, 32, 32, 3] and labels by file."""
    rng = np.random.default_rng(0)
    truth = {}
    for name, num in {"data_batch_1": 3, "data_batch_2": 2, "data_batch_10": 1, "test_batch": 2}.items():
        images, labels = rng.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, num)
        truth[name] = images, labels.tolist()
        records = [
            bytes([y]) + b"".join(x[..., c].tobytes() for c in range(3)) for x, y in zip(*truth[name], strict=True)
        ]
        (tmp_path / f"{name}.bin").write_bytes(b"".join(records))
    return tmp_path, truth


def test_cifar(cifar):
    folder, truth = cifar
    images = load(folder)
    batches = [truth[f"data_batch_{i}"] for i in (1, 2, 10)]
    assert np.array_equal(images.train_images.numpy(), np.concatenate([x for x, _ in batches]))
    assert images.train_labels.tolist() == [label for _, labels in batches for label in labels]
    assert np.array_equal(images.test_images.numpy(), truth["test_batch"][0])
    assert images.test_labels.tolist() == truth["test_batch"][1]
    assert images.image_shape == (32, 32, 3)
    assert images.class_names[:2] == ("airplane", "automobile")
    assert "mirror" in images.augmentations


def test_malformed_cifar(cifar):
    folder, _ = cifar
    content = (folder / "data_batch_2.bin").read_bytes()
    for changed, message in (
        (content[:-1], r"data_batch_2.bin: expected records of 3073 bytes \(found '6145 bytes'\)"),
        (b"", r"expected records of 3073 bytes"),
        (content[:3073] + b"\x0a" + content[3074:], r"the class of image 1 \(from 0\) is not within 0..9 \(found 10\)"),
    ):
        (folder / "data_batch_2.bin").write_bytes(changed)
        with pytest.raises(DatasetFormatError, match=message):
            load(folder)
    (folder / "data_batch_2.bin").write_bytes(content)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(DatasetFormatError, match=r"test_batch.bin: this file is missing"):
        load(folder)


# -- a folder of images -----------------------------------------------------------------------------------------------


def write_images(folder, classes=("cat", "dog"), num=5, seed=0, mode="L", suffix=".png"):
    """Random pictures of 2 x 3, and what they are by class."""
    rng = np.random.default_rng(seed)
    truth = {}
    for name in classes:
        (folder / name).mkdir(parents=True)
        truth[name] = rng.integers(0, 256, (num, 2, 3) if mode == "L" else (num, 2, 3, len(mode)), dtype=np.uint8)
        for i, pixels in enumerate(truth[name]):
            PIL.Image.fromarray(pixels).save(folder / name / f"{i}{suffix}")
    return truth


def test_image_folder(tmp_path):
    truth = write_images(tmp_path, ("10", "9", "2"))
    (tmp_path / "9" / ".thumbnails").write_bytes(b"not an image, but hidden")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "2" / "0.png").rename(tmp_path / "2" / "0.jpeg")  # the bytes say what it is
    images = load(tmp_path)
    assert images.class_names == ("2", "9", "10")
    assert images.augmentations == ()
    assert len(images.test_images) == 3
    assert sorted(images.test_labels.tolist()) == [0, 1, 2]
    for name, number in (("2", 0), ("9", 1), ("10", 2)):
        found = [images.train_images[images.train_labels == number], images.test_images[images.test_labels == number]]
        assert sorted(torch.cat(found).flatten(1).tolist()) == sorted(truth[name].reshape(5, -1).tolist())
    assert torch.equal(load(tmp_path, seed=0).test_images, images.test_images)
    assert not torch.equal(load(tmp_path, seed=4).test_images, images.test_images)
    with pytest.raises(InputTypeError, match=r"seed: got 'x'"):
        load(tmp_path, seed="x")


def test_image_folder_with_parts(tmp_path):
    train, test = write_images(tmp_path / "train", seed=1, mode="RGB"), write_images(tmp_path / "test", num=2)
    images = load(tmp_path)
    colour = {name: np.stack([grey] * 3, -1) for name, grey in test.items()}  # as others have colour
    for c, name in enumerate(images.class_names):
        for x, y, expected in (
            (images.train_images, images.train_labels, train),
            (images.test_images, images.test_labels, colour),
        ):
            found, wanted = (pixels.reshape(len(pixels), -1).tolist() for pixels in (x[y == c].numpy(), expected[name]))
            assert sorted(found) == sorted(wanted)
    write_images(tmp_path / "test", ("cow",), 1)
    with pytest.raises(DatasetFormatError, match=r"cow: this class is not in .*train"):
        load(tmp_path)


def save(path, mode, size=(3, 2), colour=0, **options):
    PIL.Image.new(mode, size, colour).save(path, **options)


def bomb(path):
    """A PNG of 30,000 x 30,000 pixels in few bytes: its header alone."""
    save(path, "L")
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">2I", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"not an image"), r"3.png: not a readable image: UnidentifiedImageError"),
        (lambda path: path.write_bytes((path.parent / "0.png").read_bytes()[:-30]), r"3.png: not a readable image"),
        (lambda path: path.mkdir(), r"dog: a folder where an image is expected; .*3.png"),
        (
            lambda path: save(path, "L", (2, 3)),
            r"3.png: expected 2 x 3 pixels, as .*0.png has; load\(folder, size=.*\(found '3 x 2'\)",
        ),
        (lambda path: save(path, "I;16"), r"3.png: expected grey or red, green, blue of 8 bits; .*found 'mode I;16'"),
        (lambda path: save(path, "RGBA", colour=(1, 2, 3, 254)), r"3.png: it is transparent in places"),
        (lambda path: save(path, "P", transparency=0), r"3.png: it is transparent in places"),
        (lambda path: save(path, "L", transparency=0), r"3.png: it is transparent in places"),
        (
            lambda path: save(path, "P", format="GIF", save_all=True, append_images=[PIL.Image.new("L", (3, 2), 255)]),
            r"3.png: expected one picture \(found '2 frames'\)",
        ),
        (bomb, r"3.png: not a readable image: DecompressionBomb"),
        (lambda path: save(path, "L", format="ICO", sizes=[(3, 2)]), r"3.png: not a readable image: Unidentified"),
    ],
)
def test_malformed_images(tmp_path, write, message):
    write_images(tmp_path, num=3)
    write(tmp_path / "dog" / "3.png")
    with pytest.raises(DatasetFormatError, match=message):
        load(tmp_path)


def test_images_without_loss(tmp_path):
    write_images(tmp_path, num=4)
    for mode, colour in (("1", 1), ("RGBA", (7, 8, 9, 255)), ("P", 0), ("LA", (5, 255))):
        save(tmp_path / "dog" / f"{mode}.png", mode, colour=colour)
    images = load(tmp_path)
    pixels = {tuple(image[0, 0].tolist()) for image in torch.cat([images.train_images, images.test_images])}
    assert {(255, 255, 255), (7, 8, 9), (0, 0, 0), (5, 5, 5)} <= pixels


def test_image_folder_with_a_text_beside_its_classes(tmp_path):
    write_images(tmp_path, ("cat", "dog"))
    (tmp_path / "README.txt").write_text("my pets", encoding="utf-8")
    assert load(tmp_path).class_names == ("cat", "dog")


def test_malformed_folders(tmp_path, monkeypatch):
    (tmp_path / "cat").mkdir()
    with pytest.raises(
        DatasetFormatError, match=r"expected a sub-folder for each class, two at least \(found \['cat'\]"
    ):
        load(tmp_path)
    write_images(tmp_path, ("dog",))
    with pytest.raises(DatasetFormatError, match=r"cat: this class has no image"):
        load(tmp_path)
    write_images(tmp_path / "cat", ("train",))
    with pytest.raises(
        DatasetFormatError, match=r"cat: a folder where an image is expected; .* train and test \(found 'train'\)"
    ):
        load(tmp_path)
    shutil.rmtree(tmp_path / "cat")
    write_images(tmp_path, ("cow",))
    monkeypatch.setattr(image_folder, "MAX_BYTES", 179)  # of 10 images of 2 x 3 in colour
    with pytest.raises(
        DatasetFormatError, match=r"10 images of its size have more than 179 bytes; load\(folder, size="
    ):
        load(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(
        DatasetNotFoundError, match=r"a folder of images needs the package pillow, .*; pip install pillow"
    ):
        load(tmp_path)


def test_folder_of_nothing_known(tmp_path):
    with pytest.raises(
        DatasetFormatError, match=r"of idx files, of CIFAR-10's .* one sub-folder a class \(found 'none'"
    ):
        load(tmp_path)


# what a camera, a phone and other systems write


def pixels_of(folder):
    """The images of both parts, by class, sorted."""
    images = load(folder)
    x, y = (
        torch.cat([images.train_images, images.test_images]),
        torch.cat([images.train_labels, images.test_labels]),
    )
    return {name: sorted(x[y == c].flatten(1).tolist()) for c, name in enumerate(images.class_names)}


def picture(seed=0, size=(8, 6), mode="RGB"):
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *(("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "L"), ("TIFF", "RGB"), ("TIFF", "L")),
        *(("WEBP", "RGB"), ("MPO", "RGB"), ("AVIF", "RGB")),
    ],
)
def test_pictures_stand_as_the_camera_s_orientation_says(tmp_path, form, mode, orientation):
    if form in ("WEBP", "AVIF") and not PIL.features.check(form.lower()):
        pytest.skip(f"this Pillow has no {form}")
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"save_all": True, "append_images": [picture(9, (4, 3))]} if form == "MPO" else {}
    upright = []
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            image = picture(10 * i + len(upright), (6, 8) if 5 <= orientation <= 8 else (8, 6))
            image = image.convert("P") if mode == "P" else image.convert(mode)
            path = tmp_path / name / f"{i}.x"
            image.save(path, form, exif=exif.tobytes(), **options)
            with PIL.Image.open(io.BytesIO(path.read_bytes())) as written:
                shown = PIL.ImageOps.exif_transpose(written).convert("L" if mode == "L" else "RGB")
            assert shown.size == (8, 6)
            upright.append(np.asarray(shown).reshape(-1).tolist())
    if mode != "L":  # beside upright ones of the same size
        picture(77).save(tmp_path / "dog" / "plain.png")
        upright.append(np.asarray(picture(77)).reshape(-1).tolist())
    found = pixels_of(tmp_path)
    assert sorted(found["cat"] + found["dog"]) == sorted(upright)


def test_a_heic_picture_is_named_with_the_remedy(tmp_path):
    write_images(tmp_path)
    (tmp_path / "cat" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))
    with pytest.raises(
        DatasetFormatError, match=r"IMG_1.HEIC: not a readable image: .* HEIC .*convert it to JPEG or PNG"
    ):
        load(tmp_path)


def test_pictures_of_several_sizes_get_one(tmp_path):
    truth = []
    for name, sizes in (("cat", [(8, 6), (40, 30), (9, 31)]), ("dog", [(7, 6), (5, 5), (100, 20)])):
        (tmp_path / name).mkdir()
        for i, size in enumerate(sizes):
            picture(i, size).save(tmp_path / name / f"{i}.png")
            truth.append(
                np.asarray(picture(i, size).resize((7, 5), PIL.Image.Resampling.BILINEAR)).reshape(-1).tolist()
            )
    with pytest.raises(
        DatasetFormatError, match=r"5 of 6 files cannot be used: cat/1.png: expected 6 x 8 .*size=\(height"
    ):
        load(tmp_path)
    with pytest.warns(UserWarning, match="test images have none of '(cat|dog)'"):  # a fifth is one picture
        images = load(tmp_path, size=(5, 7))
    assert images.image_shape == (5, 7, 3)
    assert sorted(torch.cat([images.train_images, images.test_images]).flatten(1).tolist()) == sorted(truth)
    for size, error in ((0, InputError), ((5, 0), InputError), ((5, 7, 3), InputTypeError), ("5", InputTypeError)):
        with pytest.raises(error, match="size: got"):
            load(tmp_path, size=size)
    assert images.grid().shape == (5, 7)
    assert images.grid(connectivity=4).connectivity == 4


def test_large_photographs_are_made_small_one_by_one(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            picture(i + 5 * (name == "dog"), (300, 200)).save(tmp_path / name / f"{i}.jpg")
    monkeypatch.setattr(image_folder, "MAX_BYTES", 10 * 3 * 20 * 20)
    with pytest.raises(DatasetFormatError, match=r"10 images of its size have more than .* size=\(height, width\)"):
        load(tmp_path)
    assert load(tmp_path, size=20).image_shape == (20, 20, 3)


def test_what_systems_leave_behind_is_no_picture_and_no_class(tmp_path):
    write_images(tmp_path)
    expected = pixels_of(tmp_path)
    for junk in (
        "cat/Thumbs.db",
        "dog/desktop.ini",
        "dog/.DS_Store",
        "dog/._0.png",
        "__MACOSX/cat/._0.png",
        "@eaDir/x",
        "cat/Icon\r",
    ):
        (tmp_path / junk).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / junk).write_bytes(b"\xd0\xcf\x11\xe0")
    assert pixels_of(tmp_path) == expected


def test_every_broken_file_is_told_at_once(tmp_path):
    write_images(tmp_path, num=9)
    for i in range(7):
        (tmp_path / "cat" / f"{i}.png").write_bytes(b"<!DOCTYPE html>" if i else b"")
    with pytest.raises(
        DatasetFormatError, match=r"7 of 18 files cannot be used: cat/0.png: .*cat/4.png: .*; and 2 more$"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("training", "testing"),
        ("train", "val"),
        ("train", "validation"),
        ("TRAIN", "valid"),
    ],
)
def test_two_parts_under_the_names_people_give_them(tmp_path, train, test):
    write_images(tmp_path / train, num=4, seed=1)
    write_images(tmp_path / test, num=3, seed=2)
    images = load(tmp_path)
    assert (len(images.train_images), len(images.test_images), images.class_names) == (8, 6, ("cat", "dog"))


def test_a_third_part_is_told_and_two_of_a_kind_are_refused(tmp_path):
    for seed, part in enumerate(("train", "val", "test")):
        write_images(tmp_path / part, seed=seed)
    with pytest.warns(
        UserWarning, match=r"val is not read, the parts are train and test; move its pictures into train"
    ):
        assert len(load(tmp_path).test_images) == 10
    write_images(tmp_path / "testing", seed=7)
    with pytest.raises(DatasetFormatError, match=r"expected one such part \(found 'test and testing'\)"):
        load(tmp_path)


def test_a_slice_of_a_folder_is_of_every_class(tmp_path):
    write_images(tmp_path / "one", num=40)
    write_images(tmp_path / "two" / "train", num=40, seed=1)
    write_images(tmp_path / "two" / "test", num=40, seed=2)
    for folder in (tmp_path / "one", tmp_path / "two"):
        images = load(folder)
        for labels in (images.train_labels, images.test_labels):
            assert len(labels[:8].unique()) == len(labels[-8:].unique()) == 2
        assert torch.equal(load(folder, seed=0).train_images, images.train_images)
        other = load(folder, seed=1)
        assert not torch.equal(other.train_images, images.train_images)
        assert other.train_labels.bincount().tolist() == images.train_labels.bincount().tolist()


def test_pictures_of_both_parts_and_classes_without_one_are_told(tmp_path):
    write_images(tmp_path / "train", seed=1)
    write_images(tmp_path / "test", ("cat",), num=3, seed=2)
    with pytest.warns(UserWarning, match=r"test images have none of 'dog'"):
        load(tmp_path)
    write_images(tmp_path / "test", ("dog",), num=3, seed=3)
    shutil.copy(tmp_path / "train" / "dog" / "1.png", tmp_path / "test" / "dog" / "copy.png")
    with pytest.warns(UserWarning, match=r"1 of the 7 test images are training images too"):
        load(tmp_path)


def test_a_zip_archive_of_pictures_is_named(tmp_path, truth):
    write_images(tmp_path / "pets")
    shutil.make_archive(tmp_path / "pets", "zip", tmp_path / "pets")
    truth.write(tmp_path / "digits")
    shutil.make_archive(tmp_path / "digits", "zip", tmp_path / "digits")
    for name in ("pets.zip", "digits.zip"):
        with pytest.raises(DatasetFormatError, match=r"a zip archive of pictures or idx files; unpack it"):
            load(tmp_path / name)


# the names and forms in which others keep idx files, MNIST and CIFAR-10


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("change", [("-idx", ".idx"), ("-", "_"), ("t10k", "test"), ("train", "Train")])
def test_idx_files_under_the_names_people_have(truth, tmp_path, change, packed, named):
    for name, content in truth.files().items():  # gzip is known by its bytes
        (tmp_path / (name.replace(*change) + ".gz" * named)).write_bytes(gzip.compress(content) if packed else content)
    truth.check(load(tmp_path))


def test_idx_files_of_which_some_are_missing(truth, tmp_path):
    truth.write(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DatasetFormatError, match=r"train-images-idx3-ubyte.gz: this file is missing, plain or as .gz"):
        load(tmp_path)


def test_keras_npz_of_images(truth, tmp_path):
    arrays = {"x_train": truth.images["train"], "y_train": truth.labels["train"][:, None]}
    arrays |= {"x_test": np.asfortranarray(truth.images["t10k"]), "y_test": truth.labels["t10k"].astype(np.int64)}
    np.savez(tmp_path / "mnist.npz", **arrays)
    truth.check(load(tmp_path / "mnist.npz"))
    for key, value, message in (
        ("x_train", arrays["x_train"] / 255, r"key 'x_train': expected bytes \[N, H, W\].*float64"),
        ("x_train", arrays["x_train"][0], r"key 'x_train': expected numbers in 3 or 4 axes"),
        ("y_train", arrays["y_train"][1:], r"key 'y_train': expected one label for each of 23 images .*22"),
        ("y_test", arrays["y_test"] - 10, r"key 'y_test': the label at \d is below 0"),
        ("x_test", arrays["x_test"][:, 1:], r"key 'x_test': expected images of 3 x 5, .*found '2 x 5'"),
    ):
        np.savez(tmp_path / "mnist.npz", **{**arrays, key: value})
        with pytest.raises(DatasetFormatError, match=message):
            load(tmp_path / "mnist.npz")
    np.savez(tmp_path / "mnist.npz", images=arrays["x_train"])
    with pytest.raises(
        DatasetFormatError, match=r"expected the arrays of a graph, .* or of images, x_train, .*images.npy"
    ):
        load(tmp_path / "mnist.npz")


def test_the_python_version_of_cifar_is_named(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x01.")
    with pytest.raises(
        DatasetFormatError, match=r"CIFAR-10's Python version, whose files are pickles; take the binary"
    ):
        load(tmp_path)


# -- the real files ---------------------------------------------------------------------------------------------------


def check_real_set(name):
    if set(verify(name).values()) != {"ok"}:
        pytest.skip(f"{name} is not in GCNLAB_DATA")
    images, counts = load(name, download=False), catalog()[name]["counts"]
    assert (len(images.train_images), len(images.test_images)) == (counts["train"], counts["test"])
    assert images.image_shape == (counts["height"], counts["width"])
    return images


@pytest.mark.data
def test_fashion_mnist():
    began = time.perf_counter()
    images = check_real_set("fashion-mnist")
    assert time.perf_counter() - began < 6  # measured: 0.25 s, after as long for verify
    assert images.train_labels.bincount().tolist() == [6000] * 10
    assert images.test_labels.bincount().tolist() == [1000] * 10
    assert [images.class_names[label] for label in images.test_labels[:3]] == ["Ankle boot", "Pullover", "Trouser"]
    with gzip.open(fetch("fashion-mnist") / "t10k-images-idx3-ubyte.gz") as file:  # by numpy, without this reader
        expected = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    assert np.array_equal(images.test_images.numpy(), expected)


def test_mnist_where_it_is():
    check_real_set("mnist")


def png_of_16_bits(channels):
    """A PNG of 3 x 4 pixels of 16 bits, which Pillow opens as one of 8."""
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + bytes(range(4 * channels * 2)) for _ in range(3))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 4, 3, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_pictures_of_16_bits_are_not_cut_to_8(tmp_path, channels):
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png_of_16_bits(channels))
    with pytest.raises(DatasetFormatError, match=r"of 8 bits; convert it .*|4 of 4 files cannot be used: .*of 8 bits"):
        load(tmp_path)


def test_an_image_set_of_channels_first_is_refused():
    images, y = torch.zeros(6, 3, 8, 9, dtype=torch.uint8), torch.arange(6) % 2
    with pytest.raises(InputError, match=r"train_images: got shape .* channels seem to come first; .*movedim\(1, 3\)"):
        ImageSet(images, y, images, y)
