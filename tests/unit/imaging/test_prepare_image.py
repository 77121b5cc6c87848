from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid

from mammoscope.config import build_settings, to_toml
from mammoscope.errors import ConfigError, ImageRefusedError
from mammoscope.files import sha256_of_bytes
from mammoscope.imaging.batch import PrepareJob, Rejection, prepare_job
from mammoscope.imaging.prepare import PreparedImage, PrepareSettings, prepare_image

MakeDicom = Callable[..., bytes]
SETTINGS = PrepareSettings(rows=64, columns=32)


@pytest.mark.parametrize(("bits", "dtype"), [(8, "uint8"), (16, "uint16")])
def test_a_prepared_image_has_the_size_and_type_asked_for(make_dicom: MakeDicom, bits: int, dtype: str) -> None:
    settings = build_settings(PrepareSettings, {"rows": 60, "columns": 40, "bits": bits}, where="test")
    image = prepare_image(make_dicom(), settings, name="1")
    assert (image.pixels.shape, image.pixels.dtype.name) == ((60, 40), dtype)
    assert image.pixels.max() > 0.9 * (2**bits - 1)
    assert image.pixels.nbytes == settings.picture_bytes


def test_the_record_says_how_the_image_came_about(make_dicom: MakeDicom) -> None:
    content = make_dicom(ImagerPixelSpacing=[0.07, 0.07])
    image = prepare_image(content, SETTINGS, name="1")
    record = image.record
    assert record.placement.original_shape == (96, 80)
    assert record.is_breast_found
    assert (record.decoder, record.level, record.spacing_mm) == ("numpy", 0, (0.07, 0.07))
    assert record.to_row()["transfer_syntax"] == uid.ExplicitVRLittleEndian
    assert record.file_hash == sha256_of_bytes(content)
    assert record.content_hash == sha256_of_bytes(image.pixels.tobytes())


def test_the_box_holds_the_breast_and_little_else(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    box = prepare_image(make_dicom(), SETTINGS, name="1").record.placement.box
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    assert (box.top, box.left) <= (rows[0], columns[0])
    assert box.bottom > rows[-1]
    assert box.right > columns[-1]
    assert box.rows * box.columns < 1.25 * rows.size * columns.size


def test_flipping_the_file_gives_the_same_image(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    image = prepare_image(make_dicom(breast), SETTINGS, name="1")
    flipped = prepare_image(make_dicom(np.ascontiguousarray(breast[:, ::-1])), SETTINGS, name="1")
    assert (image.record.placement.is_flipped, flipped.record.placement.is_flipped) == (False, True)
    np.testing.assert_array_equal(image.pixels, flipped.pixels)


def test_white_background_gives_the_same_image(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    image = prepare_image(make_dicom(breast, BitsStored=12, HighBit=11), SETTINGS, name="1")
    inverted = make_dicom(4095 - breast, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(prepare_image(inverted, SETTINGS, name="1").pixels, image.pixels, atol=1)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless])
def test_the_encoding_makes_no_difference(make_dicom: MakeDicom, syntax: str) -> None:
    plain = prepare_image(make_dicom(), SETTINGS, name="1")
    np.testing.assert_array_equal(prepare_image(make_dicom(syntax=syntax), SETTINGS, name="1").pixels, plain.pixels)


def test_a_large_jpeg_2000_is_decoded_at_a_lower_level(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    large = cv2.resize(breast, (1280, 1536), interpolation=cv2.INTER_CUBIC)
    settings = PrepareSettings(rows=256, columns=128)
    reduced = prepare_image(make_dicom(large, syntax=uid.JPEG2000Lossless), settings, name="1")
    whole = prepare_image(make_dicom(large), settings, name="1")
    # the breast's box is about 1250 x 920: 7 times the columns of the canvas, so 4 times fewer still fill it
    assert (reduced.record.level, reduced.record.decoder) == (2, "pillow")
    difference = reduced.pixels.astype(float) - whole.pixels
    assert np.abs(difference).mean() < 0.005 * 65535  # the boxes differ by up to 4 px of 1250


@pytest.mark.parametrize("margin", [0.0, 0.011, 0.023])
def test_a_box_holds_whole_pixels_of_its_level(
    make_dicom: MakeDicom, breast: NDArray[np.uint16], margin: float
) -> None:
    content = make_dicom(cv2.resize(breast, (1280, 1536)), syntax=uid.JPEG2000Lossless)
    record = prepare_image(content, PrepareSettings(rows=256, columns=128, margin=margin), name="1").record
    assert record.level == 2
    assert [edge % 4 for edge in record.placement.box] == [0, 0, 0, 0]


@pytest.mark.parametrize(("canvas", "level"), [((64, 32), 2), ((256, 128), 2), ((512, 256), 1), ((1024, 512), 0)])
def test_the_level_is_the_coarsest_that_fills_the_canvas_and_lets_the_breast_be_found(
    make_dicom: MakeDicom, breast: NDArray[np.uint16], canvas: tuple[int, int], level: int
) -> None:
    content = make_dicom(cv2.resize(breast, (1280, 1536)), syntax=uid.JPEG2000Lossless)
    settings = PrepareSettings(rows=canvas[0], columns=canvas[1], margin=0)
    record = prepare_image(content, settings, name="1").record
    assert record.level == level
    assert max(record.placement.scale) * 2**record.level <= 1 or level == 0


def test_the_whole_resolution_is_decoded_when_asked_for(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    content = make_dicom(cv2.resize(breast, (1280, 1536)), syntax=uid.JPEG2000Lossless)
    settings = PrepareSettings(rows=256, columns=128, resolution="whole")
    assert prepare_image(content, settings, name="1").record.level == 0


def test_a_small_breast_in_a_large_picture_is_decoded_again_and_finer(
    make_dicom: MakeDicom, breast: NDArray[np.uint16]
) -> None:
    picture = np.zeros((2048, 1024), dtype=np.uint16)
    picture[600:1112, :400] = cv2.resize(breast, (400, 512))
    content = make_dicom(picture, syntax=uid.JPEG2000Lossless)
    record = prepare_image(content, PrepareSettings(rows=512, columns=256, margin=0), name="1").record
    assert record.is_breast_found
    assert record.level == 0  # at level 1 the box would have 256 rows, or a few less


def test_stretching_fills_the_canvas(make_dicom: MakeDicom) -> None:
    settings = PrepareSettings(rows=64, columns=64, fit="stretch")
    placement = prepare_image(make_dicom(), settings, name="1").record.placement
    assert placement.content_shape == (64, 64)
    assert placement.scale[0] != placement.scale[1]


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"Modality": "CT"}, "not_mammography"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        ({"EstimatedRadiographicMagnificationFactor": 1.8}, "localizer_or_spot"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "secondary_capture"),
    ],
)
def test_what_screening_leaves_out_is_refused_unless_it_is_accepted(
    make_dicom: MakeDicom, elements: dict[str, object], code: str
) -> None:
    content = make_dicom(**elements)
    with pytest.raises(ImageRefusedError, match="1: found") as caught:
        prepare_image(content, SETTINGS, name="1")
    assert caught.value.code == code
    assert prepare_image(content, SETTINGS.model_copy(update={"excluded": ()}), name="1").pixels.any()


def test_the_window_of_the_file_is_used_when_asked_for(make_dicom: MakeDicom) -> None:
    content = make_dicom(WindowCenter=1000, WindowWidth=500, VOILUTFunction="SIGMOID")
    settings = PrepareSettings(rows=64, columns=32, window="dicom")
    row = prepare_image(content, settings, name="1").record.to_row()
    assert (row["window"], row["window_center"], row["window_width"]) == ("sigmoid", 1000, 500)
    assert prepare_image(content, SETTINGS, name="1").record.to_row()["window"] == "minmax"


def test_padding_does_not_change_the_grey_scale(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    padded = breast.copy()
    padded[:, 76:] = 60_000
    box_right = 80
    with_padding = prepare_image(make_dicom(padded, PixelPaddingValue=60_000), SETTINGS, name="1")
    assert with_padding.record.placement.box.right < box_right
    np.testing.assert_array_equal(with_padding.pixels, prepare_image(make_dicom(breast), SETTINGS, name="1").pixels)


def test_percentiles_leave_padding_out(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    padded = breast + np.uint16(100)
    padded[60:, 20:] = 0  # a tilted shutter, cut out with the breast
    settings = PrepareSettings(rows=64, columns=32, window="percentile")
    record = prepare_image(make_dicom(padded, PixelPaddingValue=0), settings, name="1").record
    box = record.placement.box
    cut = padded[box.top : box.bottom, box.left : box.right]
    low, high = np.percentile(cut[cut > 0], (0.5, 99.5))
    assert (cut == 0).mean() > 0.05
    assert record.display.center == pytest.approx((low + high) / 2)
    assert record.display.width == pytest.approx(high - low)


@pytest.mark.parametrize(("photometric", "padding"), [("MONOCHROME2", 4095), ("MONOCHROME1", 16_000)])
def test_bright_or_far_padding_is_not_mixed_into_a_reduced_picture(
    make_dicom: MakeDicom, breast: NDArray[np.uint16], photometric: str, padding: int
) -> None:
    large = cv2.resize(breast, (800, 960))
    large = 3000 - large // 2 if photometric == "MONOCHROME1" else large
    large[:, 600:], large[600:, 500:] = padding, padding
    pads = {"PixelPaddingValue": padding, "PhotometricInterpretation": photometric}
    reduced = prepare_image(make_dicom(large, syntax=uid.JPEG2000Lossless, **pads), SETTINGS, name="1")
    whole = prepare_image(make_dicom(large, **pads), SETTINGS, name="1")
    np.testing.assert_array_equal(reduced.pixels, whole.pixels)


def test_a_png_is_prepared(breast: NDArray[np.uint16]) -> None:
    image = prepare_image(bytes(cv2.imencode(".png", breast)[1]), SETTINGS, name="1")
    assert (image.record.decoder, image.record.is_breast_found) == ("opencv", True)


def test_one_value_is_no_picture(make_dicom: MakeDicom) -> None:
    with pytest.raises(ImageRefusedError, match="1: found one value, 7, in all pixels") as caught:
        prepare_image(make_dicom(np.full((96, 80), 7, dtype=np.uint16)), SETTINGS, name="1")
    assert caught.value.code == "blank"


def test_equal_settings_have_equal_hashes() -> None:
    assert PrepareSettings().hash == PrepareSettings().hash
    assert PrepareSettings().hash != PrepareSettings(window="dicom").hash
    assert PrepareSettings().hash == sha256_of_bytes(to_toml(PrepareSettings()).encode())


@pytest.mark.parametrize(
    ("key", "value"), [("rows", 8), ("columns", 0), ("bits", 12), ("window", "auto"), ("margin", -1)]
)
def test_settings_that_make_no_sense_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"test: {key}: found"):
        build_settings(PrepareSettings, {key: value}, where="test")


def test_a_missing_file_is_rejected_with_what_to_do() -> None:
    rejection = prepare_job(PrepareJob("1", "/nowhere/1.dcm"), SETTINGS)
    assert isinstance(rejection, Rejection)
    assert rejection.code == "unreadable"
    assert rejection.sentence == (
        "1: found no readable file (No such file or directory), expected one that exists and may be read; "
        "check its path and its rights"
    )


def test_a_refused_file_is_rejected_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_text("text")
    rejection = prepare_job(PrepareJob("1", str(tmp_path / "1.dcm")), SETTINGS)
    assert isinstance(rejection, Rejection)
    assert (rejection.image_id, rejection.path, rejection.code) == ("1", str(tmp_path / "1.dcm"), "not_dicom")


def test_an_unforeseen_error_is_rejected_and_named(tmp_path: Path, make_dicom: MakeDicom) -> None:
    def fail(*_: object, **__: object) -> PreparedImage:
        raise ZeroDivisionError("Smith^Anna")

    (tmp_path / "1.dcm").write_bytes(make_dicom())
    rejection = prepare_job(PrepareJob("1", str(tmp_path / "1.dcm")), SETTINGS, fail)
    assert isinstance(rejection, Rejection)
    assert rejection.code == "undecodable"
    assert "ends in ZeroDivisionError" in rejection.sentence
    assert "Smith" not in rejection.sentence


def test_lack_of_memory_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> PreparedImage:
        raise MemoryError

    (tmp_path / "1.dcm").write_bytes(b"")
    with pytest.raises(MemoryError):
        prepare_job(PrepareJob("1", str(tmp_path / "1.dcm")), SETTINGS, fail)


def test_the_picture_is_believed_before_the_orientation_and_the_conflict_is_told(make_dicom: MakeDicom) -> None:
    agreeing, contrary = (
        prepare_image(make_dicom(PatientOrientation=orientation), SETTINGS, name="1").record
        for orientation in (["A", "R"], ["P", "L"])
    )
    assert (agreeing.placement.is_flipped, contrary.placement.is_flipped) == (False, False)
    assert (agreeing.warnings, contrary.warnings) == ((), ("wall_conflict",))
    assert contrary.to_row()["warnings"] == "wall_conflict"


@pytest.mark.parametrize(("orientation", "is_flipped"), [(["A", "R"], False), (["P", "L"], True)])
def test_without_a_breast_the_orientation_says_the_chest_wall(
    make_dicom: MakeDicom, orientation: list[str], *, is_flipped: bool
) -> None:
    noise = np.random.default_rng(1).integers(1000, 1100, (96, 80)).astype(np.uint16)
    record = prepare_image(make_dicom(noise, PatientOrientation=orientation), SETTINGS, name="1").record
    assert not record.is_breast_found
    assert record.placement.is_flipped is is_flipped
    assert record.warnings == ()


def test_the_margin_is_in_millimetres_where_the_spacing_is_known(make_dicom: MakeDicom) -> None:
    narrow, wide = (
        prepare_image(
            make_dicom(ImagerPixelSpacing=[0.5, 0.5]), SETTINGS.model_copy(update={"margin_mm": margin_mm}), name="1"
        ).record.placement.box
        for margin_mm in (0.0, 4.0)
    )
    assert wide.right - narrow.right == 8
    assert narrow.top - wide.top == 8
