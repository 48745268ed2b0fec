"""GGUF files as files: reading the header, copying with changes."""
