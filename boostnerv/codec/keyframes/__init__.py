"""Keyframes of D-NeRV, coded as images."""
