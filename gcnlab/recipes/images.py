"""Image classification: how the grid networks are trained, and the CNNs of the tutorials beside them.

Two ways to train. A tutorial's own: no augmentation, the weights of the last epoch. And one for all comers: images
augmented as their data set allows, AdamW with one cycle of the learning rate, smoothed labels, the running average of
the weights, a mirrored copy of each test image where a mirror image is of the same class. In both the test set is read
once, after the last epoch, and nothing is chosen by it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import metrics
from ..augment import Augment
from ..baselines import BASELINES, Baseline
from ..checkpoint import check_state, describe, digest_of
from ..data import ImageSet, image_folder, load
from ..errors import InputError
from ..generators import generators_kept
from ..image import Grid, Signals, grid_graph
from ..machine import versions
from ..models import GridGCN, load_model, summary
from ..reporting import Content
from ..reporting.findings import MAX_IMAGES, add_images
from ..train import Callback, Checkpoint, History, fit, predict
from .base import Finish, Run
from .outputs import Outputs
from .result import best_of, chosen_of, header_of, result_of, spread_of, write_model

IMAGE_PROTOCOLS = {
    "holdout": "the set's own test images, read once after the last epoch; a twelfth of the training images held out",
    "tutorial": "all training images, the weights of the last epoch; the set's own test images, read once",
}
HOLDOUT = 5000  # training images that are held out for selection; a twelfth of smaller sets
# The tutorials' models of 4 and 5 million parameters train in 16 bits, in about a third of the time.
SLOWEST = ("unpooled-cnn", "deep-cnn")
PRETRAINED = Path(__file__).parent.parent / "pretrained"


@dataclass(frozen=True)
class ImageRecipe:
    """A recipe of image classification.

    Attributes:
        name: what `gcnlab run` is given.
        build: makes the model of (channels of a pixel, number of classes).
        on_grid: whether the model takes signals on a grid graph, rather than images.
        model_name: what it is, in a few words.
        published: (data set, protocol) -> (accuracy as a fraction, its source).
        precision: of products and convolutions in training, as `fit` takes it.
        num_seeds: seeds of a run that does not say how many.
        tutorial: the tutorial's way to train; None for the one described above.
    """

    kind: ClassVar[str] = "image"
    header: ClassVar[dict[str, Any]] = {"dataset": str, "image_shape": [int], "mirrored": bool}
    report_packages: ClassVar[tuple[str, ...]] = ()
    takes_pictures: ClassVar[bool] = True
    has_pretrained: ClassVar[bool] = True
    takes_path: ClassVar[bool] = True

    name: str
    build: Callable[[int, int], nn.Module]
    on_grid: bool
    model_name: str
    dataset: str = "fashion-mnist"
    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.01
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    average: float = 0.998
    precision: str = "bfloat16"
    published: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    num_seeds: int = 1
    tutorial: Baseline | None = None
    protocols: tuple[str, ...] = ("holdout",)

    @property
    def datasets(self) -> list[str]:
        """The names it can run on."""
        return ["fashion-mnist", "mnist", "digits"]

    def model(self, images: ImageSet) -> nn.Module:
        channels = images.image_shape[2] if len(images.image_shape) == 3 else 1
        return self.build(channels, images.num_classes)

    def grid(self, shape: Sequence[int]) -> Grid | None:
        """The grid graph of images of a shape (H, W) or (H, W, C), where the model takes one."""
        return grid_graph(*shape[:2]) if self.on_grid else None

    def describe(self, root: str | None = None) -> str:
        grid = grid_graph(28, 28)
        return f"{grid}, a batch of 1 signal\n{summary(self.build(1, 10), torch.zeros(1, grid.num_nodes, 1), grid)}"

    def predict(
        self, model: nn.Module, header: Mapping[str, Any], dataset: str, root: str | None, pictures: Sequence[str] = ()
    ) -> tuple[Sequence[Any], Tensor]:
        signals, names = _images_to_label(self, header, pictures, dataset, root)
        return names, log_probabilities(model, signals, header["mirrored"])

    def run(self, run: Run) -> tuple[dict[str, Any], Finish]:
        run.say(f"protocol {run.protocol}: {IMAGE_PROTOCOLS[run.protocol]}")
        images = load(run.dataset, root=run.root)
        if not isinstance(images, ImageSet):
            raise InputError(f"dataset: {run.dataset} holds no images, which {self.name} classifies.")
        trained = _take_pretrained(self, images, run) if run.is_pretrained else _train_seeds(self, images, run)
        result = result_of(
            self,
            run,
            data=digest(images),
            num_parameters=sum(p.numel() for p in trained.model.parameters()),
            seeds=trained.seeds,
            test_accuracy=spread_of([score["accuracy"] for score in trained.scores]),
            test_macro_f1=spread_of([score["macro_f1"] for score in trained.scores]),
            val_accuracy=spread_of(trained.val_accuracy),
            epochs=0 if run.is_pretrained else run.epochs,
            epoch_seconds=[0.0] if trained.history is None else trained.history.epoch_seconds,
            threads=0 if trained.history is None else trained.history.threads,
        )
        return result, partial(self._finish, run, images, trained)

    def _finish(self, run: Run, images: ImageSet, trained: _Trained, files: Outputs) -> Content:
        """Keep the model of the best seed, where there was a training, and show its predictions."""
        best, model, history = best_of(trained.val_accuracy), trained.model, trained.history
        if history is not None:
            model.load_state_dict(history.state(best))
            model.cpu().eval()
            _, val = parts(self, images)
            mirrored = mirrors(self, images)
            header = header_of(
                self, run, model=describe(model), class_names=list(images.class_names),
                image_shape=list(images.image_shape), mirrored=mirrored,
                confusion_matrix=trained.scores[best]["confusion_matrix"], val_accuracy=trained.val_accuracy[best],
                test_accuracy=trained.scores[best]["accuracy"], versions=versions(),
                temperature=None if val is None else metrics.fit_temperature(
                    log_probabilities(model, val, mirrored), val.y
                ),
            )  # fmt: skip
            write_model(files, header, history, best, [run.checkpoint(seed) for seed in trained.seeds])
        size = " x ".join(map(str, images.image_shape))
        data = f"{len(images.train_images):,} training and {len(images.test_images):,} test images of {size}"
        content = Content(
            {"protocol": IMAGE_PROTOCOLS[run.protocol], "data": data}, images.class_names, history,
            confusion=trained.scores[best]["confusion_matrix"], chosen=chosen_of(trained.seeds, best),
        )  # fmt: skip
        shown = copy.copy(images)
        shown.test_images, shown.test_labels = (part[:MAX_IMAGES] for part in (images.test_images, images.test_labels))
        signals = Signals(shown.test_images, shown.test_labels, self.grid(images.image_shape))
        predicted = predict_test(self, model.cpu().eval(), shown).argmax(1)
        add_images(content, model, signals, len(images.test_labels), predicted)
        return content


@dataclass
class _Trained:
    """The models of a run, and how they score.

    Attributes:
        model: has the weights of the last seed.
        seeds: one per entry of the lists below.
        scores: on the test images, as `scores` gives them.
        val_accuracy: of the kept weights.
        history: the training of all seeds; None for weights that come with gcnlab.
    """

    model: nn.Module
    seeds: list[int]
    scores: list[dict[str, Any]]
    val_accuracy: list[float]
    history: History | None = None


def _take_pretrained(recipe: ImageRecipe, images: ImageSet, run: Run) -> _Trained:
    model, about = pretrained(recipe, images)
    score = scores(recipe, model.to(run.device), images, run.device)
    run.say(f"weights of seed {about['seeds'][0]}, trained for {about['epoch']} epochs, come with gcnlab")
    return _Trained(model, about["seeds"], [score], [about["val_accuracy"]])


def _train_seeds(recipe: ImageRecipe, images: ImageSet, run: Run) -> _Trained:
    seeds, found, histories = list(range(run.num_seeds)), [], []
    for seed in seeds:
        model, history = train(
            recipe, images, seed, run.epochs, run.device, checkpoint=run.checkpoint(seed), callbacks=run.callbacks()
        )
        found.append(scores(recipe, model, images, run.device))
        histories.append(history)
        run.say(f"seed {seed}: test accuracy {100 * found[-1]['accuracy']:.2f} %")
    history = History.join(histories)
    return _Trained(model, seeds, found, history.best("val_accuracy").tolist(), history)


def digest(images: ImageSet) -> str:
    """Digest of the images that a model is trained and scored on."""
    parts = images.train_images, images.train_labels, images.test_images, images.test_labels
    return digest_of(*parts, images.class_names, images.augmentations)


def parts(recipe: ImageRecipe, images: ImageSet) -> tuple[Signals, Signals | None]:
    """The images to train on, and the training images that are held out for validation, if any are."""
    grid = recipe.grid(images.image_shape)
    if recipe.tutorial is not None:
        signals = Signals(images.train_images, images.train_labels, grid)
        num_val = round(recipe.tutorial.validation_split * len(signals))  # Keras takes the last ones
        return (signals[:-num_val], signals[-num_val:]) if num_val else (signals, None)
    num_val = min(HOLDOUT, len(images.train_labels) // 12)
    if num_val < 1:
        raise InputError(
            f"dataset: {images.name} has {len(images.train_labels)} training images, of which a twelfth is held out for "
            "validation; expected at least 12 of them. Add pictures."
        )
    train_images, train_labels, val_images, val_labels = images.holdout(num_val)
    signals = Signals(train_images, train_labels, grid, Augment(images.augmentations))
    return signals, Signals(val_images, val_labels, grid)


def train(
    recipe: ImageRecipe,
    images: ImageSet,
    seed: int,
    epochs: int,
    device: str = "cpu",
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[nn.Module, History]:
    """Train a model by its recipe, from one seed."""
    signals, val = (None if part is None else part.to(device) for part in parts(recipe, images))
    assert signals is not None
    with generators_kept(seed):
        model = recipe.model(images).to(device)
    if recipe.tutorial is not None:
        row = recipe.tutorial
        options: dict[str, Any] = {"optimizer": row.optimizer, "lr": row.lr, "batch_size": row.batch_size}
    else:
        options = {
            "optimizer": lambda groups, lr: _adamw(groups, lr, recipe.weight_decay),
            "lr": recipe.lr,
            "batch_size": recipe.batch_size,
            "scheduler": "one-cycle",
            "label_smoothing": recipe.label_smoothing,
            "average": recipe.average,
        }
    history = fit(
        model, signals, val, seed=seed, epochs=epochs, select="last", precision=recipe.precision, progress=progress,
        checkpoint=checkpoint, callbacks=callbacks, **options,
    )  # fmt: skip
    return model, history


def _adamw(groups: list[dict[str, Any]], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) that decays matrices and kernels alone, not norms and biases."""
    parameters = [p for group in groups for p in group["params"]]
    kernels, rest = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() <= 1]
    decays = [{"params": kernels, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in decays if group["params"]], lr=lr)


def mirrors(recipe: ImageRecipe, images: ImageSet) -> bool:
    """Whether predictions are means over an image and its mirror image."""
    return recipe.tutorial is None and "mirror" in images.augmentations


def predict_test(recipe: ImageRecipe, model: nn.Module, images: ImageSet, device: str = "cpu") -> Tensor:
    """Log-probabilities of the test images [M, num_classes]; averaged with those mirrored where the set allows it."""
    signals = Signals(images.test_images, images.test_labels, recipe.grid(images.image_shape)).to(device)
    return log_probabilities(model, signals, mirrors(recipe, images))


def log_probabilities(model: nn.Module, signals: Signals, mirrored: bool) -> Tensor:
    """Log-probabilities per image, [num_images, num_classes] on the CPU; `mirrored` averages each image with its mirror image."""
    views = [signals]
    if mirrored:
        views.append(signals.mirrored())
    log_p = [predict(model, view).log_softmax(1).cpu() for view in views]
    return torch.stack(log_p).logsumexp(0) - math.log(len(views))  # a probability may be too small for a float32


@generators_kept()
def pretrained(recipe: ImageRecipe, images: ImageSet) -> tuple[nn.Module, dict[str, Any]]:
    """The model with the weights that come with gcnlab, and the header of their file, which is a run's model.gcnlab.

    Raises:
        InputError: gcnlab has no weights for the recipe, or they are of other images.
        CheckpointMismatchError: the weights do not fit the recipe's model of these images.
    """
    path = PRETRAINED / f"{recipe.name}.gcnlab"
    if not path.exists():
        raise InputError(f"pretrained: no weights of {recipe.name} come with gcnlab.")
    model, header = load_model(path)
    if header["dataset"] != images.name:
        raise InputError(f"pretrained: the weights of {recipe.name} are of {header['dataset']}, not of {images.name}.")
    check_state(path, model.state_dict(), recipe.model(images).state_dict())
    return model, header


def grid_recipe(
    name: str, channels: tuple[int, ...], conv: str = "relational", readout: str = "mean+max", **options: Any
) -> ImageRecipe:
    """A `GridGCN` of these widths, trained as described above."""
    options_of_model = {key: options.pop(key) for key in ("coordinates", "num_layers") if key in options}
    kind = {"relational": "relational GCN", "isotropic": "isotropic GCN"}[conv]
    widths = ", ".join(map(str, channels))
    extras = " + coordinates" * options_of_model.get("coordinates", False)
    return ImageRecipe(
        name,
        lambda in_channels, num_classes: GridGCN(
            in_channels, channels, num_classes, conv=conv, readout=readout, **options_of_model
        ),
        on_grid=True,
        model_name=f"{kind}{extras}, {widths} channels, {readout} readout",
        **options,
    )


def baseline_recipe(name: str) -> ImageRecipe:
    """A tutorial's CNN, trained as in the tutorial."""
    row = BASELINES[name]
    return ImageRecipe(
        name,
        lambda in_channels, num_classes: row.model(num_classes),
        on_grid=False,
        model_name=name,
        epochs=row.epochs or 5,  # where the tutorial names none, as many as the others have
        precision="bfloat16" if name in SLOWEST else "float32",
        published={} if row.reported is None else {("fashion-mnist", "tutorial"): (row.reported, row.source)},
        tutorial=row,
        protocols=("tutorial",),
    )


def scores(recipe: ImageRecipe, model: nn.Module, images: ImageSet, device: str = "cpu") -> dict[str, Any]:
    """Accuracy, macro-F1 and confusion matrix on the test images."""
    scores, y = predict_test(recipe, model, images, device), images.test_labels
    return {
        "accuracy": metrics.accuracy(scores, y),
        "macro_f1": metrics.macro_f1(scores, y),
        "confusion_matrix": metrics.confusion_matrix(scores, y, images.num_classes).tolist(),
    }


def _images_to_label(
    recipe: ImageRecipe, header: Mapping[str, Any], pictures: Sequence[str], dataset: str, root: str | None
) -> tuple[Signals, Sequence[Any]]:
    """Images for the model of a `header` that a run of the recipe wrote, and their names.

    They are the pictures (paths of files and folders), or the test images of the data set if there are no pictures.
    """
    names: Sequence[Any]
    if pictures:
        x, names = image_folder.read_pictures(pictures)
        if x.dim() == 3 and len(header["image_shape"]) == 3:  # a folder of training images gives red, green and blue
            x = x[..., None].expand(-1, -1, -1, header["image_shape"][2])
    else:
        images = load(dataset, root=root)
        if not isinstance(images, ImageSet):
            raise InputError(f"data: {dataset} holds no images, which {recipe.name} classifies.")
        x, names = images.test_images, range(len(images.test_images))
    if list(x.shape[1:]) != header["image_shape"]:
        raise InputError(
            f"{names[0] if pictures else f'data: {dataset}'}: is of shape {tuple(x.shape[1:])}, and the model was trained on "
            f"{tuple(header['image_shape'])}; scale it to that size."
        )
    return Signals(x, None, recipe.grid(x.shape[1:])), names
