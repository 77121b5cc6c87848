"""Synthetic screening cohorts, written as real DICOM files."""
