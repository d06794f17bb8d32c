"""Several processes, on one machine or many: torchrun starts them, DistributedDataParallel averages their gradients.

Every rank holds the whole data set. A batch is drawn once for all of them; rank r of W takes its items r, r + W, ...,
and its loss is weighted so that the mean over ranks, which DistributedDataParallel takes, is the mean over the batch:

    L = sum_r n_r L_r / N = mean_r (W n_r / N) L_r,   n_r items of rank r (of weighted classes: their weights), N of all

`fit` does this by itself once there is a process group. A script that torchrun starts says

    with gcnlab.distributed.processes():
        gcnlab.fit(model, graphs, val)

Why a rank failed is lost between processes: the others see a closed connection or a timeout. So each rank has a thread,
its heart, that writes a sign of life to the store of the process group; a rank that raises leaves its traceback there
before it goes. A rank whose collective fails then looks who left a traceback, or whose heart stands still.
"""

from __future__ import annotations

import inspect
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from . import parent
from .checks import check_choice, check_integer, check_number, check_workers
from .errors import DistributedError, GcnlabError, InputError
from .machine import tell
from .memory import check_fits
from .threads import shared_out

TIMEOUT = 300.0  # seconds
_PROCESS_BYTES = 250 << 20  # measured: Python and torch, before any data
TIMEOUT_VARIABLE = "GCNLAB_TIMEOUT"
UNGUARDED = 87  # exit status of a worker that would start workers while it imports the script
SILENT = "gives no sign of life: stopped, killed, or on a machine that is away."

Item = TypeVar("Item")


@dataclass
class _Process:
    """What this process knows of itself: its heart, whether it trains alone, and what each rank counts."""

    heart: _Heart | None = None
    is_alone: bool = False
    num_failures: int = 0
    num_meetings: int = 0


_process = _Process()


class RankTraceback(Exception):
    """The traceback of another rank, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Ranks(NamedTuple):
    """This process among those of the process group: `rank` of `size`, and the device of what they tell each other."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_lone(self) -> bool:
        """Whether there is no process group, and this process does everything by itself."""
        return False

    def gather(self, values: Tensor) -> Tensor:
        """[size, ...]: the values of every rank, of one shape, in float64."""
        own = values.to(self.device, torch.float64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(rows, own)
        return torch.stack(rows).cpu()

    def gather_objects(self, value: Any) -> list[Any]:
        """What each rank gives, in the order of the ranks."""
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def of_first(self, value: Any) -> Any:
        """What rank 0 gives."""
        values = [value]
        dist.broadcast_object_list(values, 0, device=self.device)
        return values[0]

    def share_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Make tensors those of rank 0, in place."""
        for tensor in tensors:
            dist.broadcast(tensor, 0)

    def meet(self) -> None:
        """Wait until every rank is here, however long it works: as long as all hearts beat there is no timeout."""
        assert _process.heart is not None
        _process.heart.meet()
        self.gather(torch.zeros(1))  # none leaves, and takes the store along, before all have seen the others

    def check_same(self, facts: dict[str, Any]) -> None:
        """Raise DistributedError on all ranks where one has other facts than rank 0, naming both."""
        first, *others = self.gather_objects(facts)
        problems = [
            f"rank {rank} has {key} {told.get(key)!r}, rank 0 has {first.get(key)!r}"
            for rank, told in enumerate(others, 1)
            for key in dict.fromkeys([*first, *told])
            if told.get(key) != first.get(key)
        ]
        if problems:
            raise DistributedError(f"The ranks do not train the same: {'; '.join(problems)}.")

    def not_finite(self, tensors: Sequence[Tensor]) -> str:
        """Names the ranks where one of `tensors` is not finite, for a message; all ranks call it together."""
        bad = not all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
        named = [rank for rank, is_bad in enumerate(self.gather(torch.tensor([float(bad)]))) if is_bad]
        return f" on rank{'s' * (len(named) > 1)} {', '.join(map(str, named))}" if named else ""


class _Lone(Ranks):
    """The only process: what it has is what all have, and nobody is waited for."""

    __slots__ = ()

    @property
    def is_lone(self) -> bool:
        return True

    def gather(self, values: Tensor) -> Tensor:
        return values.to(torch.float64).unsqueeze(0)

    def gather_objects(self, value: Any) -> list[Any]:
        return [value]

    def of_first(self, value: Any) -> Any:
        return value

    def share_tensors(self, tensors: Sequence[Tensor]) -> None:
        pass

    def meet(self) -> None:
        pass

    def check_same(self, facts: dict[str, Any]) -> None:
        pass

    def not_finite(self, tensors: Sequence[Tensor]) -> str:
        return ""


LONE: Ranks = _Lone(0, 1, torch.device("cpu"))


class Replica:
    """A model whose gradients, after `backward`, are the means over all ranks; it starts with rank 0's weights.

    Attributes:
        own: of the last step, a sum of each bucket of this rank's own gradients: not finite where a gradient was not.
    """

    def __init__(self, model: nn.Module) -> None:
        self.own: list[Tensor] = []
        # Buffers (statistics of BatchNorm) are each rank's own until an epoch ends: `fit` takes rank 0's then.
        parallel: Any = nn.parallel.DistributedDataParallel
        names = inspect.signature(parallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"  # torch before 2.13
        self.model = parallel(_Callable(model), **{name: False})
        self.model.register_comm_hook(None, lambda state, bucket: self._average(bucket))
        # After its first step DistributedDataParallel lays out its buckets anew, and sums over three or more ranks then
        # round otherwise. A step on nothing does it before the first true one, in a resumed training too.
        self.model().backward()
        for p in model.parameters():
            p.grad = None

    def _average(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        self.own.append(bucket.buffer().sum())
        assert dist.group.WORLD is not None
        return allreduce_hook(dist.group.WORLD, bucket)

    def __call__(self, *arguments: Any) -> Any:
        self.own.clear()
        return self.model(*arguments)


class _Callable(nn.Module):
    """A model, which without arguments gives the sum of its trained parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any) -> Any:
        if arguments:
            return self.model(*arguments)
        return sum(p.sum() for p in self.model.parameters() if p.requires_grad)


def ranks() -> Ranks:
    """This process among those of the process group; `LONE` where there is none, or in `alone`."""
    if _process.is_alone or not dist.is_available() or not dist.is_initialized():
        return LONE
    backends = dist.get_backend_config()
    device = "cpu" if "gloo" in backends else "cuda"
    return Ranks(dist.get_rank(), dist.get_world_size(), torch.device(device))


def was_started() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def is_first() -> bool:
    """Whether this process writes files and speaks: rank 0, or the only one."""
    return ranks().rank == 0


def mine(items: Sequence[Item]) -> Sequence[Item]:
    """This rank's of some items: number r, r + W, ...; all of them where there is one process."""
    here = ranks()
    return items[here.rank :: here.size]


def shares(num_items: int, batch_size: int) -> list[tuple[Tensor, bool]]:
    """(items, whether they count) of each batch of one pass in a new order: this rank's share of it.

    The order is drawn by rank 0, from torch's generator as for one process. A batch of fewer items than ranks leaves some
    without; they take its first item, which does not count, since every rank must take part in every step.
    """
    here, order = ranks(), torch.randperm(num_items)
    if here.is_lone:
        return [(batch, True) for batch in order.split(batch_size)]
    order = order.to(here.device)
    dist.broadcast(order, 0)
    parts = [(batch, batch[here.rank :: here.size]) for batch in order.cpu().split(batch_size)]
    return [(part, True) if len(part) else (batch[:1], False) for batch, part in parts]


def whole_batch(
    ranks: Ranks, counts: Mapping[str, Any], values: Mapping[str, Tensor], is_counted: bool
) -> tuple[float, Mapping[str, Any], Mapping[str, Tensor]]:
    """(factor, counts, values) of a batch, from each rank's share of it.

    Args:
        counts: how many each value of this rank is a mean over.
        values: means [1] over this rank's share; the loss comes first.
        is_counted: False where the share stands for an empty one (`shares`).

    Returns:
        the factor n_r W / N of this rank's loss, the counts N, and the means over all ranks.
    """
    if ranks.is_lone:
        return 1.0, counts, values
    sizes = {name: float(counts[name]) if is_counted else 0.0 for name in values}
    own = [list(sizes.values()), [float(value.detach()) for value in values.values()]]
    sizes_of, means_of = ranks.gather(torch.tensor(own, dtype=torch.float64)).unbind(1)  # [num_ranks, num_values]
    totals = sizes_of.sum(0)
    means = (sizes_of * means_of).sum(0) / torch.where(totals == 0, 1, totals)
    factor = ranks.size * sizes["loss"] / (float(totals[0]) or 1.0)
    whole = {name: mean.to(values[name]).view(1) for name, mean in zip(values, means, strict=True)}
    return factor, dict(zip(values, totals.tolist(), strict=True)), whole


@contextmanager
def alone() -> Iterator[None]:
    """Within the block `fit` trains in this process only, whatever the other ranks do."""
    before, _process.is_alone = _process.is_alone, True
    try:
        yield
    finally:
        _process.is_alone = before


def in_processes(function: Callable[[Item], Any], items: Sequence[Item], count: int) -> Iterator[tuple[Item, Any]]:
    """(item, function(item)) of each item as it is done, in at most `count` new processes, which end with this one.

    They do not get the interrupt of a terminal: what ends the iteration early, an interrupt or an item that failed, ends
    them. Not concurrent.futures, whose pool may wait for ever for a process that was killed.

    Raises:
        InputError: this process may have no children, or the script lacks a main guard.
        DistributedError: a process was killed.
    """
    if multiprocessing.current_process().daemon:
        raise InputError(
            "worker processes: this process is daemonic, as those of multiprocessing.Pool are, and may start none; "
            "train in it (workers=1 or threads=1), or start it with daemon=False."
        )
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker, which imports the script
        os._exit(UNGUARDED)
    context, left = multiprocessing.get_context("spawn"), list(reversed(items))
    processes: list[Any] = []
    pipe: Any
    at_work: dict[Any, tuple[Any, Item]] = {}  # the pipe to each process, and what it does
    try:
        with _interrupts_held(), parent.told():  # both of which the processes inherit
            for _ in range(min(count, len(items))):
                pipe, its_end = context.Pipe()
                processes.append(context.Process(target=_work, args=(function, its_end, os.getpid())))
                processes[-1].start()
                its_end.close()  # so that the pipe ends with the process
                at_work[pipe] = processes[-1], left.pop()
        for pipe, (_, item) in at_work.items():
            with suppress(BrokenPipeError):  # it is gone, as the loop will find
                pipe.send(item)
        while at_work:
            for pipe in multiprocessing.connection.wait(list(at_work)):
                process, item = at_work.pop(pipe)
                try:
                    result, error = pipe.recv()
                except (EOFError, ConnectionResetError):
                    process.join()
                    raise _why_ended(process.exitcode) from None
                if error is not None:
                    raise error
                if left:
                    at_work[pipe] = process, left.pop()
                    with suppress(BrokenPipeError):
                        pipe.send(at_work[pipe][1])
                else:
                    pipe.close()
                yield item, result
    except BaseException:  # nothing asks for the others any more
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.join()


def _work(function: Callable[[Item], Any], pipe: Any, starter: int) -> None:
    """Answer items by (function(item), None), or by (None, the error), until the pipe ends."""
    from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]

    parent.end_with(starter)
    with suppress(EOFError):
        while True:
            item = pipe.recv()
            try:
                answer = function(item), None
            except Exception as error:
                answer = None, ExceptionWithTraceback(error, error.__traceback__)
            pipe.send(answer)


def _why_ended(status: int) -> GcnlabError:
    """The error of a worker process that ended with this exit status, as multiprocessing has it, before its work."""
    if status == UNGUARDED:
        script = getattr(sys.modules["__main__"], "__file__", "the script")
        return InputError(
            f"worker processes: each of them imports {script}, which starts worker processes again; put what it does "
            'under `if __name__ == "__main__":`.'
        )
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    why = "; the system kills where memory runs out" if status == -9 else ""
    return DistributedError(f"a worker process {how} before its work was done{why}.")


@contextmanager
def _interrupts_held() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # when it is started, by the first process, it lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def processes(device: str | None = None, timeout: float | None = None) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for the block. This one then ends when torchrun does, however it ends.

    Args:
        device: "cpu" (backend gloo) or "cuda" (nccl; each process takes the GPU of its local rank); by default cuda where
            there is one.
        timeout: seconds after which a rank that does not take part has failed; by default those of the environment
            variable GCNLAB_TIMEOUT, else 300.

    Raises:
        InputError: torchrun did not start this process, or the machine has fewer GPUs than processes.
        DistributedError: another rank failed; names it, with its traceback first.
    """
    if not was_started():
        raise InputError("processes: this process was not started by torchrun; expected `torchrun ... script.py`.")
    parent.end_with(int(os.environ.pop(parent.VARIABLE, os.getppid())))
    if check_choice("device", device, ("cpu", "cuda", None)) is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    timeout = _timeout_of_environment() if timeout is None else check_number("timeout", timeout, above=0, below=1e9)
    if device == "cuda":
        check_num_gpus("LOCAL_WORLD_SIZE", int(os.environ["LOCAL_WORLD_SIZE"]))
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    except dist.DistError as problem:
        who = f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"
        raise DistributedError(f"{who} did not find the others within {timeout:g} s: {problem}") from problem
    here = ranks()
    can_hang = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if here.rank == 0 and can_hang and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        tell("torchrun may hang when it restarts; set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before it starts.")
    try:
        with watch(timeout):
            yield here
            here.meet()
    except GcnlabError:
        raise
    except Exception:
        tell(f"rank {here.rank} failed:")
        raise
    dist.destroy_process_group()


def _timeout_of_environment() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT))
    try:
        timeout = float(text)
    except ValueError:
        timeout = 0.0
    if not 0 < timeout < 1e9:
        raise InputError(f"{TIMEOUT_VARIABLE}: got {text!r}, expected seconds above 0.")
    return timeout


def launch(arguments: Sequence[str], nproc: int, restarts: int = 0, device: str | None = None) -> int:
    """Run `python ARGUMENTS` in several processes of this machine, as torchrun does, and wait for them.

    Args:
        arguments: of the Python interpreter.
        nproc: processes; each gets its part of the CPU threads.
        restarts: how often all of them are started again when one fails.
        device: what they will train on; of "cuda" each needs a GPU.

    Returns:
        the exit status: 0; 2 where a process says that its input is wrong; else 1.

    Raises:
        InputError: fewer processes than one, more than GPUs, or restarts below 0.
    """
    nproc, restarts = check_workers("nproc", nproc), check_integer("restarts", restarts)
    if restarts < 0:
        raise InputError(f"restarts: got {restarts}, expected at least 0.")
    check_choice("device", device, ("cpu", "cuda", None))
    if device == "cuda" or (device is None and torch.cuda.is_available()):
        check_num_gpus("nproc", nproc)
    check_fits("nproc", f"{nproc} processes", nproc * _PROCESS_BYTES, 1.0, "ask for fewer.")
    # torchrun keeps the address of each process in a store of its own, where restarted ones may read those of the dead.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "3")  # seconds, then a process that stands still is killed
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its warnings of closed connections say less than we do

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for module in ("agent.server.api", "multiprocessing.api"):  # which say that a process failed, and not why
        logging.getLogger(f"torch.distributed.elastic.{module}").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=nproc, run_id=f"gcnlab-{os.getpid()}", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=restarts, monitor_interval=0.1,
    )  # fmt: skip
    try:
        with parent.told(), shared_out(nproc):
            elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as problem:
        rank, first = problem.get_first_failure()
        if first.exitcode < 0:
            tell(f"rank {rank} was killed by {first.signal_name()}.")
        return 2 if first.exitcode == 2 else 1
    except SignalException:  # which they were sent as well
        return 1
    return 0


def check_num_gpus(argument: str, nproc: int) -> None:
    """Raise InputError where a machine has fewer GPUs than it shall have processes."""
    if nproc > torch.cuda.device_count():
        raise InputError(
            f"{argument}: got {nproc} processes, but torch sees {torch.cuda.device_count()} CUDA devices; one process "
            "needs one of its own."
        )


@contextmanager
def watch(timeout: float | None = None) -> Iterator[None]:
    """Within the block, the failure of another rank raises DistributedError that names it.

    And a failure of this one is made known to the others. Does nothing for one process, or within another `watch`.
    """
    if _process.heart is not None or ranks().is_lone:
        yield
        return
    heart = _process.heart = _Heart(_timeout_of_environment() if timeout is None else timeout)
    heart.start()
    try:
        yield
    except BaseException as error:
        known = None if isinstance(error, DistributedError) else heart.explain(error)
        is_told = heart.tell(error if known is None else known)
        _process.num_failures += 1
        if known is not None:
            known.is_told = is_told
            raise known from known.__cause__ or error
        if isinstance(error, GcnlabError):
            error.is_told = is_told
        raise
    finally:
        heart.left.set()
        heart.join(heart.patience)
        _process.heart = None


class _Heart(threading.Thread):
    """Writes a sign of life to the store again and again, and reads there whether a rank has failed."""

    def __init__(self, timeout: float) -> None:
        super().__init__(name="gcnlab heart", daemon=True)
        here = ranks()
        self.rank, self.size, self.timeout = here.rank, here.size, timeout
        self.interval = 0.25 + here.size / 100  # seconds
        self.patience = max(2.0, 4 * self.interval)  # without a beat; then a heart stands still
        # A kernel of nccl waits for the others where no exception reaches it.
        self.must_exit = "nccl" in dist.get_backend_config()
        life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's store may outlive the processes
        # A connection of its own: torch waits in the other one, and lets nothing else through.
        self.store = dist.PrefixStore(f"gcnlab {life}", dist.distributed_c10d._get_default_store().clone())  # type: ignore[attr-defined]
        self.failure_key = f"failure {_process.num_failures}"
        self.failure: dict[str, Any] = {}
        self.failed, self.left = threading.Event(), threading.Event()
        self.is_lost = False  # the store
        self.has_met = False  # the other ranks: until then each may do what it likes
        self.last_beat = time.monotonic()

    @property
    def has_store(self) -> bool:
        return not self.is_lost and time.monotonic() - self.last_beat < self.patience

    def run(self) -> None:
        next_rank, seen, seen_at, failed_at = (self.rank + 1) % self.size, b"", time.monotonic(), 0.0
        try:
            while not self.left.is_set():
                now = self.last_beat = time.monotonic()
                self.store.set(f"beat {self.rank}", str(now))
                if not self.failed.is_set() and self.store.check([self.failure_key]):
                    self.failure, failed_at = json.loads(self.store.get(self.failure_key)), now
                    self.failed.set()
                    self.store.add(f"{self.failure_key} read", 1)
                if self.failed.is_set() and self.must_exit and now - failed_at > self.patience:
                    break
                if (beat := self.beat_of(next_rank)) != seen or not self.has_met:
                    seen, seen_at = beat, now
                elif now - seen_at > self.timeout:
                    self.leave({"ranks": [next_rank], "problem": SILENT})
                self.left.wait(self.interval)
        except RuntimeError:  # the store is gone, and so is the process that kept it
            self.is_lost = True
        if self.must_exit and not self.left.wait(self.patience):
            tell(str(self.known_failure()))
            os._exit(1)

    def beat_of(self, rank: int) -> bytes:
        key = f"beat {rank}"
        return self.store.get(key) if self.store.check([key]) else b""

    def tell(self, error: BaseException) -> bool:
        """Leave this rank's traceback, unless a failure is known; wait until the others have read what there is.

        Returns whether another rank of this machine tells of it.
        """
        if not self.has_store:
            return False
        text = "".join(traceback.format_exception(error))
        said = {"ranks": [self.rank], "problem": f"failed: {type(error).__name__}: {error}", "traceback": text}
        machine = os.environ.get("GROUP_RANK", "0")
        try:
            self.leave(said)
            until = time.monotonic() + self.patience  # rank 0 may keep the store, which ends with it
            while time.monotonic() < until and self.store.add(f"{self.failure_key} read", 0) < self.size:
                time.sleep(self.interval / 5)
            is_told = self.store.add(f"{self.failure_key} told on {machine}", 1) > 1
        except RuntimeError:
            return False
        if is_told:  # the one that speaks shall go first: torchrun ends the others when one is gone
            time.sleep(self.interval)
        return is_told

    def leave(self, failure: dict[str, Any]) -> None:
        """Make a failure known, if none is."""
        self.store.compare_set(self.failure_key, "", json.dumps(failure))

    def explain(self, error: BaseException) -> DistributedError | None:
        """The error that names the rank which made a collective of this one fail; None where none has failed."""
        if not (isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))):
            return None
        others = [rank for rank in range(self.size) if rank != self.rank]
        if self.has_store and not self.failed.is_set():
            try:
                before = [self.beat_of(rank) for rank in others]
                if not self.failed.wait(self.patience):
                    still = [rank for rank, beat in zip(others, before, strict=True) if self.beat_of(rank) == beat]
                    if not still:
                        return DistributedError(
                            f"rank {self.rank} waited for {self.timeout:g} s, and the others are alive but elsewhere: one "
                            "of them does other work, or takes more or fewer steps."
                        )
                    self.leave({"ranks": still, "problem": SILENT})
                    self.failed.wait(self.patience)
            except RuntimeError:
                self.is_lost = True
        return self.known_failure()

    def known_failure(self) -> DistributedError:
        if not self.failed.is_set():
            return DistributedError(
                "rank 0 is gone or stands still, and with it the store of the process group, unless torchrun keeps it: "
                "killed, stopped, or on a machine that is away."
            )
        ranks = self.failure["ranks"]
        problem = DistributedError(
            f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} {self.failure['problem']}"
        )
        if "traceback" in self.failure:
            problem.__cause__ = RankTraceback(self.failure["traceback"])
        return problem

    def meet(self) -> None:
        _process.num_meetings += 1
        self.has_met = True
        key, pause = f"meeting {_process.num_meetings}", 0.005
        self.store.add(key, 1)
        while self.store.add(key, 0) < self.size:
            if self.failed.wait(pause) or not self.has_store:
                raise self.known_failure()
            pause = min(2 * pause, self.interval)
