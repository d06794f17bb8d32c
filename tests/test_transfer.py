"""Freezing, unfreezing and new heads, and what fit leaves alone."""

import copy
import pickle

import pytest
import torch
from test_signals import GRID, stripes
from test_train import one_thread
from torch import nn

from gcnlab import GCN, Checkpoint, Graph, GraphClassifier, GraphCollection, GridGCN, Signals, fit
from gcnlab.baselines import BASELINES
from gcnlab.errors import InputError, InputTypeError
from gcnlab.models import load_model
from gcnlab.transfer import freeze, replace_head, unfreeze

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")
LAYERS = ["levels.0.0", "levels.0.1", "levels.1.0", "levels.1.1", "head"]  # of grid_gcn(), a norm in each but the last


def grid_gcn(num_classes=3):
    torch.manual_seed(0)
    return GridGCN(1, [5, 7], num_classes)


def normed_cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5, affine=False), nn.ReLU(),
        nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(21, 3),
    )  # fmt: skip


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model, before):
    """Names of the weights and buffers that are not what they were."""
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def of(parts, model):
    return {name for name in model.state_dict() if any(name.startswith(f"{part}.") for part in parts)}


def fit_briefly(model, on_grid=True, **options):
    data = Signals(*stripes(20), GRID if on_grid else None)
    fit(model, data, epochs=2, batch_size=10, select="last", progress=False, **options)


# -- freeze and unfreeze ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", ["levels.0", ["levels.0.0", "levels.0.1"], iter(["levels.0"])])
def test_frozen_parts_stay_to_the_bit(parts):
    model = freeze(grid_gcn(), parts)
    before = snapshot(model)
    fit_briefly(model, average=0.9, weight_decay=0.1, precision="bfloat16")
    assert changed(model, before) == of(["levels.1", "head"], model)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_unfreezing_by_depth_counts_layers_from_the_head(depth):
    model = unfreeze(freeze(grid_gcn()), depth)
    before = snapshot(model)
    fit_briefly(model)
    assert changed(model, before) == of(LAYERS[-depth:], model)


def test_a_norm_belongs_to_the_layer_before_it():
    model = unfreeze(freeze(normed_cnn()), 2)
    before = snapshot(model)
    fit_briefly(model, on_grid=False)
    assert changed(model, before) == of("347", model)  # the norm without weights stays as it was, too


def test_norms_in_a_list_of_their_own_belong_to_the_layers_of_the_same_place():
    model = unfreeze(freeze(GraphClassifier(4, 5, 3)), depth=2)
    trained = {name.rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"convs.2", "norms.2", "head"}
    assert [norm.frozen for norm in model.norms] == [True, True, False]


def test_everything_frozen_trains_again_when_unfrozen():
    model = unfreeze(freeze(freeze(normed_cnn()), "1"))
    before = snapshot(model)
    fit_briefly(model, on_grid=False)
    assert changed(model, before) == set(before)
    alike = normed_cnn()
    fit_briefly(alike, on_grid=False)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in alike.state_dict().items())


def test_frozen_norms_give_in_training_what_they_give_in_evaluation():
    model = freeze(grid_gcn())
    fit_briefly(unfreeze(model))
    x = torch.rand(3, 35, 1)
    expected = model.eval()(x, GRID)
    assert not torch.equal(model.train()(x, GRID), expected)
    for frozen in (freeze(copy.deepcopy(model)), pickle.loads(pickle.dumps(freeze(model)))):
        frozen.eval()
        torch.testing.assert_close(frozen.train()(x, GRID), model.eval()(x, GRID), rtol=0, atol=0)


def test_a_frozen_body_is_fitted_as_its_features_are():
    """Training the head alone is logistic regression on what the body makes of the images."""
    model = unfreeze(freeze(grid_gcn()), 1)
    data = Signals(*stripes(20), GRID)
    features = []
    handle = model.head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    with torch.no_grad():
        model.eval()(*data.inputs(slice(None)))
    handle.remove()
    head = copy.deepcopy(model.head)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features[0]), data.y).backward()
        optimizer.step()
    fit(model, data, epochs=3, batch_size=20, lr=0.1, optimizer=torch.optim.SGD, select="last", progress=False)
    torch.testing.assert_close(model.head.weight, head.weight)


def test_what_cannot_be_frozen_or_unfrozen_is_named():
    with pytest.raises(InputError, match=r"parts: the model has no 'level'; it has levels, levels.0, .* Did you mean"):
        freeze(grid_gcn(), ["head", "level"])
    for depth in (0, 6):
        with pytest.raises(
            InputError, match=rf"depth: got {depth}, expected 1 to 5, the model's layers: levels.0.0.conv,"
        ):
            unfreeze(grid_gcn(), depth)
    with pytest.raises(InputTypeError, match=r"depth: got 'head', expected an integer"):
        unfreeze(grid_gcn(), "head")
    with pytest.raises(InputError, match=r"model: all of its parameters are frozen"):
        fit_briefly(freeze(grid_gcn()))


# -- replace_head -----------------------------------------------------------------------------------------------------


def test_a_new_head_for_a_grid_gcn():
    model = grid_gcn().double().eval()
    before = snapshot(model)
    assert replace_head(model, 4) is model
    assert model(torch.rand(2, 35, 1, dtype=torch.float64), GRID).shape == (2, 4)
    assert not model.head.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items() if "head" not in name)
    GridGCN(**model.config).load_state_dict(model.state_dict())
    assert trained(replace_head(freeze(model), 5)) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("name", BASELINES)
def test_a_new_head_for_each_baseline(name):
    model = replace_head(BASELINES[name].model(), 5)
    expected = [p.shape for p in BASELINES[name].model(5).parameters()]
    assert [p.shape for p in model.parameters()] == expected
    if sum(p.numel() for p in model.parameters()) < 1_000_000:
        assert model(torch.rand(2, 1, 28, 28)).shape == (2, 5)


def test_a_model_with_a_new_head_is_loaded_as_such(tmp_path):
    model = replace_head(GraphClassifier(4, 5, 3, head_layers=2), 7)
    assert model.head[2].out_features == model.config["out_channels"] == 7
    a, x = torch.eye(6), torch.rand(6, 4)
    graphs = GraphCollection.from_graphs([Graph.from_dense(a, x=x, y=torch.tensor(i)) for i in range(7)])
    fit(model, graphs, epochs=1, select="last", progress=False, checkpoint=Checkpoint(tmp_path / "a"))
    loaded, _ = load_model(tmp_path / "a")
    torch.testing.assert_close(loaded(x, a), model(x, a))


def test_heads_that_cannot_be_replaced_are_named():
    with pytest.raises(
        InputError, match=r"model: its last layer is layers.1, of GCNConv; expected a part that is an nn.L"
    ):
        replace_head(GCN(3, 4, 5), 2)
    with pytest.raises(InputError, match=r"model: its last layer is 1, of BatchNorm1d"):
        replace_head(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 2)
    with pytest.raises(InputError, match=r"model: its last layer is Linear, of Linear; expected a part"):
        replace_head(nn.Linear(3, 4), 2)
    with pytest.raises(InputError, match=r"model: its last layer is none, of ReLU"):
        replace_head(nn.ReLU(), 2)
    with pytest.raises(InputError, match=r"num_classes: got 0, expected at least 1"):
        replace_head(grid_gcn(), 0)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d, nn.SyncBatchNorm, lambda n: nn.InstanceNorm2d(n, track_running_stats=True)]
)
def test_frozen_norms_of_any_kind_keep_their_averages(norm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), norm(3), nn.Flatten(), nn.Linear(48, 2))
    freeze(model, ["0", "1"])
    fit(model, Signals(torch.rand(20, 6, 6), torch.arange(20) % 2), epochs=1, select="last", progress=False)
    assert torch.equal(model[1].running_mean, torch.zeros(3))
    unfreeze(model)
    fit(model, Signals(torch.rand(20, 6, 6), torch.arange(20) % 2), epochs=1, select="last", progress=False)
    assert not torch.equal(model[1].running_mean, torch.zeros(3))
