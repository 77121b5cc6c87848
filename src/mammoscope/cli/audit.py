"""`mammoscope audit`: what is in a cohort, what is wrong with it, and what could be mistaken for a tumour."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary

if TYPE_CHECKING:
    import polars as pl

    from mammoscope.imaging.store import PreparedStore
    from mammoscope.pages.page import Fact


def audit(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder, or its manifest.parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path("audit"),
    store: Annotated[
        Path | None, typer.Option("--store", help="The prepared store, for pictures, sizes and duplicates.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the folds of the shortcut audit.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Audit a cohort: counts, gaps, contradictions, duplicates, and columns that predict cancer without a picture.

    Writes audit.html, audit.json and audit_findings.csv, which lists the rows that were found.

    Example: mammoscope audit cohort --store store -o audit
    """
    import numpy as np

    from mammoscope.cohort.audit.audit import audit_cohort, list_rows
    from mammoscope.cohort.audit.page import render
    from mammoscope.cohort.manifest import read_manifest
    from mammoscope.files import write_json, write_text
    from mammoscope.imaging.store import open_store

    manifest = read_manifest(cohort)
    prepared = None if store is None else open_store(store)
    content = audit_cohort(manifest, rng=np.random.default_rng(seed), store=prepared)
    is_synthetic = "phantom" in manifest["source"]
    page = render(content, facts=_facts(manifest, prepared, seed), is_synthetic=is_synthetic)
    names = {"page": "audit.html", "figures": "audit.json", "rows": "audit_findings.csv"}
    paths = {what: output / name for what, name in names.items()}
    write_json(paths["figures"], content.to_json())
    write_text(paths["rows"], list_rows(content, manifest).write_csv())
    write_text(paths["page"], page)
    severities = [finding.severity.value for finding in content.findings]
    facts: dict[str, object] = {
        "images": content.size.n_images,
        "patients": content.size.n_patients,
        "breasts_with_cancer": content.size.n_cases,
        "dangers": severities.count("danger"),
        "warnings": severities.count("warning"),
        "notes": severities.count("note"),
        **paths,
    }
    print_summary("audited", facts, as_json=as_json)


def _facts(manifest: "pl.DataFrame", store: "PreparedStore | None", seed: int) -> "list[Fact]":
    from importlib.metadata import version

    from mammoscope.cohort.manifest import manifest_hash
    from mammoscope.pages.page import Fact

    facts = [Fact("Mammoscope version", version("mammoscope")), Fact("Seed", str(seed))]
    facts.append(Fact("Manifest hash", manifest_hash(manifest)))
    return facts if store is None else [*facts, Fact("Store hash", store.content_hash)]
