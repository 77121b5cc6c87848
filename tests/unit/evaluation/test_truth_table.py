"""Outcomes from a manifest or any table, and how scores find theirs."""

from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import SCHEMA, write_manifest
from mammoscope.errors import TableError
from mammoscope.evaluation.truth import read_truth


def manifest_of(*changes: dict[str, object]) -> pl.DataFrame:
    common = {"patient_id": "p1", "exam_id": "e1", "laterality": "L", "view": "CC", "source": "drawn", "cancer": False}
    return pl.DataFrame([dict.fromkeys(SCHEMA) | common | change for change in changes], schema=SCHEMA)


def test_a_manifest_is_a_truth_by_folder_and_by_file(tmp_path: Path) -> None:
    manifest = manifest_of(
        {"image_id": "a", "cancer": True, "site": "north", "fold": 2}, {"image_id": "b", "exam_id": "e2", "fold": 2}
    )
    path = write_manifest(manifest, tmp_path)
    for given in (tmp_path, path):
        rows = read_truth(given).rows
        assert rows["row"].to_list() == [1, 2]
        assert rows.select("image_id", "exam_id", "cancer", "site", "fold").rows() == [
            ("a", "e1", True, "north", 2),
            ("b", "e2", False, None, 2),
        ]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_any_table_with_ids_and_outcomes_is_a_truth(tmp_path: Path, suffix: str) -> None:
    table = pl.DataFrame(
        {"patient_id": ["007", "8"], "side": ["x", "y"], "laterality": ["left", "R"], "cancer": [1, None]}
    )
    path = tmp_path / f"truth.{suffix}"
    if suffix == "csv":
        table.write_csv(path)
    elif suffix == "parquet":
        table.write_parquet(path)
    else:
        table.write_ndjson(path)
    rows = read_truth(path).rows
    assert rows.select("patient_id", "laterality", "cancer").rows() == [("007", "L", True), ("8", "R", None)]
    assert rows["exam_id"].is_null().all()


def test_what_pandas_makes_of_numbers_beside_empty_cells_is_read(tmp_path: Path) -> None:
    table = pl.DataFrame({"patient_id": [10130.0, 11.0], "cancer": [1.0, float("nan")]})
    table.write_parquet(tmp_path / "truth.parquet")
    table.with_columns(cancer=pl.Series([1.0, None])).write_csv(tmp_path / "truth.csv")
    assert read_truth(tmp_path / "truth.parquet").rows["patient_id"].to_list() == ["10130", "11"]
    for suffix in ("parquet", "csv"):
        assert read_truth(tmp_path / f"truth.{suffix}").rows["cancer"].to_list() == [True, None]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("patient_id\n1\n", "column cancer: missing, expected the outcomes"),
        ("who,cancer\n1,1\n", "found who, cancer, expected one of image_id, patient_id, exam_id"),
        (
            "patient_id,cancer\n1,perhaps\n2,1\n3,maybe\n",
            r"cancer: 2 of 3 values cannot be read \(rows 1, 3\), the first is 'perhaps'; expected 0, 1 or nothing",
        ),
        (
            "patient_id,laterality,cancer\n1,top,1\n",
            r"laterality: 1 of 1 values cannot be read \(row 1\), the first is 'top'; expected L or R",
        ),
        (
            "patient_id,fold,cancer\n1,first,1\n",
            r"fold: 1 of 1 values cannot be read \(row 1\), the first is 'first'; expected a whole number",
        ),
        (
            "image_id,patient_id,laterality,cancer\na,1,L,1\nb,1,L,0\nc,1,R,0\n",
            r"cancer: 1 of 2 breasts have different outcomes \(rows 1, 2\); expected one each",
        ),
        (
            "image_id,cancer\na,1\nb,0\na,\n",
            r"image_id: 1 of 2 images stand in the table more than once \(rows 1, 3\); expected a row each",
        ),
        (  # two patients, each with an outcome that agrees with itself
            "image_id,patient_id,laterality,cancer\na,1,L,0\na,2,L,1\nb,3,L,1\n",
            r"image_id: 1 of 2 images stand in the table more than once \(rows 1, 2\)",
        ),
        (  # both sides of one exam
            "image_id,exam_id,laterality,cancer\na,1,L,1\na,1,R,0\nb,2,L,0\n",
            r"image_id: 1 of 2 images stand in the table more than once \(rows 1, 2\)",
        ),
        ("exam_id,cancer\na,1\nb,1\na,0\n", r"cancer: 1 of 2 exams have different outcomes \(rows 1, 3\)"),
        ("patient_id,cancer\na,1\na,0\n", r"cancer: 1 of 1 patients have different outcomes \(rows 1, 2\)"),
    ],
)
def test_a_truth_that_cannot_be_one_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=sentence) as caught:
        read_truth(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_all_problems_come_together(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("patient_id,laterality,cancer\n1,L,x\n1,up,1\n")
    with pytest.raises(TableError, match="2 problems"):
        read_truth(path)


def test_a_manifest_whose_breast_has_two_outcomes_is_refused(tmp_path: Path) -> None:
    path = write_manifest(manifest_of({"image_id": "a"}, {"image_id": "b"}), tmp_path)
    pl.read_parquet(path).with_columns(cancer=pl.Series([True, False])).write_parquet(path)
    with pytest.raises(TableError, match="cancer: one breast with different outcomes in rows 1, 2"):
        read_truth(tmp_path)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "truth.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"truth.parquet: cannot be read as parquet; write it anew"):
        read_truth(tmp_path / "truth.parquet")
    with pytest.raises(TableError, match=r"none.csv: no such file"):
        read_truth(tmp_path / "none.csv")
