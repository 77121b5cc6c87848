from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.join import join_cohorts
from mammoscope.cohort.manifest import check_manifest, read_manifest, write_manifest
from mammoscope.errors import TableError, UserInputError

ManifestOf = Callable[..., pl.DataFrame]
CliRun = Callable[..., tuple[int, str, str]]
WriteCohort = Callable[..., Path]


@pytest.fixture
def write_cohort(tmp_path: Path, manifest_of: ManifestOf) -> WriteCohort:
    def write(name: str, source: str, outcomes: tuple[bool | None, ...] = (True, False), **columns: object) -> Path:
        rows = manifest_of(outcomes).with_columns(source=pl.lit(source))
        rows = rows.with_columns(pl.lit(value, rows.schema[column]).alias(column) for column, value in columns.items())
        write_manifest(rows, tmp_path / name)
        return tmp_path / name

    return write


def test_ids_are_kept_apart_by_source(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, other = write_cohort("a", "rsna"), write_cohort("b", "vindr", (None,))
    joined = join_cohorts([one, other], tmp_path / "c")
    check_manifest(joined.manifest, where="test")
    assert joined.warnings == ()
    assert joined.manifest.height == 12
    assert joined.manifest["patient_id"].unique(maintain_order=True).to_list() == [
        "rsna-patient0",
        "rsna-patient1",
        "vindr-patient0",
    ]
    assert joined.manifest.row(8, named=True)["image_id"] == "vindr-0LCC"
    assert joined.manifest.row(8, named=True)["exam_id"] == "vindr-exam0"
    before = pl.concat([read_manifest(one), read_manifest(other)])
    named = ["image_id", "patient_id", "exam_id", "site", "machine"]
    assert joined.manifest.drop(named).equals(before.drop(named))


def test_sites_and_machines_are_kept_apart_by_source(write_cohort: WriteCohort, tmp_path: Path) -> None:
    """A machine 21 of one archive is not that of another: left out together, they would be one fold."""
    one, other = (
        write_cohort("a", "rsna", site="1", machine="21"),
        write_cohort("b", "phantom", machine="21", site=None),
    )
    joined = join_cohorts([one, other], tmp_path / "c").manifest
    assert set(joined.select("source", "site", "machine").iter_rows()) == {
        ("rsna", "rsna-1", "rsna-21"),
        ("phantom", None, "phantom-21"),
    }
    write_manifest(joined, tmp_path / "c")
    third = write_cohort("d", "vindr", machine="21", site="1")
    again = join_cohorts([tmp_path / "c", third], tmp_path / "e").manifest
    assert set(again["machine"]) == {"rsna-21", "phantom-21", "vindr-21"}


def test_machines_that_would_get_one_name_are_refused(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one = write_cohort("a", "hospital", machine="2-0")
    other = write_cohort("b", "hospital-2", machine="0")
    with pytest.raises(
        TableError, match=r"join: machines of hospital and hospital-2 that would share a name: 1, expected one"
    ):
        join_cohorts([one, other], tmp_path / "c")


def test_a_joined_cohort_can_be_joined_again(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, two, three = (write_cohort(name, name) for name in "abc")
    write_manifest(join_cohorts([one, two], tmp_path / "ab").manifest, tmp_path / "ab")
    stepwise = join_cohorts([tmp_path / "ab", three], tmp_path / "d").manifest
    assert stepwise.equals(join_cohorts([one, two, three], tmp_path / "d").manifest)


def with_patients(cohort: Path, *ids: str) -> Path:
    """The cohort with other ids: those of its patients in their order, their exams the same, an image for each."""
    rows = read_manifest(cohort).unique("patient_id", keep="first", maintain_order=True)
    column = pl.Series(ids)
    write_manifest(rows.with_columns(image_id=column, patient_id=column, exam_id=column), cohort)
    return cohort


def test_patients_of_two_sources_are_never_one(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one = with_patients(write_cohort("a", "hospital", (True,) * 3), "2-0", "2-1", "7")
    other = with_patients(write_cohort("b", "hospital-2", (True,) * 3), "0", "1", "7")
    sentence = (
        r"join: patients of hospital and hospital-2 that would share an id: 2, expected one for each; .* another name"
    )
    with pytest.raises(TableError, match=sentence):
        join_cohorts([one, other], tmp_path / "c")
    apart = join_cohorts([with_patients(one, "2-0", "8", "9"), with_patients(other, "1", "2", "7")], tmp_path / "c")
    assert apart.manifest["patient_id"].n_unique() == 6
    assert apart.warnings == ()


def test_an_id_that_begins_like_its_source_is_kept_apart_from_others(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one = with_patients(write_cohort("a", "uk"), "uk-1", "1")
    joined = join_cohorts([one, with_patients(write_cohort("b", "v"), "1", "2")], tmp_path / "c").manifest
    assert joined["patient_id"].to_list() == ["uk-uk-1", "uk-1", "v-1", "v-2"]


def test_ids_that_may_have_their_source_already_are_not_guessed_at(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, other = (
        with_patients(write_cohort("a", "uk", site=None), "uk-1", "uk-2"),
        with_patients(write_cohort("b", "uk", site=None), "1", "3"),
    )
    with pytest.raises(TableError, match="join: patients of uk that would share an id: 1, expected one for each"):
        join_cohorts([one, other], tmp_path / "c")


def test_an_image_in_two_cohorts_is_refused(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, other = write_cohort("a", "rsna"), write_cohort("b", "rsna")
    sentence = r"images in several cohorts: 8 \(rsna-0LCC, rsna-0LMLO, rsna-0RCC, …, in .*a and .*b\), expected each"
    with pytest.raises(TableError, match=sentence):
        join_cohorts([one, other], tmp_path / "c")


def renamed(cohort: Path, **patterns: str) -> Path:
    """The cohort with a word before the ids of the columns."""
    rows = read_manifest(cohort)
    write_manifest(
        rows.with_columns((pl.lit(word) + pl.col(name)).alias(name) for name, word in patterns.items()), cohort
    )
    return cohort


def test_a_patient_of_two_cohorts_of_one_source_is_one(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, other = write_cohort("a", "cbis"), renamed(write_cohort("b", "cbis"), image_id="x", exam_id="x")
    joined = join_cohorts([one, other], tmp_path / "c")
    assert joined.manifest["patient_id"].n_unique() == 2
    assert joined.warnings == ("patients in several cohorts of one source, who are taken as the same: 2",)


def test_an_exam_of_two_patients_is_refused(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, other = write_cohort("a", "s"), renamed(write_cohort("b", "s"), image_id="x", patient_id="x")
    with pytest.raises(
        TableError, match=r"exams with another patient in another cohort: 2 \(with image s-0LCC\), expected one patient"
    ):
        join_cohorts([one, other], tmp_path / "c")


def test_a_breast_with_two_outcomes_is_refused(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, other = write_cohort("a", "s"), renamed(write_cohort("b", "s", (False, False)), image_id="x")
    with pytest.raises(
        TableError, match=r"breasts with another outcome in another cohort: 1 \(with image s-0LCC\), exp"
    ):
        join_cohorts([one, other], tmp_path / "c")


def test_files_in_some_cohorts_only_are_refused(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, other = write_cohort("a", "r"), write_cohort("b", "v", path=None)
    with pytest.raises(TableError, match="b: found a table-only cohort, expected files for all cohorts or for none"):
        join_cohorts([one, other], tmp_path / "c")
    table_only = join_cohorts([write_cohort("a", "r", path=None), other], tmp_path / "c")
    assert table_only.manifest["path"].null_count() == table_only.manifest.height


def test_folds_are_left_behind(write_cohort: WriteCohort, tmp_path: Path) -> None:
    joined = join_cohorts([write_cohort("a", "r", fold=0), write_cohort("b", "v")], tmp_path / "c")
    assert joined.manifest["fold"].null_count() == joined.manifest.height
    assert joined.warnings == ("folds are left behind; split the joined cohort",)


def test_what_cannot_be_joined_is_refused(write_cohort: WriteCohort, tmp_path: Path) -> None:
    one, other = write_cohort("a", "r"), write_cohort("b", "v")
    with pytest.raises(UserInputError, match="join: found 1 cohort, expected two or more"):
        join_cohorts([one], tmp_path / "c")
    with pytest.raises(UserInputError, match="join: found a cohort twice, expected each once"):
        join_cohorts([one, one / "manifest.parquet"], tmp_path / "c")
    with pytest.raises(UserInputError, match="a: found one of the cohorts to join, expected another folder"):
        join_cohorts([one, other], one)


def test_another_cohort_is_not_overwritten(write_cohort: WriteCohort, tmp_path: Path, run_cli: CliRun) -> None:
    one, other = write_cohort("a", "rsna"), write_cohort("b", "vindr")
    unrelated = write_cohort("c", "ours", fold=0)
    before = (unrelated / "manifest.parquet").read_bytes()
    code, _, err = run_cli("join", one, other, "-o", unrelated)
    assert code == 2
    assert (
        f"{unrelated}: found another cohort, with images that the joined one has not: 8; expected a new folder" in err
    )
    assert (unrelated / "manifest.parquet").read_bytes() == before
    assert run_cli("join", one, other, "-o", tmp_path / "d")[0::2] == (0, "")
    assert run_cli("split", tmp_path / "d", "--folds", 2)[0] == 0
    code, _, err = run_cli("join", one, other, "-o", tmp_path / "d")
    assert (code, err) == (
        0,
        f"warning: {tmp_path / 'd' / 'manifest.parquet'}: was split, and its folds are gone; split again\n",
    )


def test_the_command_writes_the_joined_cohort(write_cohort: WriteCohort, tmp_path: Path, run_cli: CliRun) -> None:
    one, other = write_cohort("a", "rsna"), write_cohort("b", "vindr", fold=1)
    code, out, err = run_cli("join", one, other, "-o", tmp_path / "c")
    assert code == 0, err
    assert "breasts with cancer  2" in out
    assert "sources              rsna, vindr\n" in out
    assert err == "warning: folds are left behind; split the joined cohort\n"
    assert read_manifest(tmp_path / "c").height == 16
    code, out, _ = run_cli("join", "--help")
    assert "mammoscope join rsna vindr -o both" in " ".join(out.replace("│", " ").split())
