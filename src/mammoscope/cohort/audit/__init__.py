"""The audit of a cohort: what is in it, what is wrong with it, and what could be mistaken for a tumour."""
