"""Breaks thousands of files and prepares each: none may crash, hang, or end in an error that is not a refusal.

Usage: python tests/fuzz/fuzz_imaging.py [--cases 20000] [--workers 2] [--out benchmarks/results/fuzz.json]

Seed n makes the same broken file every time: `--show n` writes it to broken.dcm.
"""

import argparse
import json
import logging
import sys
import time
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from corpus import make_corpus
from harness import run_seeds
from mutations import mutate

from mammoscope.errors import ImageRefusedError
from mammoscope.files import write_json
from mammoscope.imaging.contradictions import find_warnings
from mammoscope.imaging.display import WindowPolicy
from mammoscope.imaging.header import read_header
from mammoscope.imaging.inspection import list_header
from mammoscope.imaging.prepare import PrepareSettings, prepare_image

LONGEST_S = 20.0  # a file takes milliseconds; this is a thousand times as long
WINDOWS: tuple[WindowPolicy, ...] = ("minmax", "percentile", "dicom")

_files = cache(make_corpus)


def make_case(seed: int) -> bytes:
    """The broken file of a seed."""
    return mutate(_files(), np.random.default_rng(seed))


def judge(seed: int) -> str:
    """What preparing the file of a seed comes to: `prepared`, or the code of its refusal."""
    content = make_case(seed)
    settings = PrepareSettings(rows=64, columns=32, window=WINDOWS[seed % len(WINDOWS)], excluded=())
    try:
        header = read_header(content, name="case")
        find_warnings(header)
        list_header(header, with_identifiers=True)
        image = prepare_image(content, settings, name="case")
    except ImageRefusedError as error:
        return error.code
    if image.pixels.shape != (64, 32):
        raise ValueError(f"a prepared image of {image.pixels.shape}")
    return "prepared"


def main() -> None:
    """Break, prepare, count, print and write; exit code 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", type=int)
    arguments = parser.parse_args()
    if arguments.show is not None:
        Path("broken.dcm").write_bytes(make_case(arguments.show))
        return
    cv2.setNumThreads(1)
    logging.disable()  # pydicom tells of every oddity
    _files()
    start = time.monotonic()
    tally = run_seeds(judge, arguments.cases, n_workers=arguments.workers, longest_s=LONGEST_S)
    report = {
        "n_cases": tally.n_cases,
        "n_failures": len(tally.failures),
        "seconds": round(time.monotonic() - start, 1),
        "outcomes": dict(tally.outcomes.most_common()),
        "failures": [f"seed {seed}: {text}" for seed, text in sorted(tally.failures)[:50]],
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    if arguments.out:
        write_json(arguments.out, report)
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()
