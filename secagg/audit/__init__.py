"""The format of the coordinator's audit log: lines that hold each other's digests, and the coordinator's signatures.

Files, and what is found in them, are in `secagg.programs.audit`.
"""
