"""How fast DICOM files on disk become scores: ours, and what people do, in turns.

What people do: pydicom's `pixel_array`, min-max in float, inversion, resize, torch in single precision, one file at a
time. Ours is `mammoscope predict` as it is, from the files to the folder it writes: decoders in processes of their own,
the breast found and cropped, the network in batches. Beside it each stage alone on all cores, whose sum is the best
that a pipeline without any loss can do; the share of its time that each core computes, for whomever, and that which all
compute for us; the most memory of all processes together, with the torch of the other way; and the hours for the 54,706
files of the competition.

Usage: python benchmarks/predict.py [--runs 5] [--out benchmarks/results/predict.json]

It measures the competition's files under MAMMOSCOPE_REAL_DATA, and says so where there are none. Networks have random
weights, which are as fast as any.
"""

import os
import sys
from pathlib import Path

from reporting import read_arguments, write_report

PACKAGES = ("numpy", "pydicom", "pillow", "imagecodecs", "opencv-python-headless", "torch", "timm")
MEASURED = ["src/mammoscope/imaging", "src/mammoscope/inference", "src/mammoscope/learning"]


def main() -> None:
    """Measure, print and write."""
    from predict_stages import measure  # noqa: PLC0415  # decoding processes load this file, and need no torch

    n_runs, out = read_arguments(__doc__, "predict")
    real_data = os.environ.get("MAMMOSCOPE_REAL_DATA")
    if not real_data:
        print("MAMMOSCOPE_REAL_DATA is not set: there are no competition files to measure, and nothing is")
        sys.exit(0)
    write_report(out, measure(Path(real_data), n_runs=n_runs), suite="predict", packages=PACKAGES, measured=MEASURED)


if __name__ == "__main__":
    main()
