import numpy as np
import pytest

from mammoscope.phantom.fields import COARSE, Grid, band_field, detail_tile, power_law_field, sample_along, step


@pytest.mark.parametrize("beta", [2.0, 3.0, 4.0])
def test_the_power_falls_with_frequency_to_minus_beta(beta: float) -> None:
    field = power_law_field(np.random.default_rng(0), beta=beta, longest_mm=60)
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, COARSE.spacing_mm) for n in field.shape), indexing="ij"))
    used = (frequency > 0.05) & (frequency < 0.9)
    slope, _ = np.polyfit(np.log(frequency[used]), np.log(power[used]), 1)
    assert slope == pytest.approx(-beta, abs=0.05)


def test_a_field_has_mean_zero_and_deviation_one() -> None:
    field = power_law_field(np.random.default_rng(0), beta=3, longest_mm=60)
    assert field.mean() == pytest.approx(0, abs=1e-3)
    assert field.std() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("wavelength_mm", [3.0, 8.0, 20.0])
def test_a_band_has_its_power_at_its_wavelength(wavelength_mm: float) -> None:
    field = band_field(np.random.default_rng(1), wavelength_mm=wavelength_mm)
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, COARSE.spacing_mm) for n in field.shape), indexing="ij"))
    within_an_octave = (frequency > 0.5 / wavelength_mm) & (frequency < 2 / wavelength_mm)
    assert power[within_an_octave].sum() / power.sum() > 0.9


def test_resampling_keeps_places_in_mm() -> None:
    x, y = COARSE.coordinates()
    ramp = (3 * x + 2 * y).astype(np.float32)
    fine = Grid(rows=700, columns=400, spacing_mm=0.3)
    fine_x, fine_y = fine.coordinates()
    # OpenCV rounds places to 1/32 pixel; a shift by half a pixel would be off by 1.2
    expected = (3 * fine_x + 2 * fine_y)[2:-2, 2:-2]
    np.testing.assert_allclose(fine.resample(ramp, COARSE)[2:-2, 2:-2], expected, atol=0.2)


def test_looking_up_at_the_own_place_changes_nothing() -> None:
    field = power_law_field(np.random.default_rng(0), beta=3, longest_mm=60)
    rows, columns = np.indices(field.shape, dtype=np.float32) * COARSE.spacing_mm
    np.testing.assert_allclose(sample_along(field, columns, rows), field, atol=1e-4)


def test_the_detail_tile_repeats_without_a_seam() -> None:
    tile = detail_tile(np.random.default_rng(0), size=128, spacing_mm=0.1, beta=3.0)
    across_the_seam = np.abs(tile[:, 0] - tile[:, -1]).mean()
    inside = np.abs(np.diff(tile, axis=1)).mean()
    assert across_the_seam == pytest.approx(inside, rel=0.3)


def test_a_step_is_zero_below_one_above_and_smooth_between() -> None:
    value = np.array([-1, 0, 0.25, 0.5, 1, 2], dtype=np.float32)
    # 3 t**2 - 2 t**3 at t = 1/4 is 3/16 - 2/64 = 10/64
    np.testing.assert_allclose(step(value, 0.0, 1.0), [0, 0, 10 / 64, 0.5, 1, 1])
