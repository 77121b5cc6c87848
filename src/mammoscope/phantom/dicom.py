"""A phantom picture as a valid Digital Mammography X-Ray Image, For Presentation (PS3.3 A.26, SOP class …1.1.1.2)."""

import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
)

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.encoding import Loss, add_pixels
from mammoscope.phantom.machine import Machine, StoredValues

_EXAM_DATE: Final = "20000101"  # fixed: nobody was examined
_EXAM_TIME: Final = "120000"
_MAKER: Final = "mammoscope phantom"
_IMPLEMENTATION_UID: Final = "2.25.249563826439650312849236103574526730217"

# PS3.3 C.7.6.1.1.1: towards which side of the body the rows and the columns run
_ORIENTATION: Final = {
    (Laterality.LEFT, View.CC): ["A", "R"],
    (Laterality.RIGHT, View.CC): ["P", "L"],
    (Laterality.LEFT, View.MLO): ["A", "FR"],
    (Laterality.RIGHT, View.MLO): ["P", "FL"],
}

# PS3.16 CID 4014, SNOMED CT
_VIEW_CODE: Final = {View.CC: ("399162004", "cranio-caudal"), View.MLO: ("399368009", "medio-lateral oblique")}
_POSITIONER_ANGLE: Final = {View.CC: "0", View.MLO: "45"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and what a file is of."""

    patient_id: str
    image_id: str
    instance_number: int
    age_years: int
    laterality: Laterality
    view: View
    seed: int  # of the cohort: with the names above it gives the UIDs
    has_implant: bool = False
    padding: int | None = None  # the stored value that means no picture


def encode_dicom(pixels: StoredValues, identity: Identity, machine: Machine) -> bytes:
    """The bytes of a DICOM file; the same arguments give the same bytes."""
    dataset = Dataset()
    dataset.file_meta = _file_meta(identity, machine)
    _add_patient_and_study(dataset, identity)
    _add_series_and_equipment(dataset, identity, machine)
    _add_image(dataset, identity)
    _add_acquisition(dataset, machine)
    _add_detector(dataset, machine)
    _add_anatomy(dataset, identity)
    _add_display(dataset, machine)
    loss = add_pixels(dataset, pixels, machine)
    if loss is not None:
        _add_loss(dataset, loss)
    _add_padding(dataset, identity, machine)
    content = BytesIO()
    dcmwrite(content, dataset, enforce_file_format=True)
    return content.getvalue()


def make_uid(seed: int, *names: str) -> UID:
    """A UID below 2.25 (PS3.5 B.2) that depends on nothing but its arguments."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(('mammoscope-phantom', str(seed), *names))).int}")


def _instance_uid(identity: Identity) -> UID:
    return make_uid(identity.seed, identity.patient_id, "image", identity.image_id)


def _file_meta(identity: Identity, machine: Machine) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = _instance_uid(identity)
    meta.TransferSyntaxUID = UID(machine.transfer_syntax)
    meta.ImplementationClassUID = UID(_IMPLEMENTATION_UID)
    meta.ImplementationVersionName = "MAMMOSCOPE_1"
    return meta


def _add_patient_and_study(dataset: Dataset, identity: Identity) -> None:
    dataset.PatientName = f"PHANTOM^{identity.patient_id}"
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "F"
    dataset.PatientAge = f"{identity.age_years:03d}Y"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "synthetic: there is no patient"
    dataset.StudyInstanceUID = make_uid(identity.seed, identity.patient_id, "study")
    dataset.StudyDate = _EXAM_DATE
    dataset.StudyTime = _EXAM_TIME
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.StudyDescription = "Synthetic screening mammography"


def _add_series_and_equipment(dataset: Dataset, identity: Identity, machine: Machine) -> None:
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.SeriesInstanceUID = make_uid(identity.seed, identity.patient_id, "series", identity.image_id)
    dataset.SeriesNumber = identity.instance_number
    dataset.SeriesDescription = f"{identity.laterality} {identity.view}"
    dataset.Manufacturer = _MAKER
    dataset.InstitutionName = f"Phantom site {machine.site_id}"
    dataset.StationName = f"PHANTOM{machine.machine_id}"
    dataset.ManufacturerModelName = machine.model
    dataset.DeviceSerialNumber = str(machine.machine_id)
    dataset.SoftwareVersions = "1"


def _add_image(dataset: Dataset, identity: Identity) -> None:
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = _instance_uid(identity)
    dataset.InstanceNumber = identity.instance_number
    dataset.ContentDate = dataset.AcquisitionDate = _EXAM_DATE
    dataset.ContentTime = dataset.AcquisitionTime = _EXAM_TIME
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = _ORIENTATION[identity.laterality, identity.view]
    dataset.ImageLaterality = str(identity.laterality)
    dataset.ImageComments = "Synthetic picture, not of a patient"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.BreastImplantPresent = "YES" if identity.has_implant else "NO"
    dataset.PartialView = "NO"


def _add_acquisition(dataset: Dataset, machine: Machine) -> None:
    dataset.AcquisitionContextSequence = []
    dataset.KVP = "28"
    dataset.Exposure = "80"
    dataset.ExposureTime = "1000"
    dataset.AnodeTargetMaterial = "TUNGSTEN"
    dataset.FilterMaterial = "RHODIUM"
    dataset.BodyPartThickness = "55"
    dataset.CompressionForce = "100"
    dataset.PositionerType = "MAMMOGRAPHIC"
    dataset.DistanceSourceToDetector = "650"
    dataset.DistanceSourceToPatient = "630"
    dataset.EstimatedRadiographicMagnificationFactor = "1.03175"
    dataset.ImagerPixelSpacing = [f"{machine.spacing_mm:.8g}"] * 2


def _add_detector(dataset: Dataset, machine: Machine) -> None:
    dataset.DetectorType = "DIRECT"
    dataset.DetectorID = f"PHANTOM{machine.machine_id}"
    dataset.DetectorConfiguration = "AREA"
    dataset.FieldOfViewShape = "RECTANGLE"
    dataset.FieldOfViewOrigin = ["0", "0"]
    dataset.FieldOfViewRotation = "0"
    dataset.FieldOfViewHorizontalFlip = "NO"


def _add_anatomy(dataset: Dataset, identity: Identity) -> None:
    dataset.BodyPartExamined = "BREAST"
    dataset.AnatomicRegionSequence = [_code("76752008", "SCT", "Breast")]
    dataset.ViewPosition = str(identity.view)
    value, meaning = _VIEW_CODE[identity.view]
    view = _code(value, "SCT", meaning)
    view.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view]
    dataset.PositionerPrimaryAngle = _POSITIONER_ANGLE[identity.view]
    dataset.OrganExposed = "BREAST"


def _add_display(dataset: Dataset, machine: Machine) -> None:
    dataset.PhotometricInterpretation = "MONOCHROME1" if machine.is_inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if machine.is_inverted else "IDENTITY"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1 if machine.is_inverted else 1
    dataset.RescaleIntercept = f"{machine.intercept:g}"
    dataset.RescaleSlope = f"{machine.slope:g}"
    dataset.RescaleType = "US"
    if machine.lut_gamma is not None:
        dataset.VOILUTSequence = [_voi_lut(machine, machine.lut_gamma)]
    if not machine.windows:
        return
    dataset.WindowCenter = [f"{centre:g}" for centre, _ in machine.windows]
    dataset.WindowWidth = [f"{width:g}" for _, width in machine.windows]
    dataset.WindowCenterWidthExplanation = [f"WINDOW{1 + index}" for index in range(len(machine.windows))]
    if machine.voi_function is not None:
        dataset.VOILUTFunction = machine.voi_function


def _voi_lut(machine: Machine, gamma: float) -> Dataset:
    """A table from every stored value to 16 bits (PS3.3 C.11.2.1.1)."""
    n_entries = 2**machine.bits_stored
    shown = np.linspace(0, 1, n_entries) ** gamma
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [n_entries, 0, 16])
    lut.LUTExplanation = "NORMAL"
    lut.add_new("LUTData", "US", np.rint(65535 * shown).astype(int).tolist())
    return lut


def _add_padding(dataset: Dataset, identity: Identity, machine: Machine) -> None:
    kind = "SS" if machine.is_signed else "US"
    padding = machine.padding if identity.padding is None else identity.padding
    if padding is not None:
        dataset.add_new("PixelPaddingValue", kind, padding)
    if machine.padding_limit is not None:
        dataset.add_new("PixelPaddingRangeLimit", kind, machine.padding_limit)


def _add_loss(dataset: Dataset, loss: Loss) -> None:
    """What a lossy compression has to say of itself (PS3.3 C.7.6.1.1.5)."""
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.DerivationDescription = "Lossy compression"
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = f"{loss.ratio:.4g}"
    dataset.LossyImageCompressionMethod = loss.method


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    concept = Dataset()
    concept.CodeValue = value
    concept.CodingSchemeDesignator = scheme
    concept.CodeMeaning = meaning
    return concept
