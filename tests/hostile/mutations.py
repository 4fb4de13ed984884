"""Seeded ways to spoil a JSON value, a tensor, bytes, and a file of safetensors."""

from __future__ import annotations

import json
import math
import os
import random
import struct
from collections.abc import Iterator
from typing import Any

import torch

Path = tuple[Any, ...]
"""Where in a JSON value: keys and indices."""

DEEP = 3_000


class Code:
    """A pickle that runs code when it is loaded: it makes a file named in the environment."""

    def __reduce__(self) -> Any:
        return os.system, ('touch "$HOSTILE_MARK"',)


JUNK: tuple[tuple[str, Any], ...] = (
    ("null", None),
    ("true", True),
    ('"false"', "false"),
    ("empty text", ""),
    ("text", "xyzzy"),
    ("-1", -1),
    ("0", 0),
    ("1.5", 1.5),
    ("1e400", math.inf),
    ("NaN", math.nan),
    ("a number of 40 digits", 10**40),
    ("[]", []),
    ("[null]", [None]),
    ("[[1]]", [[1]]),
    ("{}", {}),
    ("a table", {"a": 1}),
    ("a path", "../../../../etc/passwd"),
    ("a long text", "x" * 20_000),
    ("\\u0000", "a\x00b"),
    ("a lone surrogate", "\ud800"),
)


def kind(value: Any) -> str:
    """What JSON calls a value; numbers are one kind but for bool."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return {str: "text", list: "list", tuple: "list", dict: "table"}[type(value)]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value, of a list the first element alone."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*at, key))


def at(value: Any, where: Path) -> Any:
    for key in where:
        value = value[key]
    return value


def replaced(value: Any, where: Path, new: Any) -> Any:
    """The value with another at one place."""
    if not where:
        return new
    made = dict(value) if isinstance(value, dict) else list(value)
    made[where[0]] = replaced(made[where[0]], where[1:], new)
    return made


def without(value: Any, where: Path) -> Any:
    """The value without what is at one place."""
    parent = at(value, where[:-1])
    left = (
        {key: inner for key, inner in parent.items() if key != where[-1]}
        if isinstance(parent, dict)
        else [inner for i, inner in enumerate(parent) if i != where[-1]]
    )
    return replaced(value, where[:-1], left) if where[:-1] else left


def json_values(value: Any, drawn: random.Random, each: int) -> Iterator[tuple[str, Path, Any, bool]]:
    """Spoilt values: `each` kinds of junk at every place, and every place left out.

    Yields:
        What was done, where, the value, and whether the junk is of another kind than what stood there.
    """
    for where in paths(value):
        old = at(value, where)
        name = ".".join(map(str, where))
        for label, junk in drawn.sample(JUNK, each):
            if junk != old:
                yield f"{name} is {label}", where, replaced(value, where, junk), kind(junk) != kind(old)
        yield f"{name} is left out", where, without(value, where), False


def json_texts(text: str) -> Iterator[tuple[str, bytes]]:
    """Texts that are no JSON value, or one of another shape."""
    whole = text.encode()
    yield "empty", b""
    yield "cut in the middle", whole[: len(whole) // 2]
    yield "cut by one", whole.rstrip()[:-1]
    yield "twice", whole.rstrip() + b"\n" + whole
    yield "no UTF-8", whole[:-1] + b"\xff\xfe" + whole[-1:]
    yield "UTF-16", text.encode("utf-16")
    yield "zeros", b"\x00" * 64
    yield "HTML", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    yield "a pointer of git-lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    yield "nested too deep", b"[" * DEEP + b"]" * DEEP
    yield "tables nested too deep", b'{"a":' * DEEP + b"1" + b"}" * DEEP
    for other in ("null", "true", "3", '"text"', "[]", "{}", "[[]]", "NaN"):
        yield f"just {other}", other.encode()


def duplicated(value: dict[str, Any], key: str, second: Any) -> str:
    """A JSON table that says one key twice."""
    text = json.dumps(value)
    return text[:-1] + f", {json.dumps(key)}: {json.dumps(second)}" + "}"


def tensors(tensor: torch.Tensor, drawn: random.Random) -> Iterator[tuple[str, Any, bool]]:
    """Spoilt tensors: what was done, the tensor, and whether it has to be refused."""
    spoilt = lambda value: tensor.clone().index_put_(
        tuple(torch.tensor([drawn.randrange(n)]) for n in tensor.shape), torch.tensor(value)
    )
    yield "NaN", spoilt(math.nan), True
    yield "infinite", spoilt(-math.inf), True
    yield "of bools", tensor > 0, True
    yield "of int64", (10 * tensor).long(), True
    yield "of uint8", (10 * tensor).abs().to(torch.uint8), True
    yield "complex", tensor.to(torch.complex64), True
    yield "float64", tensor.double(), False
    yield "float16", tensor.half(), False
    yield "one number", torch.tensor(0.5), tensor.ndim > 0
    yield "with one dimension more", tensor[None].clone(), True
    yield "flat", tensor.reshape(-1).clone(), tensor.ndim > 1
    yield "without a row", tensor[1:].clone(), True
    yield "without any row", tensor[:0].clone(), True
    yield "with a row more", torch.cat([tensor, tensor[:1]]), True
    if tensor.ndim > 1:
        yield "transposed", tensor.transpose(0, 1).contiguous(), tensor.shape[0] != tensor.shape[1]
        yield "without columns", tensor[:, :0].clone(), True
        yield "a column short", tensor[:, 1:].contiguous(), True


def file_bytes(whole: bytes, drawn: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damaged files; a flipped byte may leave a valid one."""
    yield "empty", b""
    yield "one byte", whole[:1]
    yield "nine bytes", whole[:9]
    for share in (0.2, 0.5, 0.9):
        yield f"cut at {share:.0%}", whole[: int(len(whole) * share)]
    yield "cut by one byte", whole[:-1]
    yield "text", b"This is no file of numbers. " * 20
    yield "HTML", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    yield "a pointer of git-lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    yield "zeros", b"\x00" * 512
    yield "0xff", b"\xff" * 512
    yield "random", drawn.randbytes(512)


def flipped(whole: bytes, drawn: random.Random, count: int, reach: int) -> Iterator[tuple[str, bytes]]:
    """Files with a byte changed in their first `reach` ones."""
    for _ in range(count):
        place = drawn.randrange(min(reach, len(whole)))
        byte = drawn.randrange(256)
        yield f"byte {place} is {byte}", whole[:place] + bytes([byte]) + whole[place + 1 :]


def safetensors_headers(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Files of safetensors whose header lies."""
    (length,) = struct.unpack("<Q", whole[:8])
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    name = next(key for key in header if key != "__metadata__")

    def of(header: Any, size: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if size is None else size) + text + data

    told = header[name]
    start, end = told["data_offsets"]
    yield "a header of 2^63 bytes", of(header, 2**63)
    yield "a header of 2^40 bytes", of(header, 2**40)
    yield "a header longer than the file", of(header, len(whole) * 2)
    yield "a header of no bytes", of(header, 0)
    yield "a header cut", of(json.dumps(header).encode()[:-5])
    yield "a header that is a list", of([])
    yield "a header that is empty", of({})
    yield "a header of junk", of(b"\x80" * 40)
    yield "a header nested too deep", of(b'{"a":' * DEEP + b"1" + b"}" * DEEP)
    for label, change in (
        ("of 2^40 rows", {"shape": [2**40, *told["shape"][1:]]}),
        ("of 2^40 rows, with offsets as large", {"shape": [2**40], "data_offsets": [0, 2**42]}),
        ("of -1 rows", {"shape": [-1]}),
        ("of half a row", {"shape": [0.5]}),
        ("of no shape", {"shape": None}),
        ("of an unknown dtype", {"dtype": "F7"}),
        ("of dtype 5", {"dtype": 5}),
        ("of another dtype", {"dtype": "F64"}),
        ("beyond the file", {"data_offsets": [start, end + 10**9]}),
        ("backwards", {"data_offsets": [end, start]}),
        ("of negative offsets", {"data_offsets": [-8, end]}),
        ("without offsets", {"data_offsets": None}),
    ):
        yield f"{name} {label}", of(header | {name: told | change})
    yield f"{name} is a text", of(header | {name: "zero"})
    yield f"{name} twice", of(duplicated(header, name, told).encode())
    yield "metadata that is a list", of(header | {"__metadata__": []})
    yield "metadata of numbers", of(header | {"__metadata__": {"cav": 5}})
    yield "bytes after the end", whole + b"\x00" * 100
