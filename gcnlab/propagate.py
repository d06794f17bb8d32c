"""Propagation without weights: features before a linear model, labels, and a model's predictions and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .checks import check_count, check_list, check_number, check_probability
from .errors import InputError, InputTypeError
from .memory import check_large
from .sparse import Features, SparseMatrix
from .sparse.features import SPARSE_BELOW

_BLOCK = 1 << 24  # entries of the dense rows of P that are made at a time


def propagate(x: Features, a_hat: Any, num_hops: int = 1) -> Features:
    """Â^K X, one product after the other.

    Args:
        x: [num_nodes, C] or [batch, num_nodes, C]. A SparseMatrix stays one while under 15 % of it is non-zero.
        a_hat: [num_nodes, num_nodes].
        num_hops: K.

    >>> propagate(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0, 2.0], [2.0, 0.0]]), num_hops=3)
    tensor([[0.],
            [8.]])
    """
    for _ in range(check_count("num_hops", num_hops)):
        x = a_hat @ x
        if isinstance(x, SparseMatrix) and x.density >= SPARSE_BELOW:
            x = x.to_dense()
    return x


def ppr_coefficients(alpha: float, num_hops: int) -> list[float]:
    """θ_k = α (1 - α)^k, k = 0 .. K, divided by their sum: personalised PageRank cut off after K hops.

    Args:
        alpha: α, the probability of going back to the start, above 0 and at most 1.
        num_hops: K.

    >>> ppr_coefficients(0.5, 1)
    [0.6666666666666666, 0.3333333333333333]
    """
    alpha = check_number("alpha", alpha, above=0, most=1)
    num_hops = check_count("num_hops", num_hops)
    check_large("num_hops", f"{num_hops:,} numbers", 64 * num_hops, torch.device("cpu"), "10 hops are usual.")
    theta = [alpha * (1 - alpha) ** k for k in range(num_hops + 1)]
    return [value / sum(theta) for value in theta]


@torch.no_grad()
def diffusion(s: SparseMatrix, coefficients: Sequence[float], top_k: int | None = None) -> SparseMatrix:
    """P = Σ_k θ_k S^k with the `top_k` entries of each row that are largest in absolute value (Gasteiger et al. 2019).

    One product with P replaces K products with S. A few rows of P need no other rows, so a training step on them costs
    the same in a graph of any size. P is made in blocks of rows, of which only the kept entries stay in memory.

    Args:
        s: [num_nodes, num_nodes], such as `graph.a_hat` or `graph.normalize(norm="rw")`.
        coefficients: θ_0 .. θ_K, such as `ppr_coefficients(0.2, 10)`.
        top_k: entries per row; None keeps all that are not zero.

    >>> chain = SparseMatrix.from_dense([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    >>> diffusion(chain, [0.5, 0.3, 0.2], top_k=2).to_dense()
    tensor([[0.5000, 0.3000, 0.0000],
            [0.0000, 0.5000, 0.3000],
            [0.0000, 0.0000, 0.5000]])
    """
    if not isinstance(s, SparseMatrix) or s.shape[0] != s.shape[1]:
        raise InputError(f"s: got a {type(s).__name__}, expected a square SparseMatrix, such as graph.a_hat.")
    coefficients = [
        check_number(f"coefficients[{k}]", theta)
        for k, theta in enumerate(check_list("coefficients", coefficients, "numbers", 1))
    ]
    n = s.shape[0]
    limit = n if top_k is None else min(check_count("top_k", top_k, 1), n)
    lengths, cols, values, num_kept = [], [], [], 0
    num_bytes = s.value.element_size() + s.col.element_size()
    for rows in torch.arange(n, device=s.device).split(max(_BLOCK // max(n, 1), 1)):
        power = torch.zeros(n, len(rows), dtype=s.dtype, device=s.device)  # its columns are rows of S^k
        power[rows, torch.arange(len(rows), device=s.device)] = 1
        total = coefficients[0] * power
        for theta in coefficients[1:]:
            power = s.T @ power
            total.add_(power, alpha=theta)
        found = total.T.contiguous()
        col = found.abs().topk(limit, sorted=False).indices.sort().values if limit < n else None
        value = found if col is None else found.gather(1, col)
        kept = value != 0
        lengths.append(kept.sum(1))
        cols.append((kept.nonzero()[:, 1] if col is None else col[kept]).to(s.col.dtype))
        values.append(value[kept])
        num_kept += len(values[-1])
        # The parts and their concatenation are held together at the end; only now is the number of entries known.
        check_large(
            "top_k", f"P of {num_kept:,} entries in {len(torch.cat(lengths)):,} of {n:,} rows", 2 * num_bytes * num_kept,
            s.device, "a smaller top_k keeps fewer entries.",
        )  # fmt: skip
    rowptr = F.pad(torch.cat(lengths).cumsum(0), (1, 0))
    return SparseMatrix(rowptr.to(s.rowptr.dtype), torch.cat(cols), torch.cat(values), s.shape)


def diffusion_reference(s: SparseMatrix, coefficients: Sequence[float], top_k: int | None = None) -> Tensor:
    """P = Σ_k θ_k S^k, dense, with the `top_k` largest entries of each row."""
    dense = s.to_dense()
    p = torch.stack([theta * torch.linalg.matrix_power(dense, k) for k, theta in enumerate(coefficients)]).sum(0)
    largest = p.abs().topk(min(top_k or len(p), len(p))).indices
    return torch.zeros_like(p).scatter(1, largest, p.gather(1, largest))


@torch.no_grad()
def label_propagation(
    y: Tensor, mask: Tensor, s: Any, alpha: float = 0.9, num_iterations: int = 50, num_classes: int | None = None
) -> Tensor:
    """Spread labels over the edges (Zhou et al. 2004).

        G_0 = one-hot labels, zero where unknown,   G_{t+1} = clamp((1 - α) G_0 + α S G_t, 0, 1)

    Returns scores [num_nodes, num_classes]; the largest is the prediction.

    Args:
        y: class numbers, int64 [num_nodes]; those outside the mask are not read.
        mask: the nodes whose label is known, bool [num_nodes].
        s: S = D^-1/2 A D^-1/2, [num_nodes, num_nodes]: `graph.normalize(None)`, without added loops.
        alpha: α, the share of the neighbours, from 0 to 1.
        num_iterations: at least 0.
        num_classes: by default the largest known label + 1.

    Raises:
        InputError, InputTypeError: shapes that do not fit, no known label, or a label that is not a class.

    >>> from gcnlab import Graph
    >>> path = Graph.from_edges([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    >>> ends = torch.tensor([True, False, False, True])
    >>> label_propagation(torch.tensor([0, -1, -1, 1]), ends, path.normalize(None)).argmax(1)
    tensor([0, 0, 1, 1])
    """
    alpha, num_iterations = check_probability("alpha", alpha), check_count("num_iterations", num_iterations)
    known = _known_labels(y, mask, s, num_classes)
    start = torch.zeros(y.shape[0], known.shape[1], dtype=getattr(s, "dtype", known.dtype), device=y.device)
    start[mask] = known.to(start.dtype)
    return _diffuse(start, s, alpha, num_iterations, 0.0)


@torch.no_grad()
def correct_and_smooth(
    probabilities: Tensor,
    y: Tensor,
    mask: Tensor,
    s: Any,
    correct_alpha: float = 0.8,
    smooth_alpha: float = 0.8,
    num_iterations: int = 50,
    scale: float | None = None,
) -> Tensor:
    """Correct a model's predictions by its errors on the known labels, then smooth them (Huang et al. 2021, section 2).

        correct: E_0 = Y - Z where Y is known, else 0;   E_{t+1} = clamp((1 - α_1) E_0 + α_1 S E_t, -1, 1)
                 Z' = Z + σ E_i / |E_i|_1,   σ = the mean of |E_0|_1 over the known labels          (scale=None)
                 Z' = Z + scale * E, E held at E_0 where Y is known                                 (scale=number)
        smooth:  G_0 = Y where known, else Z';   G_{t+1} = clamp((1 - α_2) G_0 + α_2 S G_t, 0, 1)

    Args:
        probabilities: Z [num_nodes, num_classes], after the softmax, for example those of an MLP, which sees no edge.
        y: class numbers, int64 [num_nodes]; those outside the mask are not read.
        mask: the nodes whose label is known, bool [num_nodes]: those the model was trained on.
        s: S = D^-1/2 A D^-1/2, [num_nodes, num_nodes]: `graph.normalize(None)`, without added loops.
        correct_alpha: α_1, from 0 to 1.
        smooth_alpha: α_2, from 0 to 1.
        num_iterations: number of iterations of each step.
        scale: factor of the errors; None for the paper's "autoscale".

    Returns scores [num_nodes, num_classes]; the largest is the prediction.

    Raises:
        InputError, InputTypeError: shapes that do not fit, no known label, a label that is not a class, or values that
            are no probabilities.

    >>> from gcnlab import Graph
    >>> pair = Graph.from_edges([[0, 1], [1, 0]])
    >>> wrong_on_the_first = torch.tensor([[0.4, 0.6], [0.4, 0.6]])
    >>> known = torch.tensor([True, False])
    >>> correct_and_smooth(wrong_on_the_first, torch.tensor([0, -1]), known, pair.normalize(None)).argmax(1)
    tensor([0, 0])
    """
    correct_alpha = check_probability("correct_alpha", correct_alpha)
    smooth_alpha = check_probability("smooth_alpha", smooth_alpha)
    num_iterations = check_count("num_iterations", num_iterations)
    scale = None if scale is None else check_number("scale", scale, least=0)
    z = probabilities
    if z.dim() != 2 or z.shape[0] != y.shape[0]:
        raise InputError(f"probabilities: got shape {tuple(z.shape)}, expected [{y.shape[0]}, num_classes].")
    bad = ~((z >= 0) & (z <= 1 + 1e-3))  # also NaN; the steps below would silently clamp logits
    if bool(bad.any()):
        node, column = bad.nonzero()[0].tolist()
        raise InputError(
            f"probabilities: got {float(z[node, column]):g} for node {node}, expected 0 to 1; of logits, logits.softmax(1)."
        )
    known = _known_labels(y, mask, s, z.shape[1]).to(z.dtype)
    error = torch.zeros_like(z)
    error[mask] = known - z[mask]
    if scale is None:
        spread = _diffuse(error, s, correct_alpha, num_iterations, -1.0)
        sigma = error.abs().sum() / known.shape[0]
        factor = sigma / spread.abs().sum(1, keepdim=True)
        # As in the authors' code: hardly any error reaches some nodes, and it must not be blown up there.
        # (If every prediction is right there is none at all: 0 / 0.)
        corrected = z + torch.where(factor <= 1000, factor, 1.0) * spread
    else:
        corrected = z + scale * _diffuse(error, s, correct_alpha, num_iterations, -1.0, fixed=mask)
    return _diffuse(torch.where(mask.unsqueeze(1), error + z, corrected), s, smooth_alpha, num_iterations, 0.0)


def _diffuse(
    start: Tensor, s: Any, alpha: float, num_iterations: int, low: float, fixed: Tensor | None = None
) -> Tensor:
    """G_{t+1} = (1 - α) G_0 + α S G_t, clamped to [low, 1]; instead of that, the rows of `fixed` stay at G_0."""
    g = start
    for _ in range(num_iterations):
        g = torch.lerp(start, s @ g, alpha)
        # A hub's row of S sums to more than 1, so the sum may leave the range of the propagated values.
        g = g.clamp(low, 1.0) if fixed is None else torch.where(fixed.unsqueeze(1), start, g)
    return g


def _known_labels(y: Tensor, mask: Tensor, s: Any, num_classes: int | None) -> Tensor:
    """The labels of the mask, one-hot [number known, num_classes] int64; the arguments are checked here."""
    if y.dtype != torch.int64 or mask.dtype != torch.bool:
        raise InputTypeError(
            f"y and mask: got {y.dtype} and {mask.dtype}, expected int64 class numbers and a bool mask."
        )
    if y.dim() != 1 or mask.shape != y.shape or tuple(s.shape) != (y.shape[0], y.shape[0]):
        raise InputError(
            f"y, mask and s: got shapes {tuple(y.shape)}, {tuple(mask.shape)} and {tuple(s.shape)}, "
            "expected [num_nodes] twice and [num_nodes, num_nodes]."
        )
    known = y[mask]
    if not known.shape[0]:
        raise InputError("mask: holds no node, so there is no label to propagate.")
    limit = int(known.max()) + 1 if num_classes is None else check_count("num_classes", num_classes, 1)
    bad = (known < 0) | (known >= limit)
    if bool(bad.any()):
        node = int(mask.nonzero()[bad.nonzero()[0, 0], 0])
        raise InputError(f"y: node {node} is in the mask and has label {int(y[node])}, expected 0 to {limit - 1}.")
    what = f"scores of {len(y):,} nodes and {limit:,} classes"
    remedy = "torch.unique(y, return_inverse=True)[1] numbers the classes that there are."
    argument = "y" if num_classes is None else "num_classes"
    check_large(argument, what, limit * (8 * len(known) + 12 * len(y)), y.device, remedy)
    return F.one_hot(known, limit)
