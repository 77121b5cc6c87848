"""Prediction of tasks without a command: what the tests of this folder share."""

from collections.abc import Callable, Sequence

import pytest

from mammoscope.inference import session
from mammoscope.inference.bundle import Bundle
from mammoscope.inference.collect import Prediction, collect_prediction
from mammoscope.inference.decoders import Decoders, decode_here
from mammoscope.inference.journal import keep_journal
from mammoscope.inference.pace import Pace
from mammoscope.inference.predict import Pipeline
from mammoscope.inference.reading import ScoringTask
from mammoscope.inference.torch_engine import open_torch

Predict = Callable[..., Prediction]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What processes do is tested by name; they take long to start."""
    monkeypatch.setattr(session, "decode_apart", lambda tasks, **_: decode_here(tasks))


@pytest.fixture
def predict(tmp_path_factory: pytest.TempPathFactory) -> Predict:
    """The prediction of tasks by all networks of a bundle."""

    def run(
        bundle: Bundle,
        tasks: Sequence[ScoringTask],
        decode: Decoders = decode_here,
        *,
        batch_size: int = 4,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Prediction:
        folder = tmp_path_factory.mktemp("journal")
        with keep_journal(folder, {}, is_resumed=False) as journal:
            pipeline = Pipeline(
                open_engine=lambda networks: open_torch(bundle, networks),
                n_networks=len(bundle.networks),
                decode=decode,
                journal=journal,
                pace=Pace(None, clock=lambda: 0.0),
                batch_size=batch_size,
                part_size=2 * batch_size,
                has_table=bool(bundle.encoders),
                advance=advance,
            )
            assert pipeline.score(tasks)
            return collect_prediction(
                journal.read(),
                tasks,
                n_networks=len(bundle.networks),
                combination=bundle.recipe.views.combine,
                encoders=bundle.encoders,
            )

    return run
