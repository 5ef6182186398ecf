"""Text that is hard to show: other scripts, emoji, invisible characters, very long lines."""
# ruff: noqa: SIM905  # word lists are easier to read and to extend as one string

from random import Random

from generator.demo.prose import sentence
from generator.demo.traces import NAMES

SENTENCES: dict[str, tuple[str, ...]] = {
    "chinese": (
        "今天有{n}个人在车站等车。",
        "河边的老房子里住着{m}只猫。",
        "他买了{n}个苹果，一共花了{m}元。",
        "请把门关上，外面很冷。",
        "春天来了，花园里的花都开了。",
        "老师说：“明天早上{m}点见。”",
    ),
    "japanese": (
        "駅の前で{n}人が待っています。",
        "この町には古い橋が{m}つあります。",
        "昨日、友だちとりんごを{n}個買いました。",
        "雨が降っているので、家で本を読みます。",
        "カメラとノートを忘れないでください。",
    ),
    "korean": (
        "역 앞에서 {n}명이 기다리고 있습니다.",
        "우리 마을에는 오래된 다리가 {m}개 있습니다.",
        "비가 와서 집에서 책을 읽었습니다.",
        "사과 {n}개를 사고 {m}원을 냈습니다.",
    ),
    "arabic": (
        "في السوق {n} تاجرا و{m} محلات.",
        "ذهب الولد إلى المدرسة في الصباح.",
        "اشترت مريم {n} كتابا من المكتبة القديمة.",
        "الجو بارد اليوم، فأغلق الباب من فضلك.",
        "قال المعلم: نلتقي غدا في الساعة {m}.",
    ),
    "hebrew": (
        "בתחנה מחכים {n} אנשים לרכבת.",
        "הילד קרא {m} ספרים בספרייה.",
        "היום קר בחוץ, סגור את הדלת בבקשה.",
        "בגינה פרחו {n} פרחים אדומים.",
    ),
    "hindi": (
        "बाज़ार में {n} दुकानें और {m} बाग हैं।",
        "राम ने {n} किताबें खरीदीं।",
        "आज बहुत ठंड है, दरवाज़ा बंद कर दो।",
        "नदी के पास एक पुराना घर है।",
    ),
    "russian": (
        "На станции ждут {n} человек.",
        "Старый мост стоит у реки уже {n} лет.",
        "Сегодня холодно, закройте дверь, пожалуйста.",
        "Анна купила {m} яблок и {n} груш.",
        "Вечером мы читали книгу и пили чай.",
    ),
    "greek": (
        "Στον σταθμό περιμένουν {n} άνθρωποι.",
        "Η παλιά γέφυρα είναι δίπλα στο ποτάμι.",
        "Σήμερα κάνει κρύο, κλείσε την πόρτα.",
        "Η Μαρία αγόρασε {m} μήλα και {n} βιβλία.",
    ),
    "thai": (
        "มีคน {n} คนรออยู่ที่สถานี",
        "วันนี้อากาศหนาวมาก กรุณาปิดประตู",
        "เขาซื้อแอปเปิล {m} ลูกที่ตลาด",
    ),
    "accents": (
        "Žluťoučký kůň úpěl {n} ďábelských ód.",
        "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg, {m} Mal.",
        "Voyez le brick géant que j'examine près du wharf, à {n} m.",
        "Tiếng Việt có {m} dấu thanh.",
        "Cafe\u0301 und nai\u0308ve: {n} zusammengesetzte Zeichen.",
    ),
}
"""Whole sentences of each script, with places for two numbers."""

EMOJI = ("😀 🎉 🚀 👍🏽 👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🇯🇵 🇧🇷 ❤️ ☕️ 🧑🏿‍🔬 🐈‍⬛ 1️⃣ 🙈 🔥 🌍 👩🏻‍🤝‍👨🏾 🧬 ✅").split(" ")

INVISIBLE = {
    "zero width space": "\u200b",
    "zero width non-joiner": "\u200c",
    "zero width joiner": "\u200d",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "no-break space": "\u00a0",
    "right-to-left override": "\u202e",
    "pop directional formatting": "\u202c",
    "left-to-right mark": "\u200e",
    "line separator": "\u2028",
    "ideographic space": "\u3000",
    "bell": "\u0007",
    "escape": "\u001b",
    "delete": "\u007f",
}


def script(rng: Random, language: str | None = None) -> str:
    """A text in one script (a random one when not named); some have an English line between."""
    language = language or rng.choice(tuple(SENTENCES))
    lines = [
        rng.choice(SENTENCES[language]).format(n=rng.randint(2, 99), m=rng.randint(2, 9))
        for _ in range(rng.randint(5, 10))
    ]
    if rng.random() < 0.4:
        lines.insert(rng.randrange(len(lines)), f"{language}: {sentence(rng)}")
    return (" " if rng.random() < 0.5 else "\n").join(lines)


def emoji(rng: Random) -> str:
    """Chat messages with emoji, also joined ones."""
    lines = []
    for _ in range(rng.randint(4, 8)):
        picked = rng.choices(EMOJI, k=rng.randint(1, 4))
        lines.append(f"{rng.choice(NAMES)}: {sentence(rng)} {''.join(picked)}")
    return "\n".join(lines)


def invisible(rng: Random) -> str:
    """Named characters that show nothing, in the middle of words."""
    lines = []
    for name in rng.sample(tuple(INVISIBLE), 8):
        words = sentence(rng).split(" ")
        index = rng.randrange(len(words))
        words[index] = words[index][:2] + INVISIBLE[name] + words[index][2:]
        lines.append(f"{name}: {' '.join(words)}{INVISIBLE[name]}")
    return "\n".join(lines) + "   \n\n\t \n"


def long_line(rng: Random) -> str:
    """One line without a break: prose, digits, or something without any space."""
    style = rng.choice(("prose", "numbers", "hex"))
    if style == "prose":
        return " ".join(sentence(rng) for _ in range(rng.randint(40, 70)))
    if style == "numbers":
        return ",".join(str(rng.randint(0, 999)) for _ in range(rng.randint(150, 400)))
    return "".join(rng.choice("0123456789abcdef") for _ in range(rng.randint(600, 1800)))
