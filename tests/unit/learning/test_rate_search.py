"""The range test: its rates and losses against a loop by hand, and what is made of curves whose shape is known."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from mammoscope.errors import ConfigError, TableError, UserInputError
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning import task
from mammoscope.learning.network import build_network
from mammoscope.learning.rate_figure import check_picture_path, draw_curve, write_points
from mammoscope.learning.rate_search import RateCurve, RateRange, propose_rate, run_range_test
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]
RunTest = Callable[..., RateCurve]
HUNDRED, FIFTY = RateRange(1e-6, 1.0, 100), RateRange(1e-6, 1.0, 50)
POWERS = np.linspace(-6, 0, 100)


@pytest.fixture
def run_test(recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore) -> RunTest:
    """The test on fold 0 of the tiny cohort, of which an epoch has 16 pictures."""

    def run(*assignments: str, tested: RateRange = FIFTY, fold: int = 0) -> RateCurve:
        recipe = recipe_of(*assignments)
        return run_range_test(recipe, tiny_manifest, tiny_store, fold=fold, tested=tested, on_step=lambda _: None)

    return run


def _curve(losses: NDArray[np.float64], *, has_run_away: bool = True) -> RateCurve:
    return RateCurve(HUNDRED, tuple(losses.tolist()), has_run_away=has_run_away)


# the rates


def test_the_rates_rise_by_one_factor() -> None:
    assert _curve(np.ones(100)).rates == pytest.approx(np.geomspace(1e-6, 1.0, 100), rel=1e-12)


@pytest.mark.parametrize(
    ("lowest", "highest"), [(0.0, 1.0), (-1e-6, 1.0), (1.0, 1.0), (1.0, 0.1), (float("nan"), 1.0), (0.1, float("inf"))]
)
def test_rates_that_do_not_rise_are_refused(lowest: float, highest: float) -> None:
    with pytest.raises(
        UserInputError, match=r"rates from .* to .*: expected numbers above 0, the first below the second"
    ):
        RateRange(lowest, highest, 100)


@pytest.mark.parametrize("n_steps", [-1, 0, 1, 49])
def test_a_test_of_few_steps_is_refused(n_steps: int) -> None:
    with pytest.raises(UserInputError, match=rf"{n_steps} steps: expected 50 or more; give others with --steps"):
        RateRange(1e-6, 1.0, n_steps)
    assert RateRange(1e-6, 1.0, 50).n_steps == 50


# the losses


def test_the_losses_are_those_of_a_loop_by_hand(
    recipe_of: RecipeOf, run_test: RunTest, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    """SGD with momentum, decayed and clipped, through 13 epochs of 4 steps."""
    curve = run_test("optimizer.name=sgd", "optimizer.clip_norm=0.5", "optimizer.weight_decay=0.0")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build_network(recipe_of()).train()
    rows = tiny_manifest.filter(pl.col("fold") == 1, pl.col("cancer").is_not_null())
    pictures = torch.stack([torch.from_numpy(tiny_store.read(image).copy()) for image in rows["image_id"]])
    targets = torch.tensor(rows["cancer"].to_list()).float()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    orders = [np.random.default_rng((0, 0, epoch)).permutation(16).reshape(4, 4) for epoch in range(13)]
    losses = []
    for rate, positions in zip(np.geomspace(1e-6, 1.0, 50), np.concatenate(orders), strict=False):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        logits = network((pictures[positions].float() / 255).unsqueeze(1)).cancer
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[positions])
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    assert len(curve.losses) == 50
    assert curve.losses[:35] == pytest.approx(losses[:35], rel=1e-3)  # up to a rate of 0.01, beyond which it is chaos
    assert max(losses[:35]) > 1.2 * min(losses[:35])


def test_the_loss_of_a_step_is_the_mean_over_its_batches(run_test: RunTest, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    _plant(monkeypatch, lambda number: 1 + number**2 % 17 / 10, seen)
    curve = run_test("batch.micro=2")
    assert len(seen) == 100
    assert curve.losses == pytest.approx(np.mean(np.reshape(seen, (50, 2)), axis=1), rel=1e-6)


def _plant(monkeypatch: pytest.MonkeyPatch, loss_of: Callable[[int], float], seen: list[float]) -> None:
    """Losses of given values, by the number of the batch."""

    def planted(logits: torch.Tensor, *_: object) -> torch.Tensor:
        seen.append(loss_of(len(seen)))
        return logits.sum() * 0.0 + seen[-1]

    monkeypatch.setattr(task, "cancer_loss", planted)


def test_what_is_trained_in_stages_is_tested_as_a_whole(run_test: RunTest) -> None:
    """The rate has to suit the stages too whose turn comes last, and comes in no epoch of a short test."""
    assert run_test("fine_tuning.train=staged").losses == run_test().losses


def test_smoothing_is_an_exponential_mean_with_its_bias_corrected() -> None:
    losses = np.random.default_rng(0).uniform(size=100)
    mean, expected = 0.0, []
    for step, loss in enumerate(losses):
        mean = 0.9 * mean + 0.1 * loss
        expected.append(mean / (1 - 0.9 ** (step + 1)))
    assert _curve(losses).smoothed == pytest.approx(expected, rel=1e-12)


def test_the_test_ends_when_the_smoothed_loss_is_four_times_its_least(
    run_test: RunTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory of 5 steps: a loss of x after many of 1 gives 0.8 + x / 5, above 4 for an x above 16."""
    seen: list[float] = []
    _plant(monkeypatch, lambda number: {30: 15.9}.get(number, 1.0 if number < 40 else 100.0), seen)
    curve = run_test()
    assert (len(curve.losses), curve.has_run_away) == (41, True)
    assert curve.smoothed[30] == pytest.approx(0.8 + 15.9 / 5, rel=0.01)
    assert (curve.smoothed[:40] <= 4 * curve.smoothed[:40].min()).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_test_ends_where_a_loss_is_no_number(
    run_test: RunTest, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    seen: list[float] = []
    _plant(monkeypatch, lambda number: 1.0 if number < 7 else value, seen)
    curve = run_test()
    assert (len(seen), len(curve.losses), curve.has_run_away) == (8, 7, True)


@pytest.mark.parametrize(
    "assignments",
    [("level=breast", "views.combine=attention"), ("table.columns=['view']",), ("loss.name=pf1",), ("ema=0.9",)],
)
def test_whatever_can_be_trained_can_be_tested(run_test: RunTest, assignments: tuple[str, ...]) -> None:
    curve = run_test(*assignments)
    assert len(curve.losses) > 30
    assert curve.losses != run_test().losses or assignments == ("ema=0.9",)


def test_nothing_of_it_is_kept(run_test: RunTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    first, second = run_test(), run_test()
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_trained_on_is_refused(run_test: RunTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TableError, match=r"fold 7: the manifest has none of that number"):
        run_test(fold=7)
    with pytest.raises(ConfigError, match=r"batch\.size: found 17, but fold 0 has only 16 images"):
        run_test("batch.size=17")
    with pytest.raises(ConfigError, match=r"precision: found f16, which is for GPUs"):
        run_test("precision=f16")


# the proposal


def _valley(depth: float, bottom: float) -> NDArray[np.float64]:
    """A loss that is level, falls, is least at a power of ten of the rate, and rises."""
    return 0.7 - depth * np.exp(-((POWERS - bottom) ** 2))


@pytest.mark.parametrize("bottom", [-3.0, -2.0, -1.5])
def test_the_proposal_is_a_tenth_of_the_rate_of_the_least_loss(bottom: float) -> None:
    """Smoothing over ten steps, of sixteen or seventeen a decade, lags by at most 0.6 of a decade."""
    proposed = propose_rate(_curve(_valley(0.3, bottom)))
    assert 0.1 * 10**bottom <= proposed <= 0.1 * 10 ** (bottom + 0.6)
    assert proposed == float(f"{proposed:.1e}")


def test_the_proposal_of_a_curve_without_lag_is_exact() -> None:
    """Level for half, then falling by a constant: every mean falls too, up to the step after which it is over."""
    losses = np.concatenate([np.full(50, 0.7), 0.7 - 0.01 * np.arange(1, 21)])
    assert propose_rate(_curve(losses)) == float(f"{0.1 * 10 ** POWERS[69]:.1e}")


@pytest.mark.parametrize("depth", [0.2, 0.4])
def test_a_fall_is_seen_through_noise(depth: float) -> None:
    rngs = [np.random.default_rng(seed) for seed in range(50)]
    curves = [_curve(_valley(depth, -2.0) + 0.05 * rng.standard_normal(100)) for rng in rngs]
    proposals = [propose_rate(curve) for curve in curves]
    assert all(10**-3.7 < proposed < 10**-2 for proposed in proposals)


def test_noise_is_no_fall() -> None:
    n_proposed = 0
    for seed in range(500):
        with suppress(ConfigError):
            propose_rate(_curve(0.7 + 0.1 * np.random.default_rng(seed).standard_normal(100)))
            n_proposed += 1
    assert n_proposed <= 2


@pytest.mark.parametrize(
    "losses",
    [
        np.empty(0),
        np.array([0.7]),
        np.full(100, 0.7),
        0.7 + 0.001 * np.arange(100),
        0.7 * 1.5 ** np.arange(12),
        0.7 - 0.05 * np.arange(5),  # it ran away in its sixth step
    ],
)
def test_without_a_fall_there_is_no_proposal(losses: NDArray[np.float64]) -> None:
    sentence = rf"optimizer\.rate: none can be proposed: in {losses.size} steps from 1e-06 on the loss fell by no more"
    with pytest.raises(ConfigError, match=sentence):
        propose_rate(_curve(losses))
    with pytest.raises(ConfigError, match=r"try a lower --from, more --steps"):
        propose_rate(_curve(losses))
    with pytest.raises(ConfigError, match=r"try a higher --to, more --steps"):
        propose_rate(_curve(losses, has_run_away=False))


def test_without_a_rise_there_is_no_proposal() -> None:
    falling = np.linspace(0.7, 0.2, 100)
    with pytest.raises(ConfigError, match=r"none can be proposed: the loss still falls at 1, .*; give a higher --to"):
        propose_rate(_curve(falling, has_run_away=False))
    assert propose_rate(_curve(falling[:80])) == float(f"{0.1 * 10 ** POWERS[79]:.1e}")  # its 81st loss was no number


def test_a_proposal_below_the_rates_of_the_test_is_none() -> None:
    losses = np.concatenate([0.7 - 0.01 * np.arange(15), np.full(40, 0.9)])
    with pytest.raises(
        ConfigError, match=r"the loss is least at 7\.1e-06, a tenth of which was not tested; .* lower --fr"
    ):
        propose_rate(_curve(losses))


# what is left of it


def test_the_points_are_written_as_they_are(tmp_path: Path) -> None:
    curve = _curve(_valley(0.3, -2.0))
    write_points(curve, tmp_path / "points.csv")
    points = pl.read_csv(tmp_path / "points.csv")
    assert points.columns == ["step", "rate", "loss", "smoothed_loss"]
    assert points["step"].to_list() == list(range(100))
    assert points["rate"].to_numpy() == pytest.approx(curve.rates)
    assert points["loss"].to_list() == pytest.approx(curve.losses)
    assert points["smoothed_loss"].to_numpy() == pytest.approx(curve.smoothed)


def test_the_picture_has_the_proposal(tmp_path: Path) -> None:
    curve = _curve(_valley(0.3, -2.0))
    draw_curve(curve, tmp_path / "with.svg", proposed=0.00123)
    draw_curve(curve, tmp_path / "without.svg", proposed=None)
    texts = [(tmp_path / f"{name}.svg").read_text() for name in ("with", "without")]
    assert ["proposed: 0.0012" in text for text in texts] == [True, False]
    assert all("Learning rate" in text and "#0072b2" in text for text in texts)


@pytest.mark.parametrize("losses", [np.empty(0), np.array([0.7]), np.full(9, 0.7)])
def test_a_short_curve_is_drawn_too(losses: NDArray[np.float64], tmp_path: Path) -> None:
    draw_curve(_curve(losses), tmp_path / "curve.png", proposed=None)
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["curve", "curve.txt", "curve.csv"])
def test_a_picture_of_no_format_is_refused(name: str) -> None:
    with pytest.raises(UserInputError, match=rf"{name}: expected a picture that ends in \.pdf, \.png, \.svg; name ano"):
        check_picture_path(Path(name))
