import pytest
import torch
from torch import nn

from gcnlab.trace import Call, run_once


def frozen_norm_model():
    """It trains, but for its batch norm."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Dropout())
    model[1].eval()
    return model


def hooks(model):
    return [hook for module in model.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]


def test_a_model_is_left_as_it_was(monkeypatch):
    model, x = frozen_norm_model(), torch.rand(2, 1, 5, 5)
    modes, state = [module.training for module in model.modules()], model[1].running_mean.clone()
    during = []
    run_once(model, [x], model, lambda module, _: during.append(module.training))
    assert during == [False] * 4
    assert [module.training for module in model.modules()] == modes == [True, True, False, True, True]
    assert hooks(model) == []
    model[1].train()
    run_once(model, [x], model)
    assert torch.equal(model[1].running_mean, state)


@pytest.mark.parametrize("place", ["forward", "keep_inputs", "keep_output"])
def test_an_error_in_the_middle_leaves_it_so_too(monkeypatch, place):
    model, x = frozen_norm_model(), torch.rand(2, 1, 5, 5)

    def fail(module, *_):
        return 1 / 0 if module is model[2] else None

    if place == "forward":
        monkeypatch.setattr(model[2], "forward", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_once(model, [x], model, **({} if place == "forward" else {place: fail}))
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert hooks(model) == []
    assert torch.is_grad_enabled()


def test_calls_are_in_the_order_in_which_they_began():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.outer = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Identity())
            self.first = nn.Linear(3, 3)
            self.unused = nn.Linear(3, 3)

        def forward(self, x):
            return self.outer(self.outer(self.first(x)))

    model, x = Twice(), torch.rand(5, 3)
    inner = model.outer[0]
    watched = [model.unused, inner, model.outer, model.first]
    calls, output = run_once(model, (x,), watched, lambda _, inputs: inputs[0], lambda _, h: h)
    assert [call.module for call in calls] == [model.first, model.outer, inner, model.outer, inner]
    h = [x, model.first(x)]
    h += [inner(h[1])]
    h += [inner(h[2])]
    for call, place in zip(calls, (0, 1, 1, 2, 2), strict=True):
        torch.testing.assert_close(call.inputs, h[place])
        torch.testing.assert_close(call.output, h[place + 1])
    assert output is calls[-1].output
    assert not output.requires_grad
    calls, _ = run_once(model, (x,), [inner])
    assert calls == [Call(inner, None, None)] * 2


def test_what_is_kept_is_taken_before_a_later_module_writes_over_it():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    calls, output = run_once(model, [torch.tensor([-1.0])], model, keep_output=lambda _, h: float(h))
    assert [call.output for call in calls] == [-1.0, 0.0]
    assert float(output) == 0
