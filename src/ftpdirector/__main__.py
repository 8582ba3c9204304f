"""`python -m ftpdirector` is the command `ftpdirector`. This module knows nothing else."""

from ftpdirector.cli import main

main()
