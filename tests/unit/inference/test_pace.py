import pytest

from mammoscope.errors import UserInputError
from mammoscope.inference.pace import Pace, TimeLimit, parse_duration, say_duration, say_fit


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "seconds"), [("9h", 32_400), ("1h30m", 5_400), ("90m", 5_400), ("45s", 45), ("0.5h", 1_800), (" 2s ", 2)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "9", "0h", "nine hours", "-1h", "1m1h", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UserInputError, match=r"--time-limit: found .*, expected a time above 0, such as 9h"):
        parse_duration(text)


def test_durations_are_said() -> None:
    assert [say_duration(each) for each in (38, 130, 7_200)] == ["38 s", "2.2 min", "2.0 h"]


def _measure(limit: TimeLimit | None, *, file_s: float, n_networks: int = 5, network_s: float = 0.1) -> Pace:
    """A pace after 20 files that took so long each, the first of which do not count."""
    clock = Clock()
    pace = Pace(limit, clock=clock)
    clock.now += 30  # processes start
    pace.note(4, n_networks=n_networks, network_s=1.0)
    for _ in range(5):
        clock.now += 4 * file_s
        pace.note(4, n_networks=n_networks, network_s=4 * n_networks * network_s)
    return pace


def test_the_first_files_are_measured_without_the_start() -> None:
    pace = _measure(TimeLimit(1_000), file_s=0.7)
    assert pace.measured is not None
    assert pace.measured.file_s == pytest.approx(0.7)
    assert pace.measured.network_s == pytest.approx(0.1)
    assert pace.elapsed_s == pytest.approx(30 + 20 * 0.7)
    assert pace.left_s == pytest.approx(980 - 44)  # two hundredths are for writing
    assert not pace.is_late(1_337)
    assert pace.is_late(1_338)


def test_too_few_files_or_seconds_measure_nothing() -> None:
    clock = Clock()
    pace = Pace(TimeLimit(1_000), clock=clock)
    for _ in range(4):
        pace.note(4, n_networks=1, network_s=0)
        clock.now += 20
    assert pace.measured is None
    assert not pace.is_late(10**9)
    with pytest.raises(UserInputError, match="nothing measured"):
        say_fit(pace, n_files=1, n_breasts=None, n_networks=1)


def test_without_a_limit_nothing_is_late_and_time_is_never_up() -> None:
    pace = _measure(None, file_s=10)
    assert not pace.is_late(10**9)
    assert not pace.is_time_up


def test_time_is_up_for_those_who_asked_for_it() -> None:
    for when_late, is_up in (("warn", False), ("stop", True), ("degrade", True)):
        limit = TimeLimit(40, when_late)  # type: ignore[arg-type]  # of the three
        assert _measure(limit, file_s=0.7).is_time_up is is_up
    assert not _measure(TimeLimit(60, "stop"), file_s=0.7).is_time_up


def test_what_fits_is_said() -> None:
    told = say_fit(_measure(TimeLimit(1_000), file_s=0.7), n_files=1_000, n_breasts=500, n_networks=5)
    assert told == "1.4 files a second: 1,000 files take 11.7 min more, which fits in the 15.6 min that are left"


def test_what_would_fit_is_said_where_it_does_not() -> None:
    """936 s are left: 2,000 files at 0.7 s are 1,400; at 0.4 s, with two of five networks, they are 800."""
    told = say_fit(_measure(TimeLimit(1_000), file_s=0.7), n_files=2_000, n_breasts=1_000, n_networks=5)
    assert "2,000 files take 23.3 min more, which does not fit in the 15.6 min that are left; " in told
    assert "; 2 of 5 networks or one view of each breast would; also faster, but not measured: --precision bf16" in told


def test_where_nothing_would_fit_that_is_said() -> None:
    told = say_fit(_measure(TimeLimit(1_000), file_s=0.7), n_files=20_000, n_breasts=None, n_networks=1)
    assert "nothing that was measured would" in told
