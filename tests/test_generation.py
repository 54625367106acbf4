"""Answers in the order of the requests, written as they come: a run that breaks off goes on where its file ends."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gr_vl import dialects
from gr_vl.encoding import Encoder
from gr_vl.evaluation.answers import read_answers
from gr_vl.generation import Generator, Request
from gr_vl.seeding import seed_of

REQUEST = Request(answers=3, temperature=1.0, top_p=1.0, seed=1, max_tokens=8)


class Servers:
    """verl's manager and its client: whoever asks later is answered sooner, and the first `good` requests are."""

    def __init__(self, good=99, number=2):
        self.good, self.asked, self.seeds, self.server_handles = good, [], [], [None] * number
        self.company = []

    def get_client(self):
        return self

    async def generate(self, name, *, prompt_ids, sampling_params, image_data):
        number = len(self.asked)
        self.asked.append(name)
        self.seeds.append(sampling_params["seed"])
        self.company.append(sampling_params.get("company"))
        await asyncio.sleep(0.02 - number / 1000)
        if number >= self.good:
            await asyncio.sleep(0.05)
            raise ConnectionError("the machine is gone")
        return SimpleNamespace(token_ids=[sampling_params["seed"] % 90 + 100, *prompt_ids[-2:]])


def answered(servers, encoder, samples, out):
    return list(Generator(servers, encoder).answers(samples, len(samples), REQUEST, out))


def seeds(samples):
    return [seed_of(1, "generation", sample.id, index) for sample in samples for index in range(3)]


@pytest.fixture
def whole(tmp_path, encoder, corpus):
    answered(Servers(), encoder, corpus[:4], tmp_path / "whole.jsonl")
    return tmp_path / "whole.jsonl"


def test_answers_stand_in_the_order_of_the_requests(whole, corpus):
    assert [(a.id, a.index) for a in read_answers(whole)] == [(s.id, k) for s in corpus[:4] for k in range(3)]


def test_every_answer_is_drawn_by_a_seed_of_its_own(tmp_path, encoder, corpus):
    servers = Servers()
    answered(servers, encoder, corpus[:4], tmp_path / "answers.jsonl")
    assert servers.seeds == seeds(corpus[:4])
    assert len(set(servers.seeds)) == 12


def test_all_answers_to_a_sample_are_asked_of_one_server(tmp_path, encoder, corpus):
    servers = Servers()
    answered(servers, encoder, corpus[:4], tmp_path / "answers.jsonl")
    # verl sends requests of one id to one server.
    assert servers.asked == [sample.id for sample in corpus[:4] for _ in range(3)]


def test_a_sample_is_encoded_once_however_many_answers_it_gets(tmp_path, encoder, corpus, monkeypatch):
    encoded, request = [], encoder.request
    monkeypatch.setattr(encoder, "request", lambda sample: encoded.append(sample.id) or request(sample))
    pixels = []
    monkeypatch.setattr(type(encoder.processor.image_processor), "__call__", lambda *_, **__: pixels.append(1))
    answered(Servers(), encoder, corpus[:4], tmp_path / "answers.jsonl")
    assert encoded == [sample.id for sample in corpus[:4]]
    # The server makes the features; nobody makes them on the way there.
    assert pixels == []


@pytest.mark.parametrize(
    ("number", "restart", "company"),
    [
        pytest.param(1, None, [12] * 12, id="one server of ours waits for all 12 requests, however slowly they come"),
        pytest.param(2, None, [None] * 12, id="of two, none knows how many it gets"),
        pytest.param(1, lambda model: None, [None] * 12, id="vLLM takes no such parameter"),
    ],
)
def test_a_batch_does_not_depend_on_how_fast_the_machine_is(tmp_path, encoder, corpus, number, restart, company):
    servers = Servers(number=number)
    list(Generator(servers, encoder, restart).answers(corpus[:4], 4, REQUEST, tmp_path / "answers.jsonl"))
    assert servers.company == company


def test_a_guard_with_a_stop_text_tells_its_servers(tmp_path, encoder, corpus):
    told, said = [], encoder.tokenizer("a [done]", add_special_tokens=False)["input_ids"]

    class Stopping(Servers):
        async def generate(self, name, **asked):
            told.append(asked["sampling_params"])
            return SimpleNamespace(token_ids=said)

    levels = Encoder(encoder.processor, dialects.get("guards.levels"))
    sample = replace(corpus[0], labels={})
    ((_, answers),) = answered(Stopping(), levels, [sample], tmp_path / "answers.jsonl")
    assert all(one["stop"] == ["[done]"] and one["include_stop_str_in_output"] for one in told)
    assert [answer.finished for answer in answers] == [True] * 3
    ((_, others),) = answered(Stopping(), encoder, [sample], tmp_path / "others.jsonl")
    assert "stop" not in told[-1]
    assert [answer.finished for answer in others] == [False] * 3


def test_an_answer_is_finished_if_it_ends_with_the_end_token_and_cut_off_otherwise(tmp_path, encoder, corpus):
    end = encoder.tokenizer.eos_token_id
    said = [[100, 101, end], [100, 101, 102], []]

    class Scripted(Servers):
        async def generate(self, name, **asked):
            number = len(self.asked)
            await super().generate(name, **asked)
            return SimpleNamespace(token_ids=said[number])

    ((_, answers),) = answered(Scripted(), encoder, corpus[:1], tmp_path / "answers.jsonl")
    assert [(answer.finished, answer.tokens) for answer in answers] == [(True, 3), (False, 3), (False, 0)]
    # The end token is no text.
    assert answers[0].text == encoder.tokenizer.decode([100, 101])


@pytest.mark.parametrize("good", [0, 1, 5, 11])
def test_what_was_answered_before_a_break_is_on_disk_and_never_asked_again(whole, tmp_path, encoder, corpus, good):
    out, again = tmp_path / "answers.jsonl", Servers()
    with pytest.raises(ConnectionError):
        answered(Servers(good), encoder, corpus[:4], out)
    assert len(read_answers(out) if out.exists() else []) == good
    found = answered(again, encoder, corpus[:4], out)
    assert again.seeds == seeds(corpus[:4])[good:]
    assert [answer for _, answers in found for answer in answers] == read_answers(whole)
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("good", [5, 11])
def test_one_server_of_ours_is_asked_a_broken_chunk_as_a_whole_and_only_what_was_missing_is_written(
    whole, tmp_path, encoder, corpus, good
):
    # Its answers depend, in their last bits, on what is asked along with them: here, altogether.
    class Whimsical(Servers):
        async def generate(self, name, **asked):
            answer = await super().generate(name, **asked)
            answer.token_ids.append(100 + good)
            return answer

    out, again = tmp_path / "answers.jsonl", Whimsical(number=1)
    with pytest.raises(ConnectionError):
        answered(Servers(good, number=1), encoder, corpus[:4], out)
    found = answered(again, encoder, corpus[:4], out)
    assert again.seeds == seeds(corpus[:4])
    kept, fresh = read_answers(out)[:good], read_answers(out)[good:]
    assert kept == read_answers(whole)[:good]
    assert [answer.tokens for answer in fresh] == [4] * (12 - good)
    assert [answer for _, answers in found for answer in answers] == [*kept, *fresh]


def test_an_engine_that_cannot_reload_is_started_again_with_the_other_model(encoder, tmp_path):
    pytest.importorskip("ray")
    started, other = [], Servers()
    generator = Generator(Servers(), encoder, lambda model: started.append(model) or other)
    generator.load(tmp_path)
    assert (started, generator.manager, generator.client) == ([tmp_path], other, other)
