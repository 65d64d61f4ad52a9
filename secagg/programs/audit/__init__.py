"""The coordinator's audit log: what it decided, in order, so that nobody can change it unnoticed.

Each line is an entry that holds the digest of the line before it (`secagg.audit.entries`); now and then the coordinator
signs how far the log goes (`secagg.audit.checkpoints`). `log` writes the files, `reading` reads them, `verifying` finds
what was changed, and `kinds` says what there is to be written. No grpc and no server: a reviewer reads and verifies a
log on any machine.
"""
