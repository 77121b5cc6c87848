"""A run to a folder of exported networks, each held against torch before it may be used."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from mammoscope.errors import RunError
from mammoscope.evaluation.operating_points import FILE_NAME as OPERATING_POINTS_NAME
from mammoscope.evaluation.scores import list_breasts
from mammoscope.files import sha256_of_file
from mammoscope.imaging.store import PreparedStore
from mammoscope.inference.bundle import Bundle, open_bundle
from mammoscope.inference.check_pictures import CheckPictures, choose_pictures
from mammoscope.inference.conversion import check_onnx, to_openvino, trace_network, write_onnx, write_openvino
from mammoscope.inference.decisions import share_of_cases
from mammoscope.inference.export_check import check_engine, refuse_failed, score_in_parts
from mammoscope.inference.exported import (
    Export,
    ExportCheck,
    ExportedNetwork,
    ExportRecord,
    Format,
    Precision,
    input_size,
    is_export,
    network_name,
    open_export,
    write_export,
)
from mammoscope.inference.openvino_engine import OUTPUTS, load_openvino, open_openvino_engine
from mammoscope.inference.quantisation import measure_auc_loss, quantise_networks
from mammoscope.inference.range_check import FILE_NAME as RANGE_NAME
from mammoscope.inference.torch_engine import TorchEngine
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.run import Run, check_weights_hash, describe_environment, read_fold_scores

N_PICTURES: Final = 16


def export_run(  # noqa: PLR0913  # the run and the folder, and how by name
    folder: Path,
    target: Path,
    *,
    formats: Sequence[Format] = ("openvino",),
    precision: Precision = "f32",
    store: PreparedStore | None = None,
    n_pictures: int = N_PICTURES,
    advance: Callable[[int], None] = lambda _: None,
) -> Export:
    """Write the networks of a run into a folder, checked against torch; what stood there as an export is replaced.

    ONNX files are in f32 always; `precision` is that of OpenVINO. `advance` hears of each fold that is converted.

    Raises:
        RunError: as `open_bundle` and `share_of_cases`, the folder holds something else, a network says something else
            than torch, or there is no store to calibrate int8 on.
        ConfigError: a package is not installed, or a network cannot be converted.
    """
    load_openvino()
    if "onnx" in formats:
        check_onnx()
    _refuse_other_folder(target)
    if precision == "int8" and store is None:
        raise RunError(f"{folder}: found no prepared store, expected one to calibrate int8 on; give it with --store")
    bundle = open_bundle(folder, torch.device("cpu"))
    pictures = choose_pictures(bundle.run, store, n_pictures)
    with _written_beside(target) as beside:
        export = _write_networks(bundle, beside, formats, advance)
        expected = score_in_parts(TorchEngine(bundle, "f32").score, pictures)
        checks = _check_formats(export, expected, pictures)
        if "openvino" in formats and precision != "f32":
            checks["openvino"] = _change_precision(bundle.run, export, expected, pictures, precision, store)
        for name in (OPERATING_POINTS_NAME, RANGE_NAME):
            if (bundle.run.path / name).is_file():
                shutil.copy(bundle.run.path / name, beside)
        _finish(export, precision if "openvino" in formats else "f32", tuple(checks.values()))
    return open_export(target)


def _write_networks(bundle: Bundle, folder: Path, formats: Sequence[Format], advance: Callable[[int], None]) -> Export:
    run, size = bundle.run, input_size(bundle.recipe, bundle.prepare)
    networks = []
    for place, (fold, network) in enumerate(zip(run.trained_folds, bundle.networks, strict=True)):
        encoder = bundle.encoders[place] if bundle.encoders else None
        traced = trace_network(network, encoder, size)
        if "onnx" in formats:
            write_onnx(traced, encoder, folder / network_name(fold, "onnx"))
        if "openvino" in formats:
            write_openvino(to_openvino(traced, encoder, size), folder / network_name(fold, "openvino"))
        weights = check_weights_hash(run, fold)
        networks.append(ExportedNetwork(fold=fold, weights_sha256=weights, files={}, table=encoder))
        advance(1)
    return Export(folder, _describe(run, formats, networks))


def _describe(run: Run, formats: Sequence[Format], networks: Sequence[ExportedNetwork]) -> ExportRecord:
    versions = describe_environment()["versions"]
    said = {str(name): str(each) for name, each in versions.items()} if isinstance(versions, dict) else {}
    return ExportRecord(
        versions=said | {"openvino": str(load_openvino().__version__)},
        formats=tuple(formats),
        precision="f32",
        recipe=run.recipe,
        prepare=run.prepare,
        share_of_cases=_share_of_cases(run),
        outputs=tuple(name for name in OUTPUTS if name != "view" or run.recipe.views.combine == "attention"),
        networks=tuple(networks),
        checks=(),
    )


def _share_of_cases(run: Run) -> float | None:
    """That of the held-out breasts; None where there are no scores of them."""
    if not all((run.fold_path(fold) / "scores.parquet").is_file() for fold in run.trained_folds):
        return None
    return share_of_cases(list_breasts(read_fold_scores(run)), where=run.path)


def _check_formats(
    export: Export, expected: Sequence[PictureLogits], pictures: CheckPictures
) -> dict[Format, ExportCheck]:
    """Each format in f32 against torch; ONNX files are computed by OpenVINO, which reads them too."""
    checks = {}
    for format_ in export.record.formats:
        engine = open_openvino_engine(export, precision="f32", format_=format_)
        checks[format_] = check_engine(engine, expected, pictures, format_)
        refuse_failed(checks[format_])
    return checks


def _change_precision(  # noqa: PLR0913, PLR0917  # what an export is made of
    run: Run,
    export: Export,
    expected: Sequence[PictureLogits],
    pictures: CheckPictures,
    precision: Precision,
    store: PreparedStore | None,
) -> ExportCheck:
    """OpenVINO's networks in another precision than f32, and their check."""
    plain = open_openvino_engine(export, precision="f32", format_="openvino")
    if precision == "int8" and store is not None:
        quantise_networks(run, export, store)
    changed = open_openvino_engine(export, precision=precision, format_="openvino")
    check = check_engine(changed, expected, pictures, "openvino")
    refuse_failed(check)
    if precision == "int8" and store is not None:
        check = check.model_copy(update={"auc_loss": measure_auc_loss(run, store, plain, changed)})
    return check


def _finish(export: Export, precision: Precision, checks: tuple[ExportCheck, ...]) -> None:
    """Write the record, with the hashes of all files."""
    networks = [
        network.model_copy(update={"files": _hash_files(export.path, network.fold)})
        for network in export.record.networks
    ]
    changes = {"precision": precision, "checks": checks, "networks": tuple(networks)}
    write_export(export.path, export.record.model_copy(update=changes))


def _hash_files(folder: Path, fold: int) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in sorted(folder.glob(f"fold-{fold}.*"))}


def _refuse_other_folder(target: Path) -> None:
    if target.exists() and not is_export(target) and (not target.is_dir() or any(target.iterdir())):
        raise RunError(f"{target}: stands there already and is no export; give another folder with -o")


@contextmanager
def _written_beside(target: Path) -> Iterator[Path]:
    """A folder beside the target, which takes its name when the block ends well and is removed when not."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        shutil.rmtree(target, ignore_errors=True)
        try:
            beside.rename(target)
        except OSError:
            if not is_export(target):  # else another process was faster, with the same
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
