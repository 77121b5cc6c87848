import pytest

from mammoscope.errors import UserInputError
from mammoscope.phantom.machine import MACHINES, Machine


def test_machines_differ_as_those_of_the_competition_do() -> None:
    assert {machine.is_inverted for machine in MACHINES} == {True, False}
    assert {machine.bits_stored for machine in MACHINES} == {12, 16}
    assert {machine.voi_function for machine in MACHINES} == {None, "LINEAR", "SIGMOID"}
    assert len({(machine.rows, machine.columns) for machine in MACHINES}) == len(MACHINES)


def test_the_sites_share_no_file_encoding() -> None:
    encodings = [{machine.encoding for machine in MACHINES if machine.site_id == site} for site in (1, 2)]
    assert encodings[0].isdisjoint(encodings[1])


@pytest.mark.parametrize("machine", MACHINES)
def test_scaling_keeps_the_field_of_view(machine: Machine) -> None:
    scaled = machine.scaled(0.25)
    assert scaled.rows * scaled.spacing_mm == pytest.approx(machine.rows * machine.spacing_mm, rel=2e-3)
    assert scaled.rows == round(machine.rows / 4)


@pytest.mark.parametrize("scale", [0, -1, 0.09, 1.01, float("nan")])
def test_a_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(UserInputError, match=r"scale: found .*, expected 0.1 to 1"):
        MACHINES[0].scaled(scale)
