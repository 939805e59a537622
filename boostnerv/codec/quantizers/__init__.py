"""Quantisers: from values to integer codes and back."""
