"""The commands of docs/audit.md work as they stand."""

from pathlib import Path

import pytest

from secagg.programs.audit.log import Draft
from tests.auditing import Deployment
from tests.machine import Machine
from tests.pages import Code


@pytest.mark.runs("docs/audit.md", "sh")
def test_the_commands_of_the_page(tmp_path: Path, page: Code) -> None:
    machine, deployment = Machine(tmp_path), Deployment()
    state = tmp_path / "var/lib/secagg/state"
    state.mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc/secagg").mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc/secagg/ca.pem").write_bytes(deployment.trust.pem)
    log = deployment.log(state / "audit")
    about = {
        "task": "heart",
        "model": "5" * 64,
        "purpose": "train",
        "noise": False,
        "survivors": ["clinic-1", "clinic-2"],
    }
    end = {"sums_digest": "e" * 64, "receipt": "f" * 64, "known_to": [], "cost": {}, "round": "ab" * 16, "step": 9}
    log.write([deployment.joined("clinic-1"), Draft("sum_released", deployment.now, about | end)], sign=True)

    assert machine.shell(page.take("secagg audit show")).count("clinic-1") == 4
    head = f'HEAD="{log.signed.text}"\n'
    assert "the log is whole" in machine.shell(
        page.take("secagg audit verify /var/lib/secagg/state --ca /etc/secagg/ca.pem --coordinator")
    )
    assert "the log is whole" in machine.shell(
        head + page.take("secagg audit verify /var/lib/secagg/state --ca /etc/secagg/ca.pem --head")
    )
    assert log.signed.text in machine.shell(page.take("secagg audit export"))
    assert "Audit log" in (tmp_path / "audit.html").read_text()
    assert "2 participants" in machine.shell(page.take("secagg audit participation"))
    assert "Participation report" in (tmp_path / "participation.html").read_text()
