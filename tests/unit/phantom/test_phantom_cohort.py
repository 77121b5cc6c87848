import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from PIL import Image

from mammoscope.errors import ConfigError, UserInputError
from mammoscope.files import sha256_of_bytes
from mammoscope.phantom.cohort import (
    CohortSettings,
    CohortSummary,
    PatientTask,
    assign_patients,
    parse_settings,
    synthesize_cohort,
    write_patient,
)

SETTINGS = CohortSettings(patients=2, prevalence=0.5, seed=3, held_out=1, scale=0.1)


def _in_order(function: Callable[[PatientTask], int], tasks: Sequence[PatientTask]) -> Iterator[int]:
    return map(function, tasks)


def _synthesize(out: Path, settings: CohortSettings = SETTINGS) -> CohortSummary:
    return synthesize_cohort(out, settings, run_tasks=_in_order, advance=lambda _: None)


def _hashes(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): sha256_of_bytes(path.read_bytes())
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    _synthesize(out)
    return out


def test_a_cohort_has_the_layout_of_the_competition(cohort: Path) -> None:
    train, test = pl.read_csv(cohort / "train.csv"), pl.read_csv(cohort / "test.csv")
    for table, folder in ((train, "train_images"), (test, "test_images")):
        expected = {f"{patient}/{image}.dcm" for patient, image in table.select("patient_id", "image_id").iter_rows()}
        found = {str(path.relative_to(cohort / folder)) for path in (cohort / folder).rglob("*.dcm")}
        assert found == expected
    assert (len(train), len(test)) == (8, 4)


def test_the_same_seed_gives_the_same_bytes_in_any_order(cohort: Path, tmp_path: Path) -> None:
    def backwards(function: Callable[[PatientTask], int], tasks: Sequence[PatientTask]) -> Iterator[int]:
        return map(function, reversed(tasks))

    synthesize_cohort(tmp_path / "again", SETTINGS, run_tasks=backwards, advance=lambda _: None)
    assert _hashes(tmp_path / "again") == _hashes(cohort)


def test_another_seed_gives_other_pictures(cohort: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"seed": 4})
    _synthesize(tmp_path / "other", settings)
    theirs, ours = _hashes(tmp_path / "other"), _hashes(cohort)
    images = [name for name in ours if name.endswith(".dcm")]
    assert images == [name for name in theirs if name.endswith(".dcm")]
    assert not {theirs[name] for name in images} & {ours[name] for name in images}


def test_artefacts_and_masks_are_off_and_unsaid(cohort: Path) -> None:
    assert set(tomllib.loads((cohort / "synthesize.toml").read_text())) == {
        "patients",
        "prevalence",
        "seed",
        "held_out",
        "scale",
        "conspicuity",
    }
    assert pl.read_parquet(cohort / "truth_pictures.parquet")["artefacts"].list.len().sum() == 0
    assert not (cohort / "truth_masks").exists()


def test_pictures_without_an_artefact_are_those_of_a_cohort_without_any(cohort: Path, tmp_path: Path) -> None:
    _synthesize(tmp_path, SETTINGS.model_copy(update={"artefacts": 0.5}))
    pictures = pl.read_parquet(tmp_path / "truth_pictures.parquet")
    disturbed = set(pictures.filter(pl.col("artefacts").list.len() > 0)["image_id"])
    assert 0 < len(disturbed) < 12
    theirs, ours = _hashes(tmp_path), _hashes(cohort)
    for name in ours:
        if name.endswith(".dcm"):
            assert (theirs[name] == ours[name]) == (Path(name).stem not in disturbed)


def test_the_masks_of_a_cohort_fit_its_table(cohort: Path, tmp_path: Path) -> None:
    _synthesize(tmp_path, SETTINGS.model_copy(update={"masks": True}))
    assert {name: value for name, value in _hashes(tmp_path).items() if name.endswith(".dcm")} == {
        name: value for name, value in _hashes(cohort).items() if name.endswith(".dcm")
    }
    for picture in pl.read_parquet(tmp_path / "truth_pictures.parquet").iter_rows(named=True):
        with Image.open(tmp_path / "truth_masks" / f"{picture['image_id']}.png") as image:
            assert image.mode == "1"
            mask = np.asarray(image)
        assert mask.shape == (picture["rows"], picture["columns"])
        box = mask[picture["row_start"] : picture["row_stop"], picture["column_start"] : picture["column_stop"]]
        assert box.sum() == mask.sum() > 0
        assert box[[0, -1]].any(axis=1).all()
        assert box[:, [0, -1]].any(axis=0).all()
        assert mask[:, 0 if picture["wall"] == "left" else -1].any()


def test_a_picture_with_an_implant_says_so(tmp_path: Path) -> None:
    _synthesize(tmp_path, CohortSettings(patients=1, prevalence=0, seed=0, scale=0.1, artefacts=1))
    pictures = pl.read_parquet(tmp_path / "truth_pictures.parquet").filter(pl.col("subset") == "train")
    table = pl.read_csv(tmp_path / "train.csv", schema_overrides={"image_id": pl.String, "patient_id": pl.String})
    with_implant = pictures.filter(pl.col("artefacts").list.contains("implant"))["image_id"].to_list()
    assert len(with_implant) > 0
    assert table.filter(pl.col("implant") == 1)["image_id"].to_list() == with_implant
    for patient_id, image_id in table.select("patient_id", "image_id").iter_rows():
        header = pydicom.dcmread(tmp_path / "train_images" / patient_id / f"{image_id}.dcm", stop_before_pixels=True)
        assert (header.BreastImplantPresent == "YES") == (image_id in with_implant)


def test_no_two_pictures_of_a_cohort_are_alike(tmp_path: Path) -> None:
    _synthesize(tmp_path, CohortSettings(patients=5, prevalence=1, seed=3, scale=0.1))
    pixels = [pydicom.dcmread(path).PixelData for path in tmp_path.rglob("*.dcm")]
    assert len(set(pixels)) == len(pixels) == 20


def test_a_cohort_that_was_broken_off_goes_on_where_it_was(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "broken"

    def stop_after_one(function: Callable[[PatientTask], int], tasks: Sequence[PatientTask]) -> Iterator[int]:
        yield function(tasks[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize_cohort(out, SETTINGS, run_tasks=stop_after_one, advance=lambda _: None)
    assert not (out / "train.csv").exists()
    first = next(iter(sorted(out.rglob("*.dcm"))))
    modified = first.stat().st_mtime_ns
    summary = _synthesize(out)
    assert summary.n_images_resumed == 4
    assert first.stat().st_mtime_ns == modified
    assert _hashes(out) == _hashes(cohort)


def test_progress_counts_every_image(cohort: Path) -> None:
    steps: list[int] = []
    summary = synthesize_cohort(cohort, SETTINGS, run_tasks=_in_order, advance=steps.append)
    assert sum(steps) == summary.n_images == 12
    assert (summary.n_patients, summary.n_cases, summary.n_held_out) == (2, 1, 1)


def test_a_patient_whose_files_are_there_is_not_drawn_again(cohort: Path) -> None:
    assert write_patient(PatientTask(cohort, assign_patients(SETTINGS)[0], SETTINGS)) == 4


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserInputError, match="found a file, expected a folder"):
        _synthesize(tmp_path / "file")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserInputError, match="folder with other files, expected an empty one"):
        _synthesize(tmp_path)


def test_a_cohort_of_other_settings_is_refused(cohort: Path) -> None:
    with pytest.raises(UserInputError, match="holds a cohort of other settings"):
        _synthesize(cohort, SETTINGS.model_copy(update={"seed": 4}))


def test_a_cohort_whose_settings_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "synthesize.toml").write_text("patients = 'many'\n")
    with pytest.raises(UserInputError, match="holds a cohort of other settings"):
        _synthesize(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patients", 0),
        ("patients", -1),
        ("prevalence", -0.1),
        ("prevalence", 1.1),
        ("prevalence", float("nan")),
        ("held_out", -1),
        ("scale", 0.05),
        ("scale", 1.5),
        ("seed", -1),
        ("conspicuity", 0),
        ("artefacts", -0.1),
        ("artefacts", 1.1),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"synthesize: {name}: found"):
        parse_settings(**{"patients": 4, "prevalence": 0.5, "seed": 1, name: value})


@pytest.mark.parametrize("prevalence", [0.0, 0.25, 1.0])
def test_prevalence_is_the_share_of_patients_with_cancer(prevalence: float) -> None:
    settings = CohortSettings(patients=40, prevalence=prevalence, seed=1, held_out=20)
    assignments = assign_patients(settings)
    for subset, n_patients in (("train", 40), ("held_out", 20)):
        cases = [assignment.is_case for assignment in assignments if assignment.subset == subset]
        assert len(cases) == n_patients
        assert sum(cases) == prevalence * n_patients


def test_neither_machine_nor_site_gives_the_outcome_away() -> None:
    assignments = assign_patients(CohortSettings(patients=80, prevalence=0.3, seed=9))
    n_by_machine = Counter(assignment.machine.machine_id for assignment in assignments)
    n_cases_by_machine = Counter(assignment.machine.machine_id for assignment in assignments if assignment.is_case)
    assert set(n_by_machine.values()) == {20}
    assert set(n_cases_by_machine.values()) == {6}


def test_four_patients_come_from_four_machines() -> None:
    assignments = assign_patients(CohortSettings(patients=4, prevalence=0.5, seed=9))
    assert {assignment.machine.machine_id for assignment in assignments} == {21, 29, 49, 93}


def test_the_number_of_a_patient_does_not_give_the_outcome_away() -> None:
    assignments = assign_patients(CohortSettings(patients=200, prevalence=0.5, seed=9))
    first_half = sum(assignment.is_case for assignment in assignments[:100])
    assert 30 < first_half < 70


def test_a_cohort_can_be_of_other_machines_in_another_encoding(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"machines": (102, 105), "transfer_syntax": "jpeg_ls"})
    _synthesize(tmp_path, settings)
    pictures = pl.read_parquet(tmp_path / "truth_pictures.parquet")
    assert set(pictures["machine"]) == {102, 105}
    syntaxes = {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in tmp_path.rglob("*.dcm")}
    assert syntaxes == set(pictures["transfer_syntax"]) == {"1.2.840.10008.1.2.4.80"}
    assert _synthesize(tmp_path, settings).n_images_resumed == 12  # its settings are read back


@pytest.mark.parametrize("machines", [(21, 7), (21, 21)])
def test_machines_that_are_unknown_or_doubled_are_refused(machines: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"synthesize: machines: found .* expected different numbers of 21, 29"):
        parse_settings(patients=4, prevalence=0.5, seed=1, machines=machines)


def test_no_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"synthesize: machines: found \[\]"):
        parse_settings(patients=4, prevalence=0.5, seed=1, machines=())


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ConfigError, match="synthesize: transfer_syntax: found 'jpeg3000'; input should be 'implicit'"):
        parse_settings(patients=4, prevalence=0.5, seed=1, transfer_syntax="jpeg3000")
