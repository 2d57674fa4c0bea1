"""``python -m costmodel.cli``, where no script is installed."""

from costmodel.cli import main

main()
