from collections.abc import Callable
from pathlib import Path

import pytest

from mammoscope.cohort.manifest import check_manifest
from mammoscope.cohort.sources import vindr_mammo
from mammoscope.cohort.sources.indexing import Handling, IndexedCohort, PublishedCounts
from mammoscope.cohort.sources.outcomes import OutcomeRule
from mammoscope.cohort.sources.vindr_mammo import read_vindr_mammo
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
    return read_vindr_mammo(table, images, rule=OutcomeRule(), handling=handling)


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
    with pytest.raises(UserInputError, match=r"1 images of the table are missing \(aLMLO\), 1 were found"):
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


def test_another_table_is_refused(write_lines: WriteTable) -> None:
    with pytest.raises(TableError, match=r"columns missing: laterality, .*; give breast-level_annotations\.csv"):
        read(write_lines("t.csv", "study_id,image_id", "a,b"))


def test_counts_that_are_not_as_published_are_warned_of(
    write_lines: WriteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vindr_mammo, "PUBLISHED", PublishedCounts(images=8, patients=3))
    assert read(write_lines("t.csv", HEADER, *LINES)).warnings == (
        "vindr_mammo: found 2 patients, published are 3 patients; check that the download is complete and unchanged",
    )
