"""Completes a bill of materials (CycloneDX): hashes of a lock file, and licences by their SPDX names.

    python deploy/release/bill.py BILL LOCK > licences.txt

rewrites BILL, which `cyclonedx-py environment` made of an environment, and prints one line for each package: name,
version, licence. It ends with 1 where the lock has no hash for a package, or where a licence is not one of `ALLOWED`.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ALLOWED: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
    }
)
"""Licences that may be part of a release: they let everybody use and pass on the whole, in closed products too. MPL-2.0
asks for the source of its own files alone, and we do not change these.
"""

CLASSIFIERS: Final = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}

UNTOLD: Final = {"dp-accounting": "Apache-2.0", "protobuf": "BSD-3-Clause"}
"""Packages whose metadata names no licence that programs can read. The licence is from the file that they ship."""


class BillError(Exception):
    """A package has no hash or a licence that is not allowed; the message names it."""


def hashes_of(lock: str) -> dict[tuple[str, str], list[str]]:
    """SHA-256 hashes in hex by name and version, of a lock file as `uv pip compile --generate-hashes` writes it."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, version, rest in re.findall(r"^([\w.-]+)==([^\s;\\]+)((?:.*\\\n)*.*)$", lock, re.MULTILINE):
        found[normal(name), version] = re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)
    return found


def normal(name: str) -> str:
    """The name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(component: Mapping[str, Any]) -> str:
    """An SPDX expression.

    Raises:
        BillError: the package names none.
    """
    told = set()
    for each in component.get("licenses", []):
        text = each.get("expression") or each["license"].get("id") or each["license"].get("name", "")
        told.add(CLASSIFIERS.get(text, text))
    found = " AND ".join(sorted(told)) or UNTOLD.get(normal(component["name"]), "")
    if not found:
        raise BillError(f"{component['name']} {component['version']} names no licence; look it up and add it to UNTOLD")
    return found


def check_allowed(package: str, expression: str) -> None:
    """Every part of an `AND` must be allowed, and one of an `OR`.

    Raises:
        BillError: it is not.
    """
    for part in re.split(r"\bAND\b", expression.replace("(", " ").replace(")", " ")):
        choices = {choice.strip() for choice in re.split(r"\bOR\b", part)}
        if not choices & ALLOWED:
            raise BillError(
                f"{package} has the licence {expression}, which is not one of: {', '.join(sorted(ALLOWED))}"
            )


def completed(bill: dict[str, Any], lock: str) -> tuple[dict[str, Any], list[str]]:
    """The bill with hashes and licences, and a line for each package.

    Raises:
        BillError: a package has no hash, or a licence that is not allowed.
    """
    hashes = hashes_of(lock)
    lines = []
    for component in bill["components"]:
        name, version = component["name"], component["version"]
        licence = licence_of(component)
        check_allowed(name, licence)
        component["licenses"] = [{"expression": licence}] if " " in licence else [{"license": {"id": licence}}]
        # Where the file lay while the bill was made says nothing elsewhere, and differs from build to build.
        elsewhere = [each for each in component.pop("externalReferences", []) if not each["url"].startswith("file:")]
        if elsewhere:
            component["externalReferences"] = elsewhere
        if normal(name) != "secagg":  # it is the very wheel beside this bill, and has its line in SHA256SUMS
            if not hashes.get((normal(name), version)):
                raise BillError(f"the lock file has no hash for {name} {version}")
            # An index may offer many files of one release (a wheel for each platform); the lock lists them all.
            component["properties"] = [
                *component.get("properties", []),
                *({"name": "secagg:lock:sha256", "value": value} for value in hashes[normal(name), version]),
            ]
        lines.append(f"{name:<40} {version:<20} {licence}")
    return bill, sorted(lines, key=str.lower)


def main(bill: str, lock: str) -> None:
    """Rewrite the bill, and print the licences."""
    path = Path(bill)
    try:
        whole, lines = completed(json.loads(path.read_text()), Path(lock).read_text())
    except BillError as error:
        sys.exit(f"error: {error}")
    path.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
