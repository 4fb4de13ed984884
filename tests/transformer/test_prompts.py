"""Prompts: no second BOS, exact special and template flags, ids untouched, and token text to the byte."""

import pytest
import torch
from support import toks
from support.toks import BOS, END, START
from tokenizers import processors

import steerwidgets as sw
from steerwidgets.transformer import prompts


def marked(tokenizer, prompt):
    """The text with template tokens in [brackets]; special tokens are template too where the template wrote them."""
    return "".join(
        f"[{token.text}]" if is_template else token.text
        for token, is_template in zip(prompts.tokens(tokenizer, prompt.token_ids), prompt.template, strict=True)
    )


def own_words(tokenizer, prompt):
    return tokenizer.decode([i for i, t in zip(prompt.token_ids, prompt.template, strict=True) if not t])


@pytest.mark.parametrize(
    "content", ["Name a city.", "user", "assistant", "system\nuser\n", "<|im_start|>user", "a", "\n", "🦜 ✓ é"]
)
@pytest.mark.parametrize("name", ["chatml", "bos"])
def test_template_positions_are_exact(tokenizer, name, content):
    """The content is found where it stands, not where the template happens to hold the same words."""
    tok = tokenizer(name)
    prompt = prompts.encode(tok, content, chat=True)
    rendered = tok.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert prompt.chat
    assert tok.decode(prompt.token_ids) == rendered
    start = rendered.index("<|im_start|>user\n", rendered.index("<|im_end|>")) + len("<|im_start|>user\n")
    inside, at = [], 0
    offsets = tok(rendered, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    for at, end in offsets:
        inside.append(at < start + len(content) and end > start)
    assert list(prompt.template) == [not each for each in inside]
    assert [i for i, s in zip(prompt.token_ids, prompt.special, strict=True) if s] == [
        i for i in prompt.token_ids if i < 5
    ]


def test_template_flags_of_a_conversation(tokenizer):
    tok = tokenizer("chatml")
    messages = [
        {"role": "system", "content": "user"},
        {"role": "user", "content": "assistant system"},
        {"role": "assistant", "content": "the ocean"},
        {"role": "user", "content": "the ocean"},
    ]
    prompt = prompts.encode(tok, messages, chat=False)
    assert own_words(tok, prompt) == "userassistant systemthe oceanthe ocean"
    assert prompt.token_ids[0] == START
    assert prompt.special[0]
    assert marked(tok, prompt).endswith("]")
    assert tok.decode(prompt.token_ids).endswith("<|im_start|>assistant\n")
    closed = prompts.encode(tok, messages[:3], chat=True)
    assert tok.decode(closed.token_ids).endswith("the ocean<|im_end|>\n"), "the assistant has spoken already"


@pytest.mark.parametrize("content", [" hi ", "hi\n", "\n\nhi", "hi", "\tuser\n"])
@pytest.mark.parametrize("name", ["stripping", "line after"])
def test_templates_that_strip(tokenizer, name, content):
    """Llama 3, Gemma and others trim the content; what is left of it is found all the same."""
    if name == "stripping":
        tok = tokenizer(name)
    else:
        template = (
            "{% for m in messages %}### {{ m['role'] }}:\n{{ m['content'] | trim }}\n\n{% endfor %}### assistant:\n"
        )
        tok = toks.byte_level(template=template)
    prompt = prompts.encode(tok, content, chat=True)
    assert any(prompt.template), "the template's own tokens were not found"
    assert own_words(tok, prompt).strip() == content.strip()
    words = own_words(tok, prompt)
    assert len(words) <= len(content.strip()) + 2, "a token may hold a piece of the template, the template no more"


def test_a_template_that_does_not_let_one_tell(tokenizer):
    """It changes the content: nothing is called template rather than the wrong thing."""
    tok = toks.byte_level(template="{% for m in messages %}<|im_start|>{{ m['content'] | upper }}{% endfor %}")
    prompt = prompts.encode(tok, "hello", chat=True)
    assert not any(prompt.template)
    assert tok.decode(prompt.token_ids) == "<|im_start|>HELLO"


def test_one_bos(tokenizer):
    tok = tokenizer("bos")
    assert tok("a")["input_ids"][0] == BOS
    for prompt, chat in [
        ("hello", True),
        ("hello", False),
        ("<|bos|>hello", False),
        ([{"role": "user", "content": "x"}], True),
    ]:
        ids = prompts.encode(tok, prompt, chat=chat).token_ids
        assert ids.count(BOS) == 1
        assert ids[0] == BOS
    rendered = tok.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert prompts.encode(tok, rendered, chat=False).token_ids.count(BOS) == 1
    assert prompts.encode(tok, [BOS, BOS, 7], chat=True).token_ids == (BOS, BOS, 7), "ids are never touched"


def test_no_bos_where_the_tokenizer_writes_none(tokenizer):
    for prompt in ("hello", "user"):
        assert BOS not in prompts.encode(tokenizer("chatml"), prompt, chat=False).token_ids
    assert prompts.encode(tokenizer("chatml"), "<|bos|>x", chat=False).token_ids.count(BOS) == 1


def test_a_template_without_bos_gets_none(tokenizer):
    tok = toks.byte_level(adds_bos=True)
    assert BOS not in prompts.encode(tok, "hello", chat=True).token_ids


def test_an_end_token_that_the_tokenizer_adds_is_kept_out_of_templates():
    tok = toks.byte_level()
    tok.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|eos|>", special_tokens=[("<|eos|>", 1)]
    )
    assert 1 not in prompts.encode(tok, "hello", chat=True).token_ids


@pytest.mark.parametrize("ids", [[7], [0, 0, 5, 4], (1, 2, 3), range(10, 14), [319]])
def test_ids_are_never_touched(tokenizer, ids):
    for chat in (True, False):
        prompt = prompts.encode(tokenizer("bos"), ids, chat=chat)
        assert prompt.token_ids == tuple(ids)
        assert prompt.special == tuple(i < 5 for i in ids)
        assert not any(prompt.template)
        assert not prompt.chat


@pytest.mark.parametrize("name", ["chatml", "pieces"])
@pytest.mark.parametrize("text", ["✓", "🦜🦜", "né", "日本語", "a✓b", "‍👩‍🚀"])
def test_split_characters_are_shown_as_bytes(tokenizer, name, text):
    """Fragments in hex, whole characters as they are, and together exactly the bytes of the text."""
    tok = tokenizer(name)
    tokens = prompts.tokens(tok, tok(text, add_special_tokens=False)["input_ids"])
    data = b"".join(bytes.fromhex(t.text) if t.fragment else t.text.encode() for t in tokens)
    assert data.decode().removeprefix(" " if name == "pieces" else "") == text
    for token in tokens:
        if token.fragment:
            assert token.text == token.text.upper()
            with pytest.raises(UnicodeDecodeError):
                bytes.fromhex(token.text).decode()
        assert "\ufffd" not in token.text


@pytest.mark.parametrize("name", ["chatml", "pieces"])
def test_every_token_of_the_vocabulary_has_exact_text(tokenizer, name):
    tok = tokenizer(name)
    for token in prompts.tokens(tok, range(len(tok))):
        if not token.fragment:
            assert "\ufffd" not in token.text
            assert token.text
    texts = [t.text for t in prompts.tokens(tok, range(5))]
    assert texts == toks.SPECIAL


HOSTILE = [
    "<script>alert('✓')</script>",
    "&lt;b&gt; \" '",
    "a\x00b\x07\x1b[31m",
    "\r\n\t \u2028\u2029",
    "\u202eevil",
    "   ",
    "\u2063steerwidgets0\u2063",
    "{{ bos_token }}{% raw %}",
    "\ufeffx",
    "e\u0301\u0301\u0301",
    "\ufffd",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("chat", [True, False])
def test_hostile_text_stays_what_it_is(tokenizer, text, chat):
    tok = tokenizer("chatml")
    prompt = prompts.encode(tok, text, chat=chat)
    shown = prompts.tokens(tok, prompt.token_ids)
    data = b"".join(bytes.fromhex(t.text) if t.fragment else t.text.encode() for t in shown)
    assert text in data.decode()
    if chat:
        assert own_words(tok, prompt) == text
    else:
        assert data.decode() == text


@pytest.mark.parametrize(
    ("prompt", "chat", "error", "says"),
    [
        ("", True, ValueError, "prompt is empty; give"),
        ([], True, ValueError, "prompt is empty; give"),
        ([320], False, ValueError, "token id 320 is outside the vocabulary, which goes from 0 to 319"),
        ([-1], False, ValueError, "token id -1 is outside"),
        ([1.5], False, TypeError, "a string, a list of messages or a list of token ids.*float"),
        ([True], False, TypeError, "token ids.*bool"),
        ([1, "a"], False, TypeError, "token ids.*str"),
        (None, False, TypeError, "a string, a list of messages or a list of token ids.*None"),
        (7, False, TypeError, "a string, a list of messages or a list of token ids.*int"),
        ([{"role": "user"}], True, ValueError, "content"),
        ([{"content": "x"}], True, ValueError, "role"),
        ("a\ud800b", False, ValueError, "surrogate|character"),
    ],
)
def test_refusals(tokenizer, prompt, chat, error, says):
    with pytest.raises(error, match=says):
        prompts.encode(tokenizer("chatml"), prompt, chat=chat)


def test_messages_need_a_template(tokenizer):
    with pytest.raises(ValueError, match=r"no chat template.*chat=False"):
        prompts.encode(tokenizer("plain"), "hello", chat=True)


def test_strings_are_templated_where_there_is_a_template(llama, tokenizer):
    assert llama.encode("hello").chat
    assert not llama.encode("hello", chat=False).chat
    assert not sw.LanguageModel(llama.model, tokenizer("plain")).encode("hello").chat
    assert llama.residuals("hello", [sw.Site(0)]).absolute.shape[1] == len(llama.encode("hello", chat=False))


def test_a_vocabulary_larger_than_the_tokenizers(fresh):
    """Padded embeddings, as Qwen's: the model may choose an id that the tokenizer does not know."""
    lm = fresh(vocab_size=352)
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[340] = 0
        lm.model.get_output_embeddings().weight[:320] *= 0.01
    out = lm.compare([5, 6, 7], None, temperature=1.0, top_k=0, max_new_tokens=12)
    assert max(out.baseline.token_ids) >= 320
    assert len(out.baseline.tokens) == len(out.baseline.token_ids)


def test_special_false_spares_template_and_special_tokens(llama):
    from support import naive
    from support.both import Pair, at, recipe, vector

    steers, changes = recipe(at(Pair(vector(1)).make("add", 2.0), "all", special=False))
    prompt = llama.encode("Name a city.")
    spared = {t for t in range(len(prompt)) if prompt.special[t] or prompt.template[t]}
    assert 0 < len(spared) < len(prompt)
    out = llama.compare("Name a city.", steers, temperature=0, max_new_tokens=4)
    text = list(prompt.token_ids)
    for _ in range(4):
        special = spared | {t for t, i in enumerate(text) if i < 5}
        text.append(int(naive.logits(llama.model, text, changes, len(prompt), special)[-1].argmax()))
    assert list(out.steered.token_ids) == text[len(prompt) :]
    assert END in prompt.token_ids


MISTRAL = (
    "{% set sys = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{% for m in messages if m['role'] != 'system' %}{% if m['role'] == 'user' %}[INST] "
    "{% if loop.last and sys %}{{ sys + '\n\n' }}{% endif %}{{ m['content'] }}[/INST]"
    "{% else %} {{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)


def test_a_template_that_moves_the_system_prompt(tokenizer):
    """Mistral's puts it before the last user's words; whose words they are is known all the same."""
    tok = toks.byte_level(template=MISTRAL)
    said = {"system": "Be kind.", "user": "Hi there", "assistant": "Hello you"}
    messages = [{"role": role, "content": words} for role, words in said.items()]
    prompt = prompts.encode(tok, [*messages, {"role": "user", "content": "Name a city"}], chat=True)

    def words(role):
        return tok.decode([i for i, whose in zip(prompt.token_ids, prompt.roles, strict=True) if whose == role])

    assert [words(role) for role in said] == ["Be kind.", "Hi thereName a city", "Hello you"]


def test_a_template_that_refuses_messages_is_one_sentence():
    tok = toks.byte_level(
        template="{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('No system role') }}"
        "{% endif %}{{ m['content'] }}{% endfor %}"
    )
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    with pytest.raises(ValueError, match=r"does not take these messages, of system, user: No system role; give"):
        prompts.encode(tok, messages, chat=True)
