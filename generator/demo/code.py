"""Programs and markup: Python and JavaScript with tabs or spaces, HTML that tries to break out of a page."""
# ruff: noqa: SIM905  # word lists are easier to read and to extend as one string

from random import Random

from generator.demo.traces import GOODS, NAMES

WORDS = "count total price index item row value size name limit offset weight score path line".split()
CALLS = "load save parse merge split render check update filter find read write close reset".split()


def python(rng: Random) -> str:
    """A Python module of two or three functions; half of them are indented with tabs."""
    indent = rng.choice(("\t", "    "))
    blocks = ["import " + rng.choice(("math", "json", "re", "sys"))]
    blocks += [python_function(rng, indent) for _ in range(rng.randint(2, 4))]
    return "\n\n\n".join(blocks) + "\n"


def python_function(rng: Random, indent: str) -> str:
    """One function with a loop and a branch."""
    a, b, c = rng.sample(WORDS, 3)
    name = f"{rng.choice(CALLS)}_{a}"
    number, other = rng.randint(2, 99), rng.randint(2, 9)
    body = rng.choice(
        (
            f"def {name}({b}, {c}={number}):\n\t{a} = 0\n\tfor {b[0]} in {b}:\n\t\tif {b[0]} > {c}:\n"
            f"\t\t\t{a} += {b[0]} * {other}\n\treturn {a}",
            f'def {name}({b}):\n\t"""Returns the {a} of {b}."""\n\tif not {b}:\n\t\traise ValueError("no {b}")\n'
            f"\treturn [{c} + {other} for {c} in {b} if {c} != {number}]",
            f"class {a.capitalize()}:\n\tdef __init__(self, {b}={number}):\n\t\tself.{b} = {b}\n\n"
            f"\tdef {rng.choice(CALLS)}(self, {c}):\n\t\treturn self.{b} - {c}  # {rng.choice(GOODS)}",
            f"def {name}({b}):\n\ttry:\n\t\twith open({b}) as file:\n\t\t\treturn len(file.read()) // {other}\n"
            f"\texcept OSError as error:\n\t\tprint(error)\n\t\treturn {number}",
            f"{a.upper()} = {{{', '.join(f'{w!r}: {rng.randint(1, 99)}' for w in rng.sample(WORDS, 3))}}}\n"
            f"assert {a.upper()}[{b!r}] == {number}" + f"\n\nwhile {number} > {other}:\n\tbreak",
        )
    )
    return body.replace("\t", indent)


def javascript(rng: Random) -> str:
    """A JavaScript module of a few statements, tab-indented."""
    return "\n\n".join(javascript_statement(rng) for _ in range(rng.randint(3, 6))) + "\n"


def javascript_statement(rng: Random) -> str:
    """A function, a constant or a handler."""
    a, b, c = rng.sample(WORDS, 3)
    call, number = rng.choice(CALLS), rng.randint(2, 99)
    return rng.choice(
        (
            f"export function {call}{a.capitalize()}({b}, {c} = {number}) {{\n\tif ({b} === null) return {c};\n"
            f"\treturn {b}.map((x) => x * {c});\n}}",
            f"const {a} = [{', '.join(str(rng.randint(0, 99)) for _ in range(6))}];\nlet {b} = {a}.length % {number};",
            f"async function {call}({a}) {{\n\tconst {b} = await fetch(`/{c}/${{{a}}}`);\n\treturn {b}.json();\n}}",
            f"for (let i = 0; i < {number}; i += 1) {{\n\t{a}.push(i * {rng.randint(2, 9)});\n}}",
            f"// {rng.choice(NAMES)}: {call} the {a} before the {b}\nif ({a} > {number} && !{b}) {{\n\t{call}({c});\n}}",
            f'document.querySelector("#{a}").addEventListener("click", () => {call}({number}));',
        )
    )


ATTACKS = (
    "</script><script>alert({n})</script>",
    "<img src=x onerror=alert({n})>",
    '"><svg onload=alert({n})>',
    '<iframe srcdoc="<script>parent.alert({n})</script>"></iframe>',
    "</textarea></title></style><b>{n}</b>",
    '<a href="javascript:alert({n})">click</a>',
    "<!-- --><!--> <![CDATA[ {n} ]]>",
    "{{{{ {n} * 7 }}}} {{% raw %}} ${{{n}}} #{{{n}}}",
    "&lt;script&gt; &amp;amp; &#x27; &#{n};",
    "---\ntitle: [broken, {n}\n---",
    '[link](javascript:alert({n})) ![x](x "onerror=alert({n})")',
)
"""What a corpus from the web may hold; a page must show it as text."""


def html(rng: Random) -> str:
    """A page fragment with a few lines that must never run."""
    rows = "\n".join(
        f'\t<li class="{rng.choice(WORDS)}">{rng.choice(NAMES)} &mdash; {rng.randint(1, 99)}</li>'
        for _ in range(rng.randint(2, 5))
    )
    attacks = "\n".join(a.format(n=rng.randint(1, 999)) for a in rng.sample(ATTACKS, rng.randint(2, 4)))
    return (
        f'<div id="{rng.choice(WORDS)}">\n<h2>{rng.choice(GOODS).capitalize()}</h2>\n<ul>\n{rows}\n</ul>\n'
        f'<script>\n\tvar {rng.choice(WORDS)} = "<b>{rng.randint(1, 99)}</b>";\n</script>\n{attacks}\n</div>'
    )
