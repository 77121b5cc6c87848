"""Self-contained HTML pages: what the report of a run and the audit of a cohort have in common."""
