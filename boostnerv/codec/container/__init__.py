"""The layout of a ``.bnv`` file."""
