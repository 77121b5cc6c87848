"""A folder of exported networks: what `export.json` says, and that its files are those that were written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from mammoscope.config import Settings
from mammoscope.errors import RunError
from mammoscope.files import sha256_of_file, write_json
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import TableEncoder

RECORD_NAME = "export.json"
EXPORT_VERSION: Final = 1
Format = Literal["onnx", "openvino"]
Precision = Literal["f32", "bf16", "int8"]
SUFFIX_BY_FORMAT: dict[Format, str] = {"openvino": ".xml", "onnx": ".onnx"}


class ExportedNetwork(Settings):
    """The network of a fold: the SHA-256 of its weights and of each of its files, and how its table is encoded."""

    fold: int
    weights_sha256: str
    files: dict[str, str]
    table: TableEncoder | None = None


class AucLoss(Settings):
    """How much lower the AUC of held-out breasts is than that of the network in f32, with an interval over patients."""

    fold: int
    n_breasts: int
    n_patients: int
    auc_f32: float | None = None
    auc: float | None = None
    loss: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def sentence(self) -> str:
        """The loss with its interval, or why there is none."""
        if self.loss is None:
            return str(self.reason)
        interval = "no interval" if self.low is None else f"{self.low:.3f} to {self.high:.3f}"
        return f"{self.loss:.3f} ({interval}) on {self.n_breasts} breasts of fold {self.fold}"


class ExportCheck(Settings):
    """How far the exported networks are from torch in f32, in probability.

    `pictures` says whether they were prepared ones of a store, or drawn; `limit` is None where the AUC is judged.
    """

    format: Format
    precision: Precision
    pictures: Literal["store", "drawn"]
    n_pictures: int
    greatest_difference: float
    mean_difference: float
    limit: float | None
    auc_loss: AucLoss | None = None

    @property
    def is_passed(self) -> bool:
        """Whether the difference is within the limit."""
        return self.limit is None or self.greatest_difference <= self.limit


class ExportRecord(Settings):
    """What `export.json` says; `outputs` are what the networks give, by name, empty of an earlier version."""

    schema_version: Literal[1] = EXPORT_VERSION
    what: Literal["mammoscope export"] = "mammoscope export"
    versions: dict[str, str]
    formats: tuple[Format, ...]
    precision: Precision
    recipe: Recipe
    prepare: PrepareSettings
    share_of_cases: float | None
    outputs: tuple[str, ...] = ()
    networks: tuple[ExportedNetwork, ...]
    checks: tuple[ExportCheck, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """A folder of exported networks that has been opened."""

    path: Path
    record: ExportRecord

    def network_path(self, network: ExportedNetwork, format_: Format | None = None) -> Path:
        """The file to load of a network; without a format, OpenVINO's own where it is there."""
        chosen = format_ or ("openvino" if "openvino" in self.record.formats else "onnx")
        return self.path / network_name(network.fold, chosen)


def network_name(fold: int, format_: Format) -> str:
    """The name of the file of a fold's network."""
    return f"fold-{fold}{SUFFIX_BY_FORMAT[format_]}"


def is_export(folder: Path) -> bool:
    """Whether a folder says that it holds exported networks."""
    return (folder / RECORD_NAME).is_file()


def input_size(recipe: Recipe, prepare: PrepareSettings) -> tuple[int, int]:
    """The rows and columns that the network sees in prediction."""
    rows, columns = recipe.picture.held_out_rows, recipe.picture.held_out_columns
    return (prepare.rows, prepare.columns) if rows is None or columns is None else (rows, columns)


def write_export(folder: Path, record: ExportRecord) -> None:
    """Write `export.json`, the last of the files of an export."""
    write_json(folder / RECORD_NAME, record.model_dump(mode="json"))


def open_export(folder: Path) -> Export:
    """The exported networks of a folder, each file with the SHA-256 that it was written with.

    Raises:
        RunError: no such folder, a record that cannot be read or is of another version, or a file that is missing or
            another.
    """
    record = read_export(folder)
    for network in record.networks:
        for name, expected in network.files.items():
            _check_file(folder / name, expected)
    return Export(folder, record)


def read_export(folder: Path) -> ExportRecord:
    """What a folder of exported networks says of itself.

    Raises:
        RunError: it is not there, cannot be read, or is of another version.
    """
    path = folder / RECORD_NAME
    if not path.is_file():
        raise RunError(f"{folder}: found no {RECORD_NAME}, expected exported networks; make them: mammoscope export")
    try:
        return ExportRecord.model_validate_json(path.read_text(encoding="utf-8"), strict=True)
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: not UTF-8 text; export anew with mammoscope export") from error
    except ValidationError as error:
        raise RunError(f"{path}: {_say_first(error)}; export anew with this version of mammoscope") from error


def _say_first(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if place == "schema_version":
        return f"schema_version is {first['input']!r}, expected {EXPORT_VERSION}"
    return f"{place}: {first['msg'].lower()}" if place else "not JSON"


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise RunError(f"{path}: found no such file, expected the network that was exported; export anew")
    found = sha256_of_file(path)
    if found != expected:
        raise RunError(
            f"{path}: found another file than was exported (SHA-256 {found[:12]}…, expected {expected[:12]}…); export "
            "anew"
        )
