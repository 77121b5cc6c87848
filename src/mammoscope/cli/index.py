"""`mammoscope index`: files and tables of a data set to the manifest of a cohort."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mammoscope.cli.console import JsonOption, WorkersOption, print_summary, progress_bar, resolve_workers, warn
from mammoscope.errors import UserInputError

if TYPE_CHECKING:
    import polars as pl

    from mammoscope.cohort.manifest import Problem
    from mammoscope.cohort.sources.dicom import Headers
    from mammoscope.cohort.sources.indexing import Handling, IndexedCohort
    from mammoscope.cohort.sources.outcomes import OutcomeRule

index_app = typer.Typer(help="Make the manifest of a cohort from its published files.", no_args_is_help=True)

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The cohort folder to write.")]
MissingOption = Annotated[bool, typer.Option("--allow-missing", help="Leave out rows whose image is not there.")]
ConflictOption = Annotated[
    Literal["refuse", "exclude"],
    typer.Option(help="What is done about bad rows and contradictions: refuse all, or leave out their breasts."),
]
HeadersOption = Annotated[
    bool, typer.Option("--check-headers", help="Read the DICOM headers too, and compare their side with the table's.")
]
SheetOption = Annotated[
    str | None, typer.Option(help="The sheet of an Excel workbook; needed where several are not empty.")
]
CaseOption = Annotated[str, typer.Option(help="BI-RADS categories that make a case, where they decide.")]
ControlOption = Annotated[str, typer.Option(help="BI-RADS categories that make a control, where they decide.")]
BenignOption = Annotated[
    Literal["control", "undetermined"], typer.Option(help="What a breast with benign pathology is.")
]
NormalSideOption = Annotated[
    Literal["control", "undetermined"], typer.Option(help="What the healthy side of a patient with cancer is.")
]


@index_app.callback()
def _index() -> None:
    """Make the manifest of a cohort from its published files."""


@index_app.command("rsna")
def index_rsna(
    table: Annotated[Path, typer.Option(help="The competition's train.csv.")],
    cohort: OutputOption,
    images: Annotated[Path | None, typer.Option(help="Folder with <patient_id>/<image_id>.dcm or .png.")] = None,
    allow_missing: MissingOption = False,
    on_conflict: ConflictOption = "refuse",
    check_headers: HeadersOption = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Index the RSNA 2023 screening mammography data; without --images, a table-only cohort.

    Example: mammoscope index rsna --table train.csv --images train_images -o cohort
    """
    from mammoscope.cohort.sources.rsna import read_rsna

    _check_image_options(images, allow_missing=allow_missing, check_headers=check_headers)
    handling = _handling(on_conflict, allow_missing=allow_missing, check_headers=check_headers, workers=workers)
    found = read_rsna(table, images, handling=handling)
    _write(found, cohort, as_json=as_json)


@index_app.command("dicom")
def index_dicom(
    folder: Annotated[Path, typer.Argument(help="A folder with DICOM studies, however they lie in it.")],
    cohort: OutputOption,
    outcomes: Annotated[
        Path | None, typer.Option(help="Table with cancer by patient_id or exam_id, and laterality; see the docs.")
    ] = None,
    sheet: SheetOption = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Take files with this verdict all the same; may be given again.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="The name of the data set, which keeps its ids apart when joined.")
    ] = "dicom",
    on_conflict: ConflictOption = "refuse",
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Index any folder of DICOM studies by their headers; what is no screening mammogram is left out with its reason.

    Example: mammoscope index dicom studies --outcomes outcomes.csv -o cohort
    """
    from mammoscope.cohort.sources.dicom import build_cohort
    from mammoscope.cohort.sources.outcome_table import read_outcomes

    told = None if outcomes is None else read_outcomes(outcomes, sheet=sheet)
    if told is not None and on_conflict == "refuse":
        told.refuse_problems()  # before all the headers are read, which takes long
    headers = _read_headers(folder, accept or [], workers=workers)
    _write(build_cohort(headers, told, source=source, on_conflict=on_conflict), cohort, as_json=as_json)


@index_app.command("table")
def index_table(
    context: typer.Context,
    table: Annotated[Path, typer.Option(help="A CSV, Parquet or Excel table with a row for each mammogram.")],
    mapping: Annotated[str, typer.Option(help="TOML file: what its columns mean; or cbis_ddsm_mass, the example.")],
    cohort: OutputOption,
    images: Annotated[Path | None, typer.Option(help="Folder below which the paths of the mapping lie.")] = None,
    case_birads: CaseOption = "4,5,6",
    control_birads: ControlOption = "1,2",
    benign: BenignOption = "control",
    normal_side: NormalSideOption = "control",
    allow_missing: MissingOption = False,
    on_conflict: ConflictOption = "refuse",
    check_headers: HeadersOption = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Index any table with the help of a small mapping file; without --images, a table-only cohort.

    Example: mammoscope index table --table index.csv --mapping cbis_ddsm_mass --images . -o cohort
    """
    from mammoscope.cohort.sources.mapping import read_mapping
    from mammoscope.cohort.sources.table import read_mapped_table

    meaning = read_mapping(mapping)
    _check_rule_options(context, meaning.rule_parts, mapping=mapping)
    rule = _rule(case_birads, control_birads, benign=benign, normal_side=normal_side)
    _check_image_options(images, allow_missing=allow_missing, check_headers=check_headers)
    handling = _handling(on_conflict, allow_missing=allow_missing, check_headers=check_headers, workers=workers)
    found = read_mapped_table(table, images, meaning, rule=rule, handling=handling)
    _write(found, cohort, as_json=as_json)


@index_app.command("cbis-ddsm")
def index_cbis_ddsm(
    table: Annotated[list[Path], typer.Option(help="A case description table; give all four, each with --table.")],
    cohort: OutputOption,
    images: Annotated[Path | None, typer.Option(help="Folder with Mass-Training_P_00001_LEFT_CC and so on.")] = None,
    benign: BenignOption = "control",
    allow_missing: MissingOption = False,
    on_conflict: ConflictOption = "refuse",
    check_headers: HeadersOption = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Index CBIS-DDSM (film) by its case description tables; without --images, a table-only cohort.

    Example: mammoscope index cbis-ddsm --table mass_case_description_train_set.csv --images CBIS-DDSM -o cohort
    """
    from mammoscope.cohort.sources.cbis_ddsm import read_cbis_ddsm

    _check_image_options(images, allow_missing=allow_missing, check_headers=check_headers)
    handling = _handling(on_conflict, allow_missing=allow_missing, check_headers=check_headers, workers=workers)
    _write(read_cbis_ddsm(table, images, rule=_rule(benign=benign), handling=handling), cohort, as_json=as_json)


@index_app.command("vindr-mammo")
def index_vindr_mammo(
    table: Annotated[Path, typer.Option(help="The data set's breast-level_annotations.csv.")],
    cohort: OutputOption,
    images: Annotated[Path | None, typer.Option(help="Folder with <study_id>/<image_id>.dicom.")] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="The data set's metadata.csv: age, machine and manufacturer of each image.")
    ] = None,
    official_split: Annotated[
        bool,
        typer.Option("--official-split", help="Take the official parts: test is fold 0, training is never held out."),
    ] = False,
    case_birads: CaseOption = "4,5,6",
    control_birads: ControlOption = "1,2",
    normal_side: NormalSideOption = "control",
    allow_missing: MissingOption = False,
    on_conflict: ConflictOption = "refuse",
    check_headers: HeadersOption = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Index VinDr-Mammo by its annotations, outcomes by BI-RADS; without --images, a table-only cohort.

    Example: mammoscope index vindr-mammo --table breast-level_annotations.csv --metadata metadata.csv -o cohort
    """
    from mammoscope.cohort.sources.vindr_mammo import VindrTables, read_vindr_mammo

    rule = _rule(case_birads, control_birads, normal_side=normal_side)
    _check_image_options(images, allow_missing=allow_missing, check_headers=check_headers)
    handling = _handling(on_conflict, allow_missing=allow_missing, check_headers=check_headers, workers=workers)
    tables = VindrTables(table, metadata, takes_split=official_split)
    _write(read_vindr_mammo(tables, images, rule=rule, handling=handling), cohort, as_json=as_json)


@index_app.command("cmmd")
def index_cmmd(
    table: Annotated[Path, typer.Option(help="CMMD_clinicaldata_revision.xlsx, or its sheet as CSV.")],
    images: Annotated[Path, typer.Option(help="Folder with the DICOM files, however they lie in it.")],
    cohort: OutputOption,
    sheet: SheetOption = None,
    benign: BenignOption = "control",
    normal_side: NormalSideOption = "undetermined",
    allow_missing: MissingOption = False,
    on_conflict: ConflictOption = "refuse",
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Index CMMD by its clinical table and the headers of its files.

    Example: mammoscope index cmmd --table CMMD_clinicaldata_revision.xlsx --images CMMD -o cohort
    """
    from mammoscope.cohort.sources.cmmd import read_cmmd
    from mammoscope.cohort.sources.indexing import Handling

    rule = _rule(benign=benign, normal_side=normal_side)
    handling = Handling(on_conflict=on_conflict, allow_missing=allow_missing)
    headers = _read_headers(images, [], workers=workers)
    _write(read_cmmd(table, headers, rule=rule, handling=handling, sheet=sheet), cohort, as_json=as_json)


@index_app.command("inbreast")
def index_inbreast(
    table: Annotated[Path, typer.Option(help="INbreast.xls or INbreast.csv.")],
    images: Annotated[Path, typer.Option(help="Folder AllDICOMs; the patient stands in the file names.")],
    cohort: OutputOption,
    sheet: SheetOption = None,
    case_birads: CaseOption = "4,5,6",
    control_birads: ControlOption = "1,2",
    normal_side: NormalSideOption = "control",
    allow_missing: MissingOption = False,
    on_conflict: ConflictOption = "refuse",
    check_headers: HeadersOption = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Index INbreast by its table and file names, outcomes by BI-RADS.

    Example: mammoscope index inbreast --table INbreast.xls --images AllDICOMs -o cohort
    """
    from mammoscope.cohort.sources.inbreast import read_inbreast

    rule = _rule(case_birads, control_birads, normal_side=normal_side)
    handling = _handling(on_conflict, allow_missing=allow_missing, check_headers=check_headers, workers=workers)
    _write(read_inbreast(table, images, rule=rule, handling=handling, sheet=sheet), cohort, as_json=as_json)


@index_app.command("mini-mias")
def index_mini_mias(
    table: Annotated[Path, typer.Option(help="The data set's Info.txt.")],
    cohort: OutputOption,
    images: Annotated[Path | None, typer.Option(help="Folder with mdb001.pgm to mdb322.pgm.")] = None,
    benign: BenignOption = "control",
    normal_side: NormalSideOption = "control",
    allow_missing: MissingOption = False,
    on_conflict: ConflictOption = "refuse",
    as_json: JsonOption = False,
) -> None:
    """Index mini-MIAS (film) by its Info.txt; without --images, a table-only cohort.

    Example: mammoscope index mini-mias --table Info.txt --images all-mias -o cohort
    """
    from mammoscope.cohort.sources.indexing import Handling
    from mammoscope.cohort.sources.mini_mias import read_mini_mias

    _check_image_options(images, allow_missing=allow_missing)
    rule = _rule(benign=benign, normal_side=normal_side)
    handling = Handling(on_conflict=on_conflict, allow_missing=allow_missing)
    _write(read_mini_mias(table, images, rule=rule, handling=handling), cohort, as_json=as_json)


def _check_image_options(images: Path | None, *, allow_missing: bool, check_headers: bool = False) -> None:
    """Refuse options about images where there are none.

    Raises:
        UserInputError: with the option.
    """
    for option, is_given in (("--allow-missing", allow_missing), ("--check-headers", check_headers)):
        if is_given and images is None:
            raise UserInputError(
                f"{option}: found without images, which it is about; give --images too, or leave it out"
            )


def _check_rule_options(context: typer.Context, parts: Collection[str], *, mapping: str) -> None:
    """Refuse an option of the rule that the mapping leaves nothing to decide.

    Raises:
        UserInputError: with the option.
    """
    for name in ("case_birads", "control_birads", "benign", "normal_side"):
        source = context.get_parameter_source(name)
        if name not in parts and source is not None and source.name != "DEFAULT":
            option = f"--{name.replace('_', '-')}"
            reason = "pathology" if name == "benign" else "outcome_from_birads"
            expected = f"{reason}, or pathology" if name == "normal_side" else reason
            found = f"found with {mapping}, which leaves it nothing to decide"
            raise UserInputError(f"{option}: {found}, expected a mapping with {expected}; leave it out")


def _rule(
    case_birads: str = "4,5,6",
    control_birads: str = "1,2",
    *,
    benign: Literal["control", "undetermined"] = "control",
    normal_side: Literal["control", "undetermined"] = "control",
) -> "OutcomeRule":
    from mammoscope.cohort.sources.outcomes import OutcomeRule, parse_categories

    return OutcomeRule(
        case_birads=parse_categories(case_birads, option="--case-birads"),
        control_birads=parse_categories(control_birads, option="--control-birads"),
        benign=benign,
        normal_side=normal_side,
    )


def _read_headers(folder: Path, accepted: list[str], *, workers: int) -> "Headers":
    from mammoscope.cohort.sources.dicom import list_files, read_headers
    from mammoscope.scaling import run_tasks

    paths = list_files(folder)
    with progress_bar("headers", total=len(paths)) as advance:
        runner = partial(run_tasks, n_workers=resolve_workers(workers))
        return read_headers(paths, accepted, run_tasks=runner, advance=advance)


def _handling(
    on_conflict: Literal["refuse", "exclude"], *, allow_missing: bool, check_headers: bool, workers: int
) -> "Handling":
    """How bad input is met; headers are read with a bar on stderr."""
    from mammoscope.cohort.sources.indexing import Handling

    check = partial(_check_headers, workers=workers) if check_headers else None
    return Handling(on_conflict=on_conflict, allow_missing=allow_missing, check_sides=check)


def _check_headers(rows: "pl.DataFrame", *, workers: int) -> "list[Problem]":
    from mammoscope.cohort.sources.side_check import check_sides, list_headers
    from mammoscope.scaling import run_tasks

    paths = list_headers(rows)
    runner = partial(run_tasks, n_workers=resolve_workers(workers))
    with progress_bar("headers", total=len(paths)) as advance:
        return check_sides(rows, paths, run_tasks=runner, advance=advance)


def _write(found: "IndexedCohort", cohort: Path, *, as_json: bool) -> None:
    """Write manifest and rejected files, warn, and print what was found."""
    from mammoscope.cohort.manifest import manifest_hash, read_present, write_manifest
    from mammoscope.cohort.sources.indexing import count_facts, write_rejected

    earlier = read_present(cohort)
    path = write_manifest(found.manifest, cohort)
    if earlier is not None and earlier["fold"].count() and not found.manifest["fold"].count():
        warn(f"{path}: was split, and its folds are gone; split again")
    rejected = write_rejected(found.rejected, cohort)
    for sentence in found.warnings:
        warn(sentence)
    facts = {**count_facts(found), "manifest": path, "sha256": manifest_hash(found.manifest)}
    print_summary("indexed", facts if rejected is None else {**facts, "rejected_files": rejected}, as_json=as_json)
