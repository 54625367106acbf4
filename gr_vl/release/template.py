"""A chat template that holds the guard's instruction: plain user and assistant messages in, the guard's prompt out.

It is made by rendering the dialect's messages with marks in place of the texts, for every shape of an exchange (with
pictures or without, with a prompt or without, with a response or without), so it says what `gr_vl.encoding` says and
knows nothing about any dialect. Control tokens in texts lose their power there as they do here. A conversation that
begins with a system message is rendered by the model's own template: gr_vl's stages bring their instruction.
"""

import json
from itertools import product

from gr_vl.encoding import Encoder
from gr_vl.errors import DataError
from gr_vl.schema import Sample

_PROMPT, _RESPONSE = "GRVLPROMPTMARK", "GRVLRESPONSEMARK"

_READ = """\
{%- set roles = messages | map(attribute='role') | list -%}
{%- if roles not in [['user'], ['user', 'assistant']] -%}
{{- raise_exception('send one message of the user, then at most one of the assistant') -}}
{%- endif -%}
{%- set guard = namespace(images=0, prompt='', response='', text='') -%}
{%- for message in messages -%}
{%- set guard.text = message['content'] if message['content'] is string else '' -%}
{%- if message['content'] is not string -%}
{%- set texts = namespace(n=0) -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'text' -%}
{%- set guard.text = guard.text ~ ('\\n' if texts.n else '') ~ part['text'] -%}
{%- set texts.n = texts.n + 1 -%}
{%- elif part['type'] in ['image', 'image_url'] and message['role'] == 'user' -%}
{%- set guard.images = guard.images + 1 -%}
{%- else -%}
{{- raise_exception('only texts, and pictures of the user, can be judged') -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- for word in CONTROL_WORDS -%}
{%- set guard.text = guard.text | replace(word, word[0] ~ ' ' ~ word[1:]) -%}
{%- endfor -%}
{%- if message['role'] == 'user' -%}
{%- set guard.prompt = guard.text -%}
{%- else -%}
{%- set guard.response = guard.text -%}
{%- endif -%}
{%- endfor -%}
"""


def chat_template(encoder: Encoder, pixel: bytes) -> str:
    """The template, for a processor that renders conversations as the encoder's. `pixel` is any picture."""
    original: str = encoder.processor.chat_template
    cases = [_case(encoder, pixel, *shape) for shape in product((True, False), repeat=3)]
    read = _READ.replace("CONTROL_WORDS", json.dumps(encoder.control_words, ensure_ascii=False))
    return (
        "{%- if messages[0]['role'] == 'system' %}"
        + original
        + "{%- else -%}\n"
        + read
        + "".join(f"{{%- {'elif' if i else 'if'} {test} -%}}\n{body}\n" for i, (test, body) in enumerate(cases))
        + "{%- endif -%}\n{%- if add_generation_prompt -%}\n{{- "
        + _literal(_generation_prompt(encoder))
        + " -}}\n{%- endif -%}\n{%- endif -%}\n"
    )


def _case(encoder: Encoder, pixel: bytes, pictures: bool, prompt: bool, response: bool) -> tuple[str, str]:
    """The condition of one shape of an exchange, and what is written then."""
    told = "messages | length == 2"
    flags = ((pictures, "guard.images"), (prompt, "guard.prompt"), (response, f"({told})"))
    test = " and ".join(name if there else f"not {name}" for there, name in flags)
    texts = (_PROMPT if prompt else "", _RESPONSE if response else None)
    try:
        rendered = _rendered(encoder, texts, (pixel,) * int(pictures))
        if not pictures:
            return test, "{{- " + _expression(rendered) + " -}}"
        two = _rendered(encoder, texts, (pixel, pixel))
    except DataError:
        return test, "{{- raise_exception('this guard judges no pictures') -}}"
    place = next(i for i, (a, b) in enumerate(zip(rendered, two, strict=False)) if a != b)
    unit = two[place : place + len(two) - len(rendered)]
    more = f"{_literal(unit)} * (guard.images - 1)"
    return test, "{{- " + f"{_expression(rendered[:place])} ~ {more} ~ {_expression(rendered[place:])}" + " -}}"


def _rendered(
    encoder: Encoder, texts: tuple[str, str | None], images: tuple[bytes, ...], *, generation: bool = False
) -> str:
    messages = encoder.turns(Sample("", "", texts[0], texts[1], images))
    text: str = encoder.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
    return text


def _generation_prompt(encoder: Encoder) -> str:
    texts = (_PROMPT, None)
    return _rendered(encoder, texts, (), generation=True).removeprefix(_rendered(encoder, texts, ()))


def _expression(text: str) -> str:
    """Jinja code for a text in which the marks stand for what was sent."""
    code = _literal(text)
    for mark, name in ((_PROMPT, "guard.prompt"), (_RESPONSE, "guard.response")):
        code = code.replace(mark, f'" ~ {name} ~ "')
    return code


def _literal(text: str) -> str:
    # A Jinja string knows the escapes of a JSON string.
    return json.dumps(text, ensure_ascii=False)
