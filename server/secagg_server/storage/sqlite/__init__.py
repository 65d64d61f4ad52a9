"""A store in a folder, which survives the process: `store` is the whole, and each file beside it has one part.

`folder` has the names of the files, `schema` the tables and how older ones become newer ones, `database` the connection
to SQLite, `spool` the chunks of vectors, `seals` the keys of rounds, and `entries`, `outcomes` and `rows` the way of
each value to columns and back.
"""
