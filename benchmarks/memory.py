"""The memory of a process and of all that it started, as Linux counts it: shared pages once (PSS)."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PERIOD_S = 0.5
_PROC = Path("/proc")


@contextmanager
def watch_memory() -> Iterator[list[float]]:
    """A list that gets the GiB of this process and its descendants twice a second, until the block ends."""
    taken: list[float] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_PERIOD_S):
            taken.append(sum(_read_pss(pid) for pid in _list_descendants(os.getpid())) / 2**20)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()


def _list_descendants(root: int) -> list[int]:
    """A process and all that it started, directly or not."""
    parent_by_pid = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parent_by_pid[int(folder.name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parent_by_pid.items() if parent == pid]
    return found


def _read_pss(pid: int) -> int:
    """KiB of a process; 0 of one that has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
