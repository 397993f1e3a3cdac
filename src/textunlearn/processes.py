"""Training in several processes: which one this is, what they tell each other, and starting them on one machine.

A launcher (torchrun, ``accelerate launch``) or `start` gives each its number in RANK, LOCAL_RANK and WORLD_SIZE. Alone, everything
here does nothing, so that the training code is written once.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from textunlearn.errors import UserError
from textunlearn.shell import PARENT, Terminated

T = TypeVar("T")
PATIENCE = timedelta(hours=24)
"""How long one process waits for another: the first one samples, encodes pictures and computes reference states alone."""


def world() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this one, over all machines."""
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def first() -> bool:
    """Whether this is the process that writes files and talks to the terminal."""
    return rank() == 0


def local_device(device: str) -> str:
    """The part of ``device`` that is this process's: of several GPUs each takes its own."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if world() > 1 and device == "cuda" else device


def launched_to_shard() -> bool:
    """Whether ``accelerate launch`` was told to use FSDP. We split the model ourselves, so the Trainer must not hear of it.

    UserError for DeepSpeed.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        raise UserError(
            "textunlearn does not train with DeepSpeed; start it with FSDP instead (--shard, or accelerate launch --use_fsdp), "
            "which splits the model over the processes as ZeRO-3 does"
        )
    return os.environ.pop("ACCELERATE_USE_FSDP", "").lower() == "true"


def join(device: str) -> None:
    """Wait until all processes are here, ready to train on ``device`` (cpu or a GPU)."""
    import torch
    from torch import distributed

    if world() == 1 or distributed.is_initialized():
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device))
    # Two kinds of messages: tensors on the GPUs, everything else from memory.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)


def leave() -> None:
    """The first process goes on alone; the others are done."""
    from torch import distributed

    if world() > 1 and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(
            reset_partial_state=True
        )  # else the Trainer takes it that the others are still there
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` gives in the first process, in all of them. A UserError there is raised everywhere, so that none waits."""
    if world() == 1:
        return make()
    import torch
    from torch import distributed

    box: list[Any] = [None, None]
    if first():
        try:
            box[0] = make()
        except UserError as error:
            box[1] = error
    distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    if box[1] is not None:
        raise box[1]
    found: T = box[0]
    return found


def gathered(value: T) -> list[T]:
    """The ``value`` of every process, in their order."""
    if world() == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * world()
    distributed.all_gather_object(values, value)
    return values


def total(figures: Mapping[str, float]) -> dict[str, float]:
    """Each figure summed over the processes; one that only some of them have counts as 0 in the others."""
    if world() == 1:
        return dict(figures)
    out: dict[str, float] = {}
    for some in gathered(dict(figures)):
        for key, value in some.items():
            out[key] = out.get(key, 0) + value
    return out


def start(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Run ``work(*arguments)`` (a function of a module) in ``count`` processes on this machine, and wait for them.

    If one fails, the others are stopped, and so are all at Ctrl-C and SIGTERM. UserError with the sentence of the one that failed,
    or with what it said last.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed.elastic", "torch.distributed.launcher", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they would show tracebacks; what matters is in the error
    config = LaunchConfig(
        run_id=str(os.getpid()),
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # the same command goes on from the last checkpoint
        monitor_interval=0.5,
    )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with _environment(count):
            elastic_launch(config, work)(*arguments)
    except ChildFailedError as error:
        raise UserError(_why(error, count)) from None
    except SignalException as error:  # the launcher's own handlers stopped the processes
        raise (KeyboardInterrupt if error.sigval == signal.SIGINT else Terminated) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def require_devices(device: str, count: int) -> None:
    """UserError where each of ``count`` processes cannot have a GPU of its own."""
    import torch

    if device.startswith("cuda") and count > torch.cuda.device_count():
        raise UserError(
            f"--processes {count} needs as many GPUs, and {torch.cuda.device_count()} can be seen; ask for fewer"
        )


@contextmanager
def _environment(count: int) -> Iterator[None]:
    """What the new processes are to find: their share of the cores, and who is to be there while they run."""
    threads = max(1, (os.cpu_count() or 1) // count)
    given = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)), PARENT: str(os.getpid())}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _why(error: Any, count: int) -> str:
    """One sentence on the process that failed first."""
    number, failure = error.get_first_failure()
    said = failure.message if isinstance(failure.message, str) else str(failure.message.get("message", ""))
    kind, _, words = " ".join(said.split()).partition(": ")
    if kind.endswith("UserError"):
        return words
    what = f"signal {-failure.exitcode}" if failure.exitcode < 0 else said[:300]
    return f"training process {number + 1} of {count} ended early ({what}); run the same command again to go on"


def share(values: Sequence[T]) -> list[T]:
    """This process's part of ``values``; `joined` puts the parts together again."""
    return list(values[rank() :: world()])


def joined(mine: Sequence[T]) -> list[T]:
    """All parts made by `share`, in the order in which they were."""
    parts = gathered(list(mine))
    longest = max(len(part) for part in parts)
    return [part[i] for i in range(longest) for part in parts if i < len(part)]
