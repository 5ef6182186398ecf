"""MkDocs hook: smaller styles, and modules joined into one file for each that is asked for by itself. An accelerator.

A page of the plain files asks for thirty-odd modules, one behind the other; joined it asks for two. What is asked for by
itself is ``assets/main.mjs`` (by every page) and whatever some module imports when it is needed. Each such file keeps its
address and its exports, and holds every module that it imports from its start on, but for those that are there already:
in ``main.mjs``, or in every file that asks for it. Inside, a module is a function, called once however many files hold it:

    export const { mount } = join("pages/channel", (() => { const { h } = got("elements"); …; return { mount } }))

The theme's styles lose those of content tabs where the site has none. ``mkdocs serve`` and builders without hooks serve the
plain files.
"""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minify_html

MAIN = "main"
COMMENT = re.compile(r"/\*\*.*?\*/[ \t]*\n?", re.DOTALL)
"""JSDoc, whose types import too. No string of ours holds such a mark (tests/test_site_build.py)."""
EVERYWHERE = ("tokens", "featurebook", "pages", "reading", "labels")
"""The styles of every page (main.html), in their order: one file, under the name of the first."""
LINKS = re.compile(
    "".join(rf'(?:<link rel="stylesheet" href="([^"]*assets/){name}\.css">\s*)' for name in EVERYWHERE)
)
STYLE_FAT = re.compile(
    r"/\*.*?\*/\s*|^[ \t]+|\n(?=\n)|(?<=[{;}])\n|(?<=[:,])[ \n]+| (?=[{>])|(?<=>) |;(?=\s*\})",
    re.DOTALL | re.MULTILINE,
)
"""Comments, indentation, line ends, spaces beside a mark that ends a word and the last semicolon of a rule, in styles. No string of ours
holds one (tests/test_joined.py). A minifier made styles larger: it writes them for older browsers."""
TAB = r"[^{}@,]*\.tabbed-[^{}@,]*"
TABS = re.compile(rf"(?<=[{{}}]){TAB}(?:,{TAB})*\{{[^{{}}]*\}}")
"""The theme's rules for content tabs: 150 of their selectors end in ``:nth-child(…)`` alone, so that the browser tries them on every
element of a page, which took a sixth of the time that a channel's page needs for its styles."""
IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)\.mjs"\n?', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async function|function|class|const)\*? ([\w$]+))", re.MULTILINE)
ASKED = re.compile(r'\bimport\((["`])(\.[^"`$]+?)(\$\{[^}`]*\})?\.mjs\1\)')
"""``import("./share.mjs")``, or ``import(`./panels/${name}.mjs`)``, which may ask for any module of that folder."""
LEFT_OVER = re.compile(r"^(?:import|export)\b(?!\().*", re.MULTILINE)
LOADER = """const held = new Map()
export const got = (name) => held.get(name)
export const join = (name, make) => held.get(name) ?? (held.set(name, make()), held.get(name))
"""

is_serving = False


@dataclass(frozen=True)
class Module:
    """One module: ``name`` is its path below assets/ without the ending, as are ``imports`` and ``asks_for``."""

    name: str
    text: str
    imports: list[str]
    exports: list[str]
    asks_for: list[str]


def on_startup(*, command: str, **_: Any) -> None:
    """Remembers whether this is ``mkdocs serve``."""
    global is_serving
    is_serving = command == "serve"


def on_post_page(output: str, **_: Any) -> str:
    """Links to the styles of every page as one file. Comes before the hook that keeps pages (held.py)."""
    first = f'<link rel="stylesheet" href="\\1{EVERYWHERE[0]}.css">\n'
    return output if is_serving else LINKS.sub(first, output, count=1)


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """The page of what is not found is a template, not a page."""
    return on_post_page(output_content) if template_name == "404.html" else output_content


def on_post_build(config: Any) -> None:
    """Makes the modules, scripts and styles of a site smaller and fewer."""
    assets = Path(config.site_dir) / "assets"
    if is_serving:
        return
    if "pymdownx.tabbed" not in config.markdown_extensions:
        for path in assets.glob("stylesheets/main.*.css"):
            path.write_text(TABS.sub("", path.read_text("utf-8")), "utf-8")
    everywhere = "".join((assets / f"{name}.css").read_text("utf-8") for name in EVERYWHERE)
    (assets / f"{EVERYWHERE[0]}.css").write_text(everywhere, "utf-8")
    for name in EVERYWHERE[1:]:
        (assets / f"{name}.css").unlink()
    for path in assets.glob("*.css"):
        path.write_text(STYLE_FAT.sub("", path.read_text("utf-8")), "utf-8")
    for path in assets.glob("theme/*.js"):
        path.write_text(smaller(path.read_text("utf-8")), "utf-8")
    paths = {path.relative_to(assets).with_suffix("").as_posix(): path for path in assets.rglob("*.mjs")}
    files = joined({name: path.read_text("utf-8") for name, path in paths.items()})
    for name, path in paths.items():
        if name in files:
            path.write_text(smaller(files[name]), "utf-8")
        else:
            path.unlink()


def smaller(text: str) -> str:
    """A script or module minified, with its names as they are."""
    if "</script" in text:
        raise ValueError("A script holds `</script`, at which the minifier would cut it.")
    opening, end = "<script type=module>", "</script>"
    return (
        minify_html.minify(opening + text + end, minify_js=True).removeprefix(opening).removesuffix(end)
        + "\n"
    )


def joined(sources: dict[str, str]) -> dict[str, str]:
    """The files of a site: name -> text, for ``main`` and each module that another one asks for.

    Args:
        sources: All modules by name.

    Raises:
        ValueError: an import of a module that is not there, a circle of imports, or a form of import or export that this
            reader of ours does not know.
    """
    modules = {name: read_module(name, text, sources) for name, text in sources.items()}
    whole = {name: list(closure(name, modules)) for name in modules}
    asked: dict[str, set[str]] = {}
    waiting = [MAIN]
    while waiting:
        file = waiting.pop()
        for name in (target for part in whole[file] for target in modules[part].asks_for):
            if name not in asked:
                waiting.append(name)
            asked.setdefault(name, set()).add(file)
    there = _already_there(asked, {name: set(parts) for name, parts in whole.items()})
    return {
        name: _file(name, [modules[part] for part in whole[name] if part not in there[name]], modules)
        for name in [MAIN, *asked]
        if name == MAIN or name not in whole[MAIN]
    }


def read_module(name: str, text: str, known: Iterable[str]) -> Module:
    """What one module imports, exports and asks for."""
    text = COMMENT.sub("", text)
    folder = posixpath.dirname(name)

    def place(target: str) -> str:
        return posixpath.normpath(posixpath.join(folder, target))

    imports = [place(target) for _, target in IMPORT.findall(text)]
    asks_for = []
    for _, target, is_open in ASKED.findall(text):
        at = place(target)
        asks_for += [other for other in sorted(known) if posixpath.dirname(other) == at] if is_open else [at]
    if missing := {*imports, *asks_for} - set(known):
        raise ValueError(f"assets/{name}.mjs imports {min(missing)}.mjs, which is not there.")
    exports = EXPORT.findall(text)
    text = IMPORT.sub(
        lambda found: f'const {{{found[1].replace(" as ", ": ")}}} = got("{place(found[2])}")\n', text
    )
    text = EXPORT.sub("", text)
    if strange := LEFT_OVER.search(text):
        raise ValueError(f"assets/{name}.mjs: `{strange[0]}` cannot be joined. Write `import {{ … }} from \"./….mjs\"` "
                         "on lines of its own, and `export` before a function, class or const.")  # fmt: skip
    return Module(name, text, imports, exports, asks_for)


def closure(name: str, modules: dict[str, Module], path: tuple[str, ...] = ()) -> dict[str, None]:
    """A module and all that it imports from its start on, each behind what it needs."""
    if name in path:
        raise ValueError(f"The modules import each other in a circle: {' → '.join([*path, name])}.")
    found: dict[str, None] = {}
    for target in modules[name].imports:
        found |= closure(target, modules, (*path, name))
    return {**found, name: None}


def _already_there(asked: dict[str, set[str]], whole: dict[str, set[str]]) -> dict[str, set[str]]:
    """What a page holds for certain when a file is asked for: that of every file that asks, and what these found there."""
    there = {MAIN: set[str](), **{name: set(whole) for name in asked if name != MAIN}}
    is_settled = False
    while not is_settled:
        before = {name: set(held) for name, held in there.items()}
        for name, askers in asked.items():
            if name != MAIN:
                there[name] = whole[MAIN].union(set.intersection(*(there[by] | whole[by] for by in askers)))
        is_settled = there == before
    return there


def _file(name: str, parts: list[Module], modules: dict[str, Module]) -> str:
    """One file: its parts in order, its own module's exports for whoever asked."""
    to_main = posixpath.relpath(f"{MAIN}.mjs", posixpath.dirname(name) or ".")
    head = LOADER if name == MAIN else f'import {{ got, join }} from "{_relative(to_main)}"\n'
    calls = [_call(part, name) for part in parts]
    if parts and parts[-1].name == name:
        last = calls.pop()
    else:
        last = f'got("{name}")\n'
    exports = modules[name].exports
    return head + "".join(calls) + (f"export const {{ {', '.join(exports)} }} = {last}" if exports else last)


def _call(module: Module, file: str) -> str:
    """A module as a function; addresses in it start from the file in which it stands."""
    folder, home = posixpath.dirname(module.name), posixpath.dirname(file) or "."

    def readdressed(found: re.Match[str]) -> str:
        target = posixpath.relpath(posixpath.join(folder, found[2]), home)
        end = f"/{found[3]}" if found[3] else ""
        return f"import({found[1]}{_relative(target)}{end}.mjs{found[1]})"

    text = ASKED.sub(readdressed, module.text)
    here = _relative(posixpath.relpath(f"{module.name}.mjs", home))
    text = text.replace("import.meta.url", f'new URL("{here}", import.meta.url).href')
    return (
        f'join("{module.name}", (() => {{\n{text.strip()}\nreturn {{ {", ".join(module.exports)} }}\n}}))\n'
    )


def _relative(address: str) -> str:
    return address if address.startswith(".") else f"./{address}"
