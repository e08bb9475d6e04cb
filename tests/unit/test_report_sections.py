"""Sections of the report: found in a folder, put in their order, and added from outside with two files."""

import re

import pytest
from upfield.report import sections
from upfield.report.context import AppliedContext, StudyContext
from upfield.study.designs.narrative import Narrative

from tests.unit.test_report import SECTIONS, make_study, render

SCANNERS = '''
"""Which scanners the scans come from."""

from upfield.report.context import StudyContext
from upfield.report.sections import Section


def build(context):
    return {"scanners": sorted(set(context.table["inventory"]["manufacturer"]))}


def applies(context):
    return not context.table["inventory"].empty


SECTION = Section(id="scanners", title="Scanners", order=1041, of=StudyContext, build=build, applies=applies)
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder that is looked through for sections as well."""
    folder = tmp_path / "sections"
    folder.mkdir()
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(folder)])
    return folder


def test_two_files_add_a_section_to_page_and_navigation(tmp_path, outside):
    (outside / "scanners_of_the_study.py").write_text(SCANNERS)
    (outside / "scanners_of_the_study.html").write_text("<p>Made by {{ scanners | join(', ') }} & co.</p>")
    (outside / "scanners_of_the_study.js").write_text("const added = 1;")
    make_study(tmp_path)
    page = render(tmp_path, [])
    place = SECTIONS.index("cohort") + 1
    assert [a["id"] for a in page.all("section")] == [*SECTIONS[:place], "scanners", *SECTIONS[place:]]
    assert re.findall(r'<li><a href="#(\w+)">', page.html)[place] == "scanners"
    assert "Scanners Made by Hyperfine & co." in page.text and "const added = 1;" in page.html
    # Where it does not apply, nothing of it is there.
    bare = render(tmp_path / "empty", [], config={})
    assert "scanners" not in bare.html and "added" not in bare.html


@pytest.mark.parametrize("kind", [StudyContext, AppliedContext])
def test_every_section_has_a_template_and_a_place_of_its_own(kind):
    folder = sections.folders()[0]
    names = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert names == {path.stem for path in folder.glob("*.html")}
    modules = {name: __import__(f"upfield.report.sections.{name}", fromlist=["SECTION"]).SECTION for name in names}
    shown = [section for section in modules.values() if issubclass(kind, section.of)]
    assert len(shown) == len({section.id for section in shown}) == len({section.order for section in shown})


def test_a_context_is_not_changed(tmp_path):
    context = StudyContext(tmp_path, {}, {}, Narrative())
    with pytest.raises(AttributeError):
        context.config = {"study": "another"}
