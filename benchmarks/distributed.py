"""Training in two processes beside one, one thread each; and on paper what more machines would exchange, and when it pays.

    python benchmarks/distributed.py [--rounds 3] [--epochs 3] [--json benchmarks/results/distributed.json]
    python benchmarks/distributed.py --paper

Measured: a training epoch of graph classification (four layers, mean readout, batches of 128 graphs) and of images
(`fashion-mnist-grid`'s network, bfloat16, batches of 128), and on neighbour samples of a made-up graph (200,000 nodes, 4
million edges, 64 features, a GCN of 64 hidden units, fan-outs 10 and 10, batches of 1,024 nodes). A third side, two trainings apart, each on its own and of all batches, shows what the machine
can: its cores share caches and memory. Each side runs in processes of its own, and the sides take turns; the time of a
side is the median over rounds of its median epoch, its first epoch of each round left out. One process and two train on
the same batches.

--paper prints the tables of docs/distributed.md, which follow from the formulas and figures below alone.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import gcnlab
from gcnlab import distributed
from gcnlab.data.synthetic import write_communities
from gcnlab.image import grid_graph
from gcnlab.scale import NeighborSampler

# bytes a second in one direction, and what starts an operation between two neighbours costs, in seconds
LINKS = {
    "8 GPUs, NVLink 4": (8, 450e9, 3e-6),
    "8 machines, InfiniBand NDR": (8, 50e9, 5e-6),
    "64 machines, InfiniBand NDR": (64, 50e9, 5e-6),
    "8 machines, 100 GbE": (8, 12.5e9, 30e-6),
    "64 machines, 100 GbE": (64, 12.5e9, 30e-6),
}
NUM_NODES, NUM_EDGES, WIDTH, MEMORY_BANDWIDTH = 10**8, 10**9, 256, 3.35e12  # the last of an H100, bytes a second


def all_reduce_seconds(num_bytes, size, bandwidth, latency):
    """A ring: 2(W - 1) rounds, in each of which every member sends a W-th of the bytes to the next."""
    return 2 * (size - 1) / size * num_bytes / bandwidth + 2 * (size - 1) * latency


def halo(size):
    """How many nodes of other machines one machine of W needs, of a graph whose nodes lie on them at random.

    Each of the N (W - 1) / W nodes elsewhere has M / N neighbours; with 1 - (1 - 1/W)^(M/N) one of them is here.
    """
    return NUM_NODES * (1 - 1 / size) * (1 - (1 - 1 / size) ** (NUM_EDGES / NUM_NODES))


def models():
    """Name -> the model whose gradients are exchanged."""
    return {
        "`proteins-gcn-mean`": gcnlab.GraphClassifier(3, 64, 2, 4),
        "`fashion-mnist-grid`": gcnlab.GridGCN(1, (32, 48, 56), 10),
        "GCN, 3 layers of 256": gcnlab.GCN(128, WIDTH, 172, num_layers=3),
    }


def paper():
    """The two tables, Markdown."""
    made = {name: 4 * sum(p.numel() for p in model.parameters()) for name, model in models().items()}
    lines = [f"| model, gradient | {' | '.join(LINKS)} |", f"|---|{'---|' * len(LINKS)}"]
    for name, num_bytes in made.items():
        cells = []
        for size, bandwidth, latency in LINKS.values():
            seconds = all_reduce_seconds(num_bytes, size, bandwidth, latency)
            cells.append(f"{1e3 * seconds:.2f} ms, {9e3 * seconds:.1f} ms")
        lines.append(f"| {name}, {num_bytes / 1e6:.2f} MB | {' | '.join(cells)} |")
    lines += ["", f"| a layer of {WIDTH} on the whole graph | {' | '.join(LINKS)} |", f"|---|{'---|' * len(LINKS)}"]
    rows = {
        "nodes from elsewhere, each machine": [f"{halo(size) / 1e6:.0f} million" for size, *_ in LINKS.values()],
        "their features": [f"{4e-9 * WIDTH * halo(size):.0f} GB" for size, *_ in LINKS.values()],
        "time to receive them": [f"{4 * WIDTH * halo(s) / bandwidth:.2f} s" for s, bandwidth, _ in LINKS.values()],
        "time to sum the neighbours": [
            f"{4 * WIDTH * NUM_EDGES / size / MEMORY_BANDWIDTH:.3f} s" for size, *_ in LINKS.values()
        ],
    }
    return "\n".join(lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()])


def graph_training(name):
    graphs = gcnlab.load(name, features={"proteins": "label", "mutag": "label"}.get(name, "degree"))
    torch.manual_seed(0)
    return gcnlab.GraphClassifier(graphs.num_features, 64, graphs.num_classes, 4), graphs, {"lr": 0.01}


def image_training(name, num_images):
    images = gcnlab.load(name)
    signals = gcnlab.Signals(
        images.train_images[:num_images], images.train_labels[:num_images], grid_graph(*images.image_shape[:2])
    )
    torch.manual_seed(0)
    model = gcnlab.GridGCN(1, (32, 48, 56), images.num_classes)
    return model, signals, {"precision": "bfloat16", "lr": 0.01}


def node_training(folder):
    graph = gcnlab.Graph.open(folder)
    torch.manual_seed(0)
    sampler = NeighborSampler(graph, (10, 10), 1024)
    return gcnlab.GCN(graph.num_features, 64, graph.num_classes), graph, {"batching": sampler, "lr": 0.01}


def one_side(what, name, num_images, epochs):
    """Train, in this process or with the others that torchrun started; what it measured."""
    torch.set_num_threads(1)
    model, data, options = (
        graph_training(name) if what == "graphs" else node_training(name) if what == "nodes" else
        image_training(name, num_images)
    )  # fmt: skip
    history = gcnlab.fit(model, data, epochs=epochs + 1, select="last", batch_size=128, progress=False, **options)
    return {
        "items": int(data.train_mask.sum()) if what == "nodes" else len(data),
        "epoch_seconds": statistics.median(history.epoch_seconds[1:]),
        "gradient_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
    }


def measured(what, name, nproc, apart, args):
    """`one_side` in processes of its own; of `apart` such sides at once the slower."""
    with tempfile.TemporaryDirectory() as folder:
        files, started = [Path(folder) / f"{i}.json" for i in range(apart)], []
        for file in files:
            command = [__file__, "--side", what, "--name", name, "--file", file]
            command += ["--num-images", args.num_images, "--epochs", args.epochs]
            command = [str(part) for part in command]
            launcher = f"import sys; from gcnlab import distributed; sys.exit(distributed.launch({command!r}, {nproc}))"
            # The launcher gives each process its part of the threads.
            started.append(
                subprocess.Popen(
                    [sys.executable, *(command if nproc == 1 else ["-c", launcher])],
                    env={**os.environ, "OMP_NUM_THREADS": str(nproc)},
                )
            )
        if any(process.wait() for process in started):
            raise SystemExit(f"{what} in {nproc} processes failed")
        return max((json.loads(file.read_text()) for file in files), key=lambda side: side["epoch_seconds"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", default="proteins", help="a collection of graphs")
    parser.add_argument("--images", default="fashion-mnist", help="a set of images of one channel")
    parser.add_argument("--num-images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--paper", action="store_true", help="print the tables on paper, and measure nothing")
    parser.add_argument("--side", choices=("graphs", "images", "nodes"), help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.paper:
        print(paper())
        return
    if args.side and distributed.was_started():
        with distributed.processes("cpu") as ranks:
            side = one_side(args.side, args.name, args.num_images, args.epochs)
        if ranks.rank == 0:
            args.file.write_text(json.dumps(side))
        return
    if args.side:
        args.file.write_text(json.dumps(one_side(args.side, args.name, args.num_images, args.epochs)))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        write_communities(f"{folder}/graph", 200_000, 4_000_000)
        for what, name in (("graphs", args.graphs), ("images", args.images), ("nodes", f"{folder}/graph")):
            # Sides: processes of a training, trainings at once.
            rounds = [
                {side: measured(what, name, *side, args) for side in ((1, 1), (2, 1), (1, 2))}
                for _ in range(args.rounds)
            ]
            seconds = {side: statistics.median(sides[side]["epoch_seconds"] for sides in rounds) for side in rounds[0]}
            first = rounds[0][1, 1]
            row = {
                "dataset": "made up" if what == "nodes" else name, "items": first["items"], "gradient_bytes": first["gradient_bytes"],
                "items_per_second": {
                    "1 process": first["items"] / seconds[1, 1], "2 processes": first["items"] / seconds[2, 1],
                    "2 trainings apart": 2 * first["items"] / seconds[1, 2],
                },
            }  # fmt: skip
            alone, *others = row["items_per_second"].values()
            row["speedup"], row["speedup of trainings apart"] = (other / alone for other in others)
            results.append(row)
            print(f"{row['dataset']:<14}", end="")
            for side, each in row["items_per_second"].items():
                print(f"   {side} {each:8.0f} items/s, {each / alone:.2f} x", end="")
            print(flush=True)
    if args.json:
        about = {
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores",
            "date": datetime.date.today().isoformat(), "threads": 1, "batch_size": 128,
            "rounds": args.rounds, "epochs": args.epochs,
            "versions": {"gcnlab": gcnlab.__version__, "torch": torch.__version__, "python": platform.python_version()},
        }  # fmt: skip
        Path(args.json).write_text(json.dumps({**about, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
