"""The commands of the tools, one module each; `secagg.cli.main` finds them by this table."""

from typing import Final

COMMANDS: Final = {
    "bench": "secagg.tools.commands.bench:app",
    "conformance": "secagg.tools.commands.conformance:app",
    "demo": "secagg.tools.commands.demo:demo",
    "faults": "secagg.tools.commands.faults:app",
    "plan": "secagg.tools.commands.plan:plan",
    "redteam": "secagg.tools.commands.redteam:app",
    "simulate": "secagg.tools.commands.simulate:simulate",
}
