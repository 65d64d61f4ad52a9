"""What the coordinator writes into its audit log, and when: before anybody is told.

`rounds` writes what happens in one round, `coordinator` all else. What there is to be written, and the files, are in
`secagg.programs.audit`. Without `state_dir` there is no log, and nothing here does anything.
"""
