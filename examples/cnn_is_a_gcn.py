"""From a CNN to a GCN in three steps, each of them checked: what does a graph convolution keep of a convolution?

    python examples/cnn_is_a_gcn.py [--out ladder.png]

Prints the largest difference between the two sides of each step, in float64: expect none above 1e-12. With --out it
draws the kernels and what they make of a digit.
"""

import argparse

import torch
from torch import nn
from torch.nn import functional as F

from gcnlab import GCNConv, Readout, RelationalGCNConv, SparseMatrix
from gcnlab.image import grid_graph, to_images, to_signals

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--out", metavar="FILE.png", help="draw the ladder into this file (needs matplotlib)")
args = parser.parse_args()
torch.manual_seed(0)
torch.set_grad_enabled(False)
torch.set_default_dtype(torch.float64)

HEIGHT, WIDTH = 28, 28
grid = grid_graph(HEIGHT, WIDTH, connectivity=8).to(torch.float64)  # one graph for all images
images = torch.rand(5, 3, HEIGHT, WIDTH)  # [batch, channels, height, width]
h = to_signals(images, channels="first")  # [batch, num_nodes, channels]


def step(what, left, right):
    print(f"  {what:<76} {float((left - right).abs().max()):8.1e}")


def as_signals(feature_maps):
    return to_signals(feature_maps, channels="first")


print("1. A convolution is a relational GCN: a relation, and a weight, for each of the nine places in the window.")
conv = nn.Conv2d(3, 4, kernel_size=3, padding=1)
relational = RelationalGCNConv.from_conv2d(conv)
step("Conv2d = sum_r A_r H W_r + b", as_signals(conv(images)), relational(h, grid.relations))
step("the same with nine sparse matrices, one by one", as_signals(conv(images)), relational(h, list(grid.relations)))
step("and its weights back in a Conv2d", conv(images), relational.to_conv2d()(images))

print("2. One weight for all nine: the isotropic convolution. Gone: from where a value comes.")
isotropic = relational.tie_relations()
kernel = conv.weight.mean((2, 3), keepdim=True).expand(-1, -1, 3, 3)
blurred = as_signals(F.conv2d(images, kernel, conv.bias, padding=1))
step("Conv2d with nine times the mean weight = Ã H W + b, Ã = sum_r A_r", blurred, isotropic(h, grid.a_tilde))

print("3. Divided by degrees: the GCN of Kipf & Welling. Gone: how many neighbours there are, that is, the border.")
d = grid.degree_tilde.rsqrt()
tied = RelationalGCNConv(3, 4, num_relations=9)
tied.load_state_dict({"weight": isotropic.weight.expand(9, 3, 4), "bias": isotropic.bias})
normalised = [a_r.scale(rows=d, cols=d) for a_r in grid.relations]
step("sum_r (D̃^-1/2 A_r D̃^-1/2) H W + b = Â H W + b", tied(h, normalised), isotropic(h, grid.a_hat))
stencil = grid.operator.stencil(h) @ isotropic.weight + isotropic.bias
step("Â as a stencil that moves over the images, d ⊙ S(d ⊙ H)", stencil, isotropic(h, grid.a_hat))

print("Beside the ladder:")
edges = torch.full((1, 1, 3, 3), -1.0)
edges[..., 1, 1] = 8.0  # the edge filter of image processing
filtered = F.conv2d(images[:, :1], edges, padding=1)[..., 1:-1, 1:-1]
laplacian_h = grid.degree.unsqueeze(1) * h[..., :1] - grid.adjacency @ h[..., :1]  # (D - A) H
inside = to_images(laplacian_h, grid.shape, channels="first")[..., 1:-1, 1:-1]
step("the edge filter = the grid's Laplacian D - A, away from the border", filtered, inside)

pointwise, alone = nn.Conv2d(3, 4, kernel_size=1), GCNConv(3, 4)
alone.load_state_dict({"weight": pointwise.weight[:, :, 0, 0].T, "bias": pointwise.bias})
identity = SparseMatrix.eye(grid.num_nodes, torch.float64)
step("a 1x1 convolution = a GCN layer with Â = I", as_signals(pointwise(images)), alone(h, identity))
step("global average pooling = the mean readout", F.adaptive_avg_pool2d(images, 1)[..., 0, 0], Readout("mean")(h))

if args.out:
    from matplotlib.figure import Figure
    from sklearn.datasets import load_digits

    digit = torch.from_numpy(load_digits().images[3:4])  # [1, 8, 8]
    grid = grid_graph(*digit.shape[1:]).to(torch.float64)
    h = to_signals(digit)
    sobel = nn.Conv2d(1, 1, 3, padding=1, bias=False)  # a kernel with a direction: upright edges
    sobel.weight.copy_(torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]))
    first = RelationalGCNConv.from_conv2d(sobel)
    last = GCNConv(1, 1)
    last.weight.fill_(1.0)
    rungs = {
        "the image": (None, h),
        "9 relations\n= Conv2d": (sobel.weight[0, 0], first(h, grid.relations)),
        "9 relations tied\n= isotropic": (torch.ones(3, 3), last(h, grid.a_tilde)),
        "tied, by degree\n= GCN": (grid.a_hat.to_dense()[3 * 8 + 3].view(8, 8)[2:5, 2:5], last(h, grid.a_hat)),
        "8 and -1\n= Laplacian": (edges[0, 0], grid.degree.unsqueeze(1) * h - grid.adjacency @ h),
    }
    figure = Figure(figsize=(11, 5), layout="constrained")
    for column, (title, (weights, signals)) in zip(figure.subplots(2, 5).T, rungs.items(), strict=True):
        picture = to_images(signals, grid.shape, channels="none")[0]
        limit = float(picture.abs().max())
        column[0].set_title(title, fontsize=11)
        column[1].imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
        if weights is not None:
            scale = float(weights.abs().max())
            column[0].imshow(weights, cmap="RdBu_r", vmin=-2 * scale, vmax=2 * scale)
            for (i, j), weight in zip(grid_graph(3, 3).positions.tolist(), weights.flatten().tolist(), strict=True):
                column[0].text(j, i, f"{weight:.2g}", ha="center", va="center")
        else:
            column[0].text(0.5, 0.5, "weights\nby place of the\nneighbour  →", ha="center", va="center")
        for axes in column:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
    figure.savefig(args.out, dpi=120)
    print(f"drawn into {args.out}")
