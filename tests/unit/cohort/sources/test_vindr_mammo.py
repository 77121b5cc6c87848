from collections.abc import Callable
from pathlib import Path

import pytest

from mammoscope.cohort.manifest import check_manifest
from mammoscope.cohort.sources import vindr_mammo
from mammoscope.cohort.sources.indexing import Handling, IndexedCohort, PublishedCounts
from mammoscope.cohort.sources.outcomes import OutcomeRule
from mammoscope.cohort.sources.vindr_mammo import VindrTables, read_vindr_mammo
from mammoscope.errors import TableError, UserInputError

WriteTable = Callable[..., Path]
HEADER = "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split"


def exam(study: str, left: str, right: str, density: str = "C") -> list[str]:
    """Four rows as published: both views of both breasts, with the category of the breast."""
    return [
        f"{study},{study}s,{study}{side}{view},{side},{view},3518,2800,BI-RADS {birads},DENSITY {density},training"
        for side, birads in (("L", left), ("R", right))
        for view in ("CC", "MLO")
    ]


LINES = [*exam("a", "4", "1"), *exam("b", "2", "3", "D")]


def read(table: Path, images: Path | None = None, **changes: object) -> IndexedCohort:
    handling = Handling(**changes)  # type: ignore[arg-type]  # of several kinds
    return read_vindr_mammo(VindrTables(table), images, rule=OutcomeRule(), handling=handling)


def read_whole(
    table: Path, metadata: Path | None = None, *, split: bool = False, exclude: bool = False
) -> IndexedCohort:
    tables = VindrTables(table, metadata, takes_split=split)
    handling = Handling(on_conflict="exclude" if exclude else "refuse")
    return read_vindr_mammo(tables, None, rule=OutcomeRule(), handling=handling)


def test_the_annotations_become_a_manifest(write_lines: WriteTable) -> None:
    cohort = read(write_lines("t.csv", HEADER, *LINES))
    check_manifest(cohort.manifest, where="test")
    assert cohort.manifest["cancer"].to_list() == [True, True, False, False, False, False, None, None]
    assert cohort.warnings == ()
    row = cohort.manifest.row(1, named=True)
    assert {name: value for name, value in row.items() if value is not None} == {
        "image_id": "aLMLO",
        "patient_id": "a",
        "exam_id": "a",
        "laterality": "L",
        "view": "MLO",
        "source": "vindr_mammo",
        "cancer": True,
        "birads": 4,
        "density": "C",
    }


def test_images_are_found_in_the_folders_of_their_studies(write_lines: WriteTable, tmp_path: Path) -> None:
    table = write_lines("t.csv", HEADER, *LINES[:2])
    write_lines("images/a/aLCC.dicom", "")
    with pytest.raises(UserInputError, match=r"images of the table that are missing: 1 \(aLMLO\), that were found: 1"):
        read(table, tmp_path / "images")
    assert read(table, tmp_path / "images", allow_missing=True).manifest["path"].to_list() == [
        str(tmp_path / "images" / "a" / "aLCC.dicom")
    ]
    write_lines("images/b/aLCC.png", "")
    with pytest.raises(
        UserInputError, match="found two files for image aLCC, expected one; remove or move one of them"
    ):
        read(table, tmp_path / "images")
    with pytest.raises(UserInputError, match=r"no such folder, expected <study_id>/<image_id>\.dicom below it"):
        read(table, tmp_path / "gone")


@pytest.mark.parametrize(
    ("old", "new", "sentence", "code"),
    [
        ("BI-RADS 4", "4", "row 1, breast_birads: found '4', expected BI-RADS 0 to BI-RADS 6", "bad_value"),
        ("DENSITY C", "C", "row 1, breast_density: found 'C', expected one of DENSITY A, DENSITY B", "bad_value"),
        (
            "BI-RADS 4",
            "BI-RADS 5",
            "breast_birads: one breast with different categories in rows 1, 2, expected one category",
            "outcome_conflict",
        ),
    ],
)
def test_what_is_wrong_is_refused_or_left_out(
    write_lines: WriteTable, old: str, new: str, sentence: str, code: str
) -> None:
    table = write_lines("t.csv", HEADER, LINES[0].replace(old, new), *LINES[1:])
    with pytest.raises(TableError, match=sentence):
        read(table)
    cohort = read(table, on_conflict="exclude")
    assert cohort.manifest.height == 6
    assert cohort.rejected.select("image_id", "code").rows() == [("aLCC", code), ("aLMLO", code)]


def test_a_breast_without_a_category_is_undetermined(write_lines: WriteTable) -> None:
    lines = [line.replace("BI-RADS 4", "") for line in LINES]
    assert read(write_lines("t.csv", HEADER, *lines)).manifest["cancer"].to_list()[:2] == [None, None]


# columns as far as they are used, in the names of the DICOM elements
METADATA = "Series Instance UID,SOP Instance UID,Patient's Age,Manufacturer,Manufacturer's Model Name,Rows"
IMAGES = tuple(f"{study}{side}{view}" for study in "ab" for side in "LR" for view in ("CC", "MLO"))


def facts(image: str, age: str = "053Y") -> str:
    return f"{image[0]}s,{image},{age},SIEMENS,Mammomat Inspiration,3518"


def test_ages_and_machines_come_from_the_metadata(write_lines: WriteTable) -> None:
    lines = [facts(image, "" if image[0] == "b" else "053Y") for image in reversed((*IMAGES, "zLCC"))]
    table, metadata = write_lines("t.csv", HEADER, *LINES), write_lines("metadata.csv", METADATA, *lines)
    cohort = read_whole(table, metadata)
    check_manifest(cohort.manifest, where="test")
    assert cohort.warnings == ()
    assert cohort.manifest["age_years"].to_list() == [53.0] * 4 + [None] * 4
    assert set(cohort.manifest.select("machine", "manufacturer").rows()) == {("Mammomat Inspiration", "SIEMENS")}
    assert cohort.manifest["image_id"].to_list() == list(IMAGES)
    fields = ["age_years", "machine", "manufacturer"]
    assert cohort.manifest.drop(fields).equals(read(table).manifest.drop(fields))


def test_an_image_without_metadata_is_warned_of(write_lines: WriteTable) -> None:
    metadata = write_lines("metadata.csv", METADATA, *map(facts, IMAGES[:6]))
    cohort = read_whole(write_lines("t.csv", HEADER, *LINES), metadata)
    assert cohort.warnings == (f"{metadata}: no row for 2 images, whose age and machine stay unknown",)
    assert cohort.manifest["machine"].null_count() == 2


@pytest.mark.parametrize(
    ("lines", "sentence", "code", "n_left"),
    [
        (
            (facts("aLCC", "53"), *map(facts, IMAGES[1:])),
            "metadata.csv row 1, Patient's Age: found '53', expected an age such as 053Y, of 130 years at most",
            "bad_value",
            6,
        ),
        (
            (*map(facts, IMAGES[:7]), facts("bRMLO", "999Y")),
            "metadata.csv row 8, Patient's Age: found '99",
            "bad_value",
            6,
        ),
        (
            (*map(facts, IMAGES), facts("aLCC")),
            "SOP Instance UID: one image in metadata.csv row 1, metadata.csv row 9, expected each once",
            "duplicate",
            6,
        ),
        (
            (*map(facts, IMAGES[:7]), facts("bRMLO", "054Y")),
            "metadata.csv, Patient's Age: one study with different ages in rows 5, 6, 7, 8, expected one",
            "bad_value",
            4,
        ),
    ],
)
def test_bad_metadata_are_refused_or_left_out(
    write_lines: WriteTable, lines: tuple[str, ...], sentence: str, code: str, n_left: int
) -> None:
    table, metadata = write_lines("t.csv", HEADER, *LINES), write_lines("metadata.csv", METADATA, *lines)
    with pytest.raises(TableError, match=f"1 problem\n  {sentence}"):
        read_whole(table, metadata)
    cohort = read_whole(table, metadata, exclude=True)
    assert cohort.manifest.height == n_left
    assert set(cohort.rejected["code"]) == {code}


def test_other_metadata_are_refused(write_lines: WriteTable) -> None:
    with pytest.raises(TableError, match=r"columns missing: SOP Instance UID, .*; give metadata\.csv of VinDr-Mammo"):
        read_whole(write_lines("t.csv", HEADER, *LINES), write_lines("metadata.csv", "a,b", "1,2"))


def test_the_official_test_part_is_held_out(write_lines: WriteTable) -> None:
    lines = [line.replace("training", "test") if line.startswith("b") else line for line in LINES]
    table = write_lines("t.csv", HEADER, *lines)
    assert read_whole(table, split=True).manifest["fold"].to_list() == [None] * 4 + [0] * 4
    assert read(table).manifest["fold"].null_count() == 8


@pytest.mark.parametrize(
    ("part", "sentence", "n_left"),
    [
        ("test", "split: one study in both parts in rows 1, 2, 3, 4, expected one part", 4),
        ("dev", "row 1, split: found 'dev', expected one of training, test", 6),
        ("", "row 1, split: empty, expected training or test", 6),
    ],
)
def test_a_study_is_in_one_official_part(write_lines: WriteTable, part: str, sentence: str, n_left: int) -> None:
    table = write_lines("t.csv", HEADER, LINES[0].replace("training", part), *LINES[1:])
    with pytest.raises(TableError, match=f"1 problem\n  {sentence}"):
        read_whole(table, split=True)
    assert read_whole(table, split=True, exclude=True).manifest.height == n_left
    assert read(table).manifest.height == 8


def test_an_official_split_needs_its_column(write_lines: WriteTable) -> None:
    lines = [line.rpartition(",")[0] for line in (HEADER, *LINES)]
    with pytest.raises(TableError, match="columns missing: split; found"):
        read_whole(write_lines("t.csv", *lines), split=True)


def test_another_table_is_refused(write_lines: WriteTable) -> None:
    with pytest.raises(TableError, match=r"columns missing: laterality, .*; give breast-level_annotations\.csv"):
        read(write_lines("t.csv", "study_id,image_id", "a,b"))


def test_counts_that_are_not_as_published_are_warned_of(
    write_lines: WriteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vindr_mammo, "PUBLISHED", PublishedCounts(8, 2, others={"studies of the test part": 2}))
    table = write_lines("t.csv", HEADER, *LINES[:4], *(line.replace("training", "test") for line in LINES[4:]))
    assert read(table).warnings == ()
    (warning,) = read_whole(table, split=True).warnings
    assert warning.startswith("vindr_mammo: found 1 studies of the test part, published are 2 studies of the test part")
    monkeypatch.setattr(vindr_mammo, "PUBLISHED", PublishedCounts(images=8, patients=3))
    assert read(write_lines("t.csv", HEADER, *LINES)).warnings == (
        "vindr_mammo: found 2 patients, published are 3 patients; check that the download is complete and unchanged",
    )
