"""Images as signals on one grid graph: Fashion-MNIST with a graph network, and what it keeps of a CNN.

    python examples/fashion_mnist_grid.py                                   # 10,000 training images, 3 epochs, 1 to 2 minutes
    python examples/fashion_mnist_grid.py --images 55000 --epochs 10        # 10 minutes or so
    python examples/fashion_mnist_grid.py --dataset digits --epochs 20      # 8 x 8 digits that come with scikit-learn

A pixel is a node, and all images share one graph. The isotropic GCN, Â H W, sees which values are near; the relational GCN,
sum_r A_r H W_r, sees where they stand, and is a convolution. Expect about 0.72 and 0.87 on the short run's test images.
"""

import argparse

import torch

import gcnlab
from gcnlab import GridGCN, Signals
from gcnlab.augment import Augment
from gcnlab.image import to_images, to_signals

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--dataset", choices=("fashion-mnist", "mnist", "digits"))
parser.add_argument("--images", type=int, default=10_000, help="training images")
parser.add_argument("--epochs", type=int, default=3)
args = parser.parse_args()
try:
    data = gcnlab.load(args.dataset or "fashion-mnist")
except gcnlab.GcnlabError as error:
    if args.dataset:
        parser.exit(2, f"{error}\n")
    data = gcnlab.load("digits")
    print(f"digits: training on the small digits of scikit-learn, since Fashion-MNIST is missing. {error}")
print(f"{data.name}: {data}")

# One graph for all images: a node a pixel, an edge to each of its eight neighbours.
grid = data.grid()
print(f"{data.name}: {grid}")
signals = to_signals(data.test_images[:2])  # [batch, num_nodes, channels]
assert torch.equal(to_images(signals, grid.shape, channels="none") * 255, data.test_images[:2])

# A tenth of the training images selects; mirror, shift and erase are operations on the grid's nodes.
num_train = min(args.images, len(data.train_labels) * 9 // 10)
x, y, val_x, val_y = data.holdout(len(data.train_labels) // 10)
chosen = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:num_train]
train = Signals(x[chosen], y[chosen], grid, Augment(data.augmentations, shift=1, erase=grid.shape[0] // 4))
val, test = Signals(val_x, val_y, grid), Signals(data.test_images, data.test_labels, grid)

for conv in ("isotropic", "relational"):
    torch.manual_seed(0)
    model = GridGCN(1, [16, 32, 48], data.num_classes, conv=conv)
    history = gcnlab.fit(
        model, train, val, epochs=args.epochs, batch_size=64, lr=0.01, scheduler="one-cycle", select="last",
        precision="bfloat16", seed=0,
    )  # fmt: skip
    accuracy = gcnlab.metrics.accuracy(gcnlab.predict(model, test), test.y)
    print(
        f"{data.name}: {conv:<11} {sum(p.numel() for p in model.parameters()):>7,} parameters, "
        f"{sum(history.epoch_seconds):5.1f} s, validation {history.best('val_accuracy').item():.3f}, test {accuracy:.3f}"
    )
