"""Social networks that come with networkx, for work without files or a connection."""

from __future__ import annotations

from ..checks import check_package
from ..errors import DatasetNotFoundError
from ..graph import Graph


def davis(name: str) -> Graph:
    """Davis' Southern women, two kinds of nodes: 18 women and 14 events, an edge where a woman attended; y is the kind."""
    networkx = check_package(name, "networkx", error=DatasetNotFoundError)
    graph = networkx.davis_southern_women_graph()
    return Graph.from_networkx(graph, label="bipartite", class_names=("woman", "event"), name=name)


def les_miserables(name: str) -> Graph:
    """Les Misérables: characters, an edge where two appear in one chapter, its weight the number of these chapters."""
    networkx = check_package(name, "networkx", error=DatasetNotFoundError)
    return Graph.from_networkx(networkx.les_miserables_graph(), name=name)
