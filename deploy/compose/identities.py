"""Makes a private CA and the identities of the example.

The CA's key is in this container's memory only and is gone with it. In a real deployment, the CA is made elsewhere,
and not by whoever runs the coordinator: whoever has its key decides who takes part.
"""

import subprocess
from pathlib import Path


def secagg(*arguments: str) -> None:
    subprocess.run(["/opt/secagg/bin/secagg", "ca", *arguments, "--dir", "/ca/digits"], check=True)


for old in Path("/identities").glob("*/*.pem"):  # of an earlier run
    old.unlink()
secagg("init", "--name", "Digits")
secagg("issue", "server", "--host", "sidecar", "--out", "/identities/sidecar")
for number in range(1, 6):
    name = f"site-{number}"
    secagg("issue", "participant", name, "--organisation", f"Hospital {number}", "--out", f"/identities/{name}")
