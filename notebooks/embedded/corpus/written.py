"""Text that the embedded model writes itself, in its chat format, as material for the embedded dictionaries.

    OMP_NUM_THREADS=1 nice python -m embedded.corpus.written

asks the model for stories, letters, code, explanations and so on (see `prompts`) and writes each finished batch as
one file of JSON lines under `build/dictionaries/written/`. A run that was stopped goes on after its last finished
batch. The text is the model's own (SmolLM2-135M-Instruct, Apache-2.0), so no other licence holds for it.

It computes in bfloat16, and the same seed gives the same text only on the same machine with the same versions.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from embedded.corpus.answers import sample_answers, use_grouped_attention
from embedded.corpus.prompts import Message, Request, first_requests, follow_up
from embedded.share import scaled

FOLDER: Final = Path("build/dictionaries/written")
FOLLOW_UP_EVERY: Final = 6
"""Every so many batches, one asks follow-up questions on the answers of the batches between."""
DEGENERATE_BELOW: Final = 0.4
"""A text of which less than this share of neighbouring token pairs is distinct runs in a loop."""
TEMPERATURES: Final = (0.9, 0.7, 1.0, 0.8)


@dataclass(frozen=True)
class Settings:
    """How the texts are sampled; the temperature of a batch is the next one of `TEMPERATURES`."""

    rows: int = 96
    max_new_tokens: int = 160
    top_k: int = 50
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """One chat as it was written; `answer_ids` are the tokens as sampled, with the end token where it was reached.

    `index` is the place of a first turn in the list of requests, None for a follow-up.
    """

    index: int | None
    domain: str
    subject: str
    messages: list[Message]
    answer: str
    prompt_ids: list[int]
    answer_ids: list[int]
    ended: bool
    temperature: float
    distinct_2: float

    @property
    def is_degenerate(self) -> bool:
        """Whether the answer is empty or runs in a loop."""
        return not self.answer.strip() or self.distinct_2 < DEGENERATE_BELOW


def main() -> None:
    """Write until the target is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument(
        "--tokens", type=int, default=scaled(600_000, 3_000), help="stop once so many tokens of answers are there"
    )
    parser.add_argument("--rows", type=int, default=Settings.rows, help="chats in a batch")
    arguments = parser.parse_args()
    model, tokenizer = _load()
    write(model, tokenizer, arguments.folder, arguments.tokens, Settings(rows=arguments.rows))


def write(model: Any, tokenizer: Any, folder: Path, target: int, settings: Settings = Settings()) -> None:
    """Write batches into `folder` until it holds `target` tokens of usable answers.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer, with a chat template.
        folder: where the batches lie; those that are there are kept and counted.
        target: in tokens of answers that are not degenerate.
        settings: how to sample.
    """
    folder.mkdir(parents=True, exist_ok=True)
    requests = first_requests(settings.seed)
    files = batch_files(folder)
    used = 1 + max((row.index for row in read_rows(files) if row.index is not None), default=-1)
    with tqdm(total=target, initial=usable_tokens(read_rows(files)), unit="token", smoothing=0.1) as bar:
        while bar.n < target and used < len(requests):
            number = len(files)
            asked = _next(requests, used, files, number, settings)
            rows = write_batch(model, tokenizer, asked, TEMPERATURES[number % len(TEMPERATURES)], number, settings)
            files.append(_save(rows, folder / f"batch-{number:05d}.jsonl"))
            used += sum(row.index is not None for row in rows)
            bar.update(usable_tokens(rows))


def batch_files(folder: Path) -> list[Path]:
    """The finished batches, in order."""
    return sorted(folder.glob("batch-*.jsonl"))


def read_rows(files: Sequence[Path]) -> Iterator[Written]:
    """All chats of these batches, degenerate ones too."""
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            yield Written(**json.loads(line))


def usable_tokens(rows: Iterator[Written] | Sequence[Written]) -> int:
    """How many tokens of answers there are, degenerate ones left out."""
    return sum(len(row.answer_ids) for row in rows if not row.is_degenerate)


def write_batch(
    model: Any,
    tokenizer: Any,
    asked: Sequence[tuple[int | None, Request]],
    temperature: float,
    number: int,
    settings: Settings,
) -> list[Written]:
    """Sample one answer to each request, all in one batch; `number` and the settings' seed decide the noise."""
    prompts = [_chat_ids(tokenizer, [dict(message) for message in request.messages]) for _, request in asked]
    answers = sample_answers(
        model,
        prompts,
        end=tokenizer.eos_token_id,
        temperature=temperature,
        top_k=settings.top_k,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed * 1_000_003 + number,
    )
    return [
        _written(tokenizer, request, index, ids, answer, temperature)
        for (index, request), ids, answer in zip(asked, prompts, answers, strict=True)
    ]


def _chat_ids(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _written(
    tokenizer: Any, request: Request, index: int | None, prompt: list[int], answer: list[int], temperature: float
) -> Written:
    end = tokenizer.eos_token_id
    ended = end in answer
    kept = answer[: answer.index(end)] if ended else answer
    text: str = tokenizer.decode(kept, clean_up_tokenization_spaces=False)
    pairs = list(itertools.pairwise(kept))
    return Written(
        index=index,
        domain=request.domain,
        subject=request.subject,
        messages=list(request.messages),
        answer=text,
        prompt_ids=prompt,
        answer_ids=[*kept, end] if ended else kept,
        ended=ended,
        temperature=temperature,
        distinct_2=round(len({*pairs}) / len(pairs), 4) if pairs else 1.0,
    )


def _next(
    requests: Sequence[Request], used: int, files: Sequence[Path], number: int, settings: Settings
) -> list[tuple[int | None, Request]]:
    """The next first turns, or follow-ups on what the batches since the last follow-ups answered to the end."""
    if number % FOLLOW_UP_EVERY == FOLLOW_UP_EVERY - 1:
        recent = files[number - FOLLOW_UP_EVERY + 1 :]
        answered = [row for row in read_rows(recent) if row.ended and not row.is_degenerate][: settings.rows]
        if answered:
            return [(None, _second_turn(row, settings.seed)) for row in answered]
    return [(i, requests[i]) for i in range(used, min(used + settings.rows, len(requests)))]


def _second_turn(row: Written, seed: int) -> Request:
    return follow_up(Request(tuple(row.messages), row.domain, row.subject), row.answer, seed + (row.index or 0))


def _save(rows: Sequence[Written], file: Path) -> Path:
    """Written beside and renamed: a killed run leaves no half batch."""
    partial = file.with_suffix(".partial")
    lines = [json.dumps(asdict(row), ensure_ascii=False) for row in rows]
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return partial.replace(file)


def _load() -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from steerwidgets.demo.model import fetch_demo_model

    folder = fetch_demo_model()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="eager", local_files_only=True
    ).eval()
    use_grouped_attention(model)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


if __name__ == "__main__":
    main()
