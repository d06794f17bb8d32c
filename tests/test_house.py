"""The shape of the package: rooms and what they import, lengths, the names of 1.0, and one more kind of data."""

import ast
import importlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import gcnlab
from gcnlab import cli
from gcnlab.checkpoint import sha256_of_tensors
from gcnlab.errors import InputError
from gcnlab.train.feed import Feed
from gcnlab.train.objective import Batch, Objective, targets_for

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gcnlab"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}

# -- rooms ------------------------------------------------------------------------------------------------------------


def told_rooms():
    """The rooms in the order of docs/design.md, each of which may import those above it."""
    block = re.search(r"```text\ngcnlab/\n(.*?)```", (ROOT / "docs/design.md").read_text(encoding="utf-8"), re.DOTALL)
    return re.findall(r"^  ([\w/.]+)  +\S", block[1], re.MULTILINE)


def imported(name, is_type_checked=False):
    """The modules of gcnlab that a module imports, inside functions, too."""
    file = MODULES[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    left_out = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in left_out:
            continue
        if node.level:
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
        elif (node.module or "").partition(".")[0] == "gcnlab":
            base = ""
        else:
            continue
        module = ".".join(part for part in (base, node.module) if part)
        found |= {inner if (inner := f"{module}.{alias.name}") in MODULES else module for alias in node.names}
    return found - {name}


IMPORTS = {name: imported(name) for name in MODULES}


def room(module):
    """The file or folder of gcnlab that a module is in."""
    parts = module.split(".")
    return "" if len(parts) == 1 else f"{parts[1]}/" if (PACKAGE / parts[1]).is_dir() else f"{parts[1]}.py"


def test_the_design_shows_every_room():
    there = {room(name) for name in MODULES} - {""}
    assert sorted(told_rooms()) == sorted(there)


def test_rooms_import_those_above_them():
    place = {name: i for i, name in enumerate(told_rooms())}
    wrong = {
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if room(name) and room(other) and place[room(other)] > place[room(name)]
    }
    assert not wrong


def test_no_module_imports_itself_by_others():
    seen = set()

    def visit(name, way):
        assert name not in way, f"a circle: {' -> '.join([*way[way.index(name) :], name])}"
        if name not in seen:
            for other in sorted(IMPORTS[name] & MODULES.keys() - {"gcnlab"}):
                visit(other, [*way, name])
            seen.add(name)

    for name in MODULES.keys() - {"gcnlab"}:
        visit(name, [])


def test_no_private_name_is_imported():
    wrong = [
        f"{name}: {alias.name}"
        for name, file in MODULES.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("gcnlab"))
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert wrong == []


def test_layers_know_no_graph():
    used = {other for name, others in IMPORTS.items() if name.startswith("gcnlab.layers") for other in others}
    assert not [name for name in used if name.startswith("gcnlab.graph")]


# -- lengths ----------------------------------------------------------------------------------------------------------


def functions():
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{name}.{node.name}", node


def test_files_and_functions_are_of_a_length_that_is_read():
    long_files = {name: n for name, file in MODULES.items() if (n := len(file.read_text().splitlines())) > 900}
    assert not long_files
    long = {}
    for name, node in functions():
        body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
        if (lines := node.end_lineno - body[0].lineno + 1) > 60:
            long[name] = lines
    assert not long


def test_functions_take_few_arguments_but_for_those_that_are_named():
    many = {
        name for name, node in functions() if len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) > 12
    }
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.search(r"No function takes more than 12 arguments but (.*?):", text, re.DOTALL)
    assert many == set(re.findall(r"`(gcnlab\.[\w.]+)`", named[1]))


# -- the names of 1.0 -------------------------------------------------------------------------------------------------

# Of what methods return (GraphBatch, Subgraph, GridRelations) the arguments of the constructor are not listed.
NAMES = (ROOT / "tests/names-1.0.txt").read_text(encoding="utf-8").splitlines()


def found(path):
    thing = gcnlab
    for part in path.split(".")[1:]:
        try:
            thing = inspect.getattr_static(thing, part) if inspect.isclass(thing) else getattr(thing, part)
        except AttributeError:
            if inspect.isclass(thing):
                thing = getattr(thing, part)
            else:
                thing = importlib.import_module(f"{thing.__name__}.{part}")
    return thing.__func__ if isinstance(thing, (classmethod, staticmethod)) else thing


@pytest.mark.parametrize("line", [line for line in NAMES if line.startswith("gcnlab")])
def test_a_name_of_1_0_is_where_it_was_and_takes_what_it_took(line):
    path, _, told = line.removesuffix(")").partition("(")
    thing = found(path)
    if not told:
        return
    now = [p for p in inspect.signature(thing).parameters.values() if p.name not in ("self", "cls")]
    names = [p.name for p in now]
    before = re.findall(r"(\*?)(\w+)(=?)", told)
    places = [names.index(name) for is_named, name, _ in before if not is_named]
    assert places == list(range(len(places)))  # by position as before
    assert {name for _, name, _ in before} <= set(names)
    needed = {name for _, name, default in before if not default}
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    assert {
        p.name for p in now if p.default is p.empty and p.kind not in kinds
    } <= needed  # what is new may be left out


@pytest.mark.parametrize("line", [line for line in NAMES if line.startswith("$")])
def test_a_command_of_1_0_has_its_options(line, capsys):
    words = line.removeprefix("$ gcnlab ").split()
    command, options = [w for w in words if not w.startswith("-")], [w for w in words if w.startswith("-")]
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert all(re.search(rf"(?<![\w-]){option}(?![\w-])", told) for option in options)


# -- one more kind of data --------------------------------------------------------------------------------------------


@dataclass
class Pairs:
    """Rows x, and a number y for each: a kind of data that gcnlab does not have."""

    x: torch.Tensor
    y: torch.Tensor


@pytest.fixture
def pair_feed():
    class PairFeed(Feed):
        """All pairs in each step; `val` validates."""

        data_type = Pairs
        takes = frozenset({"val"})

        def __init__(self, data, val, options):
            self.parts = {"train": data, "val": val}
            y = targets_for("data", data.y, "pair", len(data.x), options.loss)
            self.objective = Objective.of(options, "pair", y, None, 0)
            self.num_batches, self.batch_size, self.has_val = 1, len(data.x), val is not None

        def batches(self, split, model):
            return [Batch((self.parts[split].x,), None, self.parts[split].y)]

        def fingerprint(self):
            return {**self.objective.fingerprint(), "pairs": sha256_of_tensors([self.parts["train"].x])}

        @classmethod
        def predict(cls, model, data, nodes, operator, batch_size):
            return model(data.x)

    yield PairFeed
    Feed.classes.remove(PairFeed)


def test_a_kind_of_data_is_one_class(pair_feed, tmp_path):
    assert len(inspect.getsource(pair_feed).splitlines()) < 60
    torch.manual_seed(0)
    x = torch.rand(64, 3)
    data, val = Pairs(x, x.sum(1)), Pairs(x[:9] / 2, x[:9].sum(1) / 2)
    options = {"loss": "mse", "lr": 0.05, "progress": False}
    model = nn.Linear(3, 1)
    history = gcnlab.fit(model, data, val, epochs=300, seed=0, **options)
    assert float(history.best("val_loss")) < 1e-3
    torch.testing.assert_close(gcnlab.predict(model, val).squeeze(1), val.y, atol=0.1, rtol=0)
    assert len(gcnlab.fit(lambda: nn.Linear(3, 1), data, val, seeds=3, epochs=4, **options).seeds) == 3
    torch.manual_seed(1)
    first, file = nn.Linear(3, 1), tmp_path / "pairs.training"
    gcnlab.fit(first, data, val, seed=0, epochs=5, checkpoint=gcnlab.Checkpoint(file), **options)
    whole = gcnlab.fit(first, data, val, seed=0, epochs=9, checkpoint=gcnlab.Checkpoint(file, resume=True), **options)
    assert len(whole.metrics["val_loss"]) == 9
    with pytest.raises(InputError, match="operator: goes with a Graph"):
        gcnlab.fit(nn.Linear(3, 1), data, val, operator=torch.eye(3), **options)
    with pytest.raises(InputError, match="nodes: go with one Graph or NodeRows, not with Pairs"):
        gcnlab.predict(model, data, nodes=[0])
