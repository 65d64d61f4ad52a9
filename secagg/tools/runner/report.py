"""What a run found: as a document, as JUnit's XML, and as a badge."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from xml.etree import ElementTree

from secagg.tools.conformance.document import Document
from secagg.tools.runner.cases import Judged, Verdict
from secagg.tools.runner.lines import VERSION, Description

_NO_XML: Final = dict.fromkeys(number for number in range(32) if chr(number) not in "\t\n\r")


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts on one program.

    Attributes:
        program: what it said of itself.
        judged: every case, in the order in which they were played.
    """

    program: Description
    judged: Sequence[Judged]

    @property
    def good(self) -> bool:
        """Whether something passed, nothing failed that is not on the list, and nothing on the list passed."""
        return self.counts[Verdict.PASSED] > 0 and all(one.verdict.good for one in self.judged)

    @property
    def counts(self) -> Counter[Verdict]:
        """How many cases ended in each way."""
        return Counter(one.verdict for one in self.judged)

    def as_json(self) -> Document:
        """The document that `--json` prints."""
        return {
            "lines": VERSION,
            "program": {
                "name": self.program.name,
                "release": self.program.release,
                "features": sorted(feature.value for feature in self.program.features),
            },
            "good": self.good,
            "counts": {verdict.name.lower(): self.counts[verdict] for verdict in Verdict},
            "cases": [
                {
                    "number": one.case.number,
                    "title": one.case.title,
                    "check": one.case.check,
                    "verdict": one.verdict.name.lower(),
                    "text": one.text,
                }
                for one in self.judged
            ],
        }

    def as_junit(self) -> str:
        """JUnit's XML: a case that fails as expected, or is left out, counts as skipped."""
        suite = ElementTree.Element(
            "testsuite",
            name=f"secagg conformance: {self.program.name} {self.program.release}".translate(_NO_XML),
            tests=str(len(self.judged)),
            failures=str(sum(not one.verdict.good for one in self.judged)),
            skipped=str(self.counts[Verdict.EXPECTED] + self.counts[Verdict.LEFT_OUT]),
        )
        for one in self.judged:
            group, _, _ = one.case.number.partition("-")
            case = ElementTree.SubElement(suite, "testcase", classname=f"conformance.{group}", name=one.case.number)
            text = f"{one.verdict.value}: {one.text}".translate(_NO_XML)
            if not one.verdict.good:
                ElementTree.SubElement(case, "failure", message=text)
            elif one.verdict is not Verdict.PASSED:
                ElementTree.SubElement(case, "skipped", message=text)
        return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"

    def as_badge(self, today: date) -> Document:
        """A badge as shields.io reads one: how many cases passed of all, with the program's release and the day."""
        passed, every = self.counts[Verdict.PASSED], len(self.judged)
        return {
            "schemaVersion": 1,
            "label": "secagg conformance",
            "message": f"{passed} of {every}, {self.program.release}, {today.isoformat()}",
            "color": "red" if not self.good else "brightgreen" if passed == every else "yellow",
        }
