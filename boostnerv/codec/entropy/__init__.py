"""Entropy models, entropy coders, and the payloads of codes."""
