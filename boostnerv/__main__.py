"""``python -m boostnerv`` is the command ``boostnerv``."""

from boostnerv.cli import main

main()
