"""How many threads a step takes, whose number wins, and how the threads wait for each other."""

import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import gcnlab
from gcnlab import (
    Checkpoint,
    Graph,
    NodeRows,
    Signals,
    bench,
    compare,
    distributed,
    doctor,
    fit,
    jobs,
    predict,
    threads,
)
from gcnlab.data.synthetic import power_law_edges
from gcnlab.errors import InputError
from gcnlab.image import grid_graph
from gcnlab.machine import cpu_quota
from gcnlab.scale import ClusterSampler, NeighborSampler, RandomNodeSampler
from gcnlab.threads import Step, Told, Waits, chosen, exactly, number_for, users_number, work_of
from gcnlab.train import Callback, Consistency, History
from gcnlab.train.feed import Feed
from gcnlab.train.options import FitOptions


@pytest.fixture(autouse=True)
def free(monkeypatch):
    """A machine of 4 cores, whose torch takes 4 threads by itself, and a user who said nothing."""
    before = torch.get_num_threads()
    for name in (*threads.VARIABLES, *threads.POLICIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    monkeypatch.setattr(threads, "_AT_IMPORT", 4)
    monkeypatch.setattr(threads, "_IS_TORCHS_OWN", True)
    monkeypatch.setattr(threads, "_checked", set())
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def graph():
    rng = np.random.default_rng(0)
    edges = power_law_edges(300, 900, seed=0)
    x = torch.from_numpy(rng.standard_normal((300, 5), dtype=np.float32))
    is_train = torch.arange(300) % 2 == 0
    y = torch.from_numpy(rng.integers(3, size=300))
    return Graph.from_edges(edges, 300, x=x, y=y, train_mask=is_train, val_mask=~is_train)


def gcn():
    torch.manual_seed(0)
    return gcnlab.GCN(5, 7, 3)


class Seen(Callback):
    """The numbers of threads that torch takes after each epoch, and the names of the threads that are there."""

    def __init__(self):
        self.numbers, self.names = [], []

    def after_epoch(self, epoch, metrics):
        self.numbers.append(torch.get_num_threads())
        self.names.append([thread.name for thread in threading.enumerate()])


class Failing(Callback):
    def after_epoch(self, epoch, metrics):
        raise KeyError("of the callback")


def trained(model, data, **options):
    seen = Seen()
    history = fit(model, data, epochs=2, seed=0, select="last", progress=False, callbacks=[seen], **options)
    assert set(seen.numbers) == {history.threads}
    return history


# -- the work of a step -----------------------------------------------------------------------------------------------


def test_work_is_what_the_formula_says():
    model, step = nn.Linear(7, 11), Step(rows=13, features=7, stored=13 * 7, entries=17, sites=13)
    assert work_of(model, step) == (13 * 77 + 12 * 17 * 7 + 6 * 13 * 11) / 2
    assert work_of(model, step, 3) == 3 * work_of(model, step)
    sparse = step._replace(stored=19)
    assert work_of(model, sparse) == pytest.approx((12 * 19 * 11 + 12 * 17 * 7 + 6 * 13 * 11) / 2)
    deeper = nn.Sequential(nn.Linear(7, 7, bias=False), nn.Linear(23, 11, bias=False))
    assert work_of(deeper, sparse) == pytest.approx((12 * 19 * 7 + 12 * 17 * 7 + 13 * 23 * 11 + 12 * 17 * 11) / 2)


def test_a_kernel_is_applied_at_each_pixel_and_a_matrix_to_each_image():
    images = Step(rows=3, features=1, stored=3 * 100, entries=0, sites=3 * 100)
    assert work_of(nn.Conv2d(1, 5, 3, bias=False), images) == 300 * 45
    assert work_of(nn.Linear(45, 7, bias=False), images) == 3 * 315


def test_a_step_on_any_operator():
    x, dense = torch.ones(7, 3), torch.eye(7)
    matrix = gcnlab.SparseMatrix.from_dense(dense)
    kinds = [matrix, [matrix, dense[:2]], dense.to_sparse(), dense.to_sparse_csr()]
    assert [Step.on(x, operator) for operator in kinds] == [Step(7, 3, 21, 7, 7)] * 4
    assert Step.on(x, dense).entries == 49 / 12
    assert Step.on(x, object()).entries == 0
    assert Step.on(gcnlab.SparseMatrix.from_dense(x * 0 + 1), matrix, 0.5) == Step(3.5, 3, 10.5, 3.5, 3.5)


def test_work_of_any_module():
    step = Step(rows=13, features=7, stored=91, entries=0, sites=13)
    assert work_of(nn.Identity(), step) == 0
    assert work_of(nn.LazyLinear(5), step) == 0  # its sizes are not known yet
    assert work_of(nn.Embedding(1000, 5), step) == 0  # rows are looked up, not multiplied


def options(data, val=None, **changes):
    """The feed that `fit` makes."""
    given = dict(
        loss="cross-entropy", label_smoothing=0.0, seeds=None, seed=0, epochs=1, lr=0.01, weight_decay=None, clip_norm=None,
        optimizer=gcnlab.Adam, scheduler=None, average=0.0, precision="float32", select="last", callbacks=(),
        class_weight=None, batch_size=4, checkpoint=None, seeds_at_once=20, progress=False, check_finite=True,
        deterministic=False, operator=None, consistency=None, cuda_graph=False, batching="full", split=None, metrics=None,
    )  # fmt: skip
    return Feed.of(data, val, FitOptions(**{**given, **changes}), gcn())


def batches_of(feed, model):
    """Rows, stored values of x and entries, the mean over the batches of an epoch."""
    torch.manual_seed(0)
    found = []
    for batch in feed.batches("train", model):
        x, operator = batch.arguments[:2]
        first = operator[0] if isinstance(operator, list) else operator
        found.append([x.shape[0], getattr(x, "nnz", x.numel() if isinstance(x, torch.Tensor) else 0), first.nnz])
    return torch.tensor(found, dtype=torch.float64).mean(0).tolist()


def test_the_step_of_a_graph_is_the_receptive_field(graph):
    few = graph.replace(train_mask=graph.train_mask & (torch.arange(300) < 20))
    feed = options(few)
    feed.choose_operator(gcn())
    step = feed.step(gcn())
    assert [step.rows, step.stored, step.entries] == batches_of(feed, gcn())
    assert step.rows < 300
    assert step.features == 5


def test_the_step_of_drawn_nodes_draws_nothing(graph):
    feed = options(graph, consistency=Consistency(num_nodes=7))
    feed.choose_operator(gcn())
    before = torch.get_rng_state()
    assert feed.step(gcn()).rows == 300
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "sampler",
    [
        lambda g: NeighborSampler(g, [2, None], 16),
        lambda g: RandomNodeSampler(g, 100),
        lambda g: ClusterSampler(g, torch.arange(300) // 50, 2),
    ],
    ids=["neighbours", "nodes", "clusters"],
)
def test_the_step_of_a_sampler_is_about_a_batch(graph, sampler):
    feed = options(graph, batching=sampler(graph))
    feed.choose_operator(gcn())
    before = torch.get_rng_state()
    step = feed.step(gcn())
    assert torch.equal(before, torch.get_rng_state())
    rows, stored, _ = batches_of(feed, gcn())
    assert rows / 2 < step.rows < 2 * rows
    assert stored / 2 < step.stored < 2 * stored
    assert step.entries == pytest.approx(graph.adjacency.nnz * step.rows / 300)


@pytest.fixture
def collection():
    """40 graphs, paths and stars, of which each has a few kinds of nodes alone."""
    made = []
    for i in range(40):
        n = 5 + i % 9
        ends = torch.arange(1, n)
        starts = torch.zeros_like(ends) if i % 2 else ends - 1
        pairs = torch.stack([torch.cat([starts, ends]), torch.cat([ends, starts])])
        made.append(Graph.from_edges(pairs, n, x=torch.ones(n, 3), y=i % 2))
    return gcnlab.GraphCollection.from_graphs(made)


class Merging(gcnlab.GraphClassifier):
    merges_nodes = True


class Plain(gcnlab.GraphClassifier):
    merges_nodes = False


@pytest.mark.parametrize("kind", [Merging, Plain])
def test_the_step_of_graphs_is_the_mean_batch(collection, kind):
    model = kind(3, 4, 2, num_layers=2)
    part = collection[torch.arange(40) % 4 < 2]
    feed = options(part, batch_size=5)
    feed.choose_operator(model)
    step = feed.step(model)
    rows, stored, _ = batches_of(feed, model)
    assert step.rows == pytest.approx(rows, rel=0.3)
    assert step.stored == pytest.approx(stored, rel=0.3)
    assert (step.rows < part.num_nodes / 4) == (kind is Merging)


def test_the_step_of_images_and_of_rows(graph):
    images = torch.rand(9, 6, 5)
    on_grid = options(Signals(images, torch.arange(9) % 3, grid_graph(6, 5))).step(nn.Identity())
    assert on_grid == Step(4 * 30, 1, 4 * 30, 0, 4 * 30)
    assert options(Signals(images, torch.arange(9) % 3)).step(nn.Identity()) == Step(4, 1, 120, 0, 120)
    assert options(Signals(images, torch.arange(9) % 3), batch_size=99).step(nn.Identity()).rows == 9
    rows = NodeRows(graph, [graph.x, graph.x[:, :2]])
    assert options(rows, batch_size=8).step(nn.Identity()) == Step(8, 5, 40, 0, 8)


# -- the choice -------------------------------------------------------------------------------------------------------


def test_a_thread_for_each_part_of_the_work():
    one = threads.WORK_PER_THREAD
    assert [number_for(work * one) for work in (0, 0.1, 1, 1.99, 2, 3.5, 4, 1000)] == [1, 1, 1, 1, 2, 3, 4, 4]
    assert number_for(None) == 4


def test_at_most_the_usable_cores_and_torchs_number(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    assert number_for(1e12) == 3
    monkeypatch.setattr(threads, "usable_cores", lambda: 9)
    assert number_for(1e12) == 4


def test_small_steps_take_one_thread_and_large_ones_more(graph, monkeypatch):
    assert trained(gcn(), graph).threads == 1
    monkeypatch.setattr(threads, "WORK_PER_THREAD", 1000)
    assert trained(gcn(), graph).threads == 4
    assert torch.get_num_threads() == 4


def test_a_stack_of_seeds_has_the_work_of_all(graph, monkeypatch):
    step = options(graph)
    step.choose_operator(gcn())
    monkeypatch.setattr(threads, "WORK_PER_THREAD", 0.7 * work_of(gcn(), step.step(gcn())))
    make, given = lambda: gcnlab.GCN(5, 7, 3), {"epochs": 1, "select": "last", "progress": False}
    assert fit(make, graph, seeds=2, **given).threads == 2
    assert fit(make, graph, seeds=2, seeds_at_once=1, **given).threads == 1
    assert fit(make, graph, seeds=3, seeds_at_once=2, **given).threads == 2  # of the larger stack


class Asked(nn.Module):
    """A GCN that keeps torch's number of threads of each call."""

    def __init__(self):
        super().__init__()
        self.gcn, self.numbers = gcn(), []

    def forward(self, *arguments):
        self.numbers.append(torch.get_num_threads())
        return self.gcn(*arguments)


def test_predictions_choose_as_well(graph, monkeypatch):
    model = Asked()
    predict(model, graph)
    monkeypatch.setattr(threads, "WORK_PER_THREAD", 1000)
    predict(model, graph)
    assert model.numbers == [1, 4]
    torch.set_num_threads(3)
    predict(model, graph)
    assert model.numbers == [1, 4, 3]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("work", [1e3, None])
def test_the_number_is_put_back(work):
    with pytest.raises(KeyError), chosen(work, "cpu"):
        raise KeyError
    assert torch.get_num_threads() == 4


def test_the_number_is_put_back_after_an_error_in_a_callback(graph):
    with pytest.raises(KeyError, match="of the callback"):
        fit(gcn(), graph, epochs=2, select="last", progress=False, callbacks=[Failing()])
    assert torch.get_num_threads() == 4


def test_a_gpu_leaves_torchs_number():
    with chosen(1.0, "cuda") as waits:
        assert torch.get_num_threads() == waits.number == 4


def test_a_training_within_a_training_chooses_by_itself(graph, monkeypatch):
    class Inner(Callback):
        def after_epoch(self, epoch, metrics):
            monkeypatch.setattr(threads, "WORK_PER_THREAD", 1000)
            inner.append(trained(gcn(), graph).threads)
            assert torch.get_num_threads() == 1

    inner = []
    history = fit(gcn(), graph, epochs=1, select="last", progress=False, callbacks=[Inner()])
    assert (history.threads, inner) == (1, [4])


def test_threads_of_python_that_start_meanwhile_get_torchs_number():
    found = []
    with chosen(1.0, "cpu"):
        other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert torch.get_num_threads() == 1
    assert found == [4]


def test_history_keeps_the_number(graph, tmp_path):
    torch.set_num_threads(2)
    first = trained(gcn(), graph, checkpoint=Checkpoint(tmp_path / "a.training"))
    assert first.threads == first.cpu().threads == 2
    resumed = fit(
        gcn(), graph, epochs=3, seed=0, select="last", progress=False,
        checkpoint=Checkpoint(tmp_path / "b.training", resume=True),
    )  # fmt: skip
    assert resumed.threads == 2
    made = [History([i], {"val_loss": torch.ones(2, 1)}, torch.tensor([1]), {}, threads=i) for i in range(3)]
    assert History.join(made).threads == 2
    assert made[0].threads == History([0], {}, torch.tensor([1]), {}).threads == 0


def test_numbers_of_threads_give_results_that_are_close_and_repeat(monkeypatch):
    """Large enough for several threads in every product."""
    n = 20_000
    edges = power_law_edges(n, 100_000)
    x = torch.randn(n, 64, generator=torch.Generator().manual_seed(0))
    graph = Graph.from_edges(edges, n, x=x, y=edges[0, :n] % 5, train_mask=torch.ones(n, dtype=torch.bool))
    found = {}
    for number in (1, 2, 2):
        torch.manual_seed(0)
        model = gcnlab.GCN(64, 64, 5, num_layers=2)
        monkeypatch.setattr(threads, "usable_cores", lambda number=number: number)
        assert trained(model, graph).threads == number
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        if number in found:
            assert torch.equal(found[number], weights)
        found[number] = weights
    torch.testing.assert_close(found[1], found[2], atol=1e-5, rtol=0)


# -- whose number it is -----------------------------------------------------------------------------------------------


def test_nobody_said_a_number():
    assert users_number() is None


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OMP_NUM_THREADS": "3"}, Told(3, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": " 2 , 1"}, Told(2, "OMP_NUM_THREADS")),
        ({"MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": "3"}, Told(2, "MKL_NUM_THREADS")),
        ({"OMP_NUM_THREADS": ""}, None),
        ({"OMP_NUM_THREADS": "two"}, None),
        ({"OMP_NUM_THREADS": "0"}, None),
    ],
    ids=str,
)
def test_a_variable_says_the_number(graph, monkeypatch, variables, told):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert users_number() == told
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert trained(gcn(), graph).threads == (1 if told is None else told.number)
    assert torch.get_num_threads() == 4


def test_torch_said_the_number_and_wins_over_variables(graph, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(3)
    assert users_number() == Told(3, "torch.set_num_threads")
    assert trained(gcn(), graph).threads == 3
    assert torch.get_num_threads() == 3


def test_what_gcnlab_is_asked_for_wins_over_all(graph, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(3)
    with exactly(1):
        assert users_number() == Told(1, "threads")
        assert trained(gcn(), graph).threads == torch.get_num_threads() == 1
        with exactly(2):
            assert trained(gcn(), graph).threads == 2
        assert torch.get_num_threads() == 1
    with exactly(None):
        assert users_number() == Told(3, "torch.set_num_threads")
    with pytest.raises(KeyError), exactly(1):
        raise KeyError
    assert torch.get_num_threads() == 3


def test_the_default_that_is_asked_for_is_a_number_too(graph):
    with exactly(4):
        assert trained(gcn(), graph).threads == 4


SAID_BEFORE = """
import os
os.sched_getaffinity = lambda process: set(range(8))
import torch
torch.set_num_threads(NUMBER)
from gcnlab.threads import users_number
print(users_number())
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or cpu_quota() is not None, reason="the cores cannot be pretended"
)
@pytest.mark.parametrize(("number", "told"), [(3, "Told(number=3, by='torch.set_num_threads')"), (4, "None")])
def test_fewer_than_half_of_the_cores_are_a_choice_before_the_import(number, told):
    script = SAID_BEFORE.replace("NUMBER", str(number))
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == told


def test_processes_get_a_share(monkeypatch):
    def seen():
        """As a process sees it that starts now, and whose torch takes what OMP_NUM_THREADS says."""
        return os.environ["OMP_NUM_THREADS"], users_number()

    with threads.shared_out(2):
        assert seen() == ("2", None)  # the most, and no user's number
    with threads.shared_out(9):
        assert seen() == ("1", None)
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(KeyError), threads.shared_out(2):  # noqa: PT012
        assert seen() == ("1", Told(1, "OMP_NUM_THREADS"))
        raise KeyError
    assert [os.environ[name] for name in threads.VARIABLES] == ["3", "1"]


def test_bench_and_compare_put_the_number_back(monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "_epoch_times", lambda *_: seen.append(torch.get_num_threads()) or {})
    monkeypatch.setattr(bench, "usable_cores", lambda: 3)
    monkeypatch.setattr(compare, "_row_of", lambda job: seen.append(users_number()) or {})
    bench.epoch_times("cora", threads=2)
    bench.epoch_times("cora")
    compare.run_job(compare.ModelJob("digits", "lenet5", 1, threads=3))
    compare.run_job(compare.ModelJob("digits", "lenet5", 1))
    assert seen == [2, 3, Told(3, "threads"), None]
    assert torch.get_num_threads() == 4


def test_workers_have_one_thread_each(monkeypatch):
    monkeypatch.setattr(distributed, "in_processes", lambda work, items, count: [(item, work(item)) for item in items])
    found = [result for _, result in jobs.run_all(lambda job: {"told": users_number()}, [jobs.Job(), jobs.Job()], 2)]
    assert found == [{"told": Told(1, "threads")}] * 2
    assert users_number() is None


# -- wrong settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1])
def test_too_few_threads_or_workers(number):
    with pytest.raises(InputError, match=f"threads: got {number}, expected at least 1"), exactly(number):
        pass
    with pytest.raises(InputError, match=f"workers: got {number}, expected at least 1"):
        list(jobs.run_all(lambda job: {}, [jobs.Job()], number))
    assert torch.get_num_threads() == 4


def test_more_threads_than_cores_are_warned_of_once(graph, monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    said = r"{}: got {} threads, but this process may use 1 core, and they wait for each other; {}\."
    doors = [
        ("OMP_NUM_THREADS", "export OMP_NUM_THREADS=1", lambda: monkeypatch.setenv("OMP_NUM_THREADS", "2")),
        ("MKL_NUM_THREADS", "export MKL_NUM_THREADS=1", lambda: monkeypatch.setenv("MKL_NUM_THREADS", "2")),
        ("torch.set_num_threads", r"call torch.set_num_threads\(1\)", lambda: torch.set_num_threads(2)),
    ]
    for name, remedy, say in doors:
        say()
        with pytest.warns(UserWarning, match=said.format(name, 2, remedy)) as told:
            fit(gcn(), graph, epochs=1, select="last", progress=False)
        assert told[0].filename == __file__
        fit(gcn(), graph, epochs=1, select="last", progress=False)
    with pytest.warns(UserWarning, match=said.format("threads", 3, "pass threads=1")), exactly(3):
        fit(gcn(), graph, epochs=1, select="last", progress=False)


def test_more_threads_than_can_be_started(graph, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "500000")
    with pytest.raises(InputError, match=r"OMP_NUM_THREADS: got 500000, expected at most [\d,]+, 64 for each"):
        fit(gcn(), graph, epochs=1, select="last", progress=False)


def test_a_variable_that_is_no_number_is_warned_of_once(graph, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "two")
    with pytest.warns(UserWarning, match=r"OMP_NUM_THREADS: is 'two', which is no number of threads, .* unset it"):
        predict(gcn(), graph)
    predict(gcn(), graph)


def test_doctor_says_what_fit_takes(monkeypatch):
    assert "fit takes as many as a step needs: 1 on Cora, 4 on a graph of 100,000 nodes" in doctor._threads().lines
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = doctor._threads()
    assert "fit takes 3, as OMP_NUM_THREADS says; without, it takes as many as a step needs" in found.lines
    assert found.facts["number told by"] == "OMP_NUM_THREADS"
    monkeypatch.setattr(doctor, "usable_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    assert doctor._threads().problems == [
        ("OMP_NUM_THREADS is 9, and this process may use 4 cores", "export OMP_NUM_THREADS=4")
    ]
    monkeypatch.setattr(threads, "can_give_way", lambda: True)
    assert "where other processes want the cores, waits give way to them" in doctor._threads().lines
    monkeypatch.setattr(threads, "can_give_way", lambda: False)
    assert any(line.startswith("waits do not follow the load") for line in doctor._threads().lines)


# -- how they wait ----------------------------------------------------------------------------------------------------

PARKED = "gcnlab: waits give way"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell how long threads wait")


def is_parked():
    return PARKED in [thread.name for thread in threading.enumerate()]


@pytest.fixture
def load(monkeypatch):
    """load["a"] is what thread a has waited for a core, in ns; a second passes between two looks."""
    waited, clock = {"a": 0}, iter(range(10**6))
    monkeypatch.setattr(threads, "waited_for_cores", lambda: dict(waited))
    monkeypatch.setattr(threads, "can_give_way", lambda: bool(waited))
    monkeypatch.setattr(threads.time, "perf_counter", lambda: float(next(clock)))
    return waited


@on_linux
def test_waits_give_way_while_others_want_the_cores(load):
    waits = Waits(2)
    for increase, gives_way in ((0, False), (4e7, False), (2e9, True), (2e9, True), (0, False), (2e9, True)):
        load["a"] += int(increase)
        waits.look()
        assert waits.gives_way == is_parked() == gives_way
    waits.end()
    assert not waits.gives_way
    assert not is_parked()


@on_linux
def test_threads_that_come_and_go_have_waited_for_what_they_did(load):
    waits = Waits(2)
    load["b"] = int(2e9)
    waits.look()
    assert waits.gives_way
    del load["b"]
    waits.look()
    assert not waits.gives_way
    waits.end()


@on_linux
def test_the_parked_thread_ends_with_the_training(graph, load, monkeypatch):
    class Crowd(Callback):
        def after_epoch(self, epoch, metrics):
            load["a"] += int(1e12)

    monkeypatch.setattr(threads, "WORK_PER_THREAD", 1000)
    graph = graph.replace(val_mask=None)  # so that an epoch has one look
    seen, options = Seen(), {"epochs": 3, "select": "last", "progress": False}
    fit(gcn(), graph, callbacks=[Crowd(), seen], **options)
    assert [PARKED in names for names in seen.names] == [False, True, True]
    assert seen.numbers == [4, 4, 4]
    assert not is_parked()

    class FailingLater(Callback):
        def after_epoch(self, epoch, metrics):
            assert is_parked() == (epoch == 2)
            if epoch == 2:
                raise KeyError

    with pytest.raises(KeyError):
        fit(gcn(), graph, callbacks=[Crowd(), FailingLater()], **options)
    assert not is_parked()
    assert torch.get_num_threads() == 4


@on_linux
def test_predictions_look_between_batches(load, monkeypatch):
    monkeypatch.setattr(threads, "WORK_PER_THREAD", 1)
    seen = []

    class Model(nn.Linear):
        def forward(self, images):
            seen.append(is_parked())
            load["a"] += int(1e12) * (len(seen) == 1)
            return super().forward(images.flatten(1))

    predict(Model(4, 3), Signals(torch.rand(150, 2, 2), torch.arange(150) % 3))
    assert seen == [False, True, False]
    assert not is_parked()
    threads.look()  # of no block


@on_linux
def test_the_parked_thread_leaves_torchs_number(load):
    with chosen(1e12, "cpu") as waits:
        load["a"] += int(1e12)
        waits.look()
        assert waits.gives_way
        found = []
        other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert found == [4]


@pytest.mark.parametrize("number", [1, 2])
def test_waits_are_left_alone_where_nothing_is_known_or_waits(load, number):
    if number == 2:
        load.clear()
    waits = Waits(number)
    load["a"] = int(1e12)
    waits.look()
    assert not waits.gives_way


@on_linux
def test_a_look_is_not_always_due(monkeypatch):
    looks = []
    monkeypatch.setattr(threads, "can_give_way", lambda: True)
    monkeypatch.setattr(threads, "waited_for_cores", lambda: looks.append(time.perf_counter()) or {"a": 0})
    waits, start = Waits(2), time.perf_counter()
    while time.perf_counter() < start + 0.12:
        waits.look()
    assert 1 < len(looks) < 4
    assert min(np.diff(looks)) >= threads.LOOK_EVERY


def test_the_reader_of_what_threads_waited(tmp_path):
    for task, text in (("7", "812 5000000 3\n"), ("8", "1 25 9\n")):
        (tmp_path / task).mkdir()
        (tmp_path / task / "schedstat").write_text(text)
    (tmp_path / "9").mkdir()  # a thread that ends while its folder is read
    assert threads.waited_for_cores(tmp_path) == {"7": 5_000_000, "8": 25}
    (tmp_path / "9" / "schedstat").write_text("none of it\n")
    assert threads.waited_for_cores(tmp_path) == {}
    assert threads.waited_for_cores(tmp_path / "not there") == {}


@pytest.mark.parametrize("name", threads.POLICIES)
def test_a_policy_of_the_user_is_left_alone(monkeypatch, name):
    monkeypatch.setattr(threads, "waited_for_cores", lambda: {"a": 0})
    monkeypatch.setattr(threads, "_has_libgomp", lambda: True)
    assert threads.can_give_way()
    monkeypatch.setenv(name, "1")
    assert not threads.can_give_way()


BUSY = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(flush=True)
while True:
    pass
"""


@on_linux
@pytest.mark.bench
@pytest.mark.skipif((os.cpu_count() or 1) < 2 or not threads.can_give_way(), reason="one core, or nothing known of it")
def test_waits_give_way_to_a_real_process(monkeypatch):
    """A second process wants one of the cores that the team has: seen within half a second; so is that it ended."""
    cores = len(os.sched_getaffinity(0))
    a = torch.randn(1 << 20)

    def is_seen(gives_way):
        end = time.perf_counter() + 0.5
        while waits.gives_way != gives_way and time.perf_counter() < end:
            a.add_(1)
            waits.look()
        return waits.gives_way == gives_way

    with exactly(cores), chosen(None, "cpu") as waits:
        assert is_seen(False)
        others = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE)
        others.stdout.readline()
        try:
            assert is_seen(True)
        finally:
            others.kill()
            others.communicate()
        assert is_seen(False)
