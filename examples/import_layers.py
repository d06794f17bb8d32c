"""gcnlab's layers inside a research model of your own, alone and beside a layer of PyTorch Geometric.

    python examples/import_layers.py

Both models learn the karate club from its two leaders; expect about 0.9 to 1.0 on the 24 test members.
"""

import torch
from torch import nn
from torch.nn import functional as F

import gcnlab
from gcnlab import GCNConv


class ResidualGCN(nn.Module):
    """Two graph convolutions around a linear shortcut: H = relu(Â X W0 + X V), logits = Â H W1."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = GCNConv(num_features, 16), GCNConv(16, num_classes)
        self.shortcut = nn.Linear(num_features, 16, bias=False)

    def forward(self, x, a_hat):
        h = torch.relu(self.conv1(x, a_hat) + self.shortcut(x))
        return self.conv2(gcnlab.dropout(h, 0.5, self.training), a_hat)


class MixedGCN(nn.Module):
    """A layer of gcnlab, which takes Â, then a layer of PyG, which takes an edge_index."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        from torch_geometric.nn import SAGEConv

        self.conv1, self.conv2 = GCNConv(num_features, 16), SAGEConv(16, num_classes)

    def forward(self, x, a_hat, edge_index):
        return self.conv2(self.conv1(x, a_hat).relu(), edge_index)


graph = gcnlab.load("karate").with_features("identity")
x = graph.x.to_dense()  # nn.Linear wants a dense X
train, test = graph.train_mask, graph.test_mask

for model, inputs in (
    (ResidualGCN(graph.num_features, graph.num_classes), (x, graph.a_hat)),
    (MixedGCN(graph.num_features, graph.num_classes), (x, graph.a_hat, graph.edge_index)),
):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(model(*inputs)[train], graph.y[train]).backward()
        optimizer.step()
    model.eval()
    accuracy = gcnlab.metrics.accuracy(model(*inputs)[test].detach(), graph.y[test])
    print(f"karate: {type(model).__name__} test accuracy {accuracy:.2f}")
