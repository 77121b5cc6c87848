"""Prepared images to weights."""
