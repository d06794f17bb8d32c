"""That random samples of a model agree where there are no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_count, check_number


@dataclass(frozen=True)
class Consistency:
    """That random samples of a model agree at the nodes without a training label (Feng et al. 2020, section 3.2).

        Z_s = softmax of the s-th of S outputs, each with masks of its own,   Z' = mean_s Z_s sharpened,
        Z'_ic = (mean_s Z_sic)^(1/T) / sum_c' (mean_s Z_sic')^(1/T), held fixed,
        loss = mean_s cross-entropy(Z_s, y) + λ mean_s mean_i |Z_si - Z'_i|²

    The labels of these nodes i are not read, in whichever split they are; their features and edges are, as those of
    all nodes are by a GCN.

    Args:
        num_samples: S, how often a training step computes the outputs.
        weight: λ.
        temperature: T, above 0; below 1 it sharpens.
        confidence: nodes where no mean_s Z_sic is above it do not count (Feng et al. 2022, section 3.3).
        warmup: steps in which λ grows from 0 to its value.
        num_nodes: so many of the nodes, drawn anew at each step; None takes all.
        num_labelled: training nodes of a step; an epoch goes through all of them, in an order drawn anew. None takes
            all in each step.
    """

    num_samples: int = 4
    weight: float = 1.0
    temperature: float = 0.5
    confidence: float = 0.0
    warmup: int = 0
    num_nodes: int | None = None
    num_labelled: int | None = None

    def __post_init__(self) -> None:
        check_count("num_samples", self.num_samples, 1)
        check_count("warmup", self.warmup)
        for argument, count in (("num_nodes", self.num_nodes), ("num_labelled", self.num_labelled)):
            if count is not None:
                check_count(argument, count, 1)
        check_number("weight", self.weight, least=0)
        check_number("temperature", self.temperature, above=0)
        check_number("confidence", self.confidence, least=0, below=1)

    def loss(self, outputs: Sequence[Tensor], step: int) -> Tensor:
        """λ mean_s mean_i |Z_si - Z'_i|² of S logits [..., num_nodes, num_classes] in the step-th step, from 1: [...]."""
        z = torch.stack(list(outputs)).softmax(-1)
        mean = z.detach().mean(0)
        sharpened = (mean.log() / self.temperature).softmax(-1)
        distance = (z - sharpened).square().sum(-1).mean(0)
        counts = mean.amax(-1) > self.confidence
        weight = self.weight * min(1.0, step / max(self.warmup, 1))
        return weight * (distance * counts).sum(-1) / counts.sum(-1).clamp(min=1)
