"""Splits: masks [N] and [N, S] of a graph."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from gcnlab import Graph, GraphCollection
from gcnlab.errors import CorruptFileError, InputError, InputTypeError
from gcnlab.graph.parts import MASKS

NODES, SPLITS = 7, 3
PATH = [[0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [1, 0, 2, 1, 3, 2, 4, 3, 5, 4]]  # and node 6 by itself


def masks_of(num_nodes=NODES, num_splits=SPLITS):
    """Three masks: in split s node i trains, validates or tests by (i + s) % 3; the last node is in none."""
    part = (torch.arange(num_nodes)[:, None] + torch.arange(num_splits)) % 3
    part[-1] = 9
    return {key: part == i for i, key in enumerate(MASKS)}


def graph_of(**changes):
    values = {"x": torch.arange(2.0 * NODES).view(NODES, 2), "y": [0, 1, 0, 1, 0, 1, -1], **masks_of()}
    return Graph.from_edges(PATH, NODES, **{**values, **changes})


def same_masks(a, b):
    return all(x is y is None or x.equal(y) for x, y in zip(a.masks.values(), b.masks.values(), strict=True))


# -- masks [N, S] -----------------------------------------------------------------------------------------------------


def test_a_graph_counts_its_splits_and_gives_each():
    graph, masks = graph_of(), masks_of()
    assert graph.num_splits == SPLITS
    for i in range(SPLITS):
        one = graph.with_split(i)
        assert one.num_splits == 1
        assert {key: mask.tolist() for key, mask in one.masks.items()} == {
            k: m[:, i].tolist() for k, m in masks.items()
        }
        assert one.x is graph.x
        assert one.a_hat is graph.a_hat  # made of the first split, for all
    none = graph_of(**dict.fromkeys(MASKS))
    assert none.num_splits == 0
    one = graph_of(**{key: mask[:, 1] for key, mask in masks.items()})
    assert one.num_splits == 1
    assert same_masks(one.with_split(0), one)
    assert graph_of(train_mask=masks["train_mask"][:, :1], val_mask=None, test_mask=None).num_splits == 1


@pytest.mark.parametrize(
    ("graph", "split", "message"),
    [
        (graph_of(), 3, "split: got 3, but the graph has 3 splits, 0 to 2"),
        (graph_of(), -1, "split: got -1"),
        (graph_of(), 0.5, "split: got 0.5"),
        (graph_of(), True, "split: got True"),
        (graph_of().with_split(0), 1, "split: got 1, but the graph has one split, 0"),
        (graph_of(**dict.fromkeys(MASKS)), 0, "split: got 0, but the graph has no masks"),
    ],
)
def test_splits_that_are_not_there(graph, split, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        graph.with_split(split)


def test_masks_are_checked_split_by_split():
    masks = masks_of()
    overlap = masks["val_mask"].clone()
    overlap[1, 2] = True  # which trains in split 2
    with pytest.raises(InputError, match=r"^train_mask and val_mask overlap in split 2: node 1 is in both\.$"):
        graph_of(val_mask=overlap)
    across = {key: masks[key].clone() for key in MASKS}  # a node may train in one split and test in another
    assert across["train_mask"][0, 0]
    assert across["test_mask"][0, 2]
    unlabelled = masks["test_mask"].clone()
    unlabelled[6, 1] = True
    with pytest.raises(InputError, match=r"^test_mask, split 1: node 6 is in it but has no label \(y = -1\)\.$"):
        graph_of(test_mask=unlabelled)
    assert graph_of(test_mask=unlabelled, y=None).num_splits == SPLITS
    with pytest.raises(InputError, match=r"^val_mask: got 2 splits, but train_mask has 3; .* must have the same S"):
        graph_of(val_mask=masks["val_mask"][:, :2])
    with pytest.raises(InputError, match="train_mask: selects no node"):
        graph_of(train_mask=torch.zeros(NODES, SPLITS, dtype=torch.bool))


def test_a_mask_of_one_split_is_that_of_every_split():
    train = masks_of()["train_mask"]
    test = torch.tensor([False] * 5 + [True, False])
    train[5] = False
    graph = graph_of(train_mask=train, val_mask=None, test_mask=test)
    assert graph.test_mask.tolist() == test[:, None].expand(-1, SPLITS).tolist()
    assert graph.val_mask is None
    train[5, 1] = True
    with pytest.raises(InputError, match="train_mask and test_mask overlap in split 1: node 5 is in both"):
        graph_of(train_mask=train, val_mask=None, test_mask=test)


def test_a_split_lacks_the_mask_that_has_no_node_of_it():
    masks = masks_of()
    masks["val_mask"][:, 1] = False
    graph = graph_of(**masks)
    assert graph.with_split(1).val_mask is None
    assert graph.with_split(0).val_mask is not None


@pytest.mark.parametrize(
    "kind", [np.asarray, torch.Tensor.tolist, lambda m: pd.DataFrame(m.numpy()), torch.Tensor.byte]
)
def test_masks_are_read_in_each_form(kind):
    assert same_masks(graph_of(**{key: kind(mask) for key, mask in masks_of().items()}), graph_of())


def test_masks_are_copied():
    masks = masks_of()
    graph = graph_of(**masks)
    masks["train_mask"][:] = False
    assert same_masks(graph, graph_of())
    graph.with_split(1).train_mask[:] = False
    assert same_masks(graph, graph_of())


# -- carried along ----------------------------------------------------------------------------------------------------


def test_what_makes_a_graph_of_a_graph_keeps_its_splits(tmp_path):
    graph = graph_of()
    graph.save(tmp_path / "saved")
    others = [
        graph.replace(x=None), graph.to(torch.float64), graph.to("cpu"), graph.to_undirected(), Graph.open(tmp_path / "saved"),
        graph.with_features("identity"), pickle.loads(pickle.dumps(graph)), graph.subgraph(torch.arange(NODES)),
        Graph.from_graphs([graph]), Graph.of_parts(**graph.parts),
    ]  # fmt: skip
    assert all(same_masks(other, graph) for other in others)
    part = graph.subgraph([1, 3, 4])
    assert {key: m.tolist() for key, m in part.masks.items()} == {
        k: m[[1, 3, 4]].tolist() for k, m in masks_of().items()
    }
    assert "3 splits" in repr(graph)


def test_replaced_masks_fit_those_that_stay():
    graph, masks = graph_of(), masks_of()
    one = graph.with_split(0)
    assert graph.replace(train_mask=masks["train_mask"]).train_mask.equal(masks["train_mask"])
    several = one.replace(train_mask=masks["train_mask"] & (masks["train_mask"][:, :1]), val_mask=None)
    assert several.num_splits == SPLITS
    assert several.test_mask.tolist() == masks["test_mask"][:, :1].expand(-1, SPLITS).tolist()
    again = graph.replace(train_mask=masks["train_mask"][:, 1], val_mask=None, test_mask=None)
    assert again.num_splits == 1


def test_joined_graphs_have_the_same_splits():
    several, none = graph_of(), graph_of(**dict.fromkeys(MASKS))
    one = several.with_split(1)
    joined = Graph.from_graphs([several, one, none])
    for key in MASKS:
        mask = getattr(joined, key)
        assert mask[:NODES].equal(getattr(several, key))
        assert mask[NODES : 2 * NODES].tolist() == getattr(one, key)[:, None].expand(-1, SPLITS).tolist()
        assert not mask[2 * NODES :].any()
    two = graph_of(**masks_of(num_splits=2))
    with pytest.raises(
        InputError, match=r"graphs: graph 0 has 2 splits, graph 1 has 3, expected as many; graph.with_split"
    ):
        Graph.from_graphs([two, several])
    assert GraphCollection.from_graphs([graph.replace(y=0) for graph in (several, two)]).whole.num_splits == 0


def test_a_summary_counts_the_nodes_of_each_split():
    told = graph_of().summary()
    assert "train nodes        2 in each of 3 splits" in told
    masks = masks_of()
    masks["train_mask"][0, 0] = False
    assert "train nodes        1 to 2 in each of 3 splits" in graph_of(**masks).summary()
    assert "train nodes        2\n" in graph_of().with_split(0).summary()


def test_saved_splits_are_checked(tmp_path):
    graph_of().save(tmp_path / "a")
    file = tmp_path / "a" / "val_mask.npy"
    array = np.load(file)
    array[1, 2] = True
    np.save(file, array)
    with pytest.raises(CorruptFileError, match="sha256"):
        Graph.open(tmp_path / "a")
    with pytest.raises(CorruptFileError, match="holds node 1, which has no label or is in another mask"):
        Graph.open(tmp_path / "a", check=False)
    np.save(file, array[:, :2])
    header = json.loads((tmp_path / "a" / "graph.json").read_text())
    header["arrays"]["val_mask"]["shape"] = [NODES, 2]
    (tmp_path / "a" / "graph.json").write_text(json.dumps(header))
    with pytest.raises(
        CorruptFileError, match=r"val_mask.npy: holds torch.bool of shape \[7, 2\], expected torch.bool \[7, 3\]"
    ):
        Graph.open(tmp_path / "a", check=False)


def test_pyg_keeps_splits():
    data = pytest.importorskip("torch_geometric.data")
    graph = graph_of()
    pyg = graph.to_pyg()
    assert {key: pyg[key].tolist() for key in MASKS} == {key: mask.tolist() for key, mask in masks_of().items()}
    assert same_masks(Graph.from_pyg(pyg), graph)
    wiki = data.Data(edge_index=torch.tensor(PATH), num_nodes=NODES, train_mask=masks_of()["train_mask"])
    wiki.test_mask = torch.tensor([False] * 6 + [True])  # as WikiCS has one test set for its 20 splits
    assert Graph.from_pyg(wiki).test_mask.shape == (NODES, SPLITS)
