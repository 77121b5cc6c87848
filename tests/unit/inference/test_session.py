"""A prediction from its inputs to its folder, interrupted and not."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from mammoscope.errors import UserInputError
from mammoscope.evaluation.scores import read_scores
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.inference import outputs, session
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.decisions import RunFigures
from mammoscope.inference.engine import Scorer, open_engine
from mammoscope.inference.export import export_run
from mammoscope.inference.session import Options, Session, Surroundings
from mammoscope.inference.torch_engine import TorchEngine
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.network import build_network
from mammoscope.learning.run import Run
from mammoscope.learning.settings import ViewsSettings
from mammoscope.learning.training import write_weights

MakeSession = Callable[..., Session]


@contextmanager
def _no_bar(_total: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


@pytest.fixture
def make_session(random_run: Run, phantoms: Path, tmp_path: Path) -> MakeSession:
    """A prediction of the eight phantoms in parts of two."""

    def make(output: str = "out", *, engine: TorchEngine | None = None, **options: object) -> Session:
        return Session(
            engine=engine or TorchEngine(open_bundle(random_run.path, torch.device("cpu"))),
            folder=random_run.path,
            places=(phantoms / "test_images",),
            table=phantoms / "test.csv",
            output=tmp_path / output,
            options=Options(n_workers=1, batch_size=2, part_size=2, **options),  # type: ignore[arg-type]  # what a test sets
            around=Surroundings(progress=_no_bar, say=lambda _: None),
        )

    return make


class CountingEngine:
    """Torch's, which is interrupted after some batches."""

    def __init__(self, engine: Scorer, calls: list[int], n_calls: int) -> None:
        self.engine, self.calls, self.n_calls = engine, calls, n_calls

    def score(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None) -> list[PictureLogits]:
        if len(self.calls) == self.n_calls:
            raise KeyboardInterrupt
        self.calls.append(len(pictures))
        return self.engine.score(pictures, rows)


def _interrupt(given: Session, calls: list[int], *, after: int) -> Session:
    given.open_engine = lambda networks: CountingEngine(given.engine.choose(networks), calls, after)
    return given


def test_what_was_interrupted_goes_on_and_nothing_is_scored_twice(make_session: MakeSession, tmp_path: Path) -> None:
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _interrupt(make_session(), calls, after=3).run()
    with pytest.raises(UserInputError, match="found a prediction that is not finished"):
        make_session().run()
    finished = _interrupt(make_session(is_resumed=True), calls, after=99).run()
    assert sum(calls) == 8
    assert finished.summary["is_complete"] is True
    make_session("undisturbed").run()
    for name in ("scores.parquet", "decisions.parquet", "prepared.parquet", "submission.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not (tmp_path / "out" / "parts").exists()


def test_what_is_finished_is_not_begun_again(make_session: MakeSession) -> None:
    first = make_session(is_resumed=True).run()
    assert first.prediction is not None
    calls: list[int] = []
    again = _interrupt(make_session(is_resumed=True), calls, after=0).run()
    assert again.prediction is None
    assert again.summary == json.loads(json.dumps(first.summary))


def test_another_model_neither_goes_on_nor_writes_over(
    make_session: MakeSession, random_run: Run, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _interrupt(make_session(), [], after=1).run()
    make_session("done").run()
    torch.manual_seed(5)
    write_weights(build_network(random_run.recipe), random_run.weights_path(1))
    with pytest.raises(UserInputError, match="not finished and differs in model hash, expected the same as this one"):
        make_session(is_resumed=True).run()
    with pytest.raises(UserInputError, match="done: found another prediction, different in model hash, expected none"):
        make_session("done").run()
    (tmp_path / "done" / "summary.json").write_text("{")
    with pytest.raises(UserInputError, match=r"summary\.json: not JSON"):
        make_session("done").run()


def test_a_folder_of_other_input_is_not_written_over(make_session: MakeSession, phantoms: Path, tmp_path: Path) -> None:
    make_session().run()
    other = make_session()
    other.places = (Path(shutil.copytree(phantoms / "test_images", tmp_path / "copy")),)
    with pytest.raises(UserInputError, match="out: found another prediction, different in input, expected none or the"):
        other.run()


def test_a_disk_that_is_full_at_the_end_keeps_what_was_scored(
    make_session: MakeSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_scores: pl.DataFrame, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(outputs, "write_scores", fail)
        with pytest.raises(UserInputError, match=r"scores\.parquet: No space left .*: make room, and finish with"):
            make_session().run()
    calls: list[int] = []
    _interrupt(make_session(is_resumed=True), calls, after=0).run()
    assert read_scores(tmp_path / "out" / "scores.jsonl").height == 14


def test_a_file_that_changed_since_is_scored_anew(make_session: MakeSession, phantoms: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(phantoms / "test_images", tmp_path / "images"))
    calls: list[int] = []

    def make(*, after: int, is_resumed: bool) -> Session:
        given = make_session(is_resumed=is_resumed)
        given.places = (images,)
        return _interrupt(given, calls, after=after)

    with pytest.raises(KeyboardInterrupt):
        make(after=2, is_resumed=False).run()
    (table,) = [pl.read_csv(phantoms / "test.csv", infer_schema=False)]
    first = images / table["patient_id"][0] / f"{table['image_id'][0]}.dcm"
    first.write_text("a letter, and no picture")
    finished = make(after=99, is_resumed=True).run()
    assert sum(calls) == 8  # four before, four after; the letter is none
    assert finished.summary["images_scored"] == 7
    assert finished.summary["images_refused"] == 1


def test_a_summary_tells_how_it_was_made(make_session: MakeSession, random_run: Run, phantoms: Path) -> None:
    summary = make_session().run().summary
    assert summary["prepare"] == random_run.prepare.model_dump(mode="json")
    assert summary["input"] == [str(phantoms / "test_images")]
    engine = TorchEngine(open_bundle(random_run.path, torch.device("cpu")))
    assert summary["model_hash"] == outputs.hash_model(engine) != outputs.hash_model(engine.choose([0]))
    assert (summary["engine"], summary["precision"], summary["flips"]) == ("torch", engine.precision, "none")


def test_another_way_to_combine_views_is_another_model_and_other_flips_are_not(random_run: Run) -> None:
    bundle = open_bundle(random_run.path, torch.device("cpu"))
    highest = ViewsSettings(combine="max" if bundle.recipe.views.combine == "mean" else "mean")
    changed = replace(bundle, run=replace(bundle.run, recipe=bundle.recipe.model_copy(update={"views": highest})))
    engine = TorchEngine(bundle)
    assert outputs.hash_model(TorchEngine(changed)) != outputs.hash_model(engine)
    assert outputs.hash_model(engine.look("horizontal")) == outputs.hash_model(engine)


def test_mirror_images_are_those_that_were_asked_for(make_session: MakeSession, random_run: Run) -> None:
    plain = TorchEngine(open_bundle(random_run.path, torch.device("cpu")))
    mirrored = plain.look("horizontal")
    assert (plain.recipe.scoring.flips, mirrored.recipe.scoring.flips) == ("none", "horizontal")
    assert mirrored.look("none").recipe == plain.recipe
    finished = [make_session(str(n), engine=each).run() for n, each in enumerate((plain, mirrored))]
    one, other = (each.prediction for each in finished)
    assert one is not None
    assert other is not None
    assert not one.image_scores["score"].equals(other.image_scores["score"])
    assert [each.summary["flips"] for each in finished] == ["none", "horizontal"]


def test_exported_networks_give_the_scores_of_the_run(
    make_session: MakeSession, random_run: Run, tmp_path: Path
) -> None:
    """They hold no held-out scores, so that there are no probabilities; the model is the same."""
    export_run(random_run.path, tmp_path / "exported", n_pictures=4)
    exported = open_engine(tmp_path / "exported")
    assert exported.name == "openvino"
    given = make_session("other", engine=exported)
    given.folder = tmp_path / "exported"
    found, expected = given.run(), make_session().run()
    assert found.prediction is not None
    assert expected.prediction is not None
    assert found.summary["model_hash"] == expected.summary["model_hash"]
    scores, ours = (each.prediction.image_scores["score"].to_list() for each in (expected, found) if each.prediction)
    assert ours == pytest.approx(scores, abs=1e-5)
    assert str(found.summary["calibration"]).startswith("undefined: an export holds no held-out scores")


def test_a_summary_counts_the_breasts_that_are_positive(
    make_session: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where thresholds do not fit the exams, all of them or none are called."""
    limits = {"maximal_f1": 0.0, "recall_rate_3.5": 1.0, "sensitivity_80": 0.5}
    figures = RunFigures(0.25, None, "undefined", limits)
    monkeypatch.setattr(session, "read_figures", lambda _: figures)
    summary = make_session().run().summary
    assert summary["breasts_positive_at_maximal_f1"] == summary["breasts_scored"] == 4
    assert summary["breasts_positive_at_recall_rate_3.5"] == 0
    assert "breasts_positive_at_sensitivity_80" not in summary
