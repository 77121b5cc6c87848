"""The processes that train one network together: on the cores or GPUs of one machine, or of several under torchrun."""

import math
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import CRITICAL, getLogger
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.norm_act import convert_sync_batchnorm
from torch import distributed
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mammoscope.errors import ConfigError, UserInputError, WorkerLostError
from mammoscope.learning.recipe_checks import check_recipe
from mammoscope.learning.scoring import choose_device
from mammoscope.learning.settings import BatchSettings, Recipe

Answer = TypeVar("Answer")
Network = TypeVar("Network", bound=torch.nn.Module)
_LOOKS_EVERY_S = 0.5
_STOPPED = 130  # the exit code of what Ctrl-C ended


@dataclass(frozen=True, slots=True)
class Processes:
    """Which one of `n` processes this is, from 0, on what device it computes, and how many are on its machine."""

    device: torch.device
    rank: int = 0
    n: int = 1
    n_here: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes files and shows progress."""
        return self.rank == 0


def find_processes(device_name: str, n_devices: int | None, environment: Mapping[str, str]) -> Processes:
    """This process among those that torchrun has started, or alone.

    Raises:
        UserInputError: as `check_devices`, or `n_devices` is not what torchrun was told.
    """
    if "TORCHELASTIC_RUN_ID" not in environment:
        return Processes(check_devices(device_name, n_devices or 1))
    rank, n, local, n_here = (int(environment[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if n_devices not in {None, n_here}:
        raise UserInputError(
            f"--devices: found {n_devices}, but torchrun has started {n_here} processes on this machine; "
            "leave the option out, or give torchrun the same --nproc-per-node"
        )
    device = check_devices(device_name, n_here)
    return Processes(torch.device("cuda", local) if device.type == "cuda" else device, rank, n, n_here)


def check_devices(name: str, n_devices: int) -> torch.device:
    """The kind of device that a name means here, if there are as many.

    Raises:
        UserInputError: there are not; what is not there is told before hours are spent.
    """
    device = choose_device(name)
    n_found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and n_found < n_devices:
        raise UserInputError(
            f"--device {name} --devices {n_devices}: torch can use {n_found} GPUs on this machine; "
            + ("give fewer, or --device cpu" if n_found else "give --device cpu, or see `mammoscope doctor`")
        )
    return device


def share_batch(recipe: Recipe, n_processes: int, name_or_path: str, *, micro: int | None = None) -> Recipe:
    """The recipe as each of the processes follows it: `batch.micro` is at once in the memory of one of them.

    `micro` is what was found for "auto".

    Raises:
        ConfigError: the batch cannot be shared evenly, or a share is too small for what the recipe wants.
    """
    if micro is None:
        micro = recipe.batch.count_in_memory(n_processes)
    else:
        micro = math.gcd(micro, recipe.batch.size // n_processes)  # fits too, if fewer processes have found it
    if recipe.batch.size % (n_processes * micro):
        raise ConfigError(
            f"batch.size: found {recipe.batch.size}, which {n_processes} processes with {micro} examples in memory "
            f"cannot share evenly; set a multiple of {n_processes * micro}, or start fewer processes"
        )
    shared = recipe.model_copy(update={"batch": BatchSettings(size=recipe.batch.size, micro=micro)})
    check_recipe(shared, name_or_path)
    return shared


def launch_processes(n: int, arguments: Sequence[str]) -> int:
    """Run this program with these arguments in so many processes of this machine, by torchrun's way; the exit code."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    getLogger("torch.distributed").setLevel(CRITICAL)  # the processes have said in one sentence what it says in forty
    try:
        elastic_launch(config, sys.executable)("-m", "mammoscope.cli.main", *arguments)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        return next((code for code in (_STOPPED, 2) if code in codes), 1)
    except SignalException:
        return _STOPPED
    return 0


@contextmanager
def joined(processes: Processes) -> Iterator[None]:
    """Within it, the processes can tell each other something.

    A process also ends with the one that started it, however that ended: those left over would go on writing into a
    folder in which the next start writes too.
    """
    if processes.n == 1:
        yield
        return
    _end_with_parent()
    if processes.device.type == "cuda":
        torch.cuda.set_device(processes.device)
    distributed.init_process_group(backend_of(processes))
    try:
        yield
    except BaseException:
        if backend_of(processes) == "gloo":  # nccl would wait for the others, which may have ended
            distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def backend_of(processes: Processes) -> str:
    """What carries the messages."""
    return "nccl" if processes.device.type == "cuda" else "gloo"


def ask_first(processes: Processes, do: Callable[[], Answer]) -> Answer:
    """What the first process comes to; the others wait for it.

    Raises:
        WorkerLostError: it failed, for the others.
    """
    if processes.n == 1:
        return do()
    told: list[tuple[bool, Answer | None]] = [(False, None)]
    if processes.is_first:
        try:
            told = [(True, do())]
        finally:
            distributed.broadcast_object_list(told, src=0)
    else:
        distributed.broadcast_object_list(told, src=0)
    has_answer, answer = told[0]
    if not has_answer:
        raise WorkerLostError("the first process has failed; see what it says")
    return answer  # type: ignore[return-value]  # None only where it is the answer


def gather_in_order(share: NDArray[np.float64], processes: Processes, *, n: int) -> NDArray[np.float64]:
    """The values of all n, (n,), from those that each process has of every so many.

    Those of process `rank` are number rank, rank + processes.n, and so on. Shares are equally long; what is beyond n
    fills them up.
    """
    if processes.n == 1:
        return share
    own = torch.from_numpy(np.ascontiguousarray(share)).to(processes.device)
    parts = [torch.empty_like(own) for _ in range(processes.n)]
    distributed.all_gather(parts, own)
    in_order = torch.stack(parts, dim=1).flatten()  # (share * process,)
    return in_order[:n].cpu().numpy()


def share_statistics(network: Network, processes: Processes) -> Network:
    """A network whose BatchNorm looks at the examples of all processes; torch has that for GPUs only.

    By timm's way, because torch's (and Lightning's `sync_batchnorm`) loses the activation in a BatchNorm of timm's.
    """
    if processes.n == 1 or processes.device.type != "cuda":
        return network
    shared: Network = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # timm has no types here
    return shared


def agree_on_weights(network: torch.nn.Module, processes: Processes) -> None:
    """Give all processes the first one's weights, and its running statistics, which each took of its own share."""
    if processes.n > 1:
        for value in network.to(processes.device).state_dict().values():
            distributed.broadcast(value, src=0)


def _end_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
