"""Miniature published data sets, written by the tests: DICOM files with a header and a few pixels, and tables."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

WriteDicom = Callable[..., Path]
WriteTable = Callable[..., Path]


@pytest.fixture
def write_dicom() -> WriteDicom:
    """Write a DICOM file with 4 x 4 pixels; elements given by keyword replace the usual ones, None removes one."""

    def write(path: Path, *, syntax: str = uid.ExplicitVRLittleEndian, **elements: object) -> Path:
        dataset = Dataset()
        usual: dict[str, object] = {
            "SOPClassUID": uid.DigitalMammographyXRayImageStorageForPresentation,
            "SOPInstanceUID": f"1.2.{sum(str(path).encode())}.{len(str(path))}",
            "Modality": "MG",
            "PatientID": "patient1",
            "PatientAge": "061Y",
            "StudyInstanceUID": "1.2.1",
            "ImageLaterality": "L",
            "ViewPosition": "CC",
            "Manufacturer": "Maker",
            "ManufacturerModelName": "Model",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": 4,
            "Columns": 4,
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelRepresentation": 0,
            "PixelData": bytes(32),
        }
        for keyword, value in (usual | elements).items():
            if value is not None:
                setattr(dataset, keyword, value)
        if "PixelData" in dataset:
            dataset["PixelData"].VR = "OW"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
        dataset.file_meta.MediaStorageSOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
        dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_lines(tmp_path: Path) -> WriteTable:
    """Write a text file of lines below the temporary folder."""

    def write(name: str, *lines: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
