"""What every scheme's round has in common: who is in, phases that close, dropouts, repeats and the end."""
