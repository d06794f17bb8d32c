"""Epochs of `fit` as it chooses its threads, on a quiet machine and beside a process that keeps one core busy.

    python benchmarks/busy.py [cora imdb-multi proteins grid] [--rounds 3] [--force] [--json benchmarks/results/busy.json]

Both beside the same epoch of one thread on the quiet machine. Each side is a process of its own, the sides take turns, and
the figures are medians over the rounds of the median epoch. It refuses a machine on which others work, unless --force.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from machine_state import busy_cores, one_core_busy, refuse_unless_quiet

import gcnlab
from gcnlab.machine import usable_cores
from gcnlab.threads import POLICIES, VARIABLES

SIDES = ("one thread, quiet", "quiet", "busy")


def cora():
    graph = gcnlab.load("cora")
    model = gcnlab.GCN(graph.num_features, 16, graph.num_classes)
    return gcnlab.fit(model, graph, epochs=200, weight_decay={"layers.0": 5e-4}, progress=False)


def graphs(name, features, epochs):
    data = gcnlab.load(name, features=features)
    model = gcnlab.GraphClassifier(data.num_features, 64, data.num_classes, num_layers=3)
    return gcnlab.fit(model, data, epochs=epochs, select="last", progress=False)


def grid():
    """1,024 images of 28 x 28."""
    from gcnlab.recipes import RECIPES

    images, recipe = gcnlab.load("fashion-mnist"), RECIPES["fashion-mnist-grid"]
    signals = gcnlab.Signals(images.train_images[:1024], images.train_labels[:1024], images.grid())
    return gcnlab.fit(recipe.model(images), signals, epochs=5, select="last", progress=False)


CASES = {
    "cora": cora,
    "imdb-multi": lambda: graphs("imdb-multi", "degree", 40),
    "proteins": lambda: graphs("proteins", "label", 15),
    "grid": grid,
}


def one(case, side):
    """Train in this process: seconds of the median epoch, the first one not counted, and threads."""
    if side == "one thread, quiet":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    history = CASES[case]()
    print(json.dumps({"seconds": statistics.median(history.epoch_seconds[1:]), "threads": history.threads}))


def run(case, side):
    environment = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, *POLICIES)}
    with one_core_busy() if side == "busy" else nullcontext():
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--one", case, side], env=environment, stdout=subprocess.PIPE,
            check=True, text=True,
        )  # fmt: skip
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; by default all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--force", action="store_true", help="time on a machine on which others work, too")
    parser.add_argument("--json")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(*args.one)
    if unknown := set(args.cases) - CASES.keys():
        parser.error(f"{unknown.pop()!r} is none of {', '.join(CASES)}")
    refuse_unless_quiet(args.force)
    results = []
    for case in args.cases or CASES:
        found = [{side: run(case, side) for side in SIDES} for _ in range(args.rounds)]
        seconds = {side: statistics.median(of[side]["seconds"] for of in found) for side in SIDES}
        ratios = {side: seconds[side] / seconds[SIDES[0]] for side in SIDES[1:]}
        threads = {side: found[0][side]["threads"] for side in SIDES}
        results.append({"case": case, "threads": threads, "epoch_seconds": seconds, "ratios": ratios})
        print(
            f"{case:<11} one thread {1e3 * seconds[SIDES[0]]:8.2f} ms, {threads['quiet']} as chosen: "
            + ", ".join(f"{side} {1e3 * seconds[side]:8.2f} ms = {ratios[side]:.2f} x" for side in SIDES[1:]),
            flush=True,
        )
    if args.json:
        record = {
            "date": datetime.date.today().isoformat(), "rounds": args.rounds, "cores": usable_cores(),
            "busy cores afterwards": busy_cores(),
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}", "torch": torch.__version__,
            "gcnlab": gcnlab.__version__, "results": results,
        }  # fmt: skip
        Path(args.json).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
