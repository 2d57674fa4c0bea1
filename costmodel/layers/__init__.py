"""Layers of the builder that are many ops: attention as language models have it, attention in windows, experts."""
