"""Vectors of what must be refused: tables of rows, and the small vocabulary in which the rows are written.

`script` says what a row is, `changes` how an honest message is altered, `forgeries` what only somebody with secrets can
alter, `stages` at which step of an honest round it arrives. The other modules are tables, by who must refuse.
"""
