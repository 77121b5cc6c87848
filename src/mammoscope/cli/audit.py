"""`mammoscope audit`: what is in a cohort, what is wrong with it, and what could be mistaken for a tumour."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary
from mammoscope.errors import StoreError

if TYPE_CHECKING:
    import polars as pl

    from mammoscope.cohort.audit.audit import Audit
    from mammoscope.imaging.store import PreparedStore
    from mammoscope.pages.page import Fact


def audit(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder, or its manifest.parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path("audit"),
    store: Annotated[
        Path | None, typer.Option("--store", help="The prepared store, for pictures, sizes and duplicates.")
    ] = None,
    match: Annotated[
        str, typer.Option("--match", help="The columns in which a matched control is like its case.")
    ] = "view,site,machine,age_years",
    controls_per_case: Annotated[int, typer.Option("--controls-per-case", min=1, help="Matched controls.")] = 1,
    age_within_years: Annotated[
        float, typer.Option("--age-within-years", min=0, help="How far apart a case and its control may be.")
    ] = 5.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of folds, dealt outcomes and match.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Audit a cohort: counts, gaps, contradictions, duplicates, and columns that predict cancer without a picture.

    Writes audit.html, audit.json and audit_findings.csv, which lists the rows that were found.

    Example: mammoscope audit cohort --store store -o audit
    """
    import numpy as np

    from mammoscope.cohort.audit.audit import audit_cohort
    from mammoscope.cohort.audit.matches import MatchPlan, parse_match
    from mammoscope.cohort.manifest import read_manifest
    from mammoscope.imaging.store import open_store

    plan = MatchPlan(columns=parse_match(match), controls_per_case=controls_per_case, age_within_years=age_within_years)
    manifest = read_manifest(cohort, may_conflict=True)
    prepared = None if store is None else open_store(store)
    if prepared is not None:
        _check_store(manifest, prepared)
    content = audit_cohort(manifest, rng=np.random.default_rng(seed), store=prepared, plan=plan)
    paths = _write(content, manifest, output, facts=_facts(manifest, prepared, seed))
    print_summary("audited", _summarise(content) | paths, as_json=as_json)


def _check_store(manifest: "pl.DataFrame", store: "PreparedStore") -> None:
    """Refuse a store of another cohort, of which every picture would count as missing.

    Raises:
        StoreError: it holds no picture of this one.
    """
    if not manifest["image_id"].is_in(store.image_ids).any():
        raise StoreError(
            f"{store.path}: holds none of the manifest's {manifest.height} images; "
            "give the store that was prepared from this cohort"
        )


def _write(content: "Audit", manifest: "pl.DataFrame", output: Path, *, facts: "list[Fact]") -> dict[str, object]:
    """Write the three files; their paths."""
    from mammoscope.cohort.audit.audit import list_rows
    from mammoscope.cohort.audit.page import render
    from mammoscope.files import write_json, write_text

    page = render(content, facts=facts, n_phantoms=int((manifest["source"] == "phantom").sum()))
    names = {"page": "audit.html", "figures": "audit.json", "rows": "audit_findings.csv"}
    paths = {what: output / name for what, name in names.items()}
    write_json(paths["figures"], content.to_json())
    write_text(paths["rows"], list_rows(content, manifest).write_csv())
    write_text(paths["page"], page)
    return dict(paths)


def _summarise(content: "Audit") -> dict[str, object]:
    severities = [finding.severity.value for finding in content.findings]
    return {
        "images": content.size.n_images,
        "patients": content.size.n_patients,
        "breasts_with_cancer": content.size.n_cases,
        "dangers": severities.count("danger"),
        "warnings": severities.count("warning"),
        "notes": severities.count("note"),
    }


def _facts(manifest: "pl.DataFrame", store: "PreparedStore | None", seed: int) -> "list[Fact]":
    from importlib.metadata import version

    from mammoscope.cohort.manifest import manifest_hash
    from mammoscope.pages.page import Fact

    facts = [Fact("Mammoscope version", version("mammoscope")), Fact("Seed", str(seed))]
    facts.append(Fact("Manifest hash", manifest_hash(manifest)))
    return facts if store is None else [*facts, Fact("Store hash", store.content_hash)]
