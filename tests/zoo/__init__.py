"""Tiny random models of the architectures that llama.cpp loads."""
