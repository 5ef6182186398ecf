"""Arithmetic problems, and reasoning traces that solve them with slips which are noticed and repaired.

Every number that a finished trace states is right; a wrong one is always taken back within the same trace.
"""
# ruff: noqa: SIM905  # word lists are easier to read and to extend as one string

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

NAMES = (
    "Ada Ben Carla Dmitri Elif Femi Grace Hugo Ines Jun Kofi Lena Mara Nadia Omar Priya Quinn Rosa Sven Tara"
).split()
GOODS = (
    "apples pears books pencils candles stamps cups plates lemons shells tickets ribbons lamps coins stones seeds"
).split()
PLACES = "market harbour school library garden station bakery museum".split()


@dataclass(frozen=True)
class Step:
    """One calculation of a solution."""

    sentence: str
    """With ``{}`` where the calculation stands: "The cups cost {} dollars."."""
    calculation: str
    """Left-hand side: "4 * 12"."""
    value: int
    """What it comes to."""

    def with_value(self, value: int) -> str:
        """The sentence, claiming that the calculation comes to ``value``."""
        return self.sentence.format(f"{self.calculation} = {value}")


@dataclass(frozen=True)
class Problem:
    """A question with its worked solution."""

    question: str
    steps: list[Step]
    check: str  # a true sentence that verifies the result another way: "285 + 62 = 347"
    answer: str  # "347", "12 dollars"
    goal: str = field(default="the answer")
    """What is asked for, for the first sentence: "the sum"."""


def add(rng: Random) -> Problem:
    """Addition by tens and ones."""
    a, b = rng.randint(11, 489), rng.randint(11, 489)
    tens, ones = a // 10 * 10 + b // 10 * 10, a % 10 + b % 10
    steps = [
        Step("Add the tens: {}.", f"{a // 10 * 10} + {b // 10 * 10}", tens),
        Step("Add the ones: {}.", f"{a % 10} + {b % 10}", ones),
        Step("Together that gives {}.", f"{tens} + {ones}", tens + ones),
    ]
    return Problem(f"What is {a} + {b}?", steps, f"{a + b} - {b} = {a}", str(a + b), "the sum")


def subtract(rng: Random) -> Problem:
    """Subtraction in two moves."""
    b = rng.randint(12, 299)
    a = b + rng.randint(10, 499)
    tens = b // 10 * 10
    steps = [Step("Take away the tens: {}.", f"{a} - {tens}", a - tens)]
    steps.append(Step("Take away the ones: {}.", f"{a - tens} - {b - tens}", a - b))
    return Problem(f"What is {a} - {b}?", steps, f"{a - b} + {b} = {a}", str(a - b), "the difference")


def multiply(rng: Random) -> Problem:
    """Multiplication by splitting the second factor."""
    a, b = rng.randint(3, 29), rng.randint(11, 29)
    tens = b // 10 * 10
    steps = [
        Step("Multiply by the tens: {}.", f"{a} * {tens}", a * tens),
        Step("Multiply by the ones: {}.", f"{a} * {b - tens}", a * (b - tens)),
        Step("Add both parts: {}.", f"{a * tens} + {a * (b - tens)}", a * b),
    ]
    return Problem(f"What is {a} * {b}?", steps, f"{a * b} / {a} = {b}", str(a * b), "the product")


def shopping(rng: Random) -> Problem:
    """Two goods and the change."""
    name, (first, second) = rng.choice(NAMES), rng.sample(GOODS, 2)
    m, p, n, q = (rng.randint(2, 9) for _ in range(4))
    total = m * p + n * q
    paid = (total // 50 + 1) * 50
    question = (
        f"{name} buys {m} {first} at {p} dollars each and {n} {second} at {q} dollars each, and pays with "
        f"{paid} dollars. How much change does {name} get?"
    )
    steps = [
        Step(f"The {first} cost {{}} dollars.", f"{m} * {p}", m * p),
        Step(f"The {second} cost {{}} dollars.", f"{n} * {q}", n * q),
        Step("The whole bill is {} dollars.", f"{m * p} + {n * q}", total),
        Step("The change is {} dollars.", f"{paid} - {total}", paid - total),
    ]
    check = f"{paid - total} + {total} = {paid}"
    return Problem(question, steps, check, f"{paid - total} dollars", "the change")


def sharing(rng: Random) -> Problem:
    """Division of a gathered heap."""
    one, two = rng.sample(NAMES, 2)
    goods, friends, each = rng.choice(GOODS), rng.randint(3, 9), rng.randint(4, 19)
    total = friends * each
    mine = rng.randint(3, total - 3)
    question = (
        f"{one} has {mine} {goods} and {two} has {total - mine} {goods}. They share all of them equally among "
        f"{friends} friends. How many {goods} does each friend get?"
    )
    steps = [
        Step(f"First I count all the {goods}: {{}}.", f"{mine} + {total - mine}", total),
        Step("Now I share them: {}.", f"{total} / {friends}", each),
    ]
    return Problem(question, steps, f"{friends} * {each} = {total}", f"{each} {goods}", "each share")


def travel(rng: Random) -> Problem:
    """Distance over two legs."""
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    v, t, w, u = rng.randint(4, 60), rng.randint(2, 5), rng.randint(4, 60), rng.randint(2, 5)
    question = (
        f"{name} rides to the {place} for {t} hours at {v} km per hour and then {u} hours at {w} km per hour. "
        "How far is the whole way?"
    )
    steps = [
        Step("The first part is {} km.", f"{v} * {t}", v * t),
        Step("The second part is {} km.", f"{w} * {u}", w * u),
        Step("The whole way is {} km.", f"{v * t} + {w * u}", v * t + w * u),
    ]
    check = f"{v * t + w * u} - {w * u} = {v * t}"
    return Problem(question, steps, check, f"{v * t + w * u} km", "the distance")


def equation(rng: Random) -> Problem:
    """A linear equation."""
    a, x, b = rng.randint(2, 12), rng.randint(2, 20), rng.randint(1, 60)
    c = a * x + b
    steps = [
        Step(f"Subtract {b} from both sides: {a}x = {{}}.", f"{c} - {b}", c - b),
        Step(f"Divide both sides by {a}: x = {{}}.", f"{c - b} / {a}", x),
    ]
    check = f"{a} * {x} + {b} = {c}"
    return Problem(f"Solve {a}x + {b} = {c} for x.", steps, check, f"x = {x}", "x")


def average(rng: Random) -> Problem:
    """The mean of three or four numbers."""
    n, mean = rng.randint(3, 4), rng.randint(8, 60)
    numbers = [mean + rng.randint(-7, 7) for _ in range(n - 1)]
    numbers.append(n * mean - sum(numbers))
    listed = ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"
    steps = [
        Step("The sum is {}.", " + ".join(map(str, numbers)), n * mean),
        Step(f"There are {n} numbers, so the mean is {{}}.", f"{n * mean} / {n}", mean),
    ]
    return Problem(
        f"What is the average of {listed}?", steps, f"{n} * {mean} = {n * mean}", str(mean), "the average"
    )


def rectangle(rng: Random) -> Problem:
    """Perimeter, then a fence's price."""
    a, b, price = rng.randint(3, 40), rng.randint(3, 40), rng.randint(2, 6)
    around = 2 * (a + b)
    question = (
        f"A garden is {a} m long and {b} m wide. A fence costs {price} dollars per metre. "
        "What does a fence around the garden cost?"
    )
    steps = [
        Step("Length and width together are {} m.", f"{a} + {b}", a + b),
        Step("The way around is {} m.", f"2 * {a + b}", around),
        Step("The fence costs {} dollars.", f"{around} * {price}", around * price),
    ]
    check = f"{around * price} / {price} = {around}"
    return Problem(question, steps, check, f"{around * price} dollars", "the price")


def percent(rng: Random) -> Problem:
    """A discount."""
    rate, hundreds, goods = rng.choice((10, 20, 25, 30, 40, 50)), rng.randint(1, 9), rng.choice(GOODS)
    price = hundreds * 100
    off = hundreds * rate
    question = (
        f"A box of {goods} costs {price} dollars. The shop takes {rate} percent off. What is the new price?"
    )
    steps = [
        Step("One percent is {} dollars.", f"{price} / 100", hundreds),
        Step(f"The discount of {rate} percent is {{}} dollars.", f"{hundreds} * {rate}", off),
        Step("The new price is {} dollars.", f"{price} - {off}", price - off),
    ]
    return Problem(question, steps, f"{price - off} + {off} = {price}", f"{price - off} dollars", "the price")


def sequence(rng: Random) -> Problem:
    """The next term of an arithmetic sequence."""
    first, gap = rng.randint(1, 50), rng.randint(3, 25)
    a, b, c, d = (first + gap * i for i in range(4))
    steps = [
        Step("The gap between the first two is {}.", f"{b} - {a}", gap),
        Step("The next gap is the same: {}.", f"{c} - {b}", gap),
        Step("The next number is {}.", f"{d} + {gap}", d + gap),
    ]
    check = f"{d + gap} - {gap} = {d}"
    return Problem(f"What comes next: {a}, {b}, {c}, {d}?", steps, check, str(d + gap), "the next number")


PROBLEMS: tuple[Callable[[Random], Problem], ...] = (
    add,
    subtract,
    multiply,
    shopping,
    sharing,
    travel,
    equation,
    average,
    rectangle,
    percent,
    sequence,
)

OPENINGS = (
    "Okay, I need to find {goal}.",
    "Let me work out {goal} step by step.",
    "Alright, the question asks for {goal}.",
    "Hmm, let me think about {goal}.",
    "So I am looking for {goal}.",
)
LINKS = ("", "", "", "Next. ", "Then. ", "Okay. ", "So far so good. ")
DOUBTS = (
    "Wait, that is not right. {calculation} is not {wrong}.",
    "Wait, I made a mistake: {calculation} is not {wrong}.",
    "Hold on, {calculation} cannot be {wrong}.",
    "Hmm, {wrong} looks wrong. Wait, I should redo {calculation}.",
    "No, wait. I got {wrong}, but {calculation} is something else.",
)
REPAIRS = (
    "Let me correct this. {fixed}",
    "Let me do it again. {fixed}",
    "Going back: {fixed}",
    "The right way: {fixed}",
)
FALSE_ALARMS = (
    "Wait, let me make sure. {claim} Yes, that is right.",
    "Wait, is that right? {claim} Yes, it is fine.",
    "Hmm, did I get this right? {claim} Yes, good.",
)
CHECKS = (
    "Let me check: {check}. Yes, it fits.",
    "Let me verify: {check}. That is correct.",
    "To be sure, {check}. Good, this matches.",
    "Checking the result: {check}. It works.",
)
ENDINGS = (
    "Therefore, {goal} is {answer}.",
    "So {goal} is {answer}.",
    "Therefore, the answer is {answer}.",
    "Thus the final answer is {answer}.",
)


def trace(rng: Random) -> str:
    """A chat of one to three turns: question, thoughts in paragraphs, final answer."""
    return "\n".join(turn(rng) for _ in range(rng.choice((1, 2, 2, 3))))


def turn(rng: Random) -> str:
    """One question with its thoughts and its final answer, in the chat format of the tokenizer."""
    problem = rng.choice(PROBLEMS)(rng)
    thoughts = "\n\n".join(think(rng, problem))
    return (
        f"<|im_start|>user\n{problem.question}<|im_end|>\n<|im_start|>think\n{thoughts}<|im_end|>\n"
        f"<|im_start|>answer\nFinal answer: {problem.answer}<|im_end|>"
    )


def think(rng: Random, problem: Problem) -> list[str]:
    """The paragraphs of a solution: most have one slip or one needless doubt, some have both."""
    slip = rng.randrange(len(problem.steps)) if rng.random() < 0.65 else -1
    doubt = rng.randrange(len(problem.steps)) if rng.random() < 0.3 else -1
    paragraphs = [rng.choice(OPENINGS).format(goal=problem.goal)]
    for index, step in enumerate(problem.steps):
        if index == slip:
            paragraphs += slipped(rng, step)
        else:
            paragraphs.append(rng.choice(LINKS) + step.with_value(step.value))
        if index == doubt and index != slip:
            claim = f"{step.calculation} = {step.value}."
            paragraphs.append(rng.choice(FALSE_ALARMS).format(claim=claim))
    if rng.random() < 0.8:
        paragraphs.append(rng.choice(CHECKS).format(check=problem.check))
    paragraphs.append(rng.choice(ENDINGS).format(goal=problem.goal, answer=problem.answer))
    return paragraphs


def slipped(rng: Random, step: Step) -> list[str]:
    """A wrong step, the doubt, and the repair."""
    wrong = step.value + rng.choice((-10, -2, -1, 1, 2, 10))
    if wrong < 0:
        wrong = step.value + 10
    return [
        rng.choice(LINKS) + step.with_value(wrong),
        rng.choice(DOUBTS).format(calculation=step.calculation, wrong=wrong),
        rng.choice(REPAIRS).format(fixed=step.with_value(step.value)),
    ]


def bare(rng: Random) -> str:
    """A few questions with nothing but their answers."""
    problems = [rng.choice(PROBLEMS)(rng) for _ in range(rng.randint(4, 9))]
    ask, tell = rng.choice((("Q: ", "A: "), ("Question: ", "Answer: "), ("- ", "  ")))
    return "\n".join(f"{ask}{p.question}\n{tell}{p.answer}" for p in problems)
