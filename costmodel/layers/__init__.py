"""Layers of the builder that are many ops: attention with all that language models add to it, and experts."""
