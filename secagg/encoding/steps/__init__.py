"""The steps that shorten or bound an update before it is quantised, one file each; `chain` puts them in order.

A further step is a file here, its place in `chain.Steps`, a field of `secagg.encoding.pipeline.Pipeline` and a row of
the table there that says how it is written.
"""
