"""What a recipe is, and what a run of one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from .. import distributed
from ..reporting import Content
from ..train import Callback, Checkpoint, TensorBoard
from .outputs import Outputs

Finish = Callable[[Outputs], Content]  # writes the files beside a result, and gives what its report shows


@dataclass(frozen=True)
class Run:
    """One run of a recipe, with defaults filled in and values checked.

    Attributes:
        dataset: a name of `gcnlab.load`, or a path.
        protocol: one of the recipe's.
        num_seeds: seeds 0, 1, ...
        epochs: the most.
        device: "cpu" or "cuda".
        root: the data root.
        folder: where files go, if anywhere.
        board: where `TensorBoard` writes, if it does.
        threads: as they were asked for; None for the default.
        is_pretrained: whether to score the weights that come with gcnlab instead of training.
        say: gets lines of text for people.
    """

    dataset: str
    protocol: str
    num_seeds: int
    epochs: int
    device: str
    root: str | None
    folder: Path | None
    board: str | None
    threads: int | None
    is_pretrained: bool
    say: Callable[[str], None]

    def callbacks(self) -> list[Callback]:
        """Of one training."""
        return [] if self.board is None else [TensorBoard(self.board)]

    def checkpoint(self, seed: int) -> Checkpoint | None:
        """Where a training that several processes share goes on when torchrun starts them again."""
        if self.folder is None or distributed.ranks().is_lone:
            return None
        return Checkpoint(f"{self.folder}/seed-{seed}.training", 1, resume=True)


class AnyRecipe(Protocol):
    """What a recipe is: data, a model and how it is trained, and the figure that was published for it.

    There is one class per kind of data: `nodes.Recipe` and what derives from it, `graphs.GraphRecipe`, `images.ImageRecipe`.

    Attributes:
        kind: what it classifies: "node", "graph" or "image".
        header: the fields of the header of a model that `predict` reads, as `files.check_fields` takes them.
        report_packages: what its report needs besides matplotlib.
        takes_pictures: whether `predict` takes paths of pictures.
        has_pretrained: whether weights of such recipes come with gcnlab.
    """

    kind: ClassVar[str]
    header: ClassVar[dict[str, Any]]
    report_packages: ClassVar[tuple[str, ...]]
    takes_pictures: ClassVar[bool]
    has_pretrained: ClassVar[bool]

    @property
    def name(self) -> str:
        """What `gcnlab run` is given."""

    @property
    def dataset(self) -> str:
        """A name of `gcnlab.load`: what it runs on by default."""

    @property
    def datasets(self) -> list[str]:
        """The names it can run on."""

    @property
    def takes_path(self) -> bool:
        """Whether it also runs on files of one's own, by their path."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols it can follow; the first is the default."""

    @property
    def published(self) -> dict[tuple[str, str], tuple[float, str]]:
        """(data set, protocol) -> (accuracy as a fraction, its source)."""

    @property
    def num_seeds(self) -> int:
        """Seeds of a run that does not say how many."""

    @property
    def epochs(self) -> int:
        """The most epochs of a run that does not say how many."""

    @property
    def model_name(self) -> str:
        """What the model is, in a few words."""

    def run(self, run: Run) -> tuple[dict[str, Any], Finish]:
        """Train and score: the result (`result_of`), and what makes the files beside it."""

    def describe(self, root: str | None = None) -> str:
        """The data and the layers, shapes, parameters and memory of the model, as text."""

    def predict(
        self, model: nn.Module, header: Mapping[str, Any], dataset: str, root: str | None, pictures: Sequence[str]
    ) -> tuple[Sequence[Any], Tensor]:
        """Names of nodes, graphs or images, and their logits [num_names, num_classes].

        Args:
            model: trained by the recipe.
            header: of the file that holds it.
            dataset: what to label: a name of `gcnlab.load`, or a path.
            root: the data root.
            pictures: label these instead, where the recipe `takes_pictures` and there are any.
        """
