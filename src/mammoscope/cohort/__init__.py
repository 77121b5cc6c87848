"""Whose images, with what outcome, in which split."""
