"""`python -m secagg`: the command line, also where its program is not on the path."""

from secagg.cli.main import main

main()
