"""Scores and outcomes to evidence, without torch."""
