"""Every attack on the product that the red team knows, in two folders: `protocol` and `inversion`.

`protocol` has the attacks on rounds: a coordinator or participants who break the rules, to get an update that the
protocol promised to hide. `inversion` has the attacks on what a round rightly shows: they compute training records from
updates or sums. The docstring of each folder says how an attack is added to it.
"""
