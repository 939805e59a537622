"""From weights to a file and back: quantisers, entropy model, container, encoder and stand-alone decoder."""
