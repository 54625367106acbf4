"""An independent, strict reading of the GuardReasoner-VL grammar, and mutations of valid answers to try a parser with.

The reader is written from the grammar's description, line by line and without regular expressions, so that it shares no
mistake with the parser in `gr_vl.dialects`: reasoning between one <think> and one </think>, then one result of exactly
three lines, then nothing. Only white space is free.
"""

TAGS = ("<think>", "</think>", "<result>", "</result>")
WORDS = ("harmful", "unharmful")
LOOK_ALIKES = {
    "a": "аａ",
    "e": "еｅ",
    "o": "оｏ",
    "s": "ſѕ",
    "i": "ıі",
    "h": "һ",
    ":": "：",
    "<": "＜‹",
    "R": "Ｒ",
    "m": "ｍ",
}
NOISE = ["", " ", "\n", "\r\n", "\t", "\0", "\u200b", "\u2028", "\x0b", "\x1c", "\u00a0", "\ufeff", "x", "ß", "<", ">"]
PIECES = [
    *TAGS,
    *NOISE,
    "Answers:",
    "Request:",
    "Response:",
    "Request: harmful\n",
    "Response: unharmful\n",
    "none",
    "harmless",
]
PIECES += ["Request: harmful Response: harmful", "harmful, unharmful", "<result>\nAnswers:\n", "</result></result>"]


def strict_reading(text):
    """(request, response) if `text` follows the grammar to the letter, else None."""
    text = text.strip()
    if any(text.count(tag) != 1 for tag in TAGS):
        return None
    if text[: len(TAGS[0])] != TAGS[0] or text[-len(TAGS[3]) :] != TAGS[3]:
        return None
    _, _, rest = text.partition(TAGS[1])
    between, _, inside = rest.partition(TAGS[2])
    if between.strip() or not inside.endswith(TAGS[3]):
        return None
    lines = [line.strip() for line in inside[: -len(TAGS[3])].split("\n")]
    lines = [line for line in lines if line]
    if len(lines) != 3 or lines[0] != "Answers:":
        return None
    said = []
    for line, name in zip(lines[1:], ("Request: ", "Response: "), strict=True):
        if line[: len(name)] != name or line[len(name) :] not in WORDS:
            return None
        said.append(line[len(name) :])
    return tuple(said)


def valid(draw):
    """A valid answer; `draw` is a random.Random."""
    reasoning = "\n".join(
        draw.choices(["# Task 1", "Step: a", "Request: harmful", "it is harmful", ""], k=draw.randint(0, 5))
    )
    request, response = draw.choice(WORDS), draw.choice(WORDS)
    return f"<think>\n{reasoning}\n</think>\n<result>\nAnswers:\nRequest: {request}\nResponse: {response}\n</result>"


def mutated(draw):
    """A valid answer after up to four structured changes."""
    text = valid(draw)
    for _ in range(draw.randint(0, 4)):
        text = draw.choice(MUTATIONS)(text, draw)
    return text


def _insert(text, draw):
    at = draw.randint(0, len(text))
    return text[:at] + draw.choice(PIECES) + text[at:]


def _insert_at_a_joint(text, draw):
    joints = [i for i, char in enumerate(text) if char in "<>\n:"]
    at = draw.choice(joints) + draw.randint(0, 1) if joints else 0
    return text[:at] + draw.choice(PIECES) + text[at:]


def _cut(text, draw):
    start = draw.randint(0, len(text))
    return text[:start] + text[start + draw.randint(1, 12) :]


def _drop_a_piece(text, draw):
    return text.replace(draw.choice(PIECES), "", 1)


def _swap_lines(text, draw):
    lines = text.split("\n")
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return "\n".join(lines)


def _repeat(text, draw):
    start = draw.randint(0, len(text))
    return text + text[start:] if draw.random() < 0.5 else text[:start] + text


def _look_alike(text, draw):
    char = draw.choice(list(LOOK_ALIKES))
    at = text.find(char, draw.randint(0, len(text)))
    return text if at < 0 else text[:at] + draw.choice(LOOK_ALIKES[char]) + text[at + 1 :]


def _case(text, draw):
    start = draw.randint(0, len(text))
    end = start + draw.randint(1, 20)
    return text[:start] + draw.choice([str.upper, str.lower, str.title])(text[start:end]) + text[end:]


MUTATIONS = (_insert, _insert_at_a_joint, _cut, _drop_a_piece, _swap_lines, _repeat, _look_alike, _case)
