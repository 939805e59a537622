"""Networks: frozen specs, modules with explicit arguments, and their parameter budget. No files, no training."""
