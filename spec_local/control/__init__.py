"""Who drafts, how much, and whether anyone does. Imports nothing of the project outside itself."""
