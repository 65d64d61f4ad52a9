"""What an operator sees of a running coordinator: log, metrics, traces and the status page.

`facts` says what can happen, and `observer` tells all four of it. What grpc, Python and libraries write by themselves
comes into the log through `standard_error`, `grpc_log` and `python_log`.
"""
