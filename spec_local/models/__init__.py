"""From names to open models: the registry, downloads, loading, trimmed drafts."""
