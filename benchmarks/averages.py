"""Which averages a batch norm should be evaluated with, and what scores owe to it.

    python benchmarks/averages.py [--part ways|table] [--json benchmarks/results/averages.json]

`ways`: validation scores of the same weights after each epoch, with several kinds of averages. In training a batch norm
does not read its averages, so that one training serves all kinds. The validation parts are of training images and training
graphs; no test row is read.

    running    of momentum 0.1, from 0 and 1 on, as torch keeps them
    corrected  the same, divided by 1 - 0.9^t as Adam's are
    epoch      the mean over the epoch's batches, as they were normalised
    again N    those of the epoch's last N rows or more under the weights after it, as `fit` makes them
    dropping   again, all of the epoch's rows, with dropout on

`chosen` is the accuracy on one half of the validation part at the epoch of the least loss on the other half; where "running"
chooses and "again 256" is scored, it says "again, kept".

`table`: test scores of short trainings as `fit` makes them, and without the averages made again; and the times of both.
"""

import argparse
import inspect
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gcnlab
from gcnlab import GraphClassifier, GridGCN, Signals, compare, fit, metrics, predict
from gcnlab.augment import Augment
from gcnlab.files import write_json
from gcnlab.image import grid_graph
from gcnlab.protocols import FoldJob, Settings, parts, split
from gcnlab.train.feed import Feed
from gcnlab.train.norms import averages_made_again
from gcnlab.train.options import FitOptions

AGAIN = (128, 256, 512, 10**9)


def images(name: str, count: int, seed: int, augments: bool) -> tuple[Any, Any]:
    data = gcnlab.load(name)
    grid = grid_graph(*data.image_shape[:2])
    order = torch.randperm(len(data.train_labels), generator=torch.Generator().manual_seed(seed))
    kept, val = order[:count], order[count : count + 1000]
    augment = Augment(data.augmentations) if augments else None
    return (
        Signals(data.train_images[kept], data.train_labels[kept], grid, augment),
        Signals(data.train_images[val], data.train_labels[val], grid),
    )


def graphs(name: str, seed: int) -> tuple[Any, Any]:
    """Of a training fold nine tenths and a tenth."""
    collection = gcnlab.load(name)
    train_ids, val_ids, _ = parts(FoldJob(name, {}, "nested", seed, (Settings(),)), collection)
    return collection[train_ids], collection[val_ids]


SETS: dict[str, tuple[Callable[[int], tuple[Any, Any]], Callable[[], nn.Module], dict[str, Any]]] = {
    "digits": (
        lambda seed: images("digits", 1000, seed, False),
        lambda: GridGCN(1, [8, 16], 10),
        {"seeds": 3, "epochs": 10, "batch_size": 128},
    ),
    "fashion-mnist, 2,000 images": (
        lambda seed: images("fashion-mnist", 2000, seed, True),
        lambda: GridGCN(1, [8, 16], 10),
        {"seeds": 2, "epochs": 6, "batch_size": 128},
    ),
    "mutag": (
        lambda seed: graphs("mutag", seed),
        lambda: GraphClassifier(7, 32, 2, readout="mean"),
        {"seeds": 10, "epochs": 50, "batch_size": 32},
    ),
    "proteins": (
        lambda seed: graphs("proteins", seed),
        lambda: GraphClassifier(3, 32, 2, readout="mean"),
        {"seeds": 5, "epochs": 20, "batch_size": 32},
    ),
}


def statistics_of(norms: list[Any]) -> list[Tensor]:
    return [value.clone() for norm in norms for value in (norm.running_mean, norm.running_var)]


def write(norms: list[Any], values: list[Tensor]) -> None:
    for target, value in zip([t for norm in norms for t in (norm.running_mean, norm.running_var)], values, strict=True):
        target.copy_(value)


def run(data: Any, model: nn.Module, epochs: int, seed: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Epoch by epoch, way -> accuracy and the two halves' (loss, accuracy); and seconds of training and of each way."""
    norms: list[Any] = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    running, corrected = statistics_of(norms), [torch.zeros_like(v) for v in statistics_of(norms)]
    steps, rows, seconds = 0, [], {"training": 0.0}
    if hasattr(data, "choose_operator"):
        data.choose_operator(model)
    torch.manual_seed(seed)

    def evaluated() -> tuple[float, list[tuple[float, float]]]:
        model.eval()
        batches = list(data.batches("val", model))
        with torch.no_grad():
            outputs = [model(*b.arguments)[slice(None) if b.rows is None else b.rows] for b in batches]
        logits, y = torch.cat(outputs), torch.cat([b.y for b in batches])
        right = (logits.argmax(1) == y).double()
        halves = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).tensor_split(2)
        found = [(float(F.cross_entropy(logits[half], y[half])), float(right[half].mean())) for half in halves]
        return float(right.mean()), found

    for _ in range(epochs):
        start = time.perf_counter()
        model.train()
        for norm in norms:
            norm.momentum = 1.0  # the averages are the last batch's
        batches, of_epoch = [], []
        for batch in data.batches("train", model):
            optimizer.zero_grad()
            logits = model(*batch.arguments)
            F.cross_entropy(logits if batch.rows is None else logits[batch.rows], batch.y).backward()
            optimizer.step()
            of_batch = statistics_of(norms)
            batches.append(batch)
            of_epoch.append(of_batch)
            running = [0.9 * old + 0.1 * new for old, new in zip(running, of_batch, strict=True)]
            corrected = [0.9 * old + 0.1 * new for old, new in zip(corrected, of_batch, strict=True)]
            steps += 1
        seconds["training"] += time.perf_counter() - start
        found = {}
        write(norms, running)
        found["running"] = evaluated()
        write(norms, [value / (1 - 0.9**steps) for value in corrected])
        found["corrected"] = evaluated()
        write(norms, [torch.stack(values).mean(0) for values in zip(*of_epoch, strict=True)])
        found["epoch"] = evaluated()
        for count in AGAIN:
            last, start = batches[-1 - -(-count // data.batch_size) :], time.perf_counter()
            model.eval()
            with torch.no_grad(), averages_made_again(norms):
                for batch in last:
                    model(*batch.arguments)
            name = f"again {count if count < 10**9 else 'all'}"
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
            found[name] = evaluated()
        model.train()
        state = torch.get_rng_state()
        with torch.no_grad(), averages_made_again(norms):
            for batch in batches:
                model(*batch.arguments)
        torch.set_rng_state(state)
        found["dropping"] = evaluated()
        rows.append(found)
    return rows, seconds


def options_of(**given: Any) -> FitOptions:
    """The options of `fit`, by default its own."""
    parameters = inspect.signature(fit).parameters.values()
    return FitOptions(**{p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | given)


def chosen(rows: list[dict[str, Any]], by: str, scored: str) -> float:
    """Accuracy on one half at the epoch that the other half's loss chooses, the mean of both ways round."""
    accuracies = []
    for half in (0, 1):
        epoch = min(range(len(rows)), key=lambda e: rows[e][by][1][half][0])
        accuracies.append(rows[epoch][scored][1][1 - half][1])
    return statistics.mean(accuracies)


def ways() -> Iterator[dict[str, Any]]:
    for name, (halves, make, options) in SETS.items():
        runs, seconds = [], []
        for seed in range(options["seeds"]):
            two = halves(seed)
            source = Feed.of(*two, options_of(batch_size=options["batch_size"]), make)
            torch.manual_seed(seed)
            rows, took = run(source, make(), options["epochs"], seed)
            runs.append(rows)
            seconds.append(took)
        epochs = sorted({1, 2, 5, options["epochs"]})
        for way in runs[0][0]:
            cost = [took[way] / took["training"] for took in seconds if way in took]
            row = (
                {"set": name, "way": way, "seeds": len(runs)}
                | {f"epoch {e}": spread([rows[e - 1][way][0] for rows in runs]) for e in epochs}
                | {"all epochs": spread([statistics.mean(r[way][0] for r in rows) for rows in runs])}
            )
            row["chosen"] = spread([chosen(rows, way, way) for rows in runs])
            if cost:
                row["share of the time of training"] = statistics.mean(cost)
            yield row
        yield {
            "set": name, "way": "again, kept", "seeds": len(runs),
            "chosen": spread([chosen(rows, "running", "again 256") for rows in runs]),
        }  # fmt: skip


def spread(values: list[float]) -> dict[str, Any]:
    return {"mean": statistics.mean(values), "std": statistics.pstdev(values), "per_seed": values}


# -- table: short trainings as `fit` scores them ----------------------------------------------------------------------


def compared(name: str) -> tuple[list[float], float]:
    row = compare.run_job(compare.ModelJob("digits", name, compare.QUICK[1], 0, compare.QUICK[0]))  # in this process
    return [row["test_accuracy"]], row["seconds"]


def scored(model: nn.Module, test: Any, history: Any) -> tuple[float, float]:
    return metrics.accuracy(predict(model, test), test.y), sum(history.epoch_seconds)


def snippet() -> tuple[list[float], float]:
    """The README's, for two epochs."""
    data = gcnlab.load("digits")
    grid = grid_graph(*data.image_shape)
    torch.manual_seed(0)
    model = GridGCN(1, [8, 16], 10)
    signals = Signals(data.train_images, data.train_labels, grid)
    history = fit(model, signals, epochs=2, select="last", seed=0, progress=False)
    accuracy, seconds = scored(model, Signals(data.test_images, data.test_labels, grid), history)
    return [accuracy], seconds


def example(conv: str) -> tuple[list[float], float]:
    """examples/fashion_mnist_grid.py --images 2000 --epochs 1."""
    data = gcnlab.load("fashion-mnist")
    grid = grid_graph(*data.image_shape)
    x, y, _, _ = data.holdout(len(data.train_labels) // 10)
    kept = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:2000]
    augment = Augment(data.augmentations, shift=1, erase=grid.shape[0] // 4)
    torch.manual_seed(0)
    model = GridGCN(1, [16, 32, 48], data.num_classes, conv=conv)
    history = fit(
        model, Signals(x[kept], y[kept], grid, augment), epochs=1, batch_size=64, lr=0.01, scheduler="one-cycle",
        select="last", precision="bfloat16", seed=0, progress=False,
    )  # fmt: skip
    accuracy, seconds = scored(model, Signals(data.test_images, data.test_labels, grid), history)
    return [accuracy], seconds


def from_scratch() -> tuple[list[float], float]:
    """examples/transfer_learning.py --quick: the grid GCN on ten images of each of five classes, two draws."""
    data = gcnlab.load("fashion-mnist")
    grid, accuracies, seconds = grid_graph(*data.image_shape), [], 0.0
    x, y = data.train_images[data.train_labels >= 5], data.train_labels[data.train_labels >= 5] - 5
    late = data.test_labels >= 5
    test = Signals(data.test_images[late], data.test_labels[late] - 5, grid)
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = GridGCN(1, [16, 32, 48], 5)
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        kept = torch.cat([order[y[order] == c][:10] for c in range(5)])
        history = fit(
            model, Signals(x, y, grid)[kept], epochs=40, batch_size=50, lr=0.005, scheduler="one-cycle", select="last",
            seed=seed, precision="bfloat16", progress=False,
        )  # fmt: skip
        accuracy, took = scored(model, test, history)
        accuracies.append(accuracy)
        seconds += took
    return accuracies, seconds


def last_epoch(name: str, num_features: int, folds: int, epochs: int) -> tuple[list[float], float]:
    """The weights of the last epoch, on the folds' test graphs."""
    collection, accuracies, seconds = gcnlab.load(name), [], 0.0
    for fold in range(folds):
        train_ids, test_ids = split(FoldJob(name, {}, "gin", fold, (Settings(),)), collection)
        torch.manual_seed(fold)
        model = GraphClassifier(num_features, 32, 2, readout="mean")
        history = fit(
            model,
            collection[train_ids],
            epochs=epochs,
            batch_size=32,
            lr=0.01,
            select="last",
            seed=fold,
            progress=False,
        )
        accuracy, took = scored(model, collection[test_ids], history)
        accuracies.append(accuracy)
        seconds += took
    return accuracies, seconds


TABLE: dict[str, Callable[[], tuple[list[float], float]]] = {
    "gcnlab compare digits --quick, relational": lambda: compared("relational"),
    "gcnlab compare digits --quick, isotropic": lambda: compared("isotropic"),
    "README: GridGCN(1, [8, 16], 10) on digits, 2 epochs": snippet,
    "fashion_mnist_grid.py --images 2000 --epochs 1, isotropic": lambda: example("isotropic"),
    "fashion_mnist_grid.py --images 2000 --epochs 1, relational": lambda: example("relational"),
    "transfer_learning.py --quick: grid GCN from scratch, 10 a class": from_scratch,
    "mutag, 10 folds, GraphClassifier(7, 32, 2), 30 epochs": lambda: last_epoch("mutag", 7, 10, 30),
    "proteins, 3 folds, GraphClassifier(3, 32, 2), 10 epochs": lambda: last_epoch("proteins", 3, 3, 10),
}


def table() -> Iterator[dict[str, Any]]:
    for name, short in TABLE.items():
        with mock.patch("gcnlab.train.engine.keeps_averages", return_value=False):
            before, seconds_before = short()
        after, seconds_after = short()
        yield {
            "training": name, "before": spread(before), "after": spread(after), "ratio of the times": seconds_after / seconds_before,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("ways", "table"), help="one of the two; both by default")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for part, rows in (("ways", ways), ("table", table)):
        for row in rows() if args.part in (None, part) else ():
            found.setdefault(part, []).append(row)
            shown = {key: f"{v['mean']:.3f} ± {v['std']:.3f}" if isinstance(v, dict) else v for key, v in row.items()}
            print(shown, flush=True)
    if args.json:
        about = {
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
            "threads": torch.get_num_threads(), "date": time.strftime("%Y-%m-%d"),
            "versions": {"gcnlab": gcnlab.__version__, "torch": torch.__version__}, **found,
        }  # fmt: skip
        write_json(args.json, about)


if __name__ == "__main__":
    main()
