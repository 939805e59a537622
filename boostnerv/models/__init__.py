"""Networks: frozen specs, modules with explicit arguments, and their size budget. No files, no training."""
