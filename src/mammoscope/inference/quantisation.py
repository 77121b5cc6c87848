"""Networks in whole numbers of 8 bits (post-training quantisation by NNCF), and what that costs as an AUC."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import polars as pl

from mammoscope.errors import ConfigError, RunError
from mammoscope.evaluation.bootstrap import BootstrapSettings, number_patients
from mammoscope.evaluation.comparison import paired_auc_difference
from mammoscope.evaluation.scores import read_scores
from mammoscope.exam import BREAST
from mammoscope.imaging.store import PreparedStore
from mammoscope.inference.check_pictures import choose_pictures, read_pictures
from mammoscope.inference.export_check import score_in_parts
from mammoscope.inference.exported import AucLoss, Export, input_size
from mammoscope.inference.openvino_engine import OpenVinoEngine, list_inputs, load_openvino
from mammoscope.learning.logits import combine_to_breasts
from mammoscope.learning.run import Run

_N_CALIBRATION: Final = 128  # prepared pictures; NNCF advises 300 of one look each
_MOST_JUDGED: Final = 600  # images of the held-out fold
_SEED: Final = 0


def quantise_networks(run: Run, export: Export, store: PreparedStore) -> None:
    """Put in the place of OpenVINO's networks of an export their quantised form, calibrated on pictures of a store.

    Raises:
        ConfigError: NNCF is not installed.
        RunError: NNCF cannot quantise a network.
    """
    nncf, core = _load_nncf(), load_openvino().Core()
    pictures = choose_pictures(run, store, _N_CALIBRATION)
    size, flips = input_size(export.record.recipe, export.record.prepare), "none"
    for network in export.record.networks:
        path = export.network_path(network, "openvino")
        inputs = list_inputs(pictures.pictures, pictures.rows, encoder=network.table, size=size, flips=flips)
        with _quiet():
            try:
                quantised = nncf.quantize(
                    core.read_model(path),
                    nncf.Dataset(inputs),
                    subset_size=len(inputs),
                    preset=nncf.QuantizationPreset.MIXED,  # activations such as SiLU are not symmetric
                )
            except (RuntimeError, nncf.ValidationError, nncf.InternalError) as error:
                reason = " ".join(str(error).split())[:200]
                raise RunError(f"{path}: NNCF cannot quantise this network ({reason}); export it in bf16") from error
        beside = path.with_name(f"int8-{path.name}")  # the numbers of the other are read from its file until it is gone
        load_openvino().save_model(quantised, beside, compress_to_fp16=False)
        beside.replace(path)
        beside.with_suffix(".bin").replace(path.with_suffix(".bin"))


def measure_auc_loss(run: Run, store: PreparedStore, plain: OpenVinoEngine, quantised: OpenVinoEngine) -> AucLoss:
    """How much lower the AUC of the breasts of the first held-out fold is, with an interval over patients.

    All patients with cancer and others by chance, up to 600 images or as many as the cases have.
    """
    fold = run.trained_folds[0]
    path = run.fold_path(fold) / "scores.parquet"
    if not path.is_file():
        return AucLoss(fold=fold, n_breasts=0, n_patients=0, reason="the fold has no scores, which say who has cancer")
    images = _choose_images(read_scores(path), store)
    if images.is_empty():
        return AucLoss(fold=fold, n_breasts=0, n_patients=0, reason="the store holds no image of the held-out fold")
    pictures = read_pictures(run, store, images["image_id"].to_list())
    breasts = [
        combine_to_breasts(
            images,
            score_in_parts(engine.choose([list(engine.weights_by_fold).index(fold)]).score, pictures),
            run.recipe.views.combine,
        )
        for engine in (quantised, plain)
    ]
    outcomes, patients = breasts[0]["cancer"].to_numpy(), number_patients(breasts[0]["patient_id"].to_list())
    lower, higher = (each["score"].to_numpy() for each in breasts)
    compared = paired_auc_difference(
        lower, higher, outcomes=outcomes, patients=patients, settings=BootstrapSettings(seed=_SEED)
    )
    interval, loss = compared.difference.interval, compared.difference
    return AucLoss(
        fold=fold,
        n_breasts=len(outcomes),
        n_patients=int(patients.max()) + 1,
        auc_f32=compared.second.value,
        auc=compared.first.value,
        loss=loss.value,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        reason=loss.reason,
    )


def _choose_images(scores: pl.DataFrame, store: PreparedStore) -> pl.DataFrame:
    """Held-out images that the store holds: whole patients, those with cancer first, the others by chance."""
    images = scores.filter(pl.col("level") == "image", pl.col("image_id").is_in(store.image_ids))
    patients = images.group_by("patient_id").agg(pl.len().alias("n_images"), pl.col("cancer").any()).sort("patient_id")
    order = np.random.default_rng(_SEED).permutation(patients.height)
    drawn = patients[order].sort("cancer", descending=True, maintain_order=True)
    kept = drawn.filter(pl.col("cancer") | (pl.col("n_images").cum_sum() <= _MOST_JUDGED))
    return images.filter(pl.col("patient_id").is_in(kept["patient_id"].to_list())).sort(*BREAST, "image_id")


def _load_nncf() -> Any:  # noqa: ANN401  # the package
    load_openvino()  # without its telemetry, which NNCF would use too
    try:
        with _quiet():
            import nncf  # noqa: PLC0415  # for int8 alone
    except ImportError as error:
        raise ConfigError(
            "--precision int8: the package nncf is not installed; install it with "
            "`uv pip install 'mammoscope[export]'`, or give --precision bf16 or f32"
        ) from error
    return nncf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's progress bars and words on stdout, which is for the summary."""
    logger = logging.getLogger("nncf")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
