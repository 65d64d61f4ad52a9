"""What an operator sees of a running coordinator: its log, and the place for metrics.

A metric of rounds belongs where `logs.log_event` is told of each event, a metric of calls where `calls.handlers` counts
each call.
"""
