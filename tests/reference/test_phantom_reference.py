"""Phantom files against other people's software: pydicom's display pipeline, and David Clunie's dciodvfy.

And against themselves, drawn in several processes.
"""

import shutil
import subprocess
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_windowing

from mammoscope.anatomy import Laterality, View
from mammoscope.files import sha256_of_bytes
from mammoscope.phantom.cohort import CohortSettings, synthesize_cohort
from mammoscope.phantom.dicom import Identity, encode_dicom
from mammoscope.phantom.machine import MACHINES, Machine
from mammoscope.phantom.picture import to_stored_values
from mammoscope.phantom.vendors import VENDORS
from mammoscope.scaling import run_tasks

IDENTITY = Identity("900001", "9000011", 1, 61, Laterality.RIGHT, View.MLO, 5)


@pytest.mark.parametrize("machine", MACHINES)
def test_pydicom_displays_the_brightness_that_was_drawn(machine: Machine) -> None:
    brightness = np.linspace(0.02, 0.98, 400, dtype=np.float32).reshape(20, 20)
    stored = to_stored_values(brightness, machine)
    dataset = pydicom.dcmread(BytesIO(encode_dicom(stored, IDENTITY, machine)))
    highest = 2**machine.bits_stored - 1
    shown = apply_windowing(stored, dataset) / highest
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    np.testing.assert_allclose(shown, brightness, atol=0.003)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian: dicom3tools) is not installed")
@pytest.mark.parametrize(
    "machine",
    [machine for machine in (*MACHINES, *VENDORS) if machine.keeps_the_standard],
    ids=lambda m: str(m.machine_id),
)
@pytest.mark.parametrize("view", [View.CC, View.MLO])
def test_dciodvfy_finds_no_error(machine: Machine, view: View, tmp_path: Path) -> None:
    pixels = np.full((60, 40), 100, dtype=np.uint16)
    identity = Identity("900001", "9000011", 1, 61, Laterality.LEFT, view, 5)
    path = tmp_path / "phantom.dcm"
    if machine.encoding == "deflated":  # which dciodvfy does not read
        machine = machine.encoded_as("explicit")
    path.write_bytes(encode_dicom(pixels, identity, machine))
    verdict = subprocess.run(  # noqa: S603  # a fixed program and a file of our own
        ["dciodvfy", "-new", str(path)],  # noqa: S607  # found on the path above
        capture_output=True,
        text=True,
        check=False,
    )
    assert "MammographyImageForPresentation" in verdict.stderr
    assert "Error" not in verdict.stderr


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    settings = CohortSettings(patients=4, prevalence=0.5, seed=3, scale=0.1)
    hashes = []
    for n_workers in (1, 2):
        out = tmp_path / str(n_workers)
        synthesize_cohort(out, settings, run_tasks=partial(run_tasks, n_workers=n_workers), advance=lambda _: None)
        hashes.append(
            {path.relative_to(out): sha256_of_bytes(path.read_bytes()) for path in out.rglob("*") if path.is_file()}
        )
    assert len(hashes[0]) == 16 + 5  # images; train.csv, three truth tables, the settings
    assert hashes[0] == hashes[1]
