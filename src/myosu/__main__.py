"""``python -m myosu`` is the command ``myosu``."""

from myosu.cli import main

main()
