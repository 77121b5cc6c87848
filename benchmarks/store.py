"""In what form prepared pictures are kept: size, speed of writing, and time of a random read, in turns.

Every form holds the same prepared phantoms, one picture after the other in one file, and is read by offset, as a
training reads: the bytes of the picture are read and decoded. `raw` is the store's own way; `raw, mapped` the same file
through a memory map, with every pixel touched; `content` means that only the rows and columns of the content are kept,
without the black around; `shuffled` that all low bytes stand before all high bytes.

"Warm" reads come from the page cache. Before "cold" ones the file is dropped from it (posix_fadvise, DONTNEED): what
lies below, such as the cache of a virtual disk, is not.

Usage: python benchmarks/store.py [--runs 5] [--out benchmarks/results/store.json]
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from mammoscope.imaging.canvas import Placement
from mammoscope.imaging.prepare import PrepareSettings, prepare_image
from mammoscope.phantom.dicom import Identity, encode_dicom
from mammoscope.phantom.machine import MACHINES
from mammoscope.phantom.patient import Assignment, plan_patient
from mammoscope.phantom.picture import draw_picture
from reporting import describe, read_arguments, write_report

Pixels = NDArray[Any]
CANVASES = {
    "1024 x 512, 16 bit": PrepareSettings(rows=1024, columns=512, bits=16),
    "512 x 512, 8 bit": PrepareSettings(rows=512, columns=512, bits=8),
}
N_PATIENTS = 3  # of four pictures, each of another machine
N_COPIES = 2  # so that a random read is rarely of what was read just before
N_COMPETITION = 54_706
PACKAGES = ("numpy", "imagecodecs", "opencv-python-headless")


@dataclass(frozen=True)
class Form:
    """A way to keep a picture: to bytes, and back to pixels of its shape and type."""

    encode: Callable[[Pixels], bytes]
    decode: Callable[[Pixels, tuple[int, int], np.dtype[Any]], Pixels]


def shuffle(pixels: Pixels) -> bytes:
    """All low bytes, then all high bytes."""
    return np.ascontiguousarray(pixels.reshape(-1).view(np.uint8).reshape(-1, pixels.dtype.itemsize).T).tobytes()


def unshuffle(content: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> Pixels:
    """The pixels of shuffled bytes."""
    planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype).reshape(shape)


def make_picture_form(encode: Callable[..., Any], decode: Callable[..., Any]) -> Form:
    """A codec that knows the shape and type of its pictures."""
    return Form(
        lambda pixels: bytes(encode(pixels)),
        lambda data, shape, dtype: np.asarray(decode(data)).reshape(shape).astype(dtype, copy=False),
    )


def make_forms() -> dict[str, Form]:
    """Every form that the codecs at hand can do."""
    zstd: Callable[..., Any] = imagecodecs.zstd_encode
    unzstd: Callable[..., Any] = imagecodecs.zstd_decode  # of any buffer, whatever its hints say
    forms = {
        "raw": Form(
            lambda pixels: pixels.tobytes(), lambda data, shape, dtype: np.frombuffer(data, dtype).reshape(shape)
        ),
        "zstd 1": Form(
            lambda pixels: bytes(zstd(pixels.tobytes(), level=1)),
            lambda data, shape, dtype: np.frombuffer(unzstd(data), dtype).reshape(shape),
        ),
        "zstd 1, shuffled": Form(
            lambda pixels: bytes(zstd(shuffle(pixels), level=1)),
            lambda data, shape, dtype: unshuffle(bytes(unzstd(data)), shape, dtype),
        ),
    }
    codecs: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "PNG": (partial(imagecodecs.png_encode, level=1), imagecodecs.png_decode),
        "JPEG-LS": (imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
        "HTJ2K": (partial(imagecodecs.htj2k_encode, reversible=True), imagecodecs.htj2k_decode),
        "JPEG XL": (partial(imagecodecs.jpegxl_encode, lossless=True, effort=1), imagecodecs.jpegxl_decode),
    }
    forms |= {name: make_picture_form(*pair) for name, pair in codecs.items()}
    return forms


@dataclass(frozen=True)
class Shard:
    """Pictures in one file, in one form, and where each stands."""

    path: Path
    form: Form
    offsets: list[int]
    placements: Sequence[Placement]
    dtype: np.dtype[Any]
    is_content_only: bool

    def read(self, index: int) -> Pixels:
        """The whole canvas of a picture."""
        placement = self.placements[index]
        first, last = self.offsets[index : index + 2]
        shape = placement.content_shape if self.is_content_only else placement.canvas_shape
        content = np.fromfile(self.path, np.uint8, count=last - first, offset=first)
        pixels = self.form.decode(content, shape, self.dtype)
        if not self.is_content_only:
            return pixels
        canvas = np.zeros(placement.canvas_shape, self.dtype)
        canvas[placement.content_top : placement.content_top + shape[0], : shape[1]] = pixels
        return canvas


class MappedShard(Shard):
    """Mapped from the disk."""

    def read(self, index: int) -> Pixels:
        """The whole canvas of a picture, every pixel touched."""
        shape = self.placements[index].canvas_shape
        return np.array(np.memmap(self.path, self.dtype, mode="r", offset=self.offsets[index], shape=shape))


def write(path: Path, form: Form, pictures: Sequence[Pixels], placements: Sequence[Placement], kind: str) -> Shard:
    """A shard of pictures."""
    is_content_only = "content" in kind
    offsets = [0]
    with path.open("wb") as file:
        for pixels, placement in zip(pictures, placements, strict=True):
            rows, columns = placement.content_shape
            top = placement.content_top
            kept = np.ascontiguousarray(pixels[top : top + rows, :columns]) if is_content_only else pixels
            offsets.append(offsets[-1] + file.write(form.encode(kept)))
        file.flush()
        os.fsync(file.fileno())
    cls = MappedShard if "mapped" in kind else Shard
    return cls(path, form, offsets, placements, pictures[0].dtype, is_content_only)


def drop_from_cache(path: Path) -> None:
    """Let the page cache forget a file, which has been written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def time_reads(shard: Shard, order: Sequence[int], *, is_cold: bool) -> float:
    """Milliseconds of the median read."""
    times = []
    if not is_cold:
        shard.path.read_bytes()  # what was dropped before is in the page cache again
    for index in order:
        if is_cold:
            drop_from_cache(shard.path)
        start = time.perf_counter()
        shard.read(index)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1000)


def compare(pictures: Sequence[Pixels], placements: Sequence[Placement], folder: Path, n_runs: int) -> dict[str, Any]:
    """Size, and the times of writing and reading of every form, in turns, after a warm-up."""
    forms = make_forms()
    kinds = dict(forms)
    kinds["raw, mapped"] = forms["raw"]
    kinds |= {f"{name}, content": forms[name] for name in ("zstd 1, shuffled", "JPEG-LS")}
    rng = np.random.default_rng(1)
    times: dict[str, dict[str, list[float]]] = {
        kind: {"write_ms": [], "warm_read_ms": [], "cold_read_ms": []} for kind in kinds
    }
    sizes: dict[str, float] = {}
    for run in range(n_runs + 1):
        order = rng.permutation(len(pictures)).tolist()
        for kind in sorted(kinds, reverse=bool(run % 2)):
            start = time.perf_counter()
            shard = write(folder / "shard", kinds[kind], pictures, placements, kind)
            write_ms = (time.perf_counter() - start) * 1000 / len(pictures)
            if not run:
                for index, pixels in enumerate(pictures):
                    np.testing.assert_array_equal(shard.read(index), pixels)
            cold = time_reads(shard, order, is_cold=True)
            warm = time_reads(shard, order, is_cold=False)
            sizes[kind] = shard.offsets[-1] / len(pictures)
            if run:
                for key, value in (("write_ms", write_ms), ("warm_read_ms", warm), ("cold_read_ms", cold)):
                    times[kind][key].append(value)
    return {kind: sum_up(kind, times, sizes) for kind in kinds}


def sum_up(kind: str, times: dict[str, dict[str, list[float]]], sizes: dict[str, float]) -> dict[str, Any]:
    """The figures of one form, and how they stand to the raw one's of the same runs."""
    warm = "warm_read_ms"
    return {
        "bytes_per_picture": round(sizes[kind]),
        "raw_size_over_this": round(sizes["raw"] / sizes[kind], 2),
        "competition_gib": round(sizes[kind] * N_COMPETITION / 2**30, 1),
        **{key: describe(values) for key, values in times[kind].items()},
        "warm_read_over_raw": describe([t / raw for t, raw in zip(times[kind][warm], times["raw"][warm], strict=True)]),
    }


def draw_files() -> list[bytes]:
    """Phantoms of several machines as DICOM files."""
    files = []
    for number in range(N_PATIENTS):
        machine = MACHINES[number % len(MACHINES)]
        plan = plan_patient(
            Assignment(number + 1, "train", machine, is_case=True),
            conspicuity=1.0,
            height_mm=machine.rows * machine.spacing_mm,
            rng=np.random.default_rng(number),
        )
        for place, mammogram in enumerate(plan.mammograms, start=1):
            identity = Identity(
                patient_id=plan.assignment.patient_id,
                image_id=plan.image_id(mammogram),
                instance_number=place,
                age_years=plan.age_years,
                laterality=mammogram.laterality,
                view=mammogram.view,
                seed=1,
            )
            files.append(encode_dicom(draw_picture(mammogram, machine), identity, machine))
    return files


def main() -> None:
    """Measure, print and write."""
    n_runs, out = read_arguments(__doc__, "store")
    cv2.setNumThreads(1)
    files = draw_files()
    results: dict[str, object] = {"n_runs": n_runs, "n_pictures": len(files) * N_COPIES}
    for name, settings in CANVASES.items():
        prepared = [prepare_image(content, settings, name="phantom") for content in files]
        pictures = [image.pixels for image in prepared] * N_COPIES
        placements = [image.record.placement for image in prepared] * N_COPIES
        with tempfile.TemporaryDirectory() as folder:
            results[name] = compare(pictures, placements, Path(folder), n_runs)
    write_report(out, results, suite="store", packages=PACKAGES, measured=["src/mammoscope/imaging"])


if __name__ == "__main__":
    main()
