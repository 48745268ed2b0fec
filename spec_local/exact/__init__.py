"""Exact modes: the text of plain decoding, bit for bit."""
