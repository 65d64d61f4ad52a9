"""Real processes on this machine, killed, stopped, cut off and out of room by seeded schedules.

The simulator (`secagg.tools.faults`) plays far more histories, but it plays them in one process. Here the operating
system's own kill -9, SIGSTOP, TCP and full file systems are at work, on the programs as they are installed.

- `programs.py`: what runs in the processes: the coordinator, participants, the FL server.
- `schedule.py`: what is drawn from a seed.
- `wire.py`: the proxy between participants and coordinator.
- `play.py`: one schedule, from the first process to the verdict.
- `table.py`: many schedules, and how they ended.
"""
