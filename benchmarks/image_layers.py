"""Forward and backward of two layers of 32 channels on 64 grey images of 28x28: gcnlab, Conv2d and PyG, all in this run.

    python benchmarks/image_layers.py [--threads 2] [--json benchmarks/results/image-layers.json]

1 -> 32 -> 32 channels with a ReLU between, 8 neighbours, random cotangents, as a training step has them. The sides take
turns, block by block, so that a drift of the machine's speed meets all of them; medians and quartiles. PyG's batch of
64 grid graphs is put together before the clock starts; collating it anew costs 9 ms more.

Then the pieces: Â of one layer in both forms of the GridOperator, x W as a matrix product and as gcnlab does it, and
images turned into signals.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from gcnlab import GCNConv
from gcnlab.image import GridOperator, grid_graph, to_images, to_signals
from gcnlab.layers import RelationalGCNConv, linear

BATCH, SIZE, CHANNELS = 64, 28, 32
BLOCK = 10

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--blocks", type=int, default=8)
parser.add_argument("--json")
args = parser.parse_args()
torch.set_num_threads(args.threads)

torch.manual_seed(0)
grid = grid_graph(SIZE, SIZE, connectivity=8)
signals = torch.rand(BATCH, grid.num_nodes, 1)
images = to_images(signals, grid.shape, channels="first").contiguous()


def of_signals(layer: type[nn.Module], matrix: object, **options: int) -> Callable[[], Tensor]:
    first, second = layer(1, CHANNELS, **options), layer(CHANNELS, CHANNELS, **options)
    return lambda: second(first(signals, matrix).relu(), matrix)


def of_images(memory_format: torch.memory_format) -> Callable[[], Tensor]:
    first = nn.Conv2d(1, CHANNELS, 3, padding=1).to(memory_format=memory_format)
    second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(memory_format=memory_format)
    given = images.contiguous(memory_format=memory_format)
    return lambda: second(first(given).relu())


def of_pyg() -> Callable[[], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it is built on is deprecated
        from torch_geometric.data import Batch, Data
        from torch_geometric.nn import GCNConv as PyGGCNConv
    first, second = PyGGCNConv(1, CHANNELS), PyGGCNConv(CHANNELS, CHANNELS)
    batch = Batch.from_data_list([Data(x=x, edge_index=grid.edge_index) for x in signals])
    return lambda: second(first(batch.x, batch.edge_index).relu(), batch.edge_index)


def step(forward: Callable[[], Tensor]) -> Callable[[], object]:
    cotangent = torch.randn_like(forward())  # in the memory format of the output
    return lambda: forward().backward(cotangent)


def take_turns(sides: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in sides}
    for block in range(args.blocks + 1):  # the first is not counted
        for name, run in sides.items():
            for _ in range(2 if name.startswith("PyG") else BLOCK):
                start = time.perf_counter()
                run()
                if block:
                    times[name].append(time.perf_counter() - start)
    out = {}
    for name, values in times.items():
        low, median, high = (1000 * value for value in statistics.quantiles(values, n=4))
        out[name] = {"median_ms": median, "quartiles_ms": [low, high]}
        print(f"{name:<48} {median:9.2f} ms   ({low:.2f} to {high:.2f})")
    return out


steps = take_turns(
    {
        "Conv2d": step(of_images(torch.contiguous_format)),
        "Conv2d, channels_last": step(of_images(torch.channels_last)),
        "GCNConv on grid.operator": step(of_signals(GCNConv, grid.operator)),
        "RelationalGCNConv on grid.relations": step(of_signals(RelationalGCNConv, grid.relations, num_relations=9)),
        "PyG, GCNConv on a batch of 64 graphs": step(of_pyg()),
    }
)
ms = {name: row["median_ms"] for name, row in steps.items()}
conv = min(ms["Conv2d"], ms["Conv2d, channels_last"])
ratios = {
    "GCNConv / Conv2d": ms["GCNConv on grid.operator"] / ms["Conv2d"],
    "GCNConv / the faster Conv2d": ms["GCNConv on grid.operator"] / conv,
    "RelationalGCNConv / Conv2d": ms["RelationalGCNConv on grid.relations"] / ms["Conv2d"],
    "RelationalGCNConv / the faster Conv2d": ms["RelationalGCNConv on grid.relations"] / conv,
    "PyG / GCNConv": ms["PyG, GCNConv on a batch of 64 graphs"] / ms["GCNConv on grid.operator"],
}
for name, ratio in ratios.items():
    print(f"{name:<48} {ratio:9.2f}")

print()
hidden = torch.rand(BATCH, grid.num_nodes, CHANNELS)
by_node = grid.operator @ hidden
weight = torch.rand(CHANNELS, CHANNELS)
raw = torch.randint(0, 256, (10_000, SIZE, SIZE), dtype=torch.uint8)
cross = GridOperator(grid_graph(SIZE, SIZE, connectivity=4))
pieces = take_turns(
    {
        "Â x, CSR, by image": lambda: grid.operator.matrix @ hidden,
        "Â x, CSR, by node": lambda: grid.operator.matrix @ by_node,
        "Â x, stencil, 8 neighbours": lambda: grid.operator.stencil(hidden),
        "Â x, stencil, 4 neighbours": lambda: cross.stencil(hidden),
        "x W, matrix product, by image": lambda: hidden @ weight,
        "x W, gcnlab, by node": lambda: linear(by_node, weight),
        "to_signals, 10,000 uint8 images": lambda: to_signals(raw),
    }
)
if args.json:
    machine = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    sizes = {"batch": BATCH, "height": SIZE, "width": SIZE, "channels": CHANNELS, "dtype": "float32", "device": "cpu"}
    result = {"threads": args.threads, "machine": machine, "torch": torch.__version__, "sizes": sizes}
    result |= {"steps": steps, "ratios": ratios, "pieces": pieces}
    Path(args.json).write_text(json.dumps(result, indent=2) + "\n")
