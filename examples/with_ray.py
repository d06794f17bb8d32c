"""gcnlab under Ray Train: `fit` finds the process group that Ray has made, and trains data-parallel.

    pip install 'ray[train]'
    python examples/with_ray.py --processes 2

On MUTAG expect a validation accuracy around 0.85: it is the best epoch's, on 37 graphs.
"""

import argparse

import ray.train
import torch
from ray.train.torch import TorchTrainer

import gcnlab

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", default="mutag", help="a collection of graphs, or a TU folder")
parser.add_argument("--processes", type=int, default=2)
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()


def train_one_process(config):
    graphs = gcnlab.load(config["data"], features="label")
    torch.manual_seed(0)
    order = torch.randperm(len(graphs))  # the same in each process
    val, train = graphs[order[: len(graphs) // 5]], graphs[order[len(graphs) // 5 :]]
    model = gcnlab.GraphClassifier(graphs.num_features, 32, graphs.num_classes, num_layers=3)
    history = gcnlab.fit(model, train, val, epochs=config["epochs"], batch_size=32, select="val_accuracy")
    if ray.train.get_context().get_world_rank() == 0:
        print(f"validation accuracy {float(history.best('val_accuracy')):.3f}")


trainer = TorchTrainer(
    train_one_process,
    train_loop_config={"data": args.data, "epochs": args.epochs},
    scaling_config=ray.train.ScalingConfig(num_workers=args.processes, use_gpu=torch.cuda.is_available()),
)
trainer.fit()
