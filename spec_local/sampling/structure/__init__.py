"""Structured output without llama.cpp: JSON schemas and their parts as GBNF text."""
