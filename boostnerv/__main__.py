"""``python -m boostnerv`` runs the command ``boostnerv``."""

from boostnerv.cli import main

main()
