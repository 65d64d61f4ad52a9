"""Every piece of code on a page is run by a test or by a step of .ci/run."""

import re
from typing import Final

import pytest

from tests.pages import PAGES, ROOT, Block, Claim, Code, claims, session, taken

EACH_EXTRA: Final = 'while read -r extra; do resolves "secagg[$extra]" --extra "$extra"; done <build/extras.txt'
CI_RUNS: Final = {
    ".ci/run": "#!/usr/bin/env bash",
    "make demo": "make demo",
    "make deployment": "as_root make deployment",
    "make docs": "make docs",
    "make frameworks": "on_loopback make frameworks",
    "make lint": "beside lint make lint",
    "make redteam": "make redteam",
    "make test": "make test",
    "make typescript": "make typescript",
    "pip install '.[server]'": EACH_EXTRA,
    "pip install '.[flower,dp]'": EACH_EXTRA,
    "pip install '.[flower]'": EACH_EXTRA,
    "pip install .": "build/wheel/bin/pip install --quiet dist/secagg-*.whl",
    "pip install '.[redteam,ckks]'": EACH_EXTRA,
    "secagg redteam run --profile quick": "make redteam",
    "secagg faults run --histories 50": ".venv/bin/secagg faults run --histories 50",
    "secagg faults run --histories 600 --seed 1": ".venv/bin/secagg faults run --histories 600 --seed 1",
    "secagg faults replay 4711": ".venv/bin/secagg faults replay 4711",
    "secagg faults processes --schedules 15": "as_root .venv/bin/secagg faults processes --schedules 15",
}
"""Commands of pages that no test runs, each with the line of .ci/run that does the same. Of what pip installs, .ci/run
shows that it resolves.
"""

CODE: Final = [block for name in PAGES for block in Block.of(name) if block.language != "text"]
CLAIMS: Final = list(claims())


def commands(block: Block) -> list[str]:
    """The lines of a block without comments."""
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line) for line in block.text.splitlines()) if line]


def run_by_ci(block: Block) -> bool:
    return block.language == "sh" and all(command in CI_RUNS for command in commands(block))


@pytest.mark.parametrize("block", CODE, ids=lambda block: f"{block.page}:{block.line}")
def test_code_on_a_page_is_run(block: Block) -> None:
    by = [claim.test for claim in CLAIMS if claim.has(block)] + [".ci/run"] * run_by_ci(block)
    assert by, f"nobody runs this: {block}; mark the test that does with `runs`, or fence output as text"
    assert len(by) == 1, by


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.test} {claim.page}")
def test_a_test_claims_code_that_is_there_and_takes_it(claim: Claim) -> None:
    assert any(claim.has(block) for block in CODE)
    path, _, name = claim.test.partition("::")
    (head,) = re.findall(rf"^(?:async )?def {name}\((.*?)\) ->", (ROOT / path).read_text(), re.DOTALL | re.MULTILINE)
    assert "page: Code" in head
    assert name.startswith("test_")


def test_what_is_left_to_continuous_integration_is_there() -> None:
    lines = [line.strip() for line in (ROOT / ".ci/run").read_text().splitlines()]
    asked = {command for block in CODE if run_by_ci(block) for command in commands(block)}
    assert asked == set(CI_RUNS)
    for line in CI_RUNS.values():
        assert any(each.startswith(line) for each in lines), line


PAGE: Final = """
```sh
first
```

- In a list:

  ```console
  $ second
  its output
  ```

```text
a picture
```
"""


def test_twin_code_that_nobody_claims_is_found() -> None:
    first, second, picture = Block.of("page.md", PAGE)
    assert (first.line, first.language, first.text) == (2, "sh", "first\n")
    assert session(second.text) == ("second", "its output\n")
    assert picture.language == "text"
    assert not run_by_ci(first)
    assert Claim.of("page.md", "sh").has(first)
    assert Claim.of("page.md", "sh", "fir", "third").has(first)
    assert not any(
        claim.has(first)
        for claim in (Claim.of("other.md", "sh"), Claim.of("page.md", "python"), Claim.of("page.md", "sh", "third"))
    )


def test_a_block_is_taken_once() -> None:
    page = Code([Claim.of("docs/guide.md", "python", "import numpy")])
    assert page.take("import numpy").startswith("import numpy")
    with pytest.raises(ValueError, match="not enough values"):
        page.take("import numpy")
    assert page.rest("python") == []


def test_a_test_that_leaves_a_block_or_has_none_fails() -> None:
    with (
        pytest.raises(AssertionError, match=r"import numpy.* was not run"),
        taken([Claim.of("docs/guide.md", "python")]),
    ):
        pass
    with pytest.raises(AssertionError, match="claim nothing"), taken([Claim.of("docs/guide.md", "cobol")]):
        pass
