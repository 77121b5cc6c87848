"""Heat over the pictures of the most telling calls: of the right network, in the right place, in the right colours."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.errors import RunError
from mammoscope.evaluation.peaks import keep_content
from mammoscope.evaluation.pictures import Call, CallKind
from mammoscope.imaging.store import PreparedStore
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.call_heats import paint, paint_calls
from mammoscope.inference.heat import HeatMapper
from mammoscope.learning.run import Run
from mammoscope.learning.table_inputs import fit_table_encoder, write_table_encoder
from mammoscope.learning.table_layer import to_tensors

MakeRun = Callable[..., Run]
YELLOW = (253, 231, 37)  # the end of viridis, as matplotlib's documentation lists it


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Run:
    return make_run()


def call_of(image_id: str, fold: int | None) -> Call:
    return Call(CallKind.HARD_CASE, image_id, "L", "CC", 0.2, 0.3, fold)


def test_without_heat_a_picture_stays_grey() -> None:
    pixels = np.array([[0, 100], [200, 255]], dtype=np.uint8)
    painted = paint(pixels, np.zeros((2, 2), dtype=np.float32))
    np.testing.assert_array_equal(painted, np.repeat(pixels[..., None], 3, axis=2))


def test_the_highest_heat_is_yellow_over_a_third_of_the_grey_and_negative_heat_is_clear() -> None:
    pixels = np.array([[0, 65535], [65535, 257 * 90]], dtype=np.uint16)
    heat = np.array([[2.0, 2.0], [-1.0, 0.0]], dtype=np.float32)
    painted = paint(pixels, heat)
    expected = [[0.65 * part + 0.35 * grey for part in YELLOW] for grey in (0, 255)]
    np.testing.assert_allclose(painted[0], expected, atol=0.7)
    np.testing.assert_array_equal(painted[1], [[255] * 3, [90] * 3])


def test_each_picture_has_a_scale_of_its_own() -> None:
    pixels = np.full((4, 4), 80, dtype=np.uint8)
    heat = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    np.testing.assert_array_equal(paint(pixels, heat), paint(pixels, 100 * heat))


@pytest.mark.parametrize("fold", [0, 1])
def test_the_network_of_the_fold_that_a_picture_was_held_out_in_explains_it(
    run: Run, tiny_store: PreparedStore, fold: int
) -> None:
    image_id = tiny_store.image_ids[3]
    painted = paint_calls(run.path, [call_of(image_id, fold)], tiny_store, None)
    bundle, pixels = open_bundle(run.path, torch.device("cpu")), tiny_store.read(image_id)
    of_fold = []
    for network in bundle.networks:
        mapper = HeatMapper(replace(bundle, networks=(network,)))
        mapper.offset = HeatMapper(bundle).offset  # one for all folds
        (heat,) = mapper.explain([pixels]).heats
        of_fold.append(paint(pixels, keep_content(heat, tiny_store.placement(image_id))))
    np.testing.assert_array_equal(painted[image_id], of_fold[fold])
    assert not np.array_equal(of_fold[0], of_fold[1])


def test_beside_the_breast_nothing_is_painted(run: Run, tiny_store: PreparedStore) -> None:
    for image_id in tiny_store.image_ids:
        placement = tiny_store.placement(image_id)
        (painted,) = paint_calls(run.path, [call_of(image_id, 0)], tiny_store, None).values()
        beside = np.ones(painted.shape[:2], dtype=bool)
        margin = 4  # half a pixel of the map is two of the picture, and as much between it and the next
        rows, columns = placement.content_shape
        beside[max(placement.content_top - margin, 0) : placement.content_top + rows + margin, : columns + margin] = (
            False
        )
        grey = painted[beside]
        assert (grey == grey[:, :1]).all()


def test_what_the_store_lacks_and_what_no_network_was_kept_from_is_left_out(
    run: Run, tiny_store: PreparedStore
) -> None:
    known = tiny_store.image_ids[0]
    calls = [call_of("elsewhere", 0), call_of(known, 7), call_of(known, None)]
    assert paint_calls(run.path, calls, tiny_store, None) == {}


def test_a_store_of_another_preparation_is_refused(run: Run, tiny_store: PreparedStore) -> None:
    other = replace(tiny_store, settings=tiny_store.settings.model_copy(update={"bits": 16}))
    expected = r"store: found pictures that were prepared otherwise than those of .*, expected the same settings; give"
    with pytest.raises(RunError, match=expected):
        paint_calls(run.path, [], other, None)


def test_a_network_with_a_table_needs_the_cohort(
    make_run: MakeRun, tiny_store: PreparedStore, tiny_manifest: pl.DataFrame
) -> None:
    aged = tiny_manifest.with_columns(age_years=pl.int_range(pl.len()).cast(SCHEMA["age_years"]) + 40)
    # hidden layers, by which what the table says changes what each place adds
    of_table = make_run('table.columns=["age_years"]', "head.layers=[8]", rows=aged)
    write_table_encoder(
        fit_table_encoder(aged[24:], of_table.recipe.table), of_table.table_path(1)
    )  # each fold has its own
    image_id = aged["image_id"][20]
    calls = [call_of(image_id, 1)]
    painted = paint_calls(of_table.path, calls, tiny_store, aged)
    bundle = open_bundle(of_table.path, torch.device("cpu"))
    mapper, pixels = HeatMapper(bundle), tiny_store.read(image_id)
    by_row = []
    for row in (20, 0):
        table = to_tensors(bundle.encoders[1].encode(aged[row]))
        (heat,), _ = mapper.explain_by(bundle.networks[1], torch.from_numpy(np.stack([pixels])), table)
        by_row.append(paint(pixels, keep_content(heat, tiny_store.placement(image_id))))
    np.testing.assert_array_equal(painted[image_id], by_row[0])
    assert not np.array_equal(by_row[0], by_row[1])
    for nothing in (None, aged.clear()):
        with pytest.raises(RunError, match="found no row of an image in a cohort, expected one, because the networks"):
            paint_calls(of_table.path, calls, tiny_store, nothing)


def test_a_run_that_saved_memory_in_training_is_explained_like_any_other(
    make_run: MakeRun, run: Run, tiny_store: PreparedStore
) -> None:
    """Its networks would pass the modules of a stage, and not the stage."""
    frugal = make_run("fine_tuning.gradient_checkpointing=true")
    calls = [call_of(tiny_store.image_ids[3], 0)]
    ours, others = (paint_calls(each.path, calls, tiny_store, None) for each in (frugal, run))
    np.testing.assert_array_equal(ours[tiny_store.image_ids[3]], others[tiny_store.image_ids[3]])


def test_weights_that_were_changed_are_refused(make_run: MakeRun, tiny_store: PreparedStore) -> None:
    changed = make_run()
    Path(changed.weights_path(0)).write_bytes(b"others")
    with pytest.raises(RunError, match="weights"):
        paint_calls(changed.path, [], tiny_store, None)
