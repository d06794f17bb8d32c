"""The command `gcnlab`. Exit status: 0 done; 2 the input is wrong (a line says what, where and the remedy); 1 else."""

from __future__ import annotations

import argparse
import csv
import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from . import __version__, data, distributed, recipes
from .errors import CorruptFileError, DistributedError, GcnlabError, InputError, NonFiniteError
from .files import atomic_write, check_fields, check_target, read_json, write_json
from .machine import tell
from .recipes.outputs import Outputs
from .reporting import page as report


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    args, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(args, "pictures") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse takes no positional arguments behind options
        args.pictures += rest
    args.arguments = arguments
    _open_standard_streams()
    text_streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    errors_before = [stream.errors for stream in text_streams]
    for stream in text_streams:
        stream.reconfigure(errors="backslashreplace")  # a letter that the encoding lacks must not cost a result
    format_before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"gcnlab: {message}\n"
    try:
        for name, value in vars(args).items():
            if value == "":  # an unset variable of a shell
                raise InputError(f"{name}: got nothing, expected a value; leave it out for its default.")
        status = args.command(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output left, as `head` does; the flush at exit must not meet it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except GcnlabError as error:
        status = 1 if isinstance(error, NonFiniteError | DistributedError) else 2
        if error.is_told:  # by another rank
            return status
        if isinstance(error.__cause__, distributed.RankTraceback) and sys.stderr is not None:
            print(error.__cause__.args[0], file=sys.stderr)
        return _fail(str(error), status)
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        return _fail(f"the output's encoding, {error.encoding}, lacks {character!a}; export PYTHONIOENCODING=utf-8.", 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 1) if distributed.is_first() else 1
    except OSError as error:
        wrong_path = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
        is_wrong = isinstance(error, wrong_path) or error.errno in (errno.ENAMETOOLONG, errno.ELOOP)
        message = str(error) if error.filename is None else f"{error.filename}: {error.strerror}"
        return _fail(message, 2 if is_wrong else 1)
    finally:
        warnings.formatwarning = format_before
        for stream, errors in zip(text_streams, errors_before, strict=True):
            stream.reconfigure(errors=errors)
    return status or 0


def _open_standard_streams() -> None:
    """Open the null device as stdin, stdout and stderr where they are closed.

    Otherwise a file of ours gets the number, and what a library writes to stderr goes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _fail(message: str, status: int) -> int:
    tell(" ".join(message.splitlines()))
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """argparse's, in one line."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Command(NamedTuple):
    """A line of the table of commands.

    Attributes:
        name: what is typed.
        does: what it does, in words.
        example: a command line.
        call: what runs it.
        arguments: of `argparse.ArgumentParser.add_argument`: names and options.
    """

    name: str
    does: str
    example: str
    call: Callable[[argparse.Namespace], int | None]
    arguments: Sequence[tuple[Sequence[str], Mapping[str, Any]]] = ()


def _argument(*names: str, **options: Any) -> tuple[Sequence[str], Mapping[str, Any]]:
    return names, options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("gcnlab", description="Graph convolutional networks, from raw file to accuracy.")
    parser.add_argument("--version", action="version", version=f"gcnlab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, _COMMANDS)
    data_sets = commands.add_parser(
        "data", help="list, fetch and verify data sets", description="List, fetch and verify data sets."
    )
    _add(data_sets.add_subparsers(required=True, metavar="ACTION"), _DATA_COMMANDS)
    return parser


def _add(subparsers: Any, table: Iterable[_Command]) -> None:
    """Add subcommands; the help of each says in one sentence what it does, and shows an example."""
    for name, does, example, call, arguments in table:
        sentence = f"{does[0].upper()}{does[1:]}."
        command = subparsers.add_parser(name, help=does, description=sentence, epilog=f"example: {example}")
        for names, options in arguments:
            command.add_argument(*names, **options)
        command.set_defaults(command=call)


def _run(args: argparse.Namespace) -> int:
    if args.list:
        _print_recipes()
        return 0
    if args.recipe is None:
        raise InputError("recipe: none given; `gcnlab run --list` shows them.")
    if distributed.was_started():
        with distributed.processes(args.device):
            _run_recipe(args)
        return 0
    if args.restarts and args.nproc is None:
        raise InputError(f"restarts: got {args.restarts} without --nproc; a single process is not started again.")
    if args.nproc is not None:
        return distributed.launch(["-m", "gcnlab", *args.arguments], args.nproc, args.restarts, args.device)
    _run_recipe(args)
    return 0


def _run_recipe(args: argparse.Namespace) -> None:
    is_first = distributed.is_first()
    if args.json and is_first:
        check_target("json", args.json)

    def done(result: dict[str, Any]) -> None:
        try:
            if args.json:
                write_json(args.json, result)
        finally:  # a full disk takes no figure from the screen
            _print_result(result, args.markdown)

    recipes.run(
        args.recipe, seeds=args.seeds, device=args.device, epochs=args.epochs, root=args.data_root,
        dataset=args.dataset, protocol=args.protocol, threads=args.threads, pretrained=args.pretrained, out=args.out,
        tsne=args.tsne, tensorboard=args.tensorboard, done=done,
        say=(lambda line: None) if args.markdown or not is_first else print,
    )  # fmt: skip


def _print_result(result: dict[str, Any], as_markdown: bool) -> None:
    """At once: what is drawn afterwards may be killed."""
    if as_markdown:
        return print(recipes.markdown_row(result), flush=True)
    if result["protocol"] == "gin":
        print(f"accuracy        {_percent(result['test_accuracy'])}, no held-out test")
    else:
        print(f"{f'test {report.metric_of(result)}':<15} {_percent(result['test_accuracy'])}")
    if "test_macro_f1" in result and result["metric"] != "macro_f1":
        print(f"test macro-F1   {_percent(result['test_macro_f1'])}")
    if result["protocol"] != "gin":
        print(f"validation      {_percent(result['val_accuracy'])}")
    if result["published"]:
        print(f"published       {100 * result['published']['value']:.1f} %  ({result['published']['source']})")
    trained = f"trained for up to {result['epochs']} epochs" if result["epochs"] else "trained beforehand"
    summary = (
        f"{result['num_parameters']:,} parameters, {trained}, {result['seconds']:.1f} s in all on {result['device']}"
    )
    print(summary, flush=True)


def _percent(spread: dict[str, Any]) -> str:
    count, many = recipes.counted(spread)
    return f"{100 * spread['mean']:.2f} %" + (
        f" ± {100 * spread['std']:.2f} over {count} {many}" if count > 1 else ", 1 seed"
    )


def _print_recipes() -> None:
    ours = recipes.recorded()
    for recipe in recipes.RECIPES.values():
        published = [
            f"{100 * value:.1f} % {protocol} ({source})" for (_, protocol), (value, source) in recipe.published.items()
        ]
        recorded = [
            f"{recipes.metric_cell(row)}{100 * row['mean']:.2f} ± {100 * row['std']:.2f} % {row['protocol']} ({row['count']} "
            f"{'folds' if row['protocol'] in ('gin', 'nested') else 'seeds' if row['count'] > 1 else 'seed'})"
            for row in ours
            if row["recipe"] == recipe.name
        ]
        seeds = f"{recipe.num_seeds:>3} seed{'s' * (recipe.num_seeds > 1)}"
        print(f"{recipe.name:<24} {recipe.dataset:<13} {recipe.model_name:<54} {seeds:<9}", end="  ")
        print(f"protocols: {', '.join(recipe.protocols)}; published: {'; '.join(published) or 'none'}", end="; ")
        print(f"recorded: {'; '.join(recorded) or 'none'}")


def _predict(args: argparse.Namespace) -> None:
    from .models import load_model

    if args.out:
        check_target("out", args.out)
    model, header = load_model(args.checkpoint)
    if "recipe" not in header:
        raise InputError(f"checkpoint: {args.checkpoint} names no recipe; expected the model.gcnlab of `gcnlab run`.")
    recipe = recipes.find(header["recipe"])
    problem = f"its header is not that of a model of {recipe.name}"
    check_fields(args.checkpoint, header, recipe.header, problem)
    if args.pictures and (args.data or not recipe.takes_pictures):
        raise InputError(f"PATH: got {args.pictures[0]}; pictures go with a model of images, and without --data.")
    dataset = args.data or header["dataset"]
    names, logits = recipe.predict(model, header, dataset, args.data_root, args.pictures)
    temperature = header.get("temperature")
    if temperature is None:
        tell(
            f"{args.checkpoint} is of an older version and holds no temperature, so its probabilities are not calibrated; "
            "`gcnlab run --out` fits one."
        )
        temperature = 1.0
    label = logits.argmax(1)  # of the logits: probabilities may be rounded to the same number
    probability = (logits / temperature).softmax(1).amax(1)
    classes = header["class_names"] or range(int(label.max()) + 1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([recipe.kind, "label", "probability"])
    for name, c, p in zip(names, label.tolist(), probability.tolist(), strict=True):
        writer.writerow([name, classes[c], f"{p:.6f}"])
    if not args.out:
        if isinstance(sys.stdout, io.TextIOWrapper):
            text.getvalue().encode(sys.stdout.encoding)  # a name is whole or an error
        print(text.getvalue(), end="")
        return
    with atomic_write(args.out) as file:
        file.write(text.getvalue().encode())


def _summary(args: argparse.Namespace) -> None:
    if args.dataset and not args.plan:
        raise InputError(f"dataset: got {args.dataset} without --plan; a summary is of the recipe's own data set.")
    if not args.plan:
        print(recipes.find(args.recipe).describe(args.data_root))
        return
    recipe = recipes.find_hop_recipe(args.recipe)
    print(f"{recipe.name} on {args.dataset or recipe.dataset}, one seed, {torch.get_num_threads()} threads")
    print(recipe.plan(args.dataset))


def _compare(args: argparse.Namespace) -> None:
    if len(args.what) == 1 and not Path(args.what[0]).is_file():
        return _compare_images(args)
    return _compare_results(args)


def _compare_images(args: argparse.Namespace) -> None:
    from .compare import compare, text_row

    if args.quick:
        print("quick: at most 10,000 training images, 2 epochs each; the test set is whole")
    print(text_row())
    compare(
        args.what[0], args.models, args.epochs, quick=args.quick, root=args.data_root, out=args.out,
        threads=args.threads, say=lambda line: print(line, flush=True),
    )  # fmt: skip


def _compare_results(args: argparse.Namespace) -> None:
    from .protocols import paired, pairs_of

    if len(args.what) != 2 or not all(Path(file).is_file() for file in args.what):
        raise InputError(f"compare: got {' '.join(args.what)}, expected two files that `gcnlab run --json` wrote.")
    if args.out:
        check_target("out", args.out, is_folder=True)
        report.check_can_write("out: report.html")
    a, b = (_read_result(file) for file in args.what)
    finding = _finding(a, b, paired(a, b), pairs_of(a))
    print(finding, end="\n\n")
    print(recipes.MARKDOWN_HEAD, recipes.markdown_row(a), recipes.markdown_row(b), sep="\n")
    if args.out:
        with Outputs(args.out).writing("report.html") as file:
            report.write(file, report.of_pair(a, b, finding))


# What is paired: where, by which test, and what its interval does not say.
_PAIRS = {
    "folds": ("On the 10 folds of", "corrected paired t-test, Nadeau & Bengio 2003", ""),
    "splits": (
        "On {} splits of", "paired t-test over splits",
        " The interval is about which split of these data is drawn, not about other data.",
    ),
    "seeds": (
        "With {} initialisations on one split of", "paired t-test over seeds",
        " The interval is about the initialisation alone: it says nothing of other splits.",
    ),
}  # fmt: skip


def _finding(a: Mapping[str, Any], b: Mapping[str, Any], found: Mapping[str, float], by: str) -> str:
    """What `paired` found, in words."""
    difference, error, low, high = (100 * found[key] for key in ("difference", "error", "low", "high"))
    p = f"p = {found['p']:.2g}" if found["p"] >= 0.001 else "p < 0.001"
    where, test, meaning = _PAIRS[by]
    protocol = a["protocol"] + (f", folds: {a['folds']}" if a.get("folds") else "")
    return (
        f"{where.format(len(a['seeds']))} {a['dataset']} (protocol {protocol}), {a['recipe']} is {abs(difference):.2f} points "
        f"{'less' if difference < 0 else 'more'} accurate than {b['recipe']}, with a standard error of {error:.2f}. The 95 % "
        f"confidence interval of the difference goes from {low:+.2f} to {high:+.2f} points, {p} ({test}): these {by} "
        f"{'do not ' if low <= 0 <= high else ''}tell the two apart.{meaning}"
    )


_SPREAD = {"mean": float, "std": float, "per_seed": [float], "per_fold": ([float], None)}
_RESULT = {
    "recipe": str, "dataset": str, "protocol": str, "folds": (str, None), "model": str, "num_parameters": int, "seeds": [int],
    "test_accuracy": _SPREAD, "seconds": float, "device": (str, None), "published": ({"value": float, "source": str}, None),
    "versions": (dict, None), "metric": (str, None),
}  # fmt: skip


def _read_result(file: str) -> dict[str, Any]:
    result = read_json(file, _RESULT, "is no result of `gcnlab run --json`")
    if (found := len(result["test_accuracy"]["per_seed"])) != len(result["seeds"]):
        raise CorruptFileError(
            file, f"is no result of `gcnlab run --json`: per_seed has {found} values for {len(result['seeds'])} seeds."
        )
    return result


def _bench(args: argparse.Namespace) -> None:
    from .bench import epoch_times

    if args.json:
        check_target("json", args.json)
    result = epoch_times(args.dataset, args.epochs, args.threads, args.data_root, say=print)
    if args.json:
        write_json(args.json, result)


def _doctor(args: argparse.Namespace) -> int:
    from .doctor import diagnose

    if args.json:
        check_target("json", args.json)
    found = diagnose(args.data_root, args.verify, say=print)
    if args.json:
        write_json(args.json, found)
    return 1 if found["problems"] else 0


def _completion(args: argparse.Namespace) -> None:
    from .completion import script

    print(script(_parser(), args.shell))


def _data_list(args: argparse.Namespace) -> None:
    for name, entry in data.catalog().items():
        states = set(data.verify(name, args.data_root).values())
        state = "embedded" if not entry["files"] else "here" if states == {"ok"} else " and ".join(sorted(states))
        print(f"{name:<14} {entry['task']:<22} {state:<14} {entry['title']}")


def _data_fetch(args: argparse.Namespace) -> None:
    for name in args.name:
        print(f"{name}: {data.fetch(name, args.data_root)}")


def _data_verify(args: argparse.Namespace) -> None:
    wrong: dict[str, int] = {}
    for name in dict.fromkeys(args.name):
        states = data.verify(name, args.data_root)
        for file, state in states.items():
            print(f"{name}/{file}: {state}")
        if count := sum(state not in ("ok", "unverified") for state in states.values()):
            wrong[name] = count
    if wrong:
        raise InputError(
            f"{', '.join(f'{name}: {count} missing or wrong' for name, count in wrong.items())}; remove what is wrong "
            f"and fetch again with `gcnlab data fetch {' '.join(wrong)}`."
        )


_DATA_ROOT = _argument(
    "--data-root",
    metavar="DIR",
    help="where the data sets are (default: $GCNLAB_DATA, else datasets/ of a checkout, else the user's cache folder)",
)

_COMMANDS = (
    _Command(
        "run",
        "train a recipe and print its test accuracy",
        "gcnlab run cora-gcn --seeds 10 --out runs/cora",
        _run,
        (
            _argument("recipe", nargs="?", help="a name that --list shows"),
            _argument("--list", action="store_true", help="show every recipe with its published figure"),
            _argument("--seeds", type=int, metavar="N", help="how many seeds (default: the recipe's)"),
            _argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one"),
            _argument("--epochs", type=int, metavar="N", help="the most epochs (default: the recipe's)"),
            _DATA_ROOT,
            _argument("--dataset", metavar="NAME", help="another data set of the same kind (default: the recipe's)"),
            _argument(
                "--protocol",
                metavar="NAME",
                help="public, random or full for citation sets; gin, nested or holdout for collections (default: "
                "the first that --list shows)",
            ),
            _argument(
                "--threads",
                type=int,
                metavar="N",
                help="CPU threads, of folds one each (default: by the work of a step; a fold a core)",
            ),
            _argument(
                "--nproc",
                type=int,
                metavar="N",
                help="processes on this machine, one a GPU on cuda: images and holdout are trained by all of them together; the "
                "seeds of node recipes and the folds of gin and nested are spread over them (for several machines: torchrun)",
            ),
            _argument(
                "--restarts",
                type=int,
                default=0,
                metavar="N",
                help="with --nproc: how often to start all processes again when one fails; with --out they go on from what is "
                "there (default: 0)",
            ),
            _argument(
                "--pretrained", action="store_true", help="score the weights that come with gcnlab, without training"
            ),
            _argument("--out", metavar="DIR", help="write result.json, report.html, curves.png and model.gcnlab there"),
            _argument("--tsne", action="store_true", help="with --out: draw the report's embeddings by t-SNE, too"),
            _argument(
                "--tensorboard", metavar="DIR", help="log each epoch's losses, accuracies and learning rate there"
            ),
            _argument("--json", metavar="FILE", help="write the result there"),
            _argument("--markdown", action="store_true", help="print nothing but the result as a row of a table"),
        ),
    ),
    _Command(
        "predict",
        "label the nodes of a graph, graphs, pictures, or the test images of a set with a trained model, as CSV; each label "
        "has its probability, calibrated on the validation nodes, graphs or images of the training",
        "gcnlab predict runs/cora/model.gcnlab --data cora",
        _predict,
        (
            _argument("checkpoint", help="the model.gcnlab of `gcnlab run --out`"),
            _argument("--data", metavar="NAME|PATH", help="default: the data set it was trained on"),
            _argument(
                "pictures", nargs="*", metavar="PATH", help="pictures, or folders of them, for a model of images"
            ),
            _DATA_ROOT,
            _argument("--out", metavar="FILE", help="write the CSV there instead of to the screen"),
        ),
    ),
    _Command(
        "summary",
        "show layers, shapes, parameters and memory of a recipe's model",
        "gcnlab summary cora-gcn",
        _summary,
        (
            _argument("recipe", help="a name that `gcnlab run --list` shows"),
            _argument(
                "--dataset",
                metavar="NAME",
                help="with --plan, another data set of the same kind (default: the recipe's)",
            ),
            _argument(
                "--plan",
                action="store_true",
                help="disk, memory and time that a recipe on propagated features takes, unread",
            ),
            _DATA_ROOT,
        ),
    ),
    _Command(
        "compare",
        "train grid networks beside the tutorials' CNNs on a data set, or compare two results on the same folds, splits or "
        "seeds",
        "gcnlab compare fashion-mnist --quick, or: gcnlab compare gcn.json mlp.json",
        _compare,
        (
            _argument("what", nargs="+", metavar="DATASET|RESULT", help="an image set, or two files of `run --json`"),
            _argument("--models", nargs="+", metavar="NAME", help="default: all of at most 10 epochs"),
            _argument("--epochs", type=int, metavar="N", help="of every model (default: each one's own)"),
            _argument("--quick", action="store_true", help="10,000 training images and 2 epochs: a look, not a figure"),
            _argument("--threads", type=int, metavar="N", help="CPU threads (default: by the work of a step)"),
            _DATA_ROOT,
            _argument(
                "--out",
                metavar="DIR",
                help="report.html; of models also results.jsonl, from which it goes on, and comparison.md, .json and .png",
            ),
        ),
    ),
    _Command(
        "bench",
        "time an epoch beside PyG's, both in this run",
        "gcnlab bench cora --threads 2",
        _bench,
        (
            _argument("dataset", help="such as cora, citeseer or pubmed"),
            _argument("--epochs", type=int, default=50, metavar="N", help="timed epochs of each side (default: 50)"),
            _argument("--threads", type=int, metavar="N", help="CPU threads of both sides (default: torch's)"),
            _DATA_ROOT,
            _argument("--json", metavar="FILE", help="write the figures there"),
        ),
    ),
    _Command(
        "doctor",
        "look at versions, devices, threads, memory, data and speed, and say how to mend what is wrong (then status 1)",
        "gcnlab doctor --json doctor.json",
        _doctor,
        (
            _argument("--verify", action="store_true", help="also hash the data sets' files and import every package"),
            _DATA_ROOT,
            _argument("--json", metavar="FILE", help="write what was found there"),
        ),
    ),
    _Command(
        "completion",
        "print the script that completes this command in a shell",
        "gcnlab completion bash > ~/.local/share/bash-completion/completions/gcnlab",
        _completion,
        (_argument("shell", choices=("bash", "zsh", "fish"), help="which shell"),),
    ),
)

_NAMES = _argument("name", nargs="+", help="a name that `gcnlab data list` shows")
_DATA_COMMANDS = (
    _Command("list", "show every data set, and whether its files are here", "gcnlab data list", _data_list, (_DATA_ROOT,)),
    _Command(
        "fetch", "download what is missing and check it", "gcnlab data fetch cora citeseer", _data_fetch,
        (_NAMES, _DATA_ROOT),
    ),
    _Command(
        "verify", "compare the files with their known sha256", "gcnlab data verify cora", _data_verify,
        (_NAMES, _DATA_ROOT),
    ),
)  # fmt: skip
