"""From bytes on the wire to the values of `secagg.messages` and `secagg.config`, and back.

`calls` is the table of all calls: which message each brings, by which codec, and how long it may be (`limits`).
`codecs` says what a codec is. The codecs stand in the modules of their messages: `keys`, `masked`, `agreement`,
`homomorphic` and `receipts`. Each message is decoded in one place, where sizes and counts are checked.
"""
