"""gcnlab's models and loaders under PyTorch Lightning: graph classification in several processes.

    pip install lightning
    python examples/with_lightning.py --processes 2

Each process takes its share of every batch, Lightning averages the gradients. On MUTAG expect a validation accuracy
between 0.7 and 0.9: it is the last epoch's, on 37 graphs.
"""

import argparse

import lightning
import torch
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DistributedSampler

import gcnlab

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", default="mutag", help="a collection of graphs, or a TU folder")
parser.add_argument("--processes", type=int, default=2)
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()

lightning.seed_everything(0, verbose=False)
graphs = gcnlab.load(args.data, features="label")
order = torch.randperm(len(graphs))  # the same in each process
val, train = graphs[order[: len(graphs) // 5]], graphs[order[len(graphs) // 5 :]]


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = gcnlab.GraphClassifier(graphs.num_features, 32, graphs.num_classes, num_layers=3)

    def train_dataloader(self):
        sampler = DistributedSampler(train, self.trainer.world_size, self.trainer.global_rank)
        return gcnlab.GraphLoader(train, batch_sampler=BatchSampler(sampler, 32 // self.trainer.world_size, False))

    def val_dataloader(self):  # all graphs in each process: a sampler would pad, and count some of them twice
        return gcnlab.GraphLoader(val)

    def training_step(self, batch, step):
        return F.cross_entropy(self.model(batch.x, batch.a_hat, batch.p), batch.y)

    def validation_step(self, batch, step):
        accuracy = gcnlab.metrics.accuracy(self.model(batch.x, batch.a_hat, batch.p), batch.y)
        self.log("accuracy", accuracy, batch_size=batch.num_graphs, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


trainer = lightning.Trainer(
    devices=args.processes, strategy="ddp", max_epochs=args.epochs, check_val_every_n_epoch=args.epochs,
    logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(Classifier())
if trainer.is_global_zero:
    print(f"validation accuracy {float(trainer.callback_metrics['accuracy']):.3f}")
