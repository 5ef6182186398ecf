"""The modules of a site joined (site_assets/hooks/joined.py): nothing is lost, doubled or late. That they run is for the browser tests."""

import importlib.util
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import material
import pytest

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "site_assets" / "assets"
OWN = {
    path.relative_to(ASSETS).with_suffix("").as_posix(): path.read_text("utf-8")
    for path in ASSETS.rglob("*.mjs")
}


def hook() -> Any:
    spec = importlib.util.spec_from_file_location("joined", ROOT / "site_assets" / "hooks" / "joined.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


joined = hook().joined


def parts(text: str) -> list[str]:
    """The modules that a file holds, in order."""
    return re.findall(r'join\("([\w/.-]+)", \(\(\)', text)


def test_a_diamond_stands_in_order_once_and_what_is_asked_for_later_does_without_it() -> None:
    files = joined(
        {
            "main": 'import { a } from "./a.mjs"\nimport { b as other } from "./b.mjs"\nimport("./late.mjs")\nexport const run = () => a + other\n',
            "a": 'import { c } from "./c.mjs"\nexport const a = c\n',
            "b": 'import { c } from "./c.mjs"\nexport function b() {}\n',
            "c": "export class C {}\nexport const c = 1\n",
            "late": 'import { c } from "./c.mjs"\nimport { d } from "./d.mjs"\nexport async function late() {}\n',
            "d": "export const d = 2\n",
            "unused": "export const u = 1\n",
        }
    )
    assert set(files) == {"main", "late"}
    assert parts(files["main"]) == ["c", "a", "b", "main"]
    assert parts(files["late"]) == ["d", "late"]
    assert 'const { b: other } = got("b")' in files["main"].replace("{b: other }", "{ b: other }")
    assert "return { C, c }" in files["main"] and "export const { run } = join(" in files["main"]
    assert files["late"].startswith('import { got, join } from "./main.mjs"')


def test_what_only_some_who_ask_have_is_held_by_the_file_itself() -> None:
    shared = 'import { s } from "../s.mjs"\nimport("../late.mjs")\nexport const mount = s\n'
    bare = 'import("../late.mjs")\nexport const mount = 1\n'
    late = 'import { s } from "./s.mjs"\nexport const l = s\n'
    start = "export const go = (name) => import(`./pages/${name}.mjs`)\n"
    base = {"main": start, "s": "export const s = 1\n", "late": late}
    assert parts(joined({**base, "pages/one": shared})["late"]) == ["late"]
    assert parts(joined({**base, "pages/one": shared, "pages/two": bare})["late"]) == ["s", "late"]


def test_addresses_start_from_the_file_in_which_a_module_stands() -> None:
    files = joined(
        {
            "main": "export const go = (name) => import(`./pages/${name}.mjs`)\n",
            "pages/one": 'import { x } from "../deep/x.mjs"\nexport const mount = x\n',
            "deep/x": 'export const x = () => [import("./y.mjs"), new URL("..", import.meta.url)]\n',
            "deep/y": "export const y = 1\n",
        }
    )
    assert 'import("../deep/y.mjs")' in files["pages/one"]
    assert 'new URL("../deep/x.mjs", import.meta.url).href' in files["pages/one"]
    assert 'from "../main.mjs"' in files["deep/y"] and "import(`./pages/${name}.mjs`)" in files["main"]


@pytest.mark.parametrize(
    ("sources", "fault"),
    [
        ({"main": 'import { a } from "./gone.mjs"\n'}, "imports gone.mjs, which is not there"),
        (
            {
                "main": 'import { a } from "./a.mjs"\n',
                "a": 'import { b } from "./b.mjs"\n',
                "b": 'import { a } from "./a.mjs"\n',
            },
            "circle: main → a → b → a",
        ),
        ({"main": 'import all from "./a.mjs"\n', "a": ""}, "`import all from"),
        ({"main": "export default 1\n"}, "`export default 1` cannot be joined"),
    ],
)
def test_what_it_cannot_read_it_names(sources: dict[str, str], fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        joined(sources)


def test_every_module_of_ours_is_reached_but_the_entry_of_the_single_file() -> None:
    files = joined(OWN)
    assert {name for text in files.values() for name in parts(text)} == set(OWN) - {"single"}
    for name, text in files.items():
        assert len(parts(text)) == len(set(parts(text))), name
        needed = set(re.findall(r'got\("([\w/.-]+)"\)', text))
        assert needed <= set(parts(text)) | set(parts(files["main"])) | there(files, name), name


def there(files: dict[str, str], name: str) -> set[str]:
    """What every file that asks for one has, found by looking at the written files alone."""
    askers = [by for by, text in files.items() if name in asks_for(by, text, files)]
    held = [set(parts(files[by])) | (there(files, by) if by != "main" else set()) for by in askers]
    return set.intersection(*held) if held else set()


def asks_for(by: str, text: str, files: dict[str, str]) -> set[str]:
    folder = Path(by).parent
    found = set()
    for target in re.findall(r"\bimport\([\"`]([^\"`]+)[\"`]\)", text):
        path = (
            Path("/", folder, target.split("${")[0].removesuffix(".mjs"))
            .resolve()
            .relative_to("/")
            .as_posix()
        )
        found |= {n for n in files if n == path or ("${" in target and Path(n).parent.as_posix() == path)}
    return found


def test_no_string_of_ours_looks_like_a_comment() -> None:
    for name, text in OWN.items():
        strings = re.findall(r"""(?<!\\\\)["'`][^"'`\n]*["'`]""", hook().COMMENT.sub("", text))
        assert not [text for text in strings if "*/" in text], name


STYLES = {path.stem: path.read_text("utf-8") for path in ASSETS.glob("*.css")}

MODULES = {name: hook().read_module(name, text, OWN) for name, text in OWN.items()}
ASKED_FOR_LATER = {"fb-embed", "fb-indoc"}
"""Classes of styles that a module loads when it needs them."""
ELSEWHERE = {"fb-document", "fb-row-mark", "fb-row-tray"}
"""An event of the same name as a class; the marks of rows, which of the pages that import the tray only the explorer draws."""


@pytest.mark.parametrize("template", sorted(path.name for path in ASSETS.parent.glob("*.html")))
def test_a_page_loads_the_styles_of_the_classes_that_it_uses(template: str) -> None:
    """Styles are split by page type, so a class that moves may lose its look on another page without a word."""
    text = (ASSETS.parent / template).read_text("utf-8")
    always = re.findall(
        r'"(\w+)"', re.findall(r"for name in \[(.*?)\]", (ASSETS.parent / "main.html").read_text("utf-8"))[0]
    )
    named = re.findall(r'"([\w-]+)"', "".join(re.findall(r"set styles = \[(.*?)\]", text)))
    for module in re.findall(r'set module = "(\w+)"', text):
        text += "".join(OWN[name] for name in hook().closure(f"pages/{module}", MODULES))
    loaded = "".join(STYLES[name] for name in (*always, *named))
    used = set(re.findall(r"fb-[\w-]+", text)) - ASKED_FOR_LATER - ELSEWHERE
    styled = [name for name in used if re.search(rf"\.{name}(?![\w-])", "".join(STYLES.values()))]
    assert [name for name in styled if not re.search(rf"\.{name}(?![\w-])", loaded)] == []


RULE = re.compile(r"([^{}@]+)\{([^{}]+)\}")


def theme_sheet() -> Path:
    folder = Path(material.__file__).parent / "templates" / "assets" / "stylesheets"
    return next(folder.glob("main.*.min.css"))


def is_of_tabs(selectors: str) -> bool:
    return all(".tabbed-" in selector for selector in selectors.split(","))


@pytest.mark.parametrize("extensions", [["admonition"], ["admonition", "pymdownx.tabbed"]])
def test_the_theme_loses_the_rules_of_tabs_that_a_site_does_not_have_and_no_other(
    tmp_path: Path, extensions: list[str]
) -> None:
    shutil.copytree(ASSETS, tmp_path / "assets")
    (tmp_path / "assets" / "stylesheets").mkdir()
    shutil.copy(theme_sheet(), tmp_path / "assets" / "stylesheets")
    hook().on_post_build(SimpleNamespace(site_dir=str(tmp_path), markdown_extensions=extensions))
    sheet = theme_sheet().read_text("utf-8")
    left = (tmp_path / "assets" / "stylesheets" / theme_sheet().name).read_text("utf-8")
    if "pymdownx.tabbed" in extensions:
        assert left == sheet
        return
    rules = RULE.findall(sheet)
    assert RULE.findall(left) == [rule for rule in rules if not is_of_tabs(rule[0])]
    assert len(RULE.findall(left)) < len(rules) - 50
    assert left.count("{") == left.count("}")


def test_no_string_of_a_style_holds_what_is_taken_out():
    for path in (ROOT / "site_assets" / "assets").glob("*.css"):
        strings = re.findall(r"\"[^\"\n]*\"|'[^'\n]*'", path.read_text("utf-8"))
        assert not [text for text in strings if re.search(r"[:,>] | [{>]|;\s*\}", text)], path.name
