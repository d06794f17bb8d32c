"""Graph classification: batches, loaders, models, fit on collections, and the protocols around it."""

import json
import time
import zipfile
from dataclasses import replace

import pytest
import torch

import gcnlab
from gcnlab import GCNConv, Graph, GraphClassifier, GraphCollection, GraphLoader, NoStructure, fit
from gcnlab.checkpoint import describe, write_checkpoint
from gcnlab.data import catalog, sha256_of, tu
from gcnlab.errors import ChecksumError, CorruptFileError, DatasetNotFoundError, InputError
from gcnlab.jobs import run_all
from gcnlab.models import load_model
from gcnlab.protocols import (
    FoldJob,
    Settings,
    best_common_epoch,
    degree_histograms,
    folds_named,
    in_stacks,
    paired,
    pairs_of,
    parts,
    run_choice,
    run_job,
    run_jobs,
    split,
    stratified,
    with_digest,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = Settings(hidden_channels=8, num_layers=2, epochs=4, batch_size=7, patience=3)


def ring(n):
    nodes = torch.arange(n)
    edges = torch.stack([nodes, (nodes + 1) % n])
    return torch.cat([edges, edges.flip(0)], 1)


def two_rings(n):
    return torch.cat([ring(n // 2), ring(n - n // 2) + n // 2], 1)


def collection(count=40):
    """Rings with three chords at one node (class 1) and plain pairs of rings (class 0); X is the degree."""
    graphs = []
    for i in range(count):
        n = 8 + i % 5
        edges = two_rings(n)
        if i % 2:
            chords = torch.tensor([[0, 0, 0], [2, 3, n - 1]])
            edges = torch.cat([edges, chords, chords.flip(0)], 1)
        graph = Graph.from_edges(edges, n, y=i % 2, duplicates="first")
        graphs.append(graph.with_features("degree"))
    return GraphCollection.from_graphs(graphs, name="rings")


@pytest.fixture
def tu_folder(tmp_path):
    """The same graphs in TU's text form, so that `load` reads them by path."""
    folder = tmp_path / "RINGS"
    folder.mkdir()
    a, indicator, labels, first = [], [], [], 0
    for g, graph in enumerate(collection(), 1):
        source, target = (graph.edge_index + first + 1).tolist()
        a += [f"{i}, {j}" for i, j in zip(source, target, strict=True)]
        indicator += [str(g)] * graph.num_nodes
        labels.append(str(int(graph.y)))
        first += graph.num_nodes
    for part, lines in (("A", a), ("graph_indicator", indicator), ("graph_labels", labels)):
        (folder / f"RINGS_{part}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def named_rings(tu_folder, data_root, monkeypatch):
    """The same graphs as a named set "rings", for which there are nested folds: fold k tests 4 k, ..., 4 k + 3."""
    archive, lists = data_root / "rings" / "raw" / "RINGS.zip", data_root / "folds-errica" / "RINGS.json"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in tu_folder.iterdir():
            file.write(path, path.name)
    folds = []
    for start in range(0, 40, 4):
        test, val = ([(first + i) % 40 for i in range(4)] for first in (start, start + 4))
        train = [i for i in range(40) if i not in (*test, *val)]
        folds.append({"test": test, "model_selection": [{"train": train, "validation": val}]})
    lists.parent.mkdir()
    lists.write_text(json.dumps(folds))
    known = [
        {"name": path.name, "url": None, "origin": "a friend", "size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in (archive, lists)
    ]
    entry = {
        **catalog()["mutag"], "files": known[:1], "max_unpacked_bytes": 10**6, "counts": tu.counts(*tu.read(archive, "rings")),
        "nested_folds": {**known[1], "same_order": True},
    }  # fmt: skip
    monkeypatch.setitem(catalog(), "rings", entry)
    return entry


def job(folder, protocol, fold=0, grid=(SMALL,), **changes):
    return FoldJob(str(folder), {"features": "degree"}, protocol, fold, grid, **changes)


# -- batches and loaders ------------------------------------------------------------------------------------------------


def test_readouts_take_a_batch():
    edge = Graph.from_edges([[0, 1], [1, 0]], x=torch.tensor([[1.0], [3.0]]))
    empty = Graph.from_edges([[], []], num_nodes=0, x=torch.zeros(0, 1))
    node = Graph.from_edges([[], []], num_nodes=1, x=torch.tensor([[5.0]]))
    together = gcnlab.batch([edge, empty, node, empty])
    assert isinstance(together.graph, Graph)
    assert together.y is None
    assert (together.num_graphs, together.num_nodes) == (4, 3)
    expected = torch.tensor([[2.0], [0.0], [5.0], [0.0]])
    torch.testing.assert_close(gcnlab.Readout("mean")(together.x, together), expected)
    torch.testing.assert_close(together.a_hat.to_dense(), torch.block_diag(torch.full((2, 2), 0.5), torch.ones(1, 1)))
    assert torch.equal(together.p.to_dense().sum(1), torch.tensor([2.0, 0.0, 1.0, 0.0]))


def test_batch_to_pyg(pyg):
    data = collection(3)[[0, 2]].batch().to_pyg()
    out = pyg.nn.global_mean_pool(data.x, data.batch)
    torch.testing.assert_close(out, torch.stack([g.x.mean(0) for g in collection(3)[[0, 2]]]))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("bucket", [False, True])
def test_every_graph_is_in_one_batch(shuffle, bucket):
    graphs = collection()[torch.arange(39)]
    graphs.whole.__dict__["x"] = torch.repeat_interleave(torch.arange(40.0), collection().sizes).unsqueeze(1)  # the id
    torch.manual_seed(0)
    loader = GraphLoader(graphs, batch_size=7, shuffle=shuffle, bucket=bucket)
    passes = [[batch.x[batch.ptr[:-1], 0].tolist() for batch in loader] for _ in range(2)]
    for seen in passes:
        assert sorted(number for batch in seen for number in batch) == list(range(39))
        assert len(seen) == len(loader)
    assert (passes[0] != passes[1]) == shuffle
    torch.manual_seed(0)
    assert [batch.x[batch.ptr[:-1], 0].tolist() for batch in loader] == passes[0]


def test_bucketed_batches_are_of_like_size():
    graphs = collection()
    torch.manual_seed(0)
    spread = [
        sum(int(batch.ptr.diff().max() - batch.ptr.diff().min()) for batch in GraphLoader(graphs, 8, True, bucket))
        for bucket in (False, True)
    ]
    assert spread[1] < spread[0] / 2


def test_loader_refuses_an_empty_batch_size():
    with pytest.raises(gcnlab.GcnlabError, match="batch_size: got 0"):
        GraphLoader(collection(), 0)


# -- models -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"jumping_knowledge": "cat", "readout": "mean+max", "head_layers": 2}])
def test_a_batch_gives_what_its_graphs_give_alone(options):
    torch.manual_seed(0)
    graphs, model = collection(7), GraphClassifier(1, 5, 3, num_layers=2, **options).eval()
    together = graphs.batch()
    alone = torch.cat([model(graph.x, graph.a_hat) for graph in graphs])
    torch.testing.assert_close(model(together.x, together.a_hat, together), alone)
    assert alone.shape == (7, 3)


@pytest.mark.parametrize(
    "model",
    [
        GraphClassifier(1, 5, 3),
        GraphClassifier(1, 5, 3, 2, GCNConv, "mean+max", None, "cat", 0.1, 2),
        NoStructure(1, 5, 3, dropout=0.1),
        NoStructure(1, 5, 3, readout="mean+max"),
    ],
    ids=["default", "other", "no structure", "means without structure"],
)
def test_a_file_makes_the_model_again(tmp_path, model):
    assert type(model)(**model.config).config == model.config
    states = {name: value.unsqueeze(0) for name, value in model.state_dict().items()}
    write_checkpoint(tmp_path / "a", {"model": describe(model)}, states)
    graphs = collection(7)
    again, _ = load_model(tmp_path / "a")
    assert torch.equal(gcnlab.predict(again, graphs), gcnlab.predict(model, graphs))
    assert vars(again)["dropout"] == model.dropout


def test_a_model_with_layers_of_its_own_says_so(tmp_path):
    model = GraphClassifier(1, 5, 3, conv=lambda a, b: GCNConv(a, b, bias=False))
    assert model.config is None
    write_checkpoint(tmp_path / "a", {"model": describe(model)}, {})
    with pytest.raises(gcnlab.GcnlabError, match="a GraphClassifier, with layers that it does not tell"):
        load_model(tmp_path / "a")


@pytest.mark.parametrize(
    ("readout", "read"), [("sum", lambda h: h.sum(0)), ("mean+sum", lambda h: torch.cat([h.mean(0), h.sum(0)]))]
)
def test_without_structure_edges_do_not_count(readout, read):
    torch.manual_seed(0)
    graphs, model = collection(4), NoStructure(1, 5, 2, readout=readout).eval()
    together = graphs.batch()
    hidden = [(g.x @ model.weight + model.bias).relu() for g in graphs]
    expected = torch.stack([model.out(model.hidden(read(h)).relu()) for h in hidden])
    torch.testing.assert_close(model(together.x, None, together), expected)


def test_a_file_of_1_0_sums_without_structure(tmp_path):
    model = NoStructure(1, 5, 3)
    config = {name: value for name, value in model.config.items() if name != "readout"}
    states = {name: value.unsqueeze(0) for name, value in model.state_dict().items()}
    write_checkpoint(tmp_path / "a", {"model": {**describe(model), "config": config}}, states)
    assert load_model(tmp_path / "a")[0].readout.kinds == ["sum"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"norm": "layer"}, "norm: got 'layer'"),
        ({"jumping_knowledge": "max"}, "jumping_knowledge: got 'max'"),
        ({"num_layers": 0}, "num_layers: got 0"),
        ({"readout": "median"}, "readout: got 'median'"),
    ],
)
def test_model_options(options, match):
    with pytest.raises(gcnlab.GcnlabError, match=match):
        GraphClassifier(2, 3, 2, **options)


# -- fit ----------------------------------------------------------------------------------------------------------------


def train(seed=0, **options):
    torch.manual_seed(seed)
    graphs = collection()
    model = GraphClassifier(1, 8, 2, num_layers=2, readout="mean+max", dropout=0.0)
    options = {"epochs": 25, "select": "val_accuracy", "batch_size": 8, **options}
    return fit(model, graphs[:30], graphs[30:], seed=seed, **options), model


def test_fit_learns_to_tell_graphs_apart():
    history, model = train()
    assert float(history.best("val_accuracy")[0]) == 1.0
    rest = collection()[30:].batch()
    assert gcnlab.metrics.accuracy(model(rest.x, rest.a_hat, rest).detach(), rest.y) == 1.0


def test_a_seed_repeats_to_the_bit():
    first, second = train()[0], train()[0]
    for name in first.metrics:
        assert torch.equal(first.metrics[name], second.metrics[name])
    other = train(epochs=2, seed=1)[0]
    assert not torch.equal(other.metrics["train_loss"], first.metrics["train_loss"][:2])


def test_the_loss_of_an_epoch_is_the_mean_over_graphs():
    """30 graphs in batches of 8: the last has 6, and counts 6."""
    history, trained = train(epochs=1, lr=0.0, select="last")
    torch.manual_seed(0)
    model = GraphClassifier(1, 8, 2, num_layers=2, readout="mean+max", dropout=0.0)
    val = collection()[30:].batch()
    losses = []
    torch.manual_seed(0)  # the order that fit draws
    for batch in GraphLoader(collection()[:30], 8, shuffle=True):
        loss = torch.nn.functional.cross_entropy(model(batch.x, batch.a_hat, batch), batch.y)
        losses.append((batch.num_graphs, loss.detach().double()))
    expected = sum(n * loss for n, loss in losses) / 30
    torch.testing.assert_close(history.metrics["train_loss"][0, 0].double(), expected, atol=1e-6, rtol=0)
    val_loss = torch.nn.functional.cross_entropy(trained.eval()(val.x, val.a_hat, val), val.y)
    torch.testing.assert_close(history.metrics["val_loss"][0, 0], val_loss.detach(), atol=1e-6, rtol=0)


def test_fit_input_errors():
    graphs = collection(4)
    model = GraphClassifier(1, 3, 2)
    with pytest.raises(gcnlab.GcnlabError, match="val: got none"):
        fit(model, graphs)
    with pytest.raises(gcnlab.GcnlabError, match="val: has no graph"):
        fit(model, graphs, graphs[:0])
    with pytest.raises(gcnlab.GcnlabError, match="val: a Graph has its val_mask"):
        fit(model, graphs[0], graphs)
    bare = GraphCollection.from_graphs([Graph.from_edges([[0], [1]], y=0)])
    with pytest.raises(gcnlab.GcnlabError, match="data: the graphs have no x"):
        fit(model, bare, bare)
    third = GraphCollection.from_graphs([graphs[0].replace(y=torch.tensor(2))])
    message = r"model: gave an output of shape .*the data have 3 classes"
    said = "no training graph is of class 2, but 1 validation graph is"
    with pytest.warns(UserWarning, match=said), pytest.raises(gcnlab.GcnlabError, match=message):
        fit(model, graphs, third)


def test_predict_gives_a_row_a_graph():
    torch.manual_seed(0)
    graphs, model = collection(7), GraphClassifier(1, 5, 3)
    alone = torch.cat([model.eval()(graph.x, graph.a_hat) for graph in graphs]).detach()
    torch.testing.assert_close(gcnlab.predict(model, graphs), alone)
    torch.testing.assert_close(gcnlab.predict(model, graphs.batch()), alone)


# -- protocols ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["gin", "nested", "holdout"])
def test_nothing_is_trained_on_that_is_tested(tu_folder, protocol):
    graphs = gcnlab.load(tu_folder, features="degree")
    tested = []
    for fold in range(1 if protocol == "holdout" else 10):
        train_ids, test_ids = split(job(tu_folder, protocol, fold), graphs)
        assert not set(train_ids.tolist()) & set(test_ids.tolist())
        assert sorted([*train_ids.tolist(), *test_ids.tolist()]) == list(range(40))
        assert graphs.y[test_ids].double().mean() == 0.5  # stratified
        tested += test_ids.tolist()
    if protocol != "holdout":
        assert sorted(tested) == list(range(40))


def test_nested_takes_the_published_folds(named_rings):
    graphs = gcnlab.load("rings", features="degree")
    train, val, test = parts(job("rings", "nested", 3), graphs)
    assert (test.tolist(), val.tolist()) == ([12, 13, 14, 15], [16, 17, 18, 19])
    assert train.tolist() == [*range(12), *range(20, 40)]
    rest, tested = split(job("rings", "nested", 3), graphs)
    assert torch.equal(tested, test)
    assert rest.tolist() == [*range(12), *range(16, 40)]
    assert parts(job("rings", "nested", 3, seed=5), graphs)[2].tolist() == test.tolist()
    assert len(split(job("rings", "gin", 3), graphs)[1]) == 4  # gin has no such folds
    assert split(job("rings", "gin", 3), graphs)[1].tolist() != test.tolist()


def test_whose_folds_they_are(named_rings, tu_folder, data_root):
    nested = [job("rings", "nested", fold) for fold in range(10)]
    assert folds_named(nested) == "Errica et al. 2020"
    named_rings["nested_folds"]["same_order"] = False
    assert folds_named(nested) == "Errica et al. 2020, the order of graphs within a class not proved"
    gin = [job("rings", "gin", seed=seed) for seed in range(3)]
    assert folds_named(gin) == "stratified, seeds 0 to 2"
    assert folds_named([job(tu_folder, "nested", seed=0)]) == folds_named(gin[:1]) == "stratified, seed 0"
    lists = data_root / "rings" / "folds"
    lists.mkdir()
    for k in range(10):
        (lists / f"test_idx-{k + 1}.txt").write_text(f"{k}\n")
        (lists / f"train_idx-{k + 1}.txt").write_text("30\n31\n")
    assert folds_named(gin) == "the set's own lists"
    assert folds_named([job("rings", "holdout")]) == "stratified, seed 0"


def test_a_missing_file_of_published_folds_is_an_error(named_rings, data_root):
    """Other folds in their place would be another protocol by the same name."""
    (data_root / "folds-errica" / "RINGS.json").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"Put into .*folds-errica these files: RINGS.json"):
        run_job(job("rings", "nested"))


def test_results_of_stratified_folds_are_not_those_of_published_ones(named_rings, tmp_path, monkeypatch):
    trained, file, one = [], tmp_path / "folds.jsonl", job("rings", "nested")
    monkeypatch.setattr("gcnlab.protocols.run_job", lambda job: trained.append(job) or run_job(job))
    published = named_rings.pop("nested_folds")
    run_jobs([one], file, workers=1)
    named_rings["nested_folds"] = published
    with pytest.warns(UserWarning, match="folds.jsonl: 1 of its results are of other data"):
        run_jobs([one], file, workers=1)
    assert len(trained) == 2
    run_jobs([one], file, workers=1)
    assert len(trained) == 2


def test_stratified_keeps_the_shares_of_classes():
    y = torch.tensor([0] * 30 + [1] * 60 + [2] * 10)
    rest, part = stratified(y, 1 / 10, seed=3)
    assert torch.bincount(y[part]).tolist() == [3, 6, 1]
    assert sorted([*rest.tolist(), *part.tolist()]) == list(range(100))
    assert torch.equal(part, stratified(y, 1 / 10, seed=3)[1])
    assert not torch.equal(part, stratified(y, 1 / 10, seed=4)[1])


def test_gin_takes_the_best_common_epoch():
    results = [{"curve": [0.5, 0.9, 0.7]}, {"curve": [0.5, 0.6, 0.9]}]
    epoch, per_fold = best_common_epoch(results)
    assert epoch == 3  # 0.80, where the second has 0.75; the best of each fold would give 0.9
    assert per_fold == pytest.approx([0.7, 0.9])


def test_nested_chooses_from_the_grid_by_validation(tu_folder, monkeypatch):
    """Of two settings, one of which cannot learn, the other is chosen; the test fold is read by the final runs alone."""
    good, bad = replace(SMALL, epochs=30, lr=0.02, readout="mean+max", dropout=0.0), replace(SMALL, epochs=1, lr=0.0)
    result = run_job(job(tu_folder, "nested", grid=(bad, good)))
    assert result["chosen"]["lr"] == 0.02
    assert 0 <= result["test_accuracy"] <= 1
    assert result["val_accuracy"] >= 0.75


def test_finished_folds_are_not_trained_again(tu_folder, tmp_path, monkeypatch):
    jobs = [job(tu_folder, "gin", fold) for fold in range(3)]
    file = tmp_path / "out" / "folds.jsonl"
    said = []
    first = run_jobs(jobs[:2], file, workers=1, say=said.append)
    assert len(said) == 2
    assert len(file.read_text().splitlines()) == 2
    both = run_jobs(jobs, file, workers=1, say=said.append)
    assert both[:2] == first
    assert len(said) == 3
    monkeypatch.setattr("gcnlab.protocols.run_job", lambda job: pytest.fail("trained again"))
    assert run_jobs(jobs, file, workers=1) == both
    with pytest.raises(pytest.fail.Exception):  # other settings are another job
        run_jobs([replace(jobs[0], grid=(replace(SMALL, lr=0.1),))], file, workers=1)


def rewritten(folder, part, change):
    path = folder / f"RINGS_{part}.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


OTHER_GRAPHS = {
    "edges": ("A", lambda lines: [line for line in lines if line not in ("1, 2", "2, 1")]),
    "labels": ("graph_labels", lambda lines: [*lines[1:], lines[0]]),
}


@pytest.mark.parametrize("kind", OTHER_GRAPHS)
@pytest.mark.parametrize("protocol", ["gin", "holdout"])
def test_folds_of_other_graphs_are_trained_again(tu_folder, tmp_path, monkeypatch, kind, protocol):
    trained, file, one = [], tmp_path / "folds.jsonl", job(tu_folder, protocol)
    if protocol == "holdout":
        one = replace(one, model_file=str(tmp_path / "model"))
    monkeypatch.setattr("gcnlab.protocols.run_job", lambda job: trained.append(job) or run_job(job))
    (first,) = run_jobs([one], file, workers=1)
    assert run_jobs([one], file, workers=1) == [first]
    assert len(trained) == 1
    rewritten(tu_folder, *OTHER_GRAPHS[kind])
    with pytest.warns(UserWarning, match="folds.jsonl: 1 of its results are of other data or of another version"):
        (other,) = run_jobs([one], file, workers=1)
    assert len(trained) == 2
    assert trained[1].data != trained[0].data
    assert run_jobs([one], file, workers=1) == [other]
    assert len(trained) == 2
    with pytest.raises(InputError, match=r"the graphs or folds of .* have changed since the run began"):
        run_job(replace(trained[1], data=trained[0].data))
    monkeypatch.setattr("gcnlab.jobs.__version__", "9.9")
    with pytest.warns(UserWarning, match="folds.jsonl: 1 of its results are of other data or of another version"):
        run_jobs([one], file, workers=1)
    assert len(trained) == 3


def test_folds_of_other_lists_are_trained_again(tu_folder, tmp_path, monkeypatch):
    trained, file = [], tmp_path / "folds.jsonl"
    monkeypatch.setattr("gcnlab.protocols.run_job", lambda job: trained.append(job) or run_job(job))
    monkeypatch.setattr("gcnlab.protocols.folds", lambda *_: [(torch.arange(8, 40), torch.arange(8))])
    run_jobs([job(tu_folder, "gin")], file, workers=1)
    monkeypatch.setattr("gcnlab.protocols.folds", lambda *_: [(torch.arange(32), torch.arange(32, 40))])
    with pytest.warns(UserWarning, match="folds.jsonl: 1 of its results are of other data"):
        run_jobs([job(tu_folder, "gin")], file, workers=1)
    assert len(trained) == 2


def test_a_torn_last_line_of_folds_is_trained_again(tu_folder, tmp_path):
    jobs, file = [job(tu_folder, "gin", fold) for fold in range(2)], tmp_path / "folds.jsonl"
    results = run_jobs(jobs, file, workers=1)
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    again = run_jobs(jobs, file, workers=1)
    assert [result["curve"] for result in again] == [result["curve"] for result in results]
    assert again[0] == results[0]  # its seconds, too
    assert len(file.read_bytes().splitlines()) == 2


def test_a_full_disk_takes_no_fold(tu_folder, tmp_path):
    (tmp_path / "model").mkdir()  # which cannot be written
    one = job(tu_folder, "holdout", model_file=str(tmp_path / "model"))
    with pytest.warns(UserWarning, match="model: the model is not kept: "):
        (result,) = run_jobs([one], tmp_path / "folds.jsonl", workers=1)
    assert 0 <= result["test_accuracy"] <= 1


def test_processes_give_what_one_gives(tu_folder):
    """Also where folds are trained as stacks, whose dropout is not that of a fold alone: the stacks are the same."""
    jobs = [job(tu_folder, "gin", fold) for fold in range(10)]
    assert len(in_stacks(jobs, 2)) == 2
    alone, together = run_jobs(jobs, workers=1), run_jobs(jobs, workers=2)
    assert [result["curve"] for result in together] == [result["curve"] for result in alone]


def test_folds_of_a_stack_are_folds_alone(tu_folder, tmp_path):
    still = replace(SMALL, dropout=0.0, epochs=6, readout="mean+sum")
    jobs = [job(tu_folder, "gin", fold, (still,), seed=2) for fold in range(10)]
    file = tmp_path / "folds.jsonl"
    said = []
    results = run_jobs(jobs, file, workers=1, say=said.append)
    assert len(said) == len(file.read_text().splitlines()) == 10
    for one, result in zip(jobs, results, strict=True):
        expected = run_job(one)
        assert result.keys() == expected.keys()
        assert result["curve"] == expected["curve"]
        assert len(result["epoch_seconds"]) == result["epochs"] == expected["epochs"] == 6
    kept = file.read_text().splitlines()
    file.write_text("\n".join(kept[:3] + kept[8:]) + "\n")
    assert [result["curve"] for result in run_jobs(jobs, file, workers=1)] == [result["curve"] for result in results]


def test_the_final_runs_of_a_fold_are_one_stack(tu_folder, monkeypatch):
    still = replace(SMALL, dropout=0.0, epochs=12)
    one = job(tu_folder, "nested", grid=(still,))
    together = run_job(one)
    monkeypatch.setattr("gcnlab.protocols.LARGEST_OF_A_STACK", 0)
    alone = run_job(one)
    for name in ("test_accuracy", "val_accuracy", "confusion_matrix", "curve", "epochs"):
        assert together[name] == alone[name]
    assert len(together["epoch_seconds"]) == len(alone["epoch_seconds"])


def test_stacks_are_of_folds_that_are_alike_in_all_else(tu_folder, tmp_path):
    small, large = SMALL, replace(SMALL, hidden_channels=4000)
    folds = [job(tu_folder, "gin", fold, seed=seed) for seed in (0, 1) for fold in range(10)]

    def numbers(jobs, workers=1):
        return [[(one.seed, one.fold) for one in stack.folds] for stack in in_stacks(jobs, workers)]

    fives = [[(seed, fold) for fold in range(start, start + 5)] for seed in (0, 1) for start in (0, 5)]
    assert numbers(folds) == numbers(folds, 4) == fives
    alone = [[(one.seed, one.fold)] for one in folds]
    assert numbers(folds, 5) == alone  # a worker would be left without one
    assert numbers([replace(one, grid=(large,)) for one in folds]) == alone
    assert numbers([replace(one, tensorboard=str(tmp_path)) for one in folds]) == alone
    assert numbers([replace(one, protocol="nested") for one in folds]) == alone
    assert numbers([folds[0], replace(folds[1], grid=(replace(small, lr=0.1),))]) == [[(0, 0)], [(0, 1)]]
    assert [len(stack.folds) for stack in in_stacks(folds[3:9], 2)] == [2, 4]


def test_a_broken_results_file_is_named(tu_folder, tmp_path):
    file = tmp_path / "folds.jsonl"
    whole = {"curve": [0.5], "epochs": 1, "epoch_seconds": [0.1]}

    def line(**changes):
        return json.dumps({"job": "x", "result": {**whole, **changes}})

    for second, message in (
        ("not json", "Expecting value"),
        ("[" * 10**5, "recursion"),
        ("[]", r"it is \[\], expected names and values"),
        (json.dumps({"job": "x", "result": {}}), "it has no curve, expected a list of numbers"),
        (json.dumps({"job": "x", "result": 1}), "result is 1"),
        (json.dumps({"job": 3, "result": whole}), "job is 3"),
        (line(curve="abc"), "curve is 'abc', expected a list of numbers"),
        (line(curve=[0.5, float("nan")]), r"curve is \[0.5, nan\]"),
        (line(epoch_seconds=[None]), r"epoch_seconds is \[None\]"),
        (line(test_accuracy=float("inf")), "test_accuracy is inf"),
        (line(confusion_matrix=[[1, "a"]]), "confusion_matrix is "),
    ):
        file.write_text(f"{line()}\n{second}\n")
        with pytest.raises(CorruptFileError, match=rf"folds\.jsonl, line 2: is no result of a fold .*{message}"):
            run_jobs([job(tu_folder, "gin")], file, workers=1)


@pytest.mark.parametrize("protocol", ["gin", "nested", "holdout"])
def test_a_result_is_plain_and_has_its_curve(tu_folder, protocol):
    result = run_job(job(tu_folder, protocol))
    assert json.loads(json.dumps(result)) == result
    assert 1 <= len(result["curve"]) <= result["epochs"] <= SMALL.epochs
    assert all(0 <= value <= 1 for value in result["curve"])


def test_the_model_of_a_holdout_is_kept(tu_folder, tmp_path, monkeypatch):
    path = tmp_path / "seeds" / "3.gcnlab"
    one = job(tu_folder, "holdout", seed=3, model_file=str(path))
    assert one.key() == replace(one, model_file=None).key()
    assert not path.exists()
    (result,) = run_jobs([one], tmp_path / "folds.jsonl", workers=1)
    model, header = load_model(path)
    graphs = gcnlab.load(tu_folder, features="degree")
    _, test = split(one, graphs)
    assert gcnlab.metrics.accuracy(gcnlab.predict(model, graphs[test]), graphs[test].y) == result["test_accuracy"]
    table = torch.tensor(header["confusion_matrix"])
    assert float(table.diagonal().sum() / table.sum()) == result["test_accuracy"]
    assert (header["seeds"], header["metrics"]["val_accuracy"]) == ([3], result["curve"])
    assert header["metrics"]["val_accuracy"][header["epoch"] - 1] == result["val_accuracy"]

    trained = []
    monkeypatch.setattr("gcnlab.protocols.run_job", lambda job: trained.append(job) or run_job(job))
    other = replace(one, grid=(replace(SMALL, lr=0.1),))
    for jobs, count in ([one], 0), ([other], 1), ([one], 2), ([replace(one, model_file=None)], 2):
        run_jobs(jobs, tmp_path / "folds.jsonl", workers=1)  # each but the last finds the file of the one before
        assert len(trained) == count
    path.write_bytes(path.read_bytes()[:-1])
    assert run_jobs([one], tmp_path / "folds.jsonl", workers=1)[0]["curve"] == result["curve"]
    assert len(trained) == 3


@pytest.mark.data
def test_imdb_binary_by_its_recipe(tmp_path):
    from gcnlab import recipes

    try:
        gcnlab.load("imdb-binary", download=False)
    except gcnlab.GcnlabError:
        pytest.skip("imdb-binary is not in GCNLAB_DATA")
    result = recipes.run("imdb-binary-gcn-mean", epochs=5, out=tmp_path / "run")
    assert result["test_accuracy"]["mean"] > 0.65
    assert len(result["test_accuracy"]["per_fold"]) == 10
    assert result["published"]["value"] == 0.74
    assert result["epochs"] == 5
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result


# -- other columns ------------------------------------------------------------------------------------------------------


def test_histograms_of_degrees():
    edges = torch.tensor([[0, 1, 0, 2, 0, 3], [1, 0, 2, 0, 3, 0]])
    star = Graph.from_edges(edges, 5, y=0)  # a centre of three, three of one, one alone
    triangle = Graph.from_edges(torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]]), 3, y=1)
    found = degree_histograms(GraphCollection.from_graphs([star, triangle]))
    # nodes, stored edges, nodes of degree 0, 1, 2, 3
    assert found.tolist() == [[5, 6, 1, 3, 0, 1], [3, 6, 0, 0, 3, 0]]


def star(leaves):
    edges = torch.stack([torch.zeros(leaves).long(), torch.arange(1, leaves + 1)])
    return Graph.from_edges(torch.cat([edges, edges.flip(0)], 1), leaves + 1, y=0)


def test_high_degrees_share_a_bin():
    found = degree_histograms(GraphCollection.from_graphs([star(leaves) for leaves in (44, 45, 2000, 2001)]))
    assert found[:, 2:].tolist() == [[44, 1, 0, 0], [45, 0, 1, 0], [2000, 0, 0, 1], [2001, 0, 0, 1]]


def test_a_forest_is_scored_on_the_test_part_alone(tu_folder, monkeypatch):
    ensemble = pytest.importorskip("sklearn.ensemble")
    fitted = []

    class Forest(ensemble.RandomForestClassifier):
        def fit(self, x, y):
            fitted.append((x.tolist(), self.random_state))
            return super().fit(x, y)

    monkeypatch.setattr(ensemble, "RandomForestClassifier", Forest)
    graphs = gcnlab.load(tu_folder, features="degree")
    one = job(tu_folder, "nested", 4, (Settings("forest"),), seed=5)
    result = run_job(one)
    train, test = split(one, graphs)
    coarse, fine = degree_histograms(graphs, bins=2), degree_histograms(graphs)
    assert fitted == [(x[train].tolist(), seed) for seed in (6, 7, 8) for x in (coarse, fine)]
    assert sum(map(sum, result["confusion_matrix"])) == 3 * len(test)
    assert result["test_accuracy"] == 1.0  # the graphs of class 1 have a node of five neighbours
    assert 0.9 < result["val_accuracy"] <= 1.0
    assert run_job(one)["confusion_matrix"] == result["confusion_matrix"]
    assert json.loads(json.dumps(result)) == result


def test_settings_make_the_models_that_they_name():
    graphs = collection(4)
    gin = replace(SMALL, model="gin", readout="sum").build(graphs)
    assert [type(conv).__name__ for conv in gin.convs] == ["GINConv", "GINConv"]
    assert all(conv.norm is not None and conv.eps == 0 for conv in gin.convs)
    assert gin.readout.kinds == ["sum"]
    flat = replace(SMALL, model="mlp", readout="mean+sum").build(graphs)
    assert isinstance(flat, NoStructure)
    assert (flat.readout.kinds, flat.hidden.in_features) == (["mean", "sum"], 16)
    assert type(replace(SMALL).build(graphs).convs[0]) is GCNConv


def test_a_gin_is_never_trained_in_a_stack(tu_folder):
    """The norm inside its layers would count the rows that fill up the batches of a stack."""
    graphs = gcnlab.load(tu_folder, features="scalar_degree")
    assert SMALL.gains_from_a_stack(graphs)
    assert not replace(SMALL, model="gin").gains_from_a_stack(graphs)
    result = run_job(job(tu_folder, "nested", grid=(replace(SMALL, model="gin", readout="sum", epochs=40),)))
    assert result["val_accuracy"] == 1.0


def test_a_choice_reads_no_test_graph(tu_folder, monkeypatch):
    good = replace(SMALL, epochs=30, lr=0.02, readout="mean+max", dropout=0.0)
    one = with_digest(job(tu_folder, "nested", 2, (good,)))
    graphs = gcnlab.load(tu_folder, features="degree")
    train, val, test = parts(one, graphs)
    seen, trained = [], Settings.train

    def train_and_look(self, train, val, seed, **options):
        seen.extend([train.ids, val.ids])
        return trained(self, train, val, seed, **options)

    monkeypatch.setattr(Settings, "train", train_and_look)
    result = run_choice(one)
    assert [ids.tolist() for ids in seen] == [train.tolist(), val.tolist()]
    assert not set(torch.cat(seen).tolist()) & set(test.tolist())
    assert result["val_accuracy"] == run_job(one)["val_accuracy"] == 1.0
    assert len(result["epoch_seconds"]) <= 30


# -- comparing ----------------------------------------------------------------------------------------------------------


def result_of(per_fold, **changes):
    accuracy = {"per_fold": per_fold, "per_seed": [sum(per_fold) / len(per_fold)]}
    return {"dataset": "rings", "protocol": "nested", "seeds": [0], "test_accuracy": accuracy, **changes}


def test_paired_difference_by_hand():
    stats = pytest.importorskip("scipy.stats")
    a = [0.80, 0.75, 0.71, 0.78, 0.74, 0.79, 0.73, 0.77, 0.76, 0.72]
    b = [0.70, 0.74, 0.70, 0.71, 0.76, 0.70, 0.73, 0.70, 0.72, 0.70]
    d = torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)
    found = paired(result_of(a), result_of(b))
    error = float(((0.1 + 1 / 9) * d.var()) ** 0.5)
    assert found["difference"] == pytest.approx(0.039)
    assert found["low"] == pytest.approx(0.039 - 2.262157 * error)  # t of 9 degrees of freedom at 97.5 %
    assert found["high"] == pytest.approx(0.039 + 2.262157 * error)
    naive = stats.ttest_rel(a, b)
    assert found["p"] > naive.pvalue  # the correction widens
    assert paired(result_of(a), result_of(a)) == {"difference": 0.0, "error": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_paired_averages_seeds_fold_by_fold():
    a, b = [0.5] * 10 + [0.9] * 10, [0.5] * 20
    found = paired(result_of(a, seeds=[0, 1]), result_of(b, seeds=[0, 1]))
    assert found["difference"] == pytest.approx(0.2)


@pytest.mark.parametrize("changes", [{"dataset": "stars"}, {"protocol": "gin"}, {"seeds": [0, 1]}])
def test_paired_refuses_other_folds(changes):
    with pytest.raises(InputError, match=f"differ in {next(iter(changes))}"):
        paired(result_of([0.5] * 10), result_of([0.5] * 10, **changes))


def test_paired_refuses_folds_of_other_graphs():
    a, b, of_1_0 = result_of([0.5] * 10, data="a"), result_of([0.5] * 10, data="b"), result_of([0.5] * 10)
    with pytest.raises(InputError, match="differ in data, 'a' and 'b'; expected the same folds"):
        paired(a, b)
    assert paired(a, of_1_0) == paired(a, a)


@pytest.mark.parametrize("changes", [{"metric": "macro_f1"}, {"folds": "Errica et al. 2020"}])
def test_paired_refuses_what_results_of_1_0_never_were(changes):
    with pytest.raises(InputError, match=f"differ in {next(iter(changes))}"):
        paired(result_of([0.5] * 10), result_of([0.5] * 10, **changes))
    assert paired(result_of([0.5] * 10), result_of([0.5] * 10, metric="accuracy", folds="stratified, seed 0"))["p"] == 1
    same = result_of([0.5] * 10, **changes)
    assert paired(same, same)["p"] == 1


def seeds_of(per_seed, protocol="random", **changes):
    accuracy = {"per_seed": per_seed}
    return {
        "dataset": "x",
        "protocol": protocol,
        "seeds": list(range(len(per_seed))),
        "test_accuracy": accuracy,
        **changes,
    }


def test_paired_over_splits_is_the_plain_paired_test():
    stats = pytest.importorskip("scipy.stats")
    a, b = [0.81, 0.79, 0.84, 0.80, 0.77], [0.80, 0.75, 0.79, 0.81, 0.74]
    theirs = stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.9)
    found = paired(seeds_of(a), seeds_of(b), 0.9)
    assert found["difference"] == pytest.approx(0.024)
    assert found["error"] == pytest.approx(stats.sem([x - y for x, y in zip(a, b, strict=True)]))
    assert (found["low"], found["high"], found["p"]) == pytest.approx((low, high, theirs.pvalue))


def test_what_is_paired():
    assert pairs_of(result_of([0.5] * 10)) == "folds"
    for protocol in ("random", "random-60-20-20", "given"):
        assert pairs_of(seeds_of([0.5, 0.6], protocol)) == "splits"
    assert pairs_of(seeds_of([0.5, 0.6], "holdout", folds="stratified, seeds 0 to 1")) == "splits"
    for protocol in ("public", "holdout", "ogb"):
        assert pairs_of(seeds_of([0.5, 0.6], protocol)) == "seeds"


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        (seeds_of([0.5]), seeds_of([0.6]), "got 1 seed of the protocol random, .* expected at least 2 seeds"),
        (seeds_of([0.5, 0.6], data="y"), seeds_of([0.5, 0.6], data="x"), "differ in data, 'y' and 'x'; .* same splits"),
        (seeds_of([0.5, 0.6]), seeds_of([0.5, 0.6, 0.7]), r"differ in seeds, \[0, 1\] and \[0, 1, 2\]"),
        (seeds_of([0.5, 0.6]), seeds_of([0.5, 0.6], "public"), "differ in protocol, 'random' and 'public'"),
        (seeds_of([0.5], seeds=[0, 1]), seeds_of([0.5], seeds=[0, 1]), "per_seed has 1 values for 2 seeds, expected 2"),
        (result_of([0.5] * 9), result_of([0.5] * 9), "per_fold has 9 values for 1 seeds, expected 10"),
    ],
)
def test_what_cannot_be_paired(a, b, match):
    with pytest.raises(InputError, match=f"paired: .*{match}"):
        paired(a, b)


def sleep_or_fail(job):
    """In the place of a fold."""
    if job == "fails":
        raise ChecksumError("a/b", "12", "34")
    time.sleep(600)


def test_a_fold_that_fails_ends_the_others():
    start = time.monotonic()
    with pytest.raises(ChecksumError, match="a/b: sha256 is 34, expected 12"):
        list(run_all(sleep_or_fail, ["sleeps", "fails", "sleeps", "sleeps"], workers=2))
    assert time.monotonic() - start < 200
