"""A limit on the time of a prediction: what will fit in it, by the first files, and what to do when it will not.

The clock is passed in, in seconds from anywhere.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mammoscope.errors import UserInputError

WhenLate = Literal["warn", "degrade", "stop"]

_SECONDS_BY_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_LEAST_FILES = 16  # that are measured before anything is said
_LEAST_S = 10.0
_FOR_WRITING = 0.02  # the share of the limit that is left for the output


def parse_duration(text: str) -> float:
    """The seconds of a text such as `9h`, `1h30m` or `45s`.

    Raises:
        UserInputError: it is none, or not above 0.
    """
    found = _DURATION.fullmatch(text.strip())
    parts = found.groups() if found else ()
    seconds = sum(float(part) * _SECONDS_BY_UNIT[unit] for part, unit in zip(parts, "hms", strict=False) if part)
    if seconds <= 0:
        raise UserInputError(f"--time-limit: found {text!r}, expected a time above 0, such as 9h, 1h30m or 45s")
    return seconds


def say_duration(seconds: float) -> str:
    """A duration for people: `2.9 h`, `14.0 min`, `38 s`."""
    if seconds >= 3600:  # noqa: PLR2004  # an hour
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.0f} s"  # noqa: PLR2004  # two minutes


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long a prediction may take, and what is done when it will not fit.

    `warn` says so and goes on to the end. `stop` ends in time with what is scored by then. `degrade` lets the first
    network see all and the others what can still become positive, and ends in time too.
    """

    seconds: float
    when_late: WhenLate = "warn"


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds for a file, of all that is done at once, and of one network on one picture in it."""

    file_s: float
    network_s: float

    def project(self, n_files: int, *, n_networks: int, n_measured: int) -> float:
        """Seconds for so many files with another number of networks than was measured; nothing else is faster."""
        return n_files * max(self.file_s - (n_measured - n_networks) * self.network_s, 0.0)


class Pace:
    """The time of a prediction as it goes: what a file takes, what is left, and whether that will do."""

    def __init__(self, limit: TimeLimit | None, *, clock: Callable[[], float]) -> None:
        self.limit, self.clock = limit, clock
        self._started = clock()
        self.begin_measuring()

    def begin_measuring(self) -> None:
        """Forget what was measured: what comes is done otherwise."""
        self._first_at: float | None = None
        self._n_files = 0
        self._network_s = 0.0
        self.measured: Measured | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._started

    @property
    def left_s(self) -> float:
        """Seconds until scoring must end; infinite without a limit."""
        return float("inf") if self.limit is None else self.limit.seconds * (1 - _FOR_WRITING) - self.elapsed_s

    @property
    def is_time_up(self) -> bool:
        """Whether scoring must end now."""
        return self.limit is not None and self.limit.when_late != "warn" and self.left_s <= 0

    def note(self, n_files: int, *, n_networks: int, network_s: float) -> None:
        """Take in that so many files were done, with the seconds that so many networks worked on them.

        The first that are noted are not measured: processes start with them.
        """
        now = self.clock()
        if self._first_at is None:
            self._first_at = now
            return
        self._n_files += n_files
        self._network_s += network_s / n_networks
        taken = now - self._first_at
        if self._n_files >= _LEAST_FILES and taken >= min(_LEAST_S, self._patience_s):
            self.measured = Measured(taken / self._n_files, self._network_s / self._n_files)

    @property
    def _patience_s(self) -> float:
        """The longest that measuring may take: a hundredth of the limit."""
        return float("inf") if self.limit is None else self.limit.seconds / 100

    def is_late(self, n_files: int) -> bool:
        """Whether so many files will not fit as they were done so far; False where nothing is measured yet."""
        return self.measured is not None and n_files * self.measured.file_s > self.left_s


def say_fit(pace: Pace, *, n_files: int, n_breasts: int | None, n_networks: int) -> str:
    """A sentence: how long the files that are left will take, whether that fits, and if not, what would.

    Args:
        pace: with a limit, and measured with all networks.
        n_files: that are left.
        n_breasts: that they are of, where a table says it.
        n_networks: of the run.
    """
    measured, limit = pace.measured, pace.limit
    if measured is None or limit is None:
        raise UserInputError("pace: found nothing measured, or no limit, expected both; measure first")
    needed = n_files * measured.file_s
    rate = f"{1 / measured.file_s:.1f} files a second: " if measured.file_s else ""
    told = f"{rate}{n_files:,} files take {say_duration(needed)} more"
    if needed <= pace.left_s:
        return f"{told}, which fits in the {say_duration(pace.left_s)} that are left"
    ways = list(_ways_that_fit(pace, measured, n_files=n_files, n_breasts=n_breasts, n_networks=n_networks))
    fitting = " or ".join(ways) if ways else "nothing that was measured"
    return (
        f"{told}, which does not fit in the {say_duration(pace.left_s)} that are left; {fitting} would; also faster, "
        "but not measured: --precision bf16, --engine openvino, a machine with more cores"
    )


def _ways_that_fit(
    pace: Pace, measured: Measured, *, n_files: int, n_breasts: int | None, n_networks: int
) -> list[str]:
    def fits(n_pictures: int, n_kept: int) -> bool:
        return measured.project(n_pictures, n_networks=n_kept, n_measured=n_networks) <= pace.left_s

    ways = []
    n_kept = next((kept for kept in range(n_networks - 1, 0, -1) if fits(n_files, kept)), None)
    if n_kept is not None:
        ways.append(f"{n_kept} of {n_networks} networks")
    if n_breasts is not None and n_breasts < n_files and fits(n_breasts, n_networks):
        ways.append("one view of each breast")
    return ways
