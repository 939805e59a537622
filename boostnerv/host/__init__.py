"""The machine that a command runs on: memory, signals, terminal, devices."""
