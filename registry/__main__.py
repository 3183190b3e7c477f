"""`python -m registry` is `reg`, for places where the console script is not on the path."""

from registry.cli import main

main()
