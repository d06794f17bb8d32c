"""How well candidate settings of a collection do on the inner validation parts of some folds, so that a grid can be chosen.

    python benchmarks/choose_grid.py imdb-binary --folds 1 2 3 --candidates candidates.json --results runs/choice.jsonl

The file holds a list of settings (`gcnlab.protocols.Settings`), and may name features, which `load` takes:

    [{"readout": "mean", "num_layers": 2}, {"model": "mlp", "readout": "sum", "features": "degree"}]

Fields that are left out are those of the recipe NAME-gcn's first point. Each is trained on the inner train part of each
fold (counted from 1), for each seed, as the protocol nested does it, and scored at the epoch that
they keep. The ids of the outer test parts are in no batch. With --results a finished training is not made again.
"""

import argparse
import json
import statistics
from dataclasses import asdict, replace
from pathlib import Path

from gcnlab.jobs import Finished, run_all
from gcnlab.protocols import FoldJob, Settings, run_choice, with_digest
from gcnlab.recipes import find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a set with a recipe NAME-gcn")
    parser.add_argument("--candidates", required=True, help="the JSON file")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", help="a file of finished trainings, one JSON line each")
    parser.add_argument("--workers", type=int, help="processes of one thread each (default: one per core)")
    args = parser.parse_args()

    recipe = find(f"{args.dataset}-gcn")
    jobs: dict[str, list[FoldJob]] = {}
    for candidate in json.loads(Path(args.candidates).read_text()):
        features = {"features": candidate.pop("features", recipe.features["features"])}
        settings: Settings = replace(recipe.grid[0], **candidate)
        differs = {name: value for name, value in asdict(settings).items() if value != getattr(Settings(), name)}
        jobs[json.dumps({**features, **differs})] = [
            with_digest(FoldJob(args.dataset, features, "nested", fold - 1, (settings,), seed))
            for fold in args.folds
            for seed in range(args.seeds)
        ]
    fields = {"val_accuracy": float, "epoch_seconds": [float]}
    finished = Finished(Path(args.results) if args.results else None, "a candidate", fields)
    missing = [job for several in jobs.values() for job in several if job not in finished]
    for number, (job, result) in enumerate(run_all(run_choice, missing, args.workers), 1):
        finished.add(job, result)
        print(
            f"{number} of {len(missing)}: fold {job.fold + 1}, validation {100 * result['val_accuracy']:.2f} %",
            flush=True,
        )
    rows = []
    for name, several in jobs.items():
        accuracies = [finished[job]["val_accuracy"] for job in several]
        seconds = statistics.mean(sum(finished[job]["epoch_seconds"]) for job in several)
        rows.append((statistics.mean(accuracies), statistics.pstdev(accuracies), seconds, name))
    for mean, std, seconds, name in sorted(rows, reverse=True):
        print(f"{100 * mean:6.2f} ± {100 * std:5.2f} %  {seconds:7.1f} s  {name}")


if __name__ == "__main__":
    main()
