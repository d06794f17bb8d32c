"""The accuracy of PyG's GCNConv under the hyperparameters and the protocol of a recipe, beside gcnlab's.

    python benchmarks/social_accuracy.py facebook-gcn --seeds 10
    python benchmarks/social_accuracy.py blogcatalog-gcn --seeds 10

Same splits, same schedule: Adam, L2 on the first layer or nowhere, early stopping by validation loss, the weights of
the best validation accuracy. X goes into PyG's layer as a torch sparse tensor, its stored entries dropped, since 22,470 x
4,714 floats would be dropped for minutes; everything else of the layer is PyG's.
"""

import argparse
import copy
import statistics
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GCNConv

from gcnlab import GCN, metrics
from gcnlab.files import write_json
from gcnlab.recipes import find_node_recipe, run

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("recipe")
parser.add_argument("--seeds", type=int, default=10)
parser.add_argument("--json")
args = parser.parse_args()
recipe = find_node_recipe(args.recipe)


class SparseLinear(nn.Module):
    """PyG's linear layer on a torch sparse tensor."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.weight = linear.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(x, self.weight.t())


class PyGGCN(nn.Module):
    def __init__(self, model: GCN) -> None:
        super().__init__()
        widths = [(layer.in_channels, layer.out_channels) for layer in model.layers]
        self.convs = nn.ModuleList(GCNConv(a, b, cached=True) for a, b in widths)
        self.convs[0].lin = SparseLinear(self.convs[0].lin)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = torch.sparse_coo_tensor(
            x.indices(), F.dropout(x.values(), recipe.dropout, self.training), x.shape, is_coalesced=True
        )
        for i, conv in enumerate(self.convs):
            h = conv(F.dropout(h.relu(), recipe.dropout, self.training) if i else h, edge_index)
        return h


def pyg_accuracy(seed: int) -> float:
    graph = recipe.graph(protocol=recipe.protocols[0], seed=seed)
    torch.manual_seed(seed)
    model = PyGGCN(recipe.model(graph))
    x, edge_index = graph.x.to_torch().to_sparse_coo().coalesce(), graph.edge_index
    decay = recipe.weight_decay if isinstance(recipe.weight_decay, dict) else {"layers.0": recipe.weight_decay}
    optimizer = torch.optim.Adam(
        [
            {"params": model.convs[0].parameters(), "weight_decay": decay["layers.0"]},
            {"params": model.convs[1:].parameters(), "weight_decay": 0.0},
        ],
        lr=recipe.lr,
    )
    best_loss, best_accuracy, waited, kept = float("inf"), -1.0, 0, {}
    for _ in range(recipe.epochs):
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x, edge_index)[graph.train_mask], graph.y[graph.train_mask]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            logits = model(x, edge_index)[graph.val_mask]
        loss = float(F.cross_entropy(logits, graph.y[graph.val_mask]))
        accuracy = metrics.accuracy(logits, graph.y[graph.val_mask])
        if accuracy > best_accuracy:
            best_accuracy, kept = accuracy, copy.deepcopy(model.state_dict())
        waited = 0 if loss < best_loss else waited + 1
        best_loss = min(best_loss, loss)
        if waited >= recipe.patience:
            break
    model.load_state_dict(kept)
    with torch.no_grad():
        return metrics.accuracy(model.eval()(x, edge_index)[graph.test_mask], graph.y[graph.test_mask])


ours = run(args.recipe, seeds=args.seeds)["test_accuracy"]
theirs = []
for seed in range(args.seeds):
    theirs.append(pyg_accuracy(seed))
    print(f"split {seed}: gcnlab {100 * ours['per_seed'][seed]:.2f}, PyG {100 * theirs[-1]:.2f} %", flush=True)
for name, values in (("gcnlab", ours["per_seed"]), ("PyG", theirs)):
    print(f"{name:<7} {100 * statistics.mean(values):.2f} ± {100 * statistics.pstdev(values):.2f} %")
if args.json:
    write_json(args.json, {"recipe": recipe.name, "seeds": args.seeds, "gcnlab": ours["per_seed"], "PyG": theirs})
