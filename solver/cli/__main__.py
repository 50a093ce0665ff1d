"""`python -m solver.cli` is `keyfill`."""

from solver.cli import main

main()
