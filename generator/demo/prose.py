"""English-like prose from small grammars: descriptions, tales, dialogues, notices, recipes, facts."""
# ruff: noqa: SIM905  # word lists are easier to read and to extend as one string

from collections.abc import Callable
from random import Random

from generator.demo.traces import GOODS, NAMES, PLACES

ADJECTIVES = (
    "old quiet narrow bright heavy cold green yellow broken wide slow careful famous hidden silver wooden "
    "crowded empty early pale rusty gentle distant sudden steep"
).split()
NOUNS = (
    "bridge tower river clock lantern garden boat letter mountain kitchen window forest road bell island door "
    "train wall field shadow mirror engine map violin orchard ladder"
).split()
ANIMALS = "cat dog heron fox horse owl crow otter goat hare sparrow turtle".split()
VERBS = (
    "watched crossed painted repaired remembered followed found left described carried drew missed".split()
)
WEATHER = (
    "rain fell all morning",
    "a cold wind came from the north",
    "fog lay over the water",
    "the sun was already low",
    "snow had closed the pass",
    "the air smelled of salt",
)
TOWNS = "Almora Brenning Castrovel Dunmore Eastwick Fernley Galt Hollin Ishkar Juniper".split()
JOBS = "baker clockmaker teacher sailor nurse gardener librarian painter engineer postman".split()
WHY = (
    "because nobody had asked",
    "since the winter was long",
    "although it was late",
    "while the others slept",
    "until the lamp went out",
    "as everyone in town knew",
    "so that the water could drain",
    "before the market opened",
)
SUBSTANCES = (
    ("Iron", "rusts in damp air"),
    ("Copper", "turns green over the years"),
    ("Salt", "dissolves in water"),
    ("Glass", "softens when it is heated"),
    ("Ice", "floats because it is lighter than water"),
    ("Honey", "hardly ever spoils"),
    ("Clay", "becomes hard in the kiln"),
    ("Wool", "keeps warm even when it is wet"),
)
FOODS = "flour butter milk onions carrots rice beans garlic parsley lentils mushrooms cheese barley".split()


def noun_phrase(rng: Random) -> str:
    """ "the old bridge", "a heron"."""
    if rng.random() < 0.2:
        return f"the {rng.choice(ANIMALS)}"
    adjective = f"{rng.choice(ADJECTIVES)} " if rng.random() < 0.6 else ""
    return f"the {adjective}{rng.choice(NOUNS)}"


def sentence(rng: Random) -> str:
    """One sentence of description."""
    name, job, town = rng.choice(NAMES), rng.choice(JOBS), rng.choice(TOWNS)
    thing, other, why = noun_phrase(rng), noun_phrase(rng), rng.choice(WHY)
    return rng.choice(
        (
            f"{name} {rng.choice(VERBS)} {thing} near {other}.",
            f"In {town}, {rng.choice(WEATHER)}, and {thing} stood behind {other}.",
            f"The {job} {rng.choice(VERBS)} {thing} {why}.",
            f"There was {other.replace('the', 'a', 1)} beside {thing}, {rng.choice(ADJECTIVES)} and {rng.choice(ADJECTIVES)}.",
            f"Nobody {rng.choice(VERBS)} {thing} any more, {why}.",
            f"When {rng.choice(WEATHER)}, {name} stayed at the {rng.choice(PLACES)} and {rng.choice(VERBS)} {thing}.",
            f"From {thing} one could see {other} and, further away, the roofs of {town}.",
            f"It was the {job} who {rng.choice(VERBS)} {other}, not {name}.",
            f"{thing[0].upper()}{thing[1:]} had {rng.randint(2, 40)} {rng.choice(GOODS)} on it.",
            f"After the {rng.choice(PLACES)} closed, {rng.choice(WEATHER)}.",
        )
    )


def description(rng: Random) -> str:
    """Two to four paragraphs about a place."""
    paragraphs = (" ".join(sentence(rng) for _ in range(rng.randint(3, 6))) for _ in range(rng.randint(2, 4)))
    return "\n\n".join(paragraphs)


def tale(rng: Random) -> str:
    """A short story with a beginning and an end."""
    name, friend = rng.sample(NAMES, 2)
    job, animal, town = rng.choice(JOBS), rng.choice(ANIMALS), rng.choice(TOWNS)
    middle = " ".join(sentence(rng) for _ in range(rng.randint(2, 5)))
    return (
        f"Once there lived a {job} called {name} in the town of {town}. Every evening {name} went to "
        f"{noun_phrase(rng)} and waited for the {animal}. One night, when {rng.choice(WEATHER)}, it did not come.\n\n"
        f"{middle}\n\n"
        f'"Have you seen the {animal}?" {name} asked {friend}. "It sleeps under {noun_phrase(rng)}," said {friend}, '
        f'"{rng.choice(WHY)}." They went home together, and the {job} never told anyone.'
    )


def dialogue(rng: Random) -> str:
    """Two people talk; some of the words of a trace occur here in their everyday sense."""
    pair = rng.sample(NAMES, 2)
    lines = (
        f"Wait for me at the {rng.choice(PLACES)}!",
        f"Did you bring {noun_phrase(rng)}?",
        f"I left it near {noun_phrase(rng)}.",
        f"Hold on to {noun_phrase(rng)}, please.",
        f"Let me carry the {rng.choice(GOODS)}.",
        f"So many {rng.choice(GOODS)}, and none for the {rng.choice(ANIMALS)}.",
        f"Okay. We meet again in {rng.choice(TOWNS)}.",
        f"No, {rng.choice(WEATHER)} yesterday.",
        f"How many {rng.choice(GOODS)} do you need? About {rng.randint(2, 90)}.",
        f"Thank you, {rng.choice(NAMES)}.",
    )
    said = (rng.choice(("said", "asked", "answered", "whispered", "shouted")) for _ in lines)
    order = rng.sample(lines, rng.randint(4, 8))
    return "\n".join(f'"{line}" {verb} {pair[i % 2]}.' for i, (line, verb) in enumerate(zip(order, said)))


def notice(rng: Random) -> str:
    """A report or a letter with dates and figures."""
    name, town, place = rng.choice(NAMES), rng.choice(TOWNS), rng.choice(PLACES)
    year, visitors = rng.randint(1850, 2024), rng.randint(100, 9000)
    body = " ".join(sentence(rng) for _ in range(rng.randint(2, 4)))
    return (
        f"{town}, {rng.randint(1, 28)} {rng.choice(('March', 'June', 'October', 'December'))} {year}\n\n"
        f"The {place} of {town} was opened in {year - rng.randint(1, 80)}. Last year {visitors} people came, "
        f"most of them {rng.choice(JOBS)}s and their families. {body}\n\nYours sincerely,\n{name}"
    )


def recipe(rng: Random) -> str:
    """A recipe with quantities."""
    first, second, third = rng.sample(FOODS, 3)
    return (
        f"{first.capitalize()} with {second}\n\nTake {rng.randint(2, 9) * 50} g of {first}, "
        f"{rng.randint(1, 6)} spoons of {second} and a little {third}. Wash the {first}, cut it small and put it "
        f"into a {rng.choice(ADJECTIVES)} pot. Stir for {rng.randint(3, 25)} minutes. Add the {second} "
        f"when the water boils, but keep the {third} for the end. Serve it hot, {rng.choice(WHY)}."
    )


def facts(rng: Random) -> str:
    """A paragraph of an encyclopedia."""
    chosen = rng.sample(SUBSTANCES, rng.randint(3, 5))
    told = " ".join(
        f"{substance} {fact}{rng.choice(('', ', ' + rng.choice(WHY)))}." for substance, fact in chosen
    )
    return f"{told} In {rng.choice(TOWNS)} this was first written down in {rng.randint(1500, 1950)}. {sentence(rng)}"


GENRES: tuple[Callable[[Random], str], ...] = (description, tale, dialogue, notice, recipe, facts)


def prose(rng: Random) -> str:
    """A document of two or three genres."""
    return "\n\n".join(genre(rng) for genre in rng.sample(GENRES, rng.randint(2, 3)))


def bullets(rng: Random) -> str:
    """Lists: numbered, dashed, to-do, with a title."""
    mark = rng.choice(("- ", "* ", "{}. ", "[ ] ", "{}) ", "  • "))
    items = (
        rng.choice(
            (
                f"{rng.randint(1, 60)} {rng.choice(GOODS)}",
                f"{rng.choice(VERBS)} {noun_phrase(rng)}",
                f"{rng.choice(FOODS)}, {rng.choice(FOODS)}",
                f"ask {rng.choice(NAMES)} about {noun_phrase(rng)}",
            )
        )
        for _ in range(rng.randint(6, 18))
    )
    title = f"{rng.choice(TOWNS)}: {rng.choice(('to buy', 'to do', 'things seen', 'to repair'))}"
    return title + "\n" + "\n".join(mark.format(i) + item for i, item in enumerate(items, 1))


def table(rng: Random) -> str:
    """A table as Markdown, as tab-separated values, or as comma-separated values."""
    style = rng.choice(("markdown", "tab", "comma"))
    rows = [("name", "town", "goods", "count", "price")]
    rows += [
        (
            rng.choice(NAMES),
            rng.choice(TOWNS),
            rng.choice(GOODS),
            str(rng.randint(1, 99)),
            f"{rng.randint(1, 40)}.50",
        )
        for _ in range(rng.randint(5, 12))
    ]
    if style == "markdown":
        rows.insert(1, ("---",) * 5)
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join(("\t" if style == "tab" else ",").join(row) for row in rows)
