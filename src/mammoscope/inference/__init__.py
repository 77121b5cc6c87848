"""Weights and files to scores."""
