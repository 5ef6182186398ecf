"""The pages of docs/metrics: their examples are run, every metric is named, formulas are well-formed MathML."""

import doctest
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from generator.measure.analyze import attention, geometry

FOLDER = Path(__file__).parents[2] / "docs" / "metrics"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
HEADINGS = ["What it means", "Formula", "How to read it", "Pitfalls", "Worked example"]
MATHML = {
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "mtext",
    "msub",
    "msup",
    "msubsup",
    "mfrac",
    "munder",
    "mover",
    "munderover",
    "mspace",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_worked_example_holds(page: Path):
    blocks = re.findall(r"```pycon\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    assert blocks
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.stem, str(page), 0)
    assert len(test.examples) > 2
    said: list[str] = []
    failed = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(test, out=said.append).failed
    assert not failed, "".join(said)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_page_has_its_sections_and_formulas(page: Path):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.M) == HEADINGS
    formulas = re.findall(r"<math.*?</math>", text)
    assert formulas and "<script" not in text
    for formula in formulas:
        assert {element.tag for element in ElementTree.fromstring(formula).iter()} <= MATHML
        for element in ElementTree.fromstring(formula).iter():
            wanted = {
                "mfrac": 2,
                "msub": 2,
                "msup": 2,
                "msubsup": 3,
                "munder": 2,
                "mover": 2,
                "munderover": 3,
            }
            assert len(element) == wanted.get(element.tag, len(element)), ElementTree.tostring(element)


def test_every_metric_has_a_page_and_every_page_is_in_the_index():
    texts = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
    sampled = ["twonn_mle", "twonn_slope", "histogram_entropy", "debiased_cka"]
    for metric in [*geometry.METRICS, *attention.CONVENTIONS, *sampled]:
        assert any(f"`{metric}`" in text for text in texts.values()), metric
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert all(f"({stem}.md)" in index for stem in texts)
