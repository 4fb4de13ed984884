"""What the embedded model is asked to write: templates × subjects over wide domains, no two requests alike.

The list is fixed by its seed alone, so request `i` is the same in every run.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import Final

from embedded.corpus.subjects import CODE_TASKS, SUBJECTS, split

Message = dict[str, str]
"""`{"role": …, "content": …}`, as chat templates take it."""


@dataclass(frozen=True)
class Request:
    """One chat to be answered; `subject` groups the near-duplicates."""

    messages: tuple[Message, ...]
    domain: str
    subject: str


_TEMPLATES: Final = {
    "explanation": [
        "Explain {s} in simple words.",
        "What should everyone know about {s}?",
        "Can you tell me something interesting about {s}?",
        "Explain {s} to a five-year-old.",
        "I don't understand why people care about {s}. Can you help me see it?",
        "Give me three surprising facts about {s}.",
        "Write an encyclopedia entry about {s}.",
        "What are the main causes and effects when it comes to {s}?",
        "Write the introduction of an essay about {s}.",
        "What do experts disagree about when it comes to {s}?",
        "Write a detailed paragraph about {s}.",
        "Compare how {s} was seen a hundred years ago and how it is seen today.",
    ],
    "story": [
        "Write a short story about {s}.",
        "Tell me a bedtime story about {s}.",
        "Write the opening of a novel about {s}.",
        "Write a funny story about {s}.",
        "Write a sad story about {s}.",
        "Write a scary story about {s}, in the first person.",
        'Continue this: "Nobody in the village ever spoke about {s}. Until that night,"',
        "Describe a scene: an old woman and a young man, and {s}.",
        "Write a fairy tale about {s}.",
        "Write a science fiction story about {s} in the year 2300.",
        "Write a story about {s} in which a girl called Mira makes a difficult choice.",
    ],
    "letter": [
        "Write a letter to a friend about {s}.",
        "Write an email to my boss about {s}.",
        "Write a letter of complaint about {s}.",
        "Write a diary entry about {s}.",
        "Write a thank-you note that mentions {s}.",
        "Write a love letter that mentions {s}.",
        "Write a postcard about {s}.",
    ],
    "dialogue": [
        "Write a dialogue between two friends who disagree about {s}.",
        "Write a conversation between a teacher and a student about {s}.",
        "Write an interview with an expert on {s}.",
        "Write a scene for a play about {s}, with stage directions.",
        "Two strangers talk about {s} while waiting for the bus. Write what they say.",
    ],
    "poem": [
        "Write a poem about {s}.",
        "Write a haiku about {s}, then explain it.",
        "Write a song about {s}, with a chorus.",
        "Write a rhyming poem for children about {s}.",
    ],
    "opinion": [
        "What do you think about {s}?",
        "Give arguments for and against {s}.",
        "Write an angry online comment about {s}.",
        "Write a persuasive speech about {s}.",
        "Write a review with stars out of five, about {s}.",
        "Is it a good idea to spend a lot of time on {s}?",
        "Write a newspaper opinion column about {s}.",
    ],
    "news": [
        "Write a news report about {s}.",
        "Write a headline and the first paragraph of an article about {s}.",
        "Write a press release about {s}.",
        "Write a radio announcement about {s}.",
        "Write an advertisement about {s}.",
    ],
    "how-to": [
        "Give me advice about {s}.",
        "Write a step-by-step guide about {s}.",
        "Make a checklist about {s}.",
        "What are common mistakes with {s}, and how can I avoid them?",
        "I have a problem with {s}. What can I do?",
        "Give me ten short tips about {s}.",
        "Make a table or a list of words that have to do with {s}, with their meanings.",
        "Ask me five quiz questions about {s} and give the answers.",
    ],
    "language": [
        "Write a short paragraph about {s} in French.",
        "Schreibe einen kurzen Text über das Thema: {s}.",
        "Escribe un texto breve sobre este tema: {s}.",
        "Write about {s} in the style of the King James Bible.",
        "Write about {s} in very old-fashioned English.",
        "Write three tweets about {s}, with hashtags.",
        "Write about {s} in the style of a scientific abstract.",
        "Write a joke about {s} and explain why it is funny.",
    ],
}
_WEIGHTS: Final = {
    "explanation": 22,
    "story": 24,
    "letter": 11,
    "dialogue": 11,
    "poem": 5,
    "opinion": 9,
    "news": 7,
    "how-to": 10,
    "language": 6,
}
_OWN_TEMPLATES: Final = {
    "food": ["Give me a recipe: {s}.", "Write a recipe with ingredients and steps. The theme is {s}."],
    "travel": ["Plan a trip for me: {s}.", "Write a travel blog post about {s}."],
    "medicine": ["A patient asks about {s}. What does the doctor say?", "Write a health leaflet about {s}."],
    "law": ["A client asks a lawyer about {s}. What does the lawyer say?", "Write a legal notice concerning {s}."],
    "sports": ["Write a live match commentary about {s}."],
    "feelings": ["I need to talk to someone. It's about {s}.", "Write an inner monologue about {s}."],
    "history": ["Write a page of a history textbook about {s}.", "Give a timeline of {s}, with years."],
    "numbers": ["Make a word problem about {s} and solve it step by step.", "Work out an example: {s}."],
    "science": ["Describe an experiment about {s}, with the result.", "Write lecture notes about {s}."],
    "religion": ["Write a sermon about {s}."],
    "war": ["Write a soldier's diary about {s}."],
}
_CODE_TEMPLATES: Final = [
    "Write a Python function that {s}.",
    "Write {l} code that {s}, with comments.",
    "How do I write a {l} program that {s}?",
    "Show me a class in {l} that {s}.",
    "My {l} code that {s} gives an error. What could be wrong?",
    "Explain step by step how a {l} program {s}.",
    "Write unit tests for a {l} function that {s}.",
]
_LANGUAGES: Final = ["Python", "JavaScript", "Java", "C", "C++", "HTML and CSS", "SQL", "Bash", "Rust", "Go", "PHP"]

_SYSTEM: Final = """You are a pirate and answer like one.; You are a strict but fair teacher.; You are a poet.
    ; Answer in one paragraph.; You are a friendly doctor.; You write like a newspaper of 1920.; You are a lawyer.
    ; You are a helpful assistant.; You are an expert programmer.; Answer briefly and to the point.; You are a comedian.
    ; You are a wise old grandmother.; You are a travel guide.; You are a historian.; You are a chef in a small kitchen.
    ; You are a scientist who loves details.; You are a storyteller. Write vividly.; Be formal and polite.
    ; You are a sports commentator.; Use bullet points.; You are a philosopher who answers with questions.
    ; You are a gloomy detective.; You are talking to a child. Use easy words.; You are a robot from the future."""

_FOLLOW_UPS: Final = [
    "Can you say that in other words?",
    "Thanks! Can you tell me more?",
    "Why is that?",
    "I don't agree. Convince me.",
    "Now write it as a poem.",
    "Make it shorter, please.",
    "Give me an example.",
    "What happens next?",
    "That's great. What should I do first?",
    "Can you make it funnier?",
    "What would my grandmother say about it?",
    "Is there anything dangerous about it?",
    "Rewrite it for a ten-year-old.",
    "How do you know?",
    "Now answer as an angry critic.",
    "Turn it into a list.",
    "What is the opposite view?",
    "And what does it cost?",
    "Write a short letter to my sister about it.",
    "Please continue.",
]


SYSTEM_PROMPTS: Final = [f"{part}." if part[-1] != "." else part for part in split(_SYSTEM)]
SHARE_WITH_SYSTEM: Final = 0.25
SHARE_CODE: Final = 0.08


@functools.cache
def first_requests(seed: int = 0) -> tuple[Request, ...]:
    """All first turns, each once, shuffled so that any beginning of the list covers the domains and kinds of text."""
    draw = random.Random(seed)
    asked = [*_weighted(draw), *_code()]
    unique = list({text: (text, domain, subject) for text, domain, subject in asked}.values())
    draw.shuffle(unique)
    return tuple(_request(draw, *item) for item in _interleaved(draw, unique))


def follow_up(before: Request, answer: str, seed: int) -> Request:
    """A second turn: the first one, what was answered, and a follow-up question drawn by `seed`."""
    question = random.Random(seed).choice(_FOLLOW_UPS)
    said: tuple[Message, ...] = ({"role": "assistant", "content": answer}, {"role": "user", "content": question})
    return Request((*before.messages, *said), before.domain, before.subject)


def _weighted(draw: random.Random) -> list[tuple[str, str, str]]:
    """For every subject a dozen templates or so, the kinds of text in proportion to their weights."""
    kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    asked = []
    for domain, subjects in SUBJECTS.items():
        for subject in subjects:
            chosen = [draw.choice(_TEMPLATES[kind]) for kind in draw.choices(kinds, weights, k=12)]
            chosen += [draw.choice(own)] if (own := _OWN_TEMPLATES.get(domain)) else []
            asked += [(template.format(s=subject), domain, subject) for template in chosen]
    return asked


def _code() -> list[tuple[str, str, str]]:
    return [
        (template.format(s=task, l=language), "code", task)
        for task in CODE_TASKS
        for template in _CODE_TEMPLATES
        for language in _LANGUAGES
    ]


def _interleaved(draw: random.Random, items: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Code at its share, everything else in the order it has."""
    code = [item for item in items if item[1] == "code"]
    other = [item for item in items if item[1] != "code"]
    mixed: list[tuple[str, str, str]] = []
    while other:
        mixed.append(code.pop() if code and draw.random() < SHARE_CODE else other.pop())
    return mixed


def _request(draw: random.Random, text: str, domain: str, subject: str) -> Request:
    user: Message = {"role": "user", "content": text}
    if draw.random() >= SHARE_WITH_SYSTEM:
        return Request((user,), domain, subject)
    return Request(({"role": "system", "content": draw.choice(SYSTEM_PROMPTS)}, user), domain, subject)
