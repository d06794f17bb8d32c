"""The kinds of matrices that a graph makes of A, by name, and how each is asked for."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

from ..errors import InputError

# The kinds of matrices that `Graph.normalize` makes (`Graph.matrix`), and its arguments for each
NORMALIZED: dict[str, tuple[str | None, str | None]] = {
    "a_hat": ("fill", "sym"), "a_tilde": ("fill", None), "adjacency": (None, None), "random_walk": (None, "rw"),
}  # fmt: skip


NORMALIZED |= {
    f"normalize{key}": key
    for key in product(("fill", "add", None), ("sym", "rw", None))
    if key not in NORMALIZED.values()
}


KIND_OF = {key: kind for kind, key in NORMALIZED.items()}


def is_kind(kind: Any) -> bool:
    """Whether `Graph.matrix` makes it."""
    l_tilde = r"l_tilde(\((None|\d+(\.\d+)?(e[+-]\d+)?)\))?"  # and its λ_max
    return isinstance(kind, str) and (kind in NORMALIZED or kind == "laplacian" or bool(re.fullmatch(l_tilde, kind)))


def check_kind(name: str, kind: Any) -> str:
    """`kind` if it is one of `Graph.matrix`; `name` is what the error calls it."""
    if not is_kind(kind):
        raise InputError(f"{name}: got {kind!r}, expected one of {', '.join(NORMALIZED)}, laplacian, l_tilde.")
    return kind


def how_to_make(kind: str) -> str:
    """The Python that makes the matrix of a kind.

    >>> how_to_make("random_walk"), how_to_make("l_tilde"), how_to_make("a_hat")
    ("graph.normalize(None, 'rw')", 'graph.l_tilde()', 'graph.a_hat')
    """
    call = f"normalize{NORMALIZED[kind]}" if kind == "random_walk" else "l_tilde()" if kind == "l_tilde" else kind
    return f"graph.{call}"
