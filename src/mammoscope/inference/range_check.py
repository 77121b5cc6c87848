"""Whether a picture is like those that a run learned from: its size, its grey, its breast, its machine, its features.

Each number of a picture has limits from those of the training pictures: what one in thousands of them would exceed, so
that all checks together warn of about 1 % of the pictures that are like them. Limits so far out are beyond what a few
hundred pictures show. They follow from the outer twentieth, whose excess is taken to fall off exponentially, as it does
in the limit for all tails that are not heavy (Pickands 1975, doi:10.1214/aos/1176343003).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mammoscope.config import Settings, build_settings
from mammoscope.errors import ConfigError, RunError, UserInputError
from mammoscope.files import write_text
from mammoscope.imaging.canvas import CanvasPixels, Placement
from mammoscope.inference.reading import PreparedFile
from mammoscope.learning.logits import PictureLogits

Floats = NDArray[np.float64]

FILE_NAME: Final = "training_range.json"
FALSE_ALARMS: Final = 0.01
"""The share of pictures like those of training of which the checks together may warn."""
LEAST_PICTURES: Final = 20
NO_RANGE: Final = (
    f"this run has no {FILE_NAME}, so that pictures are not held against those it learned from; "
    "it was trained by an earlier version"
)

_OUTER: Final = 0.05  # of the pictures, on each side, tell how a tail falls off
_N_AXES: Final = 16
_LOOK_SHAPE: Final = (16, 8)  # rows and columns of the small copy that stands for how a picture looks
_GROUND: Final = 0.05  # of white: darker is air or the canvas
_DIGITS: Final = 6

MEASURES: Final[dict[str, str]] = {
    "rows": "rows of the file",
    "columns": "columns of the file",
    "box_share": "share of the file that is the breast's box",
    "box_height": "height of the breast's box over its width",
    "breast_share": "share of the box that is not black",
    "grey_low": "grey that a tenth of the breast is darker than",
    "grey_middle": "median grey of the breast",
    "grey_high": "grey that a tenth of the breast is brighter than",
    "fall": "grey at the chest wall less grey at the other side",
    "edges": "difference of neighbouring pixels over the spread of grey",
}
"""The numbers that are held against training, each with its words; grey is from 0, black, to 1, white."""
_SLACK_BY_MEASURE: Final = {"rows": 0.1, "columns": 0.1}  # a tenth more or less of a size is no other machine


class PictureMeasures(NamedTuple):
    """What of a picture is held against training: the numbers of `MEASURES`, and how it looks, from afar, (pixel,).

    `doubt` says why no breast was found for sure, None where one was.
    """

    numbers: dict[str, float]
    look: Floats
    doubt: str | None


class Cloud(Settings):
    """Where the points of training lie: around a mean, along a few axes with their spread, and the rest beside them.

    `limit` is the distance that is warned of, squared, in spreads.
    """

    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]
    spreads: tuple[Annotated[float, Field(gt=0)], ...]
    rest: Annotated[float, Field(gt=0)]
    limit: float

    def distance(self, point: Floats) -> float:
        """How far a point lies from the mean, squared, in spreads of training."""
        return float(_distances(point[None], self)[0])


class TrainingRange(Settings):
    """What pictures a run learned from: `limits` of each number, lowest and highest, and the clouds of their features.

    `look` is of small copies of the pictures, `features` of what the network of `fold` with these weights makes of
    pictures that it did not learn from. `doubtful` is the share in which no breast was found for sure.
    `machines_are_models` says whether machines are called as headers call them, so that a header's may be held against
    them; a table has its own names.
    """

    schema_version: Literal[1] = 1
    n_pictures: Annotated[int, Field(ge=LEAST_PICTURES)]
    limits: dict[str, tuple[float, float]]
    doubtful: Annotated[float, Field(ge=0, le=1)]
    machines: tuple[str, ...]
    machines_are_models: bool = False
    look: Cloud
    features: Cloud | None = None
    fold: Annotated[int, Field(ge=0)] | None = None
    weights_sha256: str | None = None

    def find_place(self, weights_by_fold: Mapping[int, str]) -> int | None:
        """The place of the network whose features these are among those of a run; None where it is not there."""
        folds = [fold for fold, sha256 in weights_by_fold.items() if (fold, sha256) == (self.fold, self.weights_sha256)]
        return list(weights_by_fold).index(folds[0]) if folds else None


def measure_picture(pixels: CanvasPixels, placement: Placement, doubt: str | None) -> PictureMeasures:
    """What of a prepared picture, (row, column), is held against training."""
    white = float(np.iinfo(pixels.dtype).max)
    rows, columns = placement.content_shape
    content = pixels[placement.content_top : placement.content_top + rows, :columns].astype(np.float32) / white
    breast = content[content > _GROUND]
    low, middle, high = np.quantile(breast, (0.1, 0.5, 0.9)) if breast.size else (0.0, 0.0, 0.0)
    side = max(1, columns // 4)
    box, (n_rows, n_columns) = placement.box, placement.original_shape
    differences = np.abs(np.diff(content, axis=0)).mean() if rows > 1 else 0.0
    numbers = {
        "rows": n_rows,
        "columns": n_columns,
        "box_share": box.rows * box.columns / (n_rows * n_columns),
        "box_height": box.rows / box.columns,
        "breast_share": breast.size / content.size,
        "grey_low": low,
        "grey_middle": middle,
        "grey_high": high,
        "fall": content[:, :side].mean() - content[:, -side:].mean(),
        "edges": differences / max(float(content.std()), 1e-3),
    }
    small = cv2.resize(pixels.astype(np.float32) / white, _LOOK_SHAPE[::-1], interpolation=cv2.INTER_AREA)
    return PictureMeasures(
        {name: float(number) for name, number in numbers.items()}, small.ravel().astype(float), doubt
    )


def fit_range(
    pictures: Sequence[PictureMeasures], *, machines: Sequence[str | None], features: Floats | None = None
) -> TrainingRange:
    """The range of training pictures.

    Args:
        pictures: their measures.
        machines: of each picture, or of more than these; None where it is not known.
        features: (picture, channel), of pictures that the network did not learn from; may be others than these.

    Raises:
        UserInputError: too few pictures.
    """
    fewest = min(len(pictures), len(pictures) if features is None else len(features))
    if fewest < LEAST_PICTURES:
        raise UserInputError(
            f"training range: found {fewest} pictures, expected {LEAST_PICTURES} or more; give more, or leave it out"
        )
    n_sides = 2 * len(MEASURES) + (1 if features is None else 2)
    share = FALSE_ALARMS / n_sides
    limits = {}
    for name in MEASURES:
        values = np.array([picture.numbers[name] for picture in pictures])
        slack = _SLACK_BY_MEASURE.get(name, 0.0)
        low, high = -_tail(-values, share), _tail(values, share)
        limits[name] = (_round(low - slack * abs(low), down=True), _round(high + slack * abs(high), down=False))
    return TrainingRange(
        n_pictures=len(pictures),
        limits=limits,
        doubtful=sum(picture.doubt is not None for picture in pictures) / len(pictures),
        machines=tuple(sorted({machine for machine in machines if machine is not None})),
        look=_fit_cloud(np.array([picture.look for picture in pictures]), share),
        features=None if features is None else _fit_cloud(np.asarray(features, dtype=float), share),
    )


def warn_of_range(
    training: TrainingRange, picture: PictureMeasures, facts: Mapping[str, object], embedding: Floats | None = None
) -> dict[str, str]:
    """What about a picture is unlike training, a sentence for each by its code; empty where nothing is.

    Args:
        training: of the run.
        picture: its measures.
        facts: what is known of it; of these, `machine` is looked at.
        embedding: (channel,), what the network of `training.fold` makes of it; None where it is not at hand.
    """
    warnings = {}
    if picture.doubt is not None and training.doubtful < FALSE_ALARMS:
        warnings["unlike_breast"] = (
            f"no breast was found for sure ({picture.doubt}), in training in {training.doubtful:.1%}"
        )
    for name, (low, high) in training.limits.items():
        number = picture.numbers[name]
        if not low <= number <= high:
            warnings[f"unlike_{name}"] = f"{MEASURES[name]}: {number:.4g}, in training {low:.4g} to {high:.4g}"
    machine = facts.get("machine")
    if machine is not None and training.machines and str(machine) not in training.machines:
        warnings["unlike_machine"] = f"machine: {machine}, of which training had no picture"
    for name, cloud, point in (("look", training.look, picture.look), ("features", training.features, embedding)):
        if cloud is not None and point is not None and (distance := cloud.distance(np.asarray(point))) > cloud.limit:
            warnings[f"unlike_{name}"] = (
                f"{name}: {distance:.4g} from the pictures of training, expected up to {cloud.limit:.4g}"
            )
    return warnings


def check_range(
    training: TrainingRange,
    files: Sequence[PreparedFile],
    logits_by_place: Mapping[int, PictureLogits],
    *,
    place: int | None,
) -> list[frozenset[str]]:
    """The codes of what is unlike training about each of some prepared pictures.

    Args:
        training: of the run.
        files: the pictures.
        logits_by_place: what networks say of them, whose features are looked at where it has them.
        place: of the network of `training.fold` among all; None where it is not there.
    """
    said = None if place is None else logits_by_place.get(place)
    features = None if said is None else said.features
    codes = []
    for number, each in enumerate(files):
        measures = measure_picture(each.pixels, each.placement, _text(each.record.get("doubt")))
        embedding = None if features is None else features[number].astype(float)
        is_comparable = training.machines_are_models or not each.is_told_by_header
        facts = each.facts if is_comparable else {}
        codes.append(frozenset(warn_of_range(training, measures, facts, embedding)))
    return codes


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def write_range(training: TrainingRange, run: Path) -> None:
    """Write the range into a run folder, whole or not at all."""
    write_text(run / FILE_NAME, json.dumps(training.model_dump(mode="json"), allow_nan=False) + "\n")


def read_range(run: Path) -> TrainingRange | None:
    """The range of a run folder; None where it has none, as those of earlier versions.

    Raises:
        RunError: the file is torn, or of another schema version.
    """
    path = run / FILE_NAME
    if not path.exists():
        return None
    try:
        return build_settings(TrainingRange, json.loads(path.read_text(encoding="utf-8")), where=str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise RunError(
            f"{path}: not the range of a training ({error}); restore it, or remove it to predict without its warnings"
        ) from error


def _tail(values: Floats, share: float) -> float:
    """What `share` of values like these exceed, on their upper side."""
    start = float(np.quantile(values, 1 - _OUTER))
    beyond = values[values > start] - start
    return start + (float(beyond.mean()) * float(np.log(_OUTER / share)) if beyond.size else 0.0)


def _fit_cloud(points: Floats, share: float) -> Cloud:
    """The cloud of points (picture, channel); its limit is from distances of each half to the cloud of the other."""
    halves = points[::2], points[1::2]
    distances = [_distances(here, _place_cloud(there)) for here, there in (halves, halves[::-1])]
    return _place_cloud(points).model_copy(
        update={"limit": _round(_tail(np.concatenate(distances), share), down=False)}
    )


def _place_cloud(points: Floats) -> Cloud:
    mean = points.mean(axis=0)
    _, scales, axes = np.linalg.svd(points - mean, full_matrices=False)
    n_axes = min(_N_AXES, len(points) // 4, points.shape[1])
    variances = scales**2 / (len(points) - 1)
    smallest = max(float(variances.sum()), 1e-12) * 1e-6  # what all pictures share to the last digit has no spread
    n_rest = max(1, points.shape[1] - n_axes)
    return Cloud(
        mean=tuple(np.round(mean, _DIGITS).tolist()),
        axes=tuple(tuple(axis) for axis in np.round(axes[:n_axes], _DIGITS).tolist()),
        spreads=tuple(np.sqrt(np.maximum(variances[:n_axes], smallest)).tolist()),
        rest=float(np.sqrt(max(float(variances[n_axes:].sum()) / n_rest, smallest / n_rest))),
        limit=0.0,
    )


def _distances(points: Floats, cloud: Cloud) -> Floats:
    """How far points (picture, channel) lie from the mean, squared, in spreads: along the axes, and beside them.

    What lies beside the axes counts as one direction more, so that many channels do not drown a few axes.
    """
    offset = points - np.array(cloud.mean)
    along = offset @ np.array(cloud.axes).T  # (picture, axis)
    beside = np.maximum((offset**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)  # (picture,)
    n_rest = max(1, points.shape[1] - along.shape[1])
    distances: Floats = ((along / np.array(cloud.spreads)) ** 2).sum(axis=1) + beside / cloud.rest**2 / np.sqrt(n_rest)
    return distances


def _round(value: float, *, down: bool) -> float:
    """A limit in about six digits, outwards by a step at least: so that a number that all pictures share is inside."""
    step = 10.0 ** (np.floor(np.log10(abs(value))) - _DIGITS + 1) if value else 10.0**-_DIGITS
    return float((np.floor(value / step) - 1 if down else np.ceil(value / step) + 1) * step)
