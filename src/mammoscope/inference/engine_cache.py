"""What OpenVINO computes of a run: exported once into the run, and opened from there as long as the run is the same."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from mammoscope.config import Settings
from mammoscope.errors import RunError
from mammoscope.files import write_json
from mammoscope.inference.check_pictures import CheckPictures, choose_pictures, find_store
from mammoscope.inference.export_check import LIMIT_BY_PRECISION, measure_differences, score_in_parts
from mammoscope.inference.exported import Export, Precision, open_export
from mammoscope.inference.openvino_engine import OpenVinoEngine, load_openvino, open_openvino_engine
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.run import Run, hash_weights

_N_PICTURES: Final = 8
_LEAST_GAIN: Final = 1.05  # less is within the noise of a measurement, and not worth a digit


class PrecisionChoice(Settings):
    """What `auto` came to on a machine, and what was measured: differences of probability, seconds of the pictures."""

    schema_version: Literal[1] = 1
    processor: str
    weights_by_fold: dict[int, str]
    precision: Literal["f32", "bf16"]
    greatest_difference: float
    seconds_f32: float
    seconds_bf16: float


def open_cached_engine(
    run: Run, precision: Literal["auto", "f32", "bf16", "int8"], *, n_threads: int | None = None
) -> OpenVinoEngine:
    """OpenVINO's engine of a run, from its export of that precision, which is made where these weights have none.

    A run folder that cannot be written to is exported for this process alone.

    Raises:
        ConfigError: openvino is not installed, or cannot convert a network.
        RunError: weights that are torn or others, or networks that say something else than torch.
    """
    load_openvino()
    with _open_cache(run, "f32" if precision == "auto" else precision) as export:
        if precision == "auto":
            return _open_in_best(run, export, n_threads)
        return open_openvino_engine(export, n_threads=n_threads)


@contextmanager
def _open_cache(run: Run, precision: Precision) -> Iterator[Export]:
    folder = run.path / "exported" / f"openvino-{precision}"
    if _is_current(folder, run, precision) or os.access(run.path, os.W_OK):
        yield _open_or_export(run, folder, precision)
    else:
        with tempfile.TemporaryDirectory(prefix="mammoscope-", ignore_cleanup_errors=True) as temporary:
            yield _open_or_export(run, Path(temporary) / folder.name, precision)


def _open_or_export(run: Run, folder: Path, precision: Precision) -> Export:
    if _is_current(folder, run, precision):
        return open_export(folder)
    from mammoscope.inference.export import export_run  # noqa: PLC0415  # loads torch, which takes seconds

    return export_run(run.path, folder, precision=precision, store=find_store(run, None), n_pictures=_N_PICTURES)


def _is_current(folder: Path, run: Run, precision: Precision) -> bool:
    """Whether a folder holds whole exported networks of the run as it is."""
    try:
        record = open_export(folder).record
    except RunError:
        return False
    weights = {network.fold: network.weights_sha256 for network in record.networks}
    return "features" in record.outputs and (record.precision, record.recipe, record.prepare, weights) == (
        *(precision, run.recipe, run.prepare),
        hash_weights(run),
    )


def _open_in_best(run: Run, export: Export, n_threads: int | None) -> OpenVinoEngine:
    """The engine in bf16 where the CPU computes in it, faster than in f32 and with hardly a difference; else in f32."""
    plain = open_openvino_engine(export, n_threads=n_threads)
    if not _computes_in_bf16():
        return plain
    path = export.path.with_name("openvino-auto.json")
    processor, choice = str(_ask_cpu("FULL_DEVICE_NAME")), _read_choice(path)
    is_known = choice is not None and (choice.processor, choice.weights_by_fold) == (processor, plain.weights_by_fold)
    if choice is not None and is_known and choice.precision == "f32":
        return plain
    short = open_openvino_engine(export, precision="bf16", n_threads=n_threads)
    if choice is None or not is_known:
        pictures = choose_pictures(run, find_store(run, None), _N_PICTURES)
        choice = _choose(plain, short, pictures, processor)
        write_json(path, choice.model_dump(mode="json"))
    return plain if choice.precision == "f32" else short


def _computes_in_bf16() -> bool:
    """Whether the CPU has instructions for it; where it has none, OpenVINO only imitates them."""
    return "BF16" in str(_ask_cpu("OPTIMIZATION_CAPABILITIES"))


def _ask_cpu(name: str) -> object:
    return load_openvino().Core().get_property("CPU", name)


def _choose(plain: OpenVinoEngine, short: OpenVinoEngine, pictures: CheckPictures, processor: str) -> PrecisionChoice:
    (by_plain, seconds_f32), (by_short, seconds_bf16) = (_time(engine, pictures) for engine in (plain, short))
    greatest, _ = measure_differences(by_plain, by_short, plain.recipe.views.combine)
    is_better = greatest <= LIMIT_BY_PRECISION["bf16"] and seconds_f32 > _LEAST_GAIN * seconds_bf16
    return PrecisionChoice(
        processor=processor,
        weights_by_fold=plain.weights_by_fold,
        precision="bf16" if is_better else "f32",
        greatest_difference=greatest,
        seconds_f32=seconds_f32,
        seconds_bf16=seconds_bf16,
    )


def _time(engine: OpenVinoEngine, pictures: CheckPictures) -> tuple[list[PictureLogits], float]:
    """What an engine says of pictures, and the seconds that it takes, the shorter of two times."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        said = score_in_parts(engine.score, pictures)
        seconds.append(time.perf_counter() - started)
    return said, min(seconds)


def _read_choice(path: Path) -> PrecisionChoice | None:
    """What was chosen before; a file that cannot be read is as none."""
    try:
        return PrecisionChoice.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
