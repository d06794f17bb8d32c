"""What a network sees of Fashion-MNIST: a CNN and a graph network on the pixel grid, side by side.

    python examples/seeing.py --out pictures                # the CNN is trained on 12,000 images for an epoch, 10 seconds
    python examples/seeing.py --out pictures --images 60000 --epochs 5

The CNN is a tutorial's (two 3x3 convolutions of 32 filters with pools); the graph network is the one that comes with gcnlab,
whose node signals are laid out as the image they stand for. Written are feature_maps_cnn.png and feature_maps_grid.png
(test images 0, 23 and 28, channel 1 of each layer), samples.png, confusion.png and mistakes.png (the images for whose wrong
class the graph network is surest).
"""

import argparse
from pathlib import Path

import torch

import gcnlab
from gcnlab import Signals, plot, recipes
from gcnlab.baselines import BASELINES
from gcnlab.files import check_target
from gcnlab.recipes import images as image_recipes

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
parser.add_argument("--images", type=int, default=12_000, help="that the CNN is trained on")
parser.add_argument("--epochs", type=int, default=1, help="of the CNN")
args = parser.parse_args()
try:
    check_target("--out", args.out, is_folder=True)
    data = gcnlab.load("fashion-mnist")
except gcnlab.GcnlabError as error:
    parser.exit(2, f"{error}\n")
args.out.mkdir(parents=True, exist_ok=True)
shown = [0, 23, 28]
images, names = data.test_images[shown], [data.class_names[c] for c in data.test_labels[shown]]

# A CNN sees through its filters ...
torch.manual_seed(0)
tutorial = BASELINES["cnn-32x2"]
cnn = tutorial.model(data.num_classes)
train = Signals(data.train_images[: args.images], data.train_labels[: args.images])
gcnlab.fit(
    cnn, train, epochs=args.epochs, batch_size=32, lr=tutorial.lr, optimizer=tutorial.optimizer, select="last",
    seed=0,
)  # fmt: skip
plot.feature_maps(
    cnn, images, names=names, path=args.out / "feature_maps_cnn.png", title="A CNN: channel 1 of its layers"
)

# ... and a graph network through nodes that know where their neighbours stand.
grid = data.grid()
recipe = recipes.find("fashion-mnist-grid")
gcn, _ = image_recipes.pretrained(recipe, data)
plot.feature_maps(
    gcn, images, grid=grid, names=names, path=args.out / "feature_maps_grid.png",
    title="A graph network on the pixel grid: channel 1 of its layers",
)  # fmt: skip

plot.samples(data.test_images[:32], data.test_labels[:32], data.class_names, path=args.out / "samples.png")
scores = image_recipes.predict_test(recipe, gcn, data)  # the mean over each image and its mirror image
matrix = gcnlab.metrics.confusion_matrix(scores, data.test_labels, data.num_classes)
plot.confusion(matrix, data.class_names, args.out / "confusion.png")
plot.mistakes(data.test_images, data.test_labels, scores, data.class_names, path=args.out / "mistakes.png")
right = gcnlab.metrics.accuracy(scores, data.test_labels)
print(f"the graph network is right about {100 * right:.2f} % of the test images; pictures in {args.out}")
