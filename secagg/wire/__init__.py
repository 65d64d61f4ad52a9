"""From bytes on the wire to the values of `secagg.messages` and `secagg.config`, and back.

`calls` says which call brings which message, `codecs` how each message is written and read, and `limits` how long it
may be. The other modules have the functions: each message is decoded in one place, where sizes and counts are checked.
"""
