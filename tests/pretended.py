"""A pretended accelerator: tensors that say they are on "pretend:0", and hold their numbers on the CPU.

    python -m tests.pretended "EXPRESSION"    prints its value, with D the device, within `Pretend()`

An operator whose operands are on two devices raises, as on a GPU. It registers a backend of torch for the whole process,
so that a test runs it in a process of its own (`seen_on_device`).
"""

import subprocess
import sys
import warnings
from pathlib import Path

import torch
import torch.utils.backend_registration as backends
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


def seen_on_device(expression):
    """What the process printed last."""
    command = [sys.executable, "-m", "tests.pretended", expression]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


class Backend(backends._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


class Pretended(torch.Tensor):
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        out = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), dtype=held.dtype, device=torch.device("pretend", 0), strides=held.stride(),
            storage_offset=held.storage_offset(),
        )  # fmt: skip
        out.held = held
        return out

    def __repr__(self):
        return f"Pretended({self.held})"

    def tolist(self):
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def is_here(device):
    return device is not None and torch.device(device).type == "pretend"


def run(func, args, kwargs):
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    cpu = [t for t in tensors if not isinstance(t, Pretended)]
    given = len(cpu) < len(tensors)
    may_mix = func in COPIES or (func.overloadpacket in INDEXING and isinstance(args[0], Pretended))
    if given and not may_mix and any(t.dim() for t in cpu):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found pretend:0 and cpu in {func}")
    here = given if kwargs.get("device") is None else is_here(kwargs["device"])
    on_cpu = {**kwargs, **({"device": "cpu"} if is_here(kwargs.get("device")) else {})}
    held = tree_map(lambda t: t.held if isinstance(t, Pretended) else t, (args, on_cpu))
    out = func(*held[0], **held[1])
    if not here:
        return out
    written = [
        a
        for a, s in zip(args, func._schema.arguments, strict=False)
        if s.alias_info is not None and s.alias_info.is_write
    ]
    if written:
        return written[0] if func._schema.returns else None
    return tree_map(lambda t: Pretended(t) if type(t) is torch.Tensor else t, out)


class Pretend(TorchDispatchMode):
    def __enter__(self):
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) arrives as a copy
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if is_here(kwargs.get("device")) or any(isinstance(t, Pretended) for t in tree_leaves((args, kwargs))):
            return run(func, args, kwargs)
        return func(*args, **kwargs)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    backends._setup_privateuseone_for_python_backend(rename="pretend", backend_module=Backend())
    import gcnlab
    import gcnlab.scale

    torch.manual_seed(0)
    path, device = [[0, 1, 1, 2], [1, 0, 2, 1]], torch.device("pretend", 0)
    with Pretend():
        graphs = [gcnlab.Graph.from_edges(path, x=torch.rand(3, 2), y=i) for i in range(2)]
        graph = gcnlab.Graph.from_edges(path, x=torch.rand(3, 2), y=[0, 1, 0], train_mask=[True] * 3)
        own = {"D": device, "path": path, "graph": graph, "graphs": graphs, "torch": torch, "gcnlab": gcnlab}
        print(eval(sys.argv[1], {**vars(gcnlab.scale), **vars(gcnlab), **own}))
