"""What a type checker must see of the installed package; without py.typed, or with hints lost, mypy --strict fails here."""

from gcnlab import GCN, Graph, load

graph: Graph = load("karate")
logits = GCN(34, 16, graph.num_classes)(graph.x, graph.a_hat)
GCN("34", 16, 2)  # type: ignore[arg-type]
graph.num_noses  # type: ignore[attr-defined]  # noqa: B018
