"""Says where a release was built, as SLSA provenance 1.0 (https://slsa.dev/spec/v1.0/provenance).

It reads the variables that GitHub Actions sets. `sigstore attest` signs what it says, with the digest of a file.

    python deploy/release/provenance.py > provenance.json
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any


def provenance(environment: Mapping[str, str]) -> dict[str, Any]:
    """The predicate.

    Raises:
        KeyError: a variable is missing: this is no run of GitHub Actions.
    """
    server, repository = environment["GITHUB_SERVER_URL"], environment["GITHUB_REPOSITORY"]
    source = f"git+{server}/{repository}@{environment['GITHUB_REF']}"
    run = f"{server}/{repository}/actions/runs/{environment['GITHUB_RUN_ID']}"
    return {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {
                "workflow": {
                    "ref": environment["GITHUB_REF"],
                    "repository": f"{server}/{repository}",
                    "path": ".github/workflows/release.yml",
                }
            },
            "resolvedDependencies": [{"uri": source, "digest": {"gitCommit": environment["GITHUB_SHA"]}}],
        },
        "runDetails": {
            "builder": {"id": f"{server}/{environment['GITHUB_WORKFLOW_REF']}"},
            "metadata": {"invocationId": f"{run}/attempts/{environment['GITHUB_RUN_ATTEMPT']}"},
        },
    }


if __name__ == "__main__":
    try:
        print(json.dumps(provenance(os.environ), indent=1, sort_keys=True))
    except KeyError as missing:
        sys.exit(f"error: the variable {missing} is not set: only a run of the release workflow has a provenance")
