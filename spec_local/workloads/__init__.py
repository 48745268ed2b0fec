"""Prompts of several kinds of work, for the benchmark and for exact modes."""
