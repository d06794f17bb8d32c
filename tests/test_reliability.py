"""What the promises of `promises.py` need beside the tests of each module: every door at once, repeats, length."""

import ast
import copy
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from promises import TESTS
from test_checkpoint import CODE, EPOCHS, Interrupt, assert_same, interrupted
from test_data import Call, check_toy, payloads, toy, truth
from test_protocols import SMALL, collection, job, tu_folder
from test_train import NormedGCN, generators, make, one_thread, planted_partition, seeded
from torch import nn

from gcnlab import Graph, GraphClassifier, GraphLoader, Signals, bench, compare, doctor, links, load, plot, recipes
from gcnlab.augment import Augment
from gcnlab.checkpoint import read_checkpoint
from gcnlab.cli import main
from gcnlab.data import ImageSet
from gcnlab.data.synthetic import power_law_edges
from gcnlab.errors import GcnlabError
from gcnlab.memory import estimate_step
from gcnlab.models import SIGN, load_model, summary
from gcnlab.precompute import NodeRows, hops, plan
from gcnlab.protocols import run_job
from gcnlab.recipes import images as image_recipes
from gcnlab.reporting import findings as content
from gcnlab.scale import ClusterSampler, NeighborSampler, partition
from gcnlab.train import Checkpoint, Consistency, EarlyStopping, fit, predict
from gcnlab.transfer import freeze, unfreeze

__all__ = ["one_thread", "toy", "truth", "tu_folder"]  # fixtures
CHECKOUT = Path(__file__).resolve().parents[1]


def test_every_promise_has_its_tests():
    for row, tests in TESTS.items():
        for test in tests:
            file, name = test.split("::")
            assert f"def {name}(" in (CHECKOUT / "tests" / file).read_text(), f"{row}: there is no {test}"


# -- no file runs code ------------------------------------------------------------------------------------------------


def own_npz(tmp_path, raw):
    (tmp_path / "own.npz").write_bytes(raw)
    return lambda: load(tmp_path / "own.npz")


def saved_graph(tmp_path, raw):
    Graph.from_edges([[0, 1], [1, 0]], x=torch.ones(2, 3)).save(tmp_path / "saved")
    for path in (tmp_path / "saved").rglob("*"):
        path.write_bytes(raw)
    return lambda: Graph.open(tmp_path / "saved")


DOORS = {
    "checkpoint": lambda path, raw: lambda: read_checkpoint(path),
    "model": lambda path, raw: lambda: load_model(path),
    "training": lambda path, raw: (
        lambda: fit(make(), planted_partition(), seeds=2, epochs=1, checkpoint=Checkpoint(path, resume=True))
    ),
    "data set of one's own": lambda path, raw: lambda: load(path),
    "npz": lambda path, raw: own_npz(path.parent, raw),
    "saved graph": lambda path, raw: saved_graph(path.parent, raw),
}


@pytest.mark.parametrize("name", DOORS)
def test_code_runs_at_no_door(tmp_path, name, trials):
    mark = tmp_path / "mark"
    command = f'echo > "{mark}"'
    raws = [raw for raw, *_ in payloads(command).values()] + [
        write(Call(os.system, command)) for write in CODE.values()
    ]
    trials("files with code, at a door", len(raws), len(raws))
    for raw in raws:
        (tmp_path / "file").write_bytes(raw)
        with pytest.raises(GcnlabError):
            DOORS[name](tmp_path / "file", raw)()
    assert not mark.exists()


def test_code_in_a_processed_form_or_a_result_never_runs(toy, truth, data_root, tmp_path, capsys):
    load("toy")
    mark = tmp_path / "mark"
    for raw, *_ in payloads(f'echo > "{mark}"').values():
        (data_root / "toy" / "processed" / "graph.gcnlab").write_bytes(raw)
        with pytest.warns(UserWarning, match=r"it is made again from the raw files"):
            check_toy(load("toy"), truth)
        (tmp_path / "result.json").write_bytes(raw)
        assert main(["compare", str(tmp_path / "result.json"), str(tmp_path / "result.json")]) == 2
        assert "is no result of `gcnlab run --json`" in capsys.readouterr().err
    assert not mark.exists()


FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "code",
    "pty",
}
FORBIDDEN_CALLS = {
    *(
        "eval",
        "exec",
        "compile",
        "__import__",
        "os.system",
        "os.popen",
        "torch.load",
        "torch.hub.load",
        "pd.read_pickle",
    ),
    *("pandas.read_pickle", "ssl._create_unverified_context", "yaml.load", "sys.path.append", "builtins.eval"),
}
FORBIDDEN_OPTIONS = {"shell": True, "verify": False, "allow_pickle": True, "weights_only": False}


def what_could_run_code(source):
    """Each place of a program that opens a pickle, runs a text as code or as a command, or trusts any certificate."""
    for node in ast.walk(ast.parse(source, feature_version=(3, 10))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        if any(name in FORBIDDEN_CALLS or name.split(".")[0] in FORBIDDEN_MODULES for name in names):
            yield node.lineno, names[0]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in FORBIDDEN_CALLS:
                yield node.lineno, name
            if name.rpartition(".")[0] in ("np", "numpy") and name.endswith(".load"):
                safe = [word for word in node.keywords if word.arg == "allow_pickle"]
                if not safe or ast.unparse(safe[0].value) != "False":
                    yield node.lineno, f"{name} without allow_pickle=False"
            for word in node.keywords:
                if word.arg in FORBIDDEN_OPTIONS and ast.unparse(word.value) == str(FORBIDDEN_OPTIONS[word.arg]):
                    yield node.lineno, f"{name}({word.arg}={FORBIDDEN_OPTIONS[word.arg]})"


def test_nothing_in_the_tree_opens_what_could_run_code():
    """The machine of data/unpickle.py reads pickles without Python's own; the tests make some, to be refused."""
    files = [path for folder in ("gcnlab", "examples", "benchmarks") for path in (CHECKOUT / folder).rglob("*.py")]
    assert len(files) > 60
    found = {
        f"{path.relative_to(CHECKOUT)}:{line}: {what}"
        for path in files
        for line, what in what_could_run_code(path.read_text())
    }
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import loads", "import joblib", "from torch import load", "torch.load(path)"),
        *("torch.load(path, weights_only=True)", "eval(text)", "exec(text)", "os.system(text)", "f(text, shell=True)"),
        *(
            "requests.get(url, verify=False)",
            "np.load(path)",
            "np.load(path, allow_pickle=True)",
            "pd.read_pickle(path)",
        ),
        *("numpy.load(path, allow_pickle=allowed)", "__import__(name)", "ssl._create_unverified_context()"),
    ],
)
def test_the_search_finds(line):
    assert len(list(what_could_run_code(f"x = 1\n{line}\n"))) >= 1
    assert not list(what_could_run_code("model.eval()\nre.compile(text)\nnp.load(path, allow_pickle=False)\n"))


# -- no network -------------------------------------------------------------------------------------------------------

IMPORTS = """
import importlib, pkgutil, socket

def refuse(*arguments, **options):
    raise SystemExit(f"reached for the network: {arguments}")

socket.socket.connect = socket.socket.sendto = socket.getaddrinfo = refuse
import gcnlab
names = [module.name for module in pkgutil.walk_packages(gcnlab.__path__, "gcnlab.")]
for name in names:
    if name not in ("gcnlab.__main__", "gcnlab.sparse.triton_spmm"):  # the command; needs a GPU's package
        importlib.import_module(name)
print(len(names))
"""


def test_importing_reaches_no_network():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 40


def test_tests_reach_no_network():
    with pytest.raises(OSError, match=r"a test tried to reach \('192.0.2.1', 9\)"):
        socket.create_connection(("192.0.2.1", 9), timeout=1)


# -- data roots of others ---------------------------------------------------------------------------------------------

OTHER_USER = """
import json, os, sys
import gcnlab
from gcnlab.data import catalog
catalog()["toy"] = json.loads(sys.argv[1])
for path in sys.argv[2:]:
    mode = os.stat(path).st_mode
    os.chmod(path, 0o700 if os.path.isdir(path) else 0o600)
    if os.fork() == 0:
        os.setgid(65534), os.setuid(65534)
        try:
            gcnlab.load("toy")
        except gcnlab.GcnlabError as error:
            print(type(error).__name__, error, flush=True)
        else:
            print("read", flush=True)
        os._exit(0)
    os.wait()
    os.chmod(path, mode)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another user")
def test_a_data_root_that_another_user_closed(toy, data_root):
    for folder in data_root.parents:  # pytest's own are closed to others
        if folder.stat().st_mode & 0o077 == 0:
            folder.chmod(0o755)
    raw = data_root / "toy" / "raw"
    paths = [data_root, data_root / "toy", raw, raw / "ind.toy.x", __file__]
    arguments = [sys.executable, "-c", OTHER_USER, json.dumps(toy), *map(str, paths)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *refused, last = done.stdout.splitlines()
    assert last == "read"  # where all is open
    for path, said in zip(paths, refused, strict=False):
        assert said.startswith(f"FileAccessError {path}"), said
        assert "ask its owner to open it" in said


# -- the caller's random numbers --------------------------------------------------------------------------------------


class Noisy(nn.Linear):
    """A model that draws when it predicts, too."""

    def __init__(self):
        super().__init__(13, 3)

    def forward(self, x, a_hat):
        return super().forward(x) + torch.rand(())


@pytest.fixture(scope="module")
def things():
    """A graph, many graphs, images and rows, and models of them."""
    drawn = torch.Generator().manual_seed(0)
    graph, graphs = planted_partition(), collection(24)

    def bytes_of(*shape):
        return torch.randint(256, shape, generator=drawn, dtype=torch.uint8)

    images = torch.rand(48, 4, 6, generator=drawn)
    y = torch.arange(48) % 2
    return SimpleNamespace(
        graph=graph, graphs=graphs, images=images, y=y,
        signals=Signals(images, y, augment=Augment(["mirror", "shift"])),
        rows=NodeRows(graph, hops(graph.x, graph.a_hat, 1), label_hops=1, reuse=1),
        image_set=ImageSet(bytes_of(40, 8, 8), torch.arange(40) % 2, bytes_of(8, 8, 8), y[:8], name="digits"),
        noisy=Noisy(), gcn=make(0.5)(), classifier=GraphClassifier(graphs.num_features, 4, 2, 2),
        cnn=nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(24, 2)),
        sign=SIGN([*NodeRows(graph, hops(graph.x, graph.a_hat, 1), label_hops=1).widths], 5, 3, dropout=0.5),
    )  # fmt: skip


def train(model, *data, **options):
    return fit(copy.deepcopy(model), *data, **{"epochs": 2, "seed": 1} | options)


COUNTS = {"nodes": 61, "listed_edges": 90, "features": 13, "classes": 3, "train": 12, "val": 9}
DOORS_WITHOUT_DRAWS = {
    "fit, one graph": lambda t, path: train(t.gcn, t.graph),
    "fit, seeds": lambda t, path: fit(make(0.5), t.graph, seeds=3, epochs=2, batching="auto", progress=False),
    "fit, graphs": lambda t, path: train(t.classifier, t.graphs[:16], t.graphs[16:], batch_size=5),
    "fit, images": lambda t, path: train(t.cnn, t.signals, t.signals[:9], batch_size=5),
    "fit, rows": lambda t, path: train(t.sign, t.rows),
    "fit, a sampler": lambda t, path: train(t.gcn, t.graph, batching=NeighborSampler(t.graph, (2, 2), batch_size=3)),
    "fit, clusters": lambda t, path: train(t.gcn, t.graph, batching=ClusterSampler(t.graph, partition(t.graph, 3))),
    "fit, consistency": lambda t, path: train(t.gcn, t.graph, consistency=Consistency(2, num_nodes=5, num_labelled=4)),
    "fit, a checkpoint": lambda t, path: [
        train(t.gcn, t.graph, epochs=n, checkpoint=Checkpoint(path / "c", resume=True)) for n in (1, 2)
    ],
    "predict": lambda t, path: [predict(t.gcn, t.graph), predict(t.gcn, t.graph, batch_size=7)],
    "predict, many": lambda t, path: [
        predict(*of) for of in ((t.classifier, t.graphs), (t.cnn, t.signals), (t.sign, t.rows))
    ],
    "run, nodes": lambda t, path: recipes.run("karate-gcn", seeds=2, epochs=2, out=path / "out"),
    "run, images": lambda t, path: recipes.run("fashion-mnist-grid", dataset="digits", epochs=1),
    "load_model": lambda t, path: [
        recipes.run("karate-gcn", seeds=1, epochs=1, out=path / "out"), load_model(path / "out" / "model.gcnlab")
    ],
    "image_recipes": lambda t, path: image_recipes.scores(
        recipe := recipes.find("fashion-mnist-grid"),
        image_recipes.train(recipe, t.image_set, 0, 1, progress=False)[0], t.image_set,
    ),
    "pretrained": lambda t, path: image_recipes.pretrained(
        recipes.find("fashion-mnist-grid"), ImageSet(*[torch.zeros(10, 28, 28).byte(), torch.arange(10)] * 2, name="fashion-mnist")
    ),
    "compare": lambda t, path: compare.run_job(compare.ModelJob("digits", "relational", 1, num_images=60)),
    "plan": lambda t, path: [recipes.find("arxiv-diffusion").plan(), plan(t.sign, COUNTS, 1, 1, 0, 5)],
    "bench": lambda t, path: [
        bench.gcnlab_epoch(t.graph, whole=True), bench.floor(t.gcn, t.graph.x, t.graph.a_hat),
        bench.epoch_times("karate", epochs=1),
    ],
    "doctor": lambda t, path: doctor.diagnose(root=str(path)),
    "summary": lambda t, path: [summary(t.gcn, t.graph.x, t.graph.a_hat), estimate_step(t.gcn, t.graph.x, t.graph.a_hat)],
    "summary of a model that draws": lambda t, path: summary(t.noisy, t.graph.x, t.graph.a_hat),
    "plots": lambda t, path: [
        plot.feature_maps(t.cnn, t.images[:2]), plot.samples(t.images[:4], t.y[:4]),
        plot.mistakes(t.images[:4], t.y[:4], torch.eye(2)[1 - t.y[:4]]), plot.confusion(torch.ones(2, 2).long()),
        plot.folds([[0.5, 0.6], [0.7, 0.8]]), train(t.gcn, t.graph).plot(),
    ],
    "embeddings": lambda t, path: [content.pca(t.images.flatten(1)), content.tsne(t.images.flatten(1))],
    "links": lambda t, path: [links.split_edges(t.graph), links.sample_non_edges(t.graph, 3, seed=0)],
    "graphs": lambda t, path: [
        partition(t.graph, 3), power_law_edges(20, 30), t.graph.l_tilde(None), t.graphs.merged(), load("karate"),
        t.graph.receptive_field(t.graph.train_mask, 2), list(GraphLoader(t.graphs)), t.image_set.holdout(9),
    ],
    "transfer": lambda t, path: unfreeze(freeze(copy.deepcopy(t.cnn)), 1),
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS_WITHOUT_DRAWS)
def test_no_door_changes_the_callers_generators(things, tmp_path, pyg, door):
    before = generators()
    DOORS_WITHOUT_DRAWS[door](things, tmp_path)
    assert generators() == before


@pytest.mark.parametrize("protocol", ["gin", "nested", "holdout"])
def test_no_fold_changes_the_callers_generators(tu_folder, protocol):
    grid = (replace(SMALL, epochs=1), replace(SMALL, epochs=1, hidden_channels=4))
    before = generators()
    run_job(job(tu_folder, protocol, grid=grid[:1] if protocol == "gin" else grid))
    assert generators() == before


FIRST_CALLS = """
import os, random, sys
import torch
from gcnlab import load, protocols
from gcnlab.reporting import findings as content

for call in (
    lambda: load("digits"),
    lambda: content.tsne(torch.eye(7)),
    lambda: protocols.stratified(torch.arange(40) % 2, 0.5, 0),
):
    if os.fork() == 0:
        before = random.getstate()
        call()
        print(random.getstate() == before, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_what_is_imported_for_a_call_does_not_change_the_callers_generators():
    command = [sys.executable, "-W", "ignore", "-c", FIRST_CALLS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n" * 3), done.stderr


# -- again and again --------------------------------------------------------------------------------------------------


def test_resuming_at_any_epoch(tmp_path, trials):
    number = trials("resumed trainings", 8, 40)
    graph = planted_partition()

    def run(checkpoint=None, interrupt=None):
        model = seeded({"GCN": make(0.5), "GCN with batch norm": NormedGCN}[name], seed)
        return fit(
            model, graph, seed=seed, epochs=EPOCHS, lr=0.05, checkpoint=checkpoint,
            scheduler=lambda opt: torch.optim.lr_scheduler.StepLR(opt, 9, 0.5),
            callbacks=[EarlyStopping(30), Interrupt(interrupt)],
        )  # fmt: skip

    for seed in range(number // 8):
        for name in ("GCN", "GCN with batch norm"):
            whole = run()
            last = len(whole.epoch_seconds)
            assert last > 31
            for cut in (0, 1, 30, last - 1):
                assert_same(interrupted(cut, tmp_path / f"{seed}{name}{cut}", run), whole)


REPEAT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
from gcnlab import GCN, GATConv, Graph, GraphClassifier, GraphCollection, GridGCN, Signals, fit, load
from gcnlab.checkpoint import sha256_of_tensors
from gcnlab.image import grid_graph
from test_train import planted_partition

graph = planted_partition(1_500, 64)
images = load("digits")
grid = grid_graph(*images.image_shape)
signals = Signals(images.train_images[:256], images.train_labels[:256], grid)
one = [planted_partition(40, 16, seed=i) for i in range(64)]
graphs = GraphCollection.from_graphs([Graph(g.adjacency, x=g.x, y=i % 2) for i, g in enumerate(one)])

class GAT(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = GATConv(64, 8, num_heads=4), GATConv(32, 3)
    def forward(self, x, a):
        return self.second(torch.nn.functional.elu(self.first(x, a)), a)

MODELS = {
    "GCN": (lambda: GCN(64, 16, 3), graph, {}),
    "GAT": (GAT, graph, {}),
    "graphs": (lambda: GraphClassifier(16, 16, 2), graphs, {"batch_size": 16}),
    "grid": (lambda: GridGCN(1, [8, 8], 10), signals, {"batch_size": 64, "lr": 1e-3}),
}
for seed in range(int(sys.argv[3])):
    for name, (make, data, options) in MODELS.items():
        torch.manual_seed(seed)
        model = make()
        epochs = int(sys.argv[4]) // (4 if name == "grid" else 1)  # of 4 batches
        history = fit(model, data, seed=seed, epochs=epochs, select="last", **options)
        loss = float(history.metrics["train_loss"][1, 0])  # later, rounding that differs with the threads has grown
        if name == "GCN":  # and two seeds in a stack
            history = fit(make, data, seeds=[seed, seed + 1], epochs=15, select="last")
            print(seed, "stack", sha256_of_tensors(list(history.states.values())), float(history.metrics["train_loss"][:5].sum()))
        print(seed, name, sha256_of_tensors(list(model.state_dict().values())), repr(loss), flush=True)
"""


def test_fresh_processes_repeat_to_the_bit(trials):
    epochs = str(trials("epochs of each repeated training", 12, 30))
    number = trials("repeated trainings", 20, 100)  # 5, in 2 processes each, with 1 and 2 threads
    # threads that wait without spinning: more of them than free cores take minutes otherwise
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    environment.pop("OMP_NUM_THREADS", None)

    def run(threads, seeds):
        arguments = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            REPEAT,
            str(CHECKOUT / "tests"),
            str(threads),
            str(seeds),
            epochs,
        ]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=1500, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        return [line.rsplit(maxsplit=2) for line in done.stdout.splitlines()]

    found = {threads: run(threads, number // 20) for threads in (1, 2)}
    for threads, lines in found.items():
        assert len(lines) == number // 4
        assert run(threads, number // 20) == lines
    for other in (found[2], run(4, 1)):
        for (name, _, loss), (name_too, _, loss_too) in zip(found[1], other, strict=False):
            assert name == name_too
            assert float(loss) == pytest.approx(float(loss_too), rel=1e-4, abs=1e-5), name


LENGTH = """
import os, sys, torch
torch.set_num_threads(1)
import gcnlab
from gcnlab import GCN, Callback, EarlyStopping, fit, load

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def files():
    return len(os.listdir("/proc/self/fd"))

class Watch(Callback):
    def __init__(self, first, last):
        self.at, self.found = (first, last), {}
    def after_epoch(self, epoch, metrics):
        if epoch in self.at:
            self.found[epoch] = (resident(), files())

epochs, loads = int(sys.argv[1]), int(sys.argv[2])
graph = load("karate").with_features("identity")
watch = Watch(epochs // 2, epochs - 1)
fit(GCN(graph.num_features, 16, graph.num_classes), graph, epochs=epochs, callbacks=[watch], select="last")
(before, open_before), (after, open_after) = watch.found.values()
print(after - before, open_after - open_before)

folder = sys.argv[3]
graph.save(folder + "/graph")
def read():
    load("karate"), load("davis"), gcnlab.Graph.open(folder + "/graph")
for _ in range(loads // 4):
    read()
before, open_before = resident(), files()
for _ in range(loads):
    read()
print(resident() - before, files() - open_before)
"""


@pytest.mark.promise("long use")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")
def test_long_use_takes_no_more_memory_or_files(tmp_path, trials):
    epochs = trials("epochs of one training", 2_000, 10_000)
    loads = trials("loads of each of three sets", 200, 1_000)
    done = subprocess.run(
        [sys.executable, "-c", LENGTH, str(epochs), str(loads), str(tmp_path)],
        capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for grown, opened in (map(int, line.split()) for line in done.stdout.splitlines()):
        assert grown < 2 << 20
        assert opened == 0
