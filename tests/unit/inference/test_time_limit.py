"""What a prediction does when time will not do: with a clock that the networks themselves move."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mammoscope.anatomy import Laterality, View
from mammoscope.exam import Mammogram
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import CanvasPixels, Placement
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.collect import collect_prediction
from mammoscope.inference.decoders import Outcomes
from mammoscope.inference.flags import flag_images
from mammoscope.inference.journal import Journal, keep_journal
from mammoscope.inference.order import may_reach, read_networks, take_views_in_turn
from mammoscope.inference.pace import Pace, TimeLimit
from mammoscope.inference.predict import Pipeline
from mammoscope.inference.reading import PreparedFile, ScoringTask
from mammoscope.learning.logits import PictureLogits

WHOLE = Placement(
    original_shape=(16, 16),
    box=Box(0, 0, 16, 16),
    is_flipped=False,
    canvas_shape=(16, 16),
    content_shape=(16, 16),
    content_top=0,
)
SETTINGS = PrepareSettings(rows=16, columns=16, bits=8)
N_BREASTS, N_NETWORKS = 40, 3
FILE_S, NETWORK_S = 0.5, 1.0


class World:
    """A clock, decoders and engines that move it; the picture of breast 7 is grey 7."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, list[tuple[str, tuple[int, ...]]]()
        self.pictures: list[weakref.ref[CanvasPixels]] = []
        self.n_alive: list[int] = []

    def clock(self) -> float:
        return self.now

    def decode(self, tasks: Iterable[ScoringTask]) -> Outcomes:
        for task in tasks:
            self.now += FILE_S
            assert task.mammogram is not None
            pixels = np.full((16, 16), int(task.mammogram.exam_id), np.uint8)
            self.pictures.append(weakref.ref(pixels))
            yield PreparedFile(task.name, task.path, task.mammogram, pixels, WHOLE)

    def open_engine(self, networks: Sequence[int]) -> "Engine":
        return Engine(self, tuple(networks))


class Engine:
    """Network n gives the breast of grey g the logit g / 10 + n - 4."""

    def __init__(self, world: World, networks: tuple[int, ...]) -> None:
        self.world, self.networks = world, networks

    def score(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None) -> list[PictureLogits]:
        assert rows is None
        self.world.n_alive.append(sum(picture() is not None for picture in self.world.pictures))
        self.world.now += NETWORK_S * len(pictures) * len(self.networks)
        greys = np.array([float(picture[0, 0]) for picture in pictures])
        self.world.asked += [(f"{int(grey)}", self.networks) for grey in greys]
        return [PictureLogits(greys / 10 + network - 4, np.zeros(len(greys))) for network in self.networks]


@pytest.fixture
def tasks() -> list[ScoringTask]:
    """Two views of each breast; one exam is one breast."""
    return [
        ScoringTask(
            f"{number}{view}",
            Path(f"{number}{view}.dcm"),
            Mammogram(
                image_id=f"{number}{view}",
                patient_id=f"p{number}",
                exam_id=str(number),
                laterality=Laterality.LEFT,
                view=View(view),
            ),
            SETTINGS,
        )
        for number in range(N_BREASTS)
        for view in ("CC", "MLO")
    ]


Score = Callable[..., tuple[World, Journal, bool, list[str]]]


@pytest.fixture
def score(tmp_path: Path, tasks: list[ScoringTask]) -> Score:
    """Score the tasks under a limit; the world afterwards, the journal, whether it is complete, what was said."""

    def run(limit: TimeLimit | None, **changes: object) -> tuple[World, Journal, bool, list[str]]:
        world, said = World(), list[str]()
        with keep_journal(tmp_path, {}, is_resumed=True) as journal:
            pipeline = Pipeline(
                open_engine=world.open_engine,
                n_networks=N_NETWORKS,
                decode=world.decode,
                journal=journal,
                pace=Pace(limit, clock=world.clock),
                batch_size=4,
                part_size=8,
                say=said.append,
                **changes,  # type: ignore[arg-type]  # what a test sets
            )
            return world, journal, pipeline.score(tasks), said

    return run


def _seen(journal: Journal) -> dict[int, int]:
    """How many pictures so many networks have seen."""
    counts: dict[int, int] = {}
    for networks in read_networks(journal).values():
        counts[len(networks)] = counts.get(len(networks), 0) + 1
    return counts


def test_without_a_limit_all_networks_see_all(score: Score) -> None:
    world, journal, is_complete, said = score(None)
    assert is_complete
    assert _seen(journal) == {3: 80}
    assert world.now == 80 * 3.5
    assert said == []


def test_pictures_that_were_scored_are_not_kept(score: Score) -> None:
    world, _, _, _ = score(None)
    assert len(world.n_alive) == 20
    assert max(world.n_alive) <= 4 + 1  # the batch, and the one that the decoders hold in their hand


def test_a_limit_that_fits_changes_nothing_but_a_sentence(score: Score) -> None:
    _, journal, is_complete, said = score(TimeLimit(400, "degrade"))
    assert is_complete
    assert _seen(journal) == {3: 80}
    (told,) = said
    assert told.startswith("0.3 files a second: ")
    assert ", which fits in the " in told


def test_warn_says_it_and_goes_on(score: Score) -> None:
    world, journal, is_complete, (told,) = score(TimeLimit(200, "warn"))
    assert is_complete
    assert _seen(journal) == {3: 80}
    assert world.now > 200
    assert "does not fit" in told
    assert "1 of 3 networks or one view of each breast would" in told


def test_stop_ends_in_time_and_goes_on_later(score: Score) -> None:
    world, journal, is_complete, _ = score(TimeLimit(100, "stop"))
    assert not is_complete
    assert world.now <= 100 + 4 * 3.5  # the batch that was at work
    assert _seen(journal) == {3: 28}
    again, journal, is_complete, _ = score(None)
    assert is_complete
    assert _seen(journal) == {3: 80}
    assert again.now == pytest.approx((80 - 28) * 3.5)


def test_whoever_checks_pictures_hears_each_network_by_its_place(score: Score, tasks: list[ScoringTask]) -> None:
    heard = []

    def check(files: Sequence[PreparedFile], logits_by_place: Mapping[int, PictureLogits]) -> list[list[str]]:
        heard.append(tuple(logits_by_place))
        return [[f"seen_by_{'_'.join(map(str, logits_by_place))}"] for _ in files]

    _, journal, _, _ = score(TimeLimit(200, "degrade"), check_pictures=check)
    assert set(heard) == {(0, 1, 2), (0,), (1, 2)}
    prediction = collect_prediction(journal.read(), tasks, n_networks=N_NETWORKS, combination="mean")
    said = {tuple(each) for each in prediction.pictures["remarks"].to_list()}
    assert said == {("seen_by_0_1_2",), ("seen_by_0",), ("seen_by_0", "seen_by_1_2")}  # none is lost


def test_time_that_is_over_before_anything_is_measured_is_told(score: Score) -> None:
    _, journal, is_complete, said = score(TimeLimit(1, "stop"))
    assert not is_complete
    assert _seen(journal) == {3: 4}
    assert said == ["the time was over before enough files were done to measure by; the first ones are always scored"]


def test_degrade_lets_one_network_see_all_and_the_others_the_highest(score: Score, tasks: list[ScoringTask]) -> None:
    """All by one network take 80 * 1.5 s, what the measuring took more, and what is left is for the highest breasts."""
    world, journal, is_complete, said = score(TimeLimit(190, "degrade"))
    assert is_complete
    assert world.now <= 190
    counts = _seen(journal)
    assert counts[1] + counts[3] == 80
    assert counts[3] > 24
    first_of_rest = next(place for place, (_, networks) in enumerate(world.asked) if networks == (1, 2))
    rest = [int(grey) for grey, networks in world.asked[first_of_rest:] if networks == (1, 2)]
    assert rest == sorted(rest, reverse=True)
    assert rest[0] == N_BREASTS - 1
    assert any(sentence.startswith("from here on one network for") for sentence in said)

    prediction = collect_prediction(journal.read(), tasks, n_networks=N_NETWORKS, combination="mean")
    assert prediction.breast_scores.height == N_BREASTS
    highest, lowest = (prediction.breast_scores.filter(pl.col("exam_id") == str(n))["score"][0] for n in (39, 20))
    sigmoid = [1 / (1 + np.exp(-(3.9 + network - 4))) for network in range(3)]
    assert highest == pytest.approx(np.mean(sigmoid))
    assert lowest == pytest.approx(1 / (1 + np.exp(2.0)))
    flags = flag_images(prediction, n_networks=N_NETWORKS)
    assert sum("fewer_networks" in codes for codes in flags) == counts[1]


def test_degrade_spends_nothing_on_what_cannot_become_positive(score: Score) -> None:
    world, journal, _, _ = score(TimeLimit(250, "degrade"), may_turn=lambda scores: scores > 1 / (1 + np.exp(0.55)))
    rest = {int(grey) for grey, networks in world.asked if networks == (1, 2)}
    assert rest == set(range(35, 40))
    assert _seen(journal)[3] == 10 + sum(networks == (0, 1, 2) for _, networks in world.asked)


def test_where_one_network_will_not_do_each_breast_gets_one_view_first(score: Score) -> None:
    world, journal, is_complete, said = score(TimeLimit(120, "degrade"))
    assert not is_complete
    assert world.now <= 120
    assert len([sentence for sentence in said if sentence.startswith("from here on")]) == 2
    seen = read_networks(journal)
    assert len({grey for grey, _ in world.asked}) > len(seen) // 2 + 10
    last = [int(grey) for grey, _ in world.asked[-8:]]
    assert last == sorted(set(last))


def test_a_breast_is_combined_by_networks_that_have_seen_all_of_it(score: Score, tasks: list[ScoringTask]) -> None:
    _, journal, _, _ = score(None)
    rows = journal.read()
    second = pl.col("image_id") == "39MLO"
    cut = rows.with_columns(
        **{
            name: pl.when(second).then(pl.col(name).list.head(1)).otherwise(pl.col(name))
            for name in ("networks", "cancer", "view_weight")
        }
    )
    prediction = collect_prediction(cut, tasks, n_networks=N_NETWORKS, combination="mean")
    breast = prediction.breast_scores.filter(pl.col("exam_id") == "39")
    assert breast["score"][0] == pytest.approx(1 / (1 + np.exp(0.1)))
    images = dict(prediction.image_scores.select("image_id", "score").iter_rows())
    assert images["39MLO"] == pytest.approx(1 / (1 + np.exp(0.1)))
    assert images["39CC"] > images["39MLO"]


def test_views_in_turn(tasks: list[ScoringTask]) -> None:
    named = [task.name for task in take_views_in_turn(tasks[:6])]
    assert named == ["0CC", "1CC", "2CC", "0MLO", "1MLO", "2MLO"]
    unknown = [ScoringTask(name, Path(name), None, SETTINGS) for name in "abc"]
    assert take_views_in_turn(unknown) == unknown


def test_what_may_reach_a_threshold() -> None:
    """Odds of 1 : 9 eight times over are 8 : 9, a chance of 0.4706; the mean of 0.1 and twice this is 0.3471."""
    assert may_reach(0.347, n_networks=3)(np.array([0.1])).all()
    assert not may_reach(0.348, n_networks=3)(np.array([0.1])).any()
    assert may_reach(None, n_networks=3)(np.array([0.0, 1.0])).all()
    assert may_reach(0.5, n_networks=1)(np.array([0.0, 0.5, 1.0])).tolist() == [False, True, True]
