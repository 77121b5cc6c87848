"""What is known of a picture when it is scored or refused, as a row of the journal."""

from collections.abc import Collection, Iterator, Sequence

import polars as pl

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.verdict import Verdict
from mammoscope.inference.journal import FACTS
from mammoscope.inference.reading import PreparedFile
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.table_inputs import COLUMNS

Networks = tuple[int, ...]
"""Places of networks among those of a run."""
Row = dict[str, object]


def to_refused_row(rejection: Rejection) -> Row:
    """The row of a file that cannot be used."""
    return {"path": rejection.path, "code": rejection.code, "sentence": rejection.sentence}


def to_scored_rows(
    files: Sequence[PreparedFile],
    networks: Networks,
    logits: Sequence[PictureLogits],
    remarks: Sequence[Collection[str]],
) -> Iterator[Row]:
    """The rows of pictures that were scored by these networks, in their order."""
    for place, (prepared, codes) in enumerate(zip(files, remarks, strict=True)):
        mammogram = prepared.mammogram
        yield {
            **prepared.record,
            **{name: prepared.facts.get(name) for name in FACTS},
            "path": str(prepared.path),
            "code": Verdict.OK.value,
            "patient_id": mammogram.patient_id,
            "exam_id": mammogram.exam_id,
            "laterality": mammogram.laterality.value,
            "view": None if mammogram.view is None else mammogram.view.value,
            "image_id": mammogram.image_id,
            "networks": list(networks),
            "cancer": [float(each.cancer[place]) for each in logits],
            "view_weight": [float(each.view[place]) for each in logits],
            "remarks": list(codes),
        }


def tabulate_facts(files: Sequence[PreparedFile]) -> pl.DataFrame:
    """What is known of each file, in the columns that networks are given."""
    return pl.DataFrame(
        [{"image_id": prepared.mammogram.image_id, **prepared.facts} for prepared in files],
        schema={name: SCHEMA[name] for name in ("image_id", *COLUMNS)},
    )
