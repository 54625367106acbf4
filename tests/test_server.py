"""The server as the official client meets it, over a real socket, with a real model."""

import base64
import http.client
import json
import math
import shutil
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from endpoint import Say, serving
from factories import HARMFUL, UNHARMFUL, facts_of, make_png, make_text
from malformed import ALL, HUGE, fire
from serving import served

from gr_vl import specs

openai = pytest.importorskip("openai")
pytest.importorskip("transformers")
pytest.importorskip("fastapi")

from fastapi.testclient import TestClient  # noqa: E402

from gr_vl.errors import ConfigError  # noqa: E402
from gr_vl.guard.model import Guard  # noqa: E402
from gr_vl.guard.moderation import Exchange  # noqa: E402
from gr_vl.server.app import create_app  # noqa: E402
from gr_vl.server.backend import InProcess  # noqa: E402
from gr_vl.server.settings import Settings  # noqa: E402

NO_THINK = {"think": False}
PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(make_png()).decode()}}
TEXTS = ["What is it?", "Is it blue or grey?", "Tell me more."]


@pytest.fixture(scope="session")
def service(tiny):
    """The address of a server with room for everybody."""
    with served(tiny) as (url, _):
        yield url


@pytest.fixture(scope="module")
def guard(tiny):
    return Guard.from_pretrained(tiny, device="cpu", max_tokens=8)


@pytest.fixture(scope="module")
def client(service):
    return client_of(service)


def client_of(url, key="none"):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def read(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


def test_a_text_is_scored_as_the_guard_scores_it(client, guard):
    answer = client.moderations.create(input=TEXTS[0], extra_body=NO_THINK)
    [result], expected = answer.results, guard.moderate(TEXTS[0], think=False)
    assert result.flagged is expected.flagged
    assert result.category_scores.prompt == pytest.approx(expected.scores["prompt"], abs=1e-5)
    assert (result.categories.prompt, result.labels["prompt"]) == (expected.flagged, expected.labels["prompt"])
    # The client fills in OpenAI's own categories as None: the guard has no opinion on those.
    types = answer.model_dump()["results"][0]["category_applied_input_types"]
    assert {name: kinds for name, kinds in types.items() if kinds} == {"prompt": ["text"]}


def test_several_texts_have_a_result_each_in_order(client, guard):
    results = client.moderations.create(input=TEXTS, extra_body=NO_THINK).results
    expected = [guard.moderate(text, think=False).scores["prompt"] for text in TEXTS]
    assert [result.category_scores.prompt for result in results] == pytest.approx(expected, abs=1e-5)


def test_parts_are_one_input_and_a_response_is_a_category(client, guard):
    parts = [{"type": "text", "text": "What is it?"}, PART, {"type": "text", "text": "And that?"}, PART]
    [result] = client.moderations.create(input=parts, extra_body=NO_THINK | {"response": "A sign."}).results
    expected = guard.moderate("What is it?\nAnd that?", [make_png()] * 2, "A sign.", think=False)
    scores = result.category_scores.model_dump()
    assert {name: value for name, value in scores.items() if name in ("prompt", "response")} == pytest.approx(
        {str(task): score for task, score in expected.scores.items()}, abs=1e-5
    )
    assert result.category_applied_input_types.response == ["text"]
    assert result.category_applied_input_types.prompt == ["text", "image"]


def test_a_policy_reaches_a_guard_that_takes_one_and_no_other(tiny, tmp_path, client):
    model = shutil.copytree(tiny, tmp_path / "rl" / "model", ignore=shutil.ignore_patterns(specs.EXPORTED))
    (tmp_path / "run.json").write_text(json.dumps(facts_of("rsafe")))
    guard, policy = Guard.from_pretrained(model, device="cpu"), "U1: talk of zorbals"
    expected = guard.moderate(TEXTS[0], response="A sign.", think=False, policy=policy).scores
    sent = NO_THINK | {"response": "A sign.", "policy": policy}
    with served(model) as (url, _):
        [result] = client_of(url).moderations.create(input=TEXTS[0], extra_body=sent).results
    assert [result.category_scores.prompt, result.category_scores.response] == pytest.approx(
        [expected["prompt"], expected["response"]], abs=1e-5
    )
    with pytest.raises(openai.BadRequestError, match="policy: this guard judges by its own rules"):
        client.moderations.create(input=TEXTS[0], extra_body=sent)


def test_an_answer_that_cannot_be_read_is_flagged_and_says_why(client, guard):
    [result] = client.moderations.create(input=TEXTS[0]).results
    expected = guard.moderate(TEXTS[0])
    assert (result.flagged, result.category_scores.prompt, result.failure) == (True, 1.0, expected.failure)


def test_chat_returns_what_the_guard_writes(client, guard):
    messages = [{"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": "A sign."}]
    plain = client.chat.completions.create(model="guard", messages=messages, extra_body=NO_THINK)
    assert plain.choices[0].message.content == guard.moderate(TEXTS[0], response="A sign.", think=False).written.text
    thought = client.chat.completions.create(model="guard", messages=messages, temperature=0)
    written = guard.moderate(TEXTS[0], response="A sign.").written
    assert thought.choices[0].message.content == written.text
    assert (thought.usage.prompt_tokens, thought.usage.completion_tokens) == (written.prompt_tokens, written.tokens)
    assert thought.choices[0].finish_reason == ("stop" if written.finished else "length")


def test_what_changes_no_answer_may_be_sent_and_what_would_is_named(client):
    messages = [{"role": "user", "content": TEXTS[0]}]
    plain = client.chat.completions.create(model="guard", messages=messages, extra_body=NO_THINK)
    same = {"seed": 7, "max_tokens": 8, "max_completion_tokens": 99, "logprobs": False, "frequency_penalty": 0}
    same |= {"response_format": {"type": "text"}, "logit_bias": {}, "stop": None, "user": "a"}
    answer = client.chat.completions.create(model="guard", messages=messages, extra_body=NO_THINK | same)
    assert answer.choices == plain.choices
    for name, value in {"max_completion_tokens": 7, "stop": "a", "logprobs": True}.items():
        with pytest.raises(openai.BadRequestError, match=f"{name}: "):
            client.chat.completions.create(model="guard", messages=messages, extra_body={name: value})


def test_health_models_and_metrics(client, service, tiny):
    assert json.loads(read(f"{service}/health")) == {"status": "ok", "model": tiny.name, "waiting": 0}
    assert [model.id for model in client.models.list()] == [tiny.name]
    client.moderations.create(input=TEXTS[0], extra_body=NO_THINK)
    page = read(f"{service}/metrics")
    assert 'gr_vl_requests_total{route="/v1/moderations",status="200"}' in page
    assert "gr_vl_labels_total{label=" in page


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_worker_died_is_not_healthy(tiny):
    settings = Settings(model=tiny)
    backend = InProcess(settings)
    with TestClient(create_app(backend, settings)) as caller:
        assert caller.get("/health").status_code == 200
        backend._batcher._answer = sys.exit
        backend._batcher.submit([Exchange("a")])
        backend._batcher._thread.join(10)
        answer = caller.get("/health")
        assert (answer.status_code, answer.json()["status"][:32]) == (503, "the thread that judges has ended")
        assert caller.post("/v1/moderations", json={"input": "a"}).status_code == 503


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("huge")])
def test_malformed_requests_are_refused(service, name):
    assert 400 <= fire(int(service.rsplit(":", 1)[1]), ALL[name]) < 500


def test_a_body_over_the_limit_is_refused_and_the_server_goes_on(client, service):
    assert fire(int(service.rsplit(":", 1)[1]), HUGE["a body of 33 MiB"]) == 413
    assert len(client.moderations.create(input=TEXTS, extra_body=NO_THINK).results) == 3


def test_over_capacity_it_sheds_and_what_it_answers_stays_right(tiny, guard):
    texts = [f"What is number {index}?" for index in range(16)]
    expected = {text: guard.moderate(text, think=False).scores["prompt"] for text in texts}
    start = threading.Barrier(len(texts))

    def ask(client, text):
        start.wait()
        try:
            answer = client.moderations.with_raw_response.create(input=text, extra_body=NO_THINK)
        except openai.RateLimitError as error:
            return text, int(error.response.headers["retry-after"])
        return text, answer.parse().results[0].category_scores.prompt

    with served(tiny, queue=2, max_items=2, batch_size=1) as (url, _), ThreadPoolExecutor(len(texts)) as pool:
        client = client_of(url)
        found = dict(pool.map(lambda text: ask(client, text), texts))
    answered = {text: value for text, value in found.items() if isinstance(value, float)}
    assert answered
    assert len(answered) < len(texts)
    assert answered == pytest.approx({text: expected[text] for text in answered}, abs=1e-5)
    assert all(value >= 1 for text, value in found.items() if text not in answered)


def test_callers_need_the_key_and_health_does_not(tiny, monkeypatch):
    monkeypatch.setenv("GR_VL_API_KEY", "a-key")
    with served(tiny) as (url, _):
        with pytest.raises(openai.AuthenticationError):
            client_of(url, "another").moderations.create(input="a")
        assert client_of(url, "a-key").moderations.create(input="a", extra_body=NO_THINK).results
        assert json.loads(read(f"{url}/health"))["status"] == "ok"


def asked(url, path="/v1/models", method="GET", *headers):
    """Status, headers and body of a request with these headers, given as pairs; a name may come twice."""
    link = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    link.putrequest(method, path)
    for name, value in headers:
        link.putheader(name, value)
    link.endheaders()
    answer = link.getresponse()
    return answer.status, answer.headers, answer.read().decode()


@pytest.fixture(scope="module")
def locked(tiny):
    """The address of a server whose callers need the key `a-key`, with a line break behind it in the variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_KEY_OF_THESE_TESTS", "a-key\n")
        with served(tiny, api_key_env="A_KEY_OF_THESE_TESTS") as (url, _):
            yield url


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        pytest.param(200, [("authorization", "Bearer a-key")], id="as it is written"),
        pytest.param(200, [("Authorization", "bearer a-key")], id="small letters"),
        pytest.param(200, [("AUTHORIZATION", "BEARER  a-key ")], id="capitals and spaces"),
        pytest.param(200, [("authorization", "Bearer\ta-key")], id="a tab"),
        pytest.param(401, [], id="nothing"),
        pytest.param(401, [("authorization", "a-key")], id="the key alone"),
        pytest.param(401, [("authorization", "Bearer")], id="the scheme alone"),
        pytest.param(401, [("authorization", "Bearera-key")], id="no space"),
        pytest.param(401, [("authorization", "Bearer a-key a-key")], id="the key twice"),
        pytest.param(401, [("authorization", "Basic YTphLWtleQ==")], id="another scheme"),
        pytest.param(401, [("authorization", "Bearer a-key")] * 2, id="the header twice"),
        pytest.param(401, [("api-key", "a-key")], id="Azure's header"),
    ],
)
def test_the_scheme_of_the_key_has_no_case_and_is_needed(locked, status, headers):
    found, sent, body = asked(locked, "/v1/models", "GET", *headers)
    assert found == status
    if status == 401:
        assert sent["www-authenticate"] == "Bearer"
        assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_a_model_is_found_by_its_name_and_no_other(client, service, tiny):
    assert client.models.retrieve(tiny.name).to_dict() == client.models.list().data[0].to_dict()
    for name in ("other", "Qwen/Qwen2.5-VL-3B-Instruct", f"{tiny.name}/", f"../{tiny.name}", "\U0001f600"):
        with pytest.raises(openai.NotFoundError) as refused:
            client.models.retrieve(name)
        assert refused.value.code == "model_not_found"
        assert "does not exist" in refused.value.body["message"]
    assert asked(service, f"/v1/models/%{ord(tiny.name[0]):x}{tiny.name[1:]}")[0] == 200
    assert asked(service, "/v1/models/")[0] == 404


@pytest.mark.parametrize("path", ["/health", "/metrics", "/v1/models"])
def test_head_is_get_without_a_body(service, path):
    status, headers, body = asked(service, path, "HEAD")
    assert (status, body) == (200, "")
    assert headers["content-type"] == asked(service, path)[1]["content-type"]


def test_head_tells_nobody_without_a_key_anything_but_the_health(locked):
    assert [asked(locked, path, "HEAD")[0] for path in ("/health", "/v1/models", "/metrics")] == [200, 401, 401]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/v1/moderations", {"POST"}),
        ("OPTIONS", "/v1/chat/completions", {"POST"}),
        ("OPTIONS", "/v1/models", {"GET", "HEAD"}),
        ("OPTIONS", "/health", {"GET", "HEAD"}),
        ("DELETE", "/health", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_told_which_there_are(locked, method, path, allowed):
    headers = [("origin", "http://x"), ("access-control-request-method", "POST")]
    status, sent, body = asked(locked, path, method, *headers)
    assert (status, set(sent["allow"].split(", "))) == (405, allowed)
    assert json.loads(body)["error"]["message"]
    assert "access-control-allow-origin" not in sent


CUT = "caf\ufffd"
RAW = {
    "half a character": b"caf\\ud83d",
    "its other half": b"caf\\uDE00",
    "half a character as bytes": b"caf\xed\xa0\xbd",
    "the first bytes of a character": b"caf\xf0\x9f\x98",
    "a byte that is no UTF-8": b"caf\xff",
}


def scores_of(service, path, body):
    request = http.client.HTTPConnection(service.removeprefix("http://"), timeout=60)
    request.request("POST", path, body)
    answer = request.getresponse()
    found = json.loads(answer.read())
    assert answer.status == 200, found
    return found["results"][0]["category_scores"] if "results" in found else found["choices"][0]["message"]["content"]


@pytest.mark.parametrize("cut", RAW.values(), ids=RAW.keys())
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"input": CUT}, id="a text"),
        pytest.param({"input": [{"type": "text", "text": CUT}, PART]}, id="a part"),
        pytest.param({"input": "a", "response": CUT}, id="a response"),
        pytest.param({"input": "a", "user": CUT, CUT: {CUT: [CUT]}}, id="what is not read"),
        pytest.param({"messages": [{"role": "user", "content": CUT}]}, id="a message"),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text", "text": CUT}]},
                          {"role": "assistant", "content": CUT}]}, id="parts and a reply"
        ),
    ],
)  # fmt: skip
def test_a_text_that_was_cut_inside_a_character_is_judged(service, body, cut):
    path = "/v1/moderations" if "input" in body else "/v1/chat/completions"
    whole = json.dumps(body | NO_THINK, ensure_ascii=False).encode()
    sent = whole.replace("\ufffd".encode(), cut.removeprefix(b"caf"))
    assert scores_of(service, path, sent) == pytest.approx(scores_of(service, path, whole), abs=1e-5)


def test_a_byte_order_mark_and_a_nul_are_no_reason_to_refuse(client, service):
    scores = scores_of(service, "/v1/moderations", b'\xef\xbb\xbf{"input": "a", "think": false}')
    assert scores == scores_of(service, "/v1/moderations", b'{"input": "a", "think": false}')
    assert client.moderations.create(input="a\0b", extra_body=NO_THINK).results


def test_a_url_cut_inside_a_character_is_refused_in_words(client):
    for url in ("data:image/png;base64,\ufffd", "data:image/\ufffd"):
        parts = [{"type": "image_url", "image_url": {"url": url}}]
        with pytest.raises(openai.BadRequestError, match="image_url"):
            client.moderations.create(input=parts)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"timeout": math.nan}, "--timeout nan: must be above 0, and finite", id="no time"),
        pytest.param({"timeout": math.inf}, "--timeout inf", id="time without end"),
        pytest.param({"timeout": -1}, "--timeout -1: must be above 0", id="less than no time"),
        pytest.param({"max_body_mb": math.nan}, "--max-body-mb nan", id="bodies of no size"),
        pytest.param({"max_body_mb": 1e-6}, "--max-body-mb 1e-06: must be 0.001 to 256", id="bodies of a byte"),
        pytest.param({"max_body_mb": 257}, "--max-body-mb 257: must be 0.001 to 256", id="bodies over all of them"),
        pytest.param({"queue": 0}, "--queue 0: must be above 0", id="no queue"),
        pytest.param({"batch_size": -3}, "--batch-size -3: must be above 0", id="batches of less than nothing"),
        pytest.param({"max_tokens": 0}, "--max-tokens 0: must be above 0", id="answers of nothing"),
        pytest.param({"grace": -1}, "--grace -1: must be at least 0", id="no grace"),
        pytest.param({"port": -1}, "--port=-1: must be 0 to 65535", id="no port"),
    ],
)
def test_a_limit_that_cannot_be_met_is_refused_at_the_start(tiny, settings, words):
    with pytest.raises(ConfigError) as refused:
        Settings(model=tiny, **settings)
    assert words in str(refused.value)


def test_who_can_be_reached_by_others_needs_a_key(tiny, monkeypatch):
    monkeypatch.delenv("GR_VL_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"--host=0\.0\.0\.0: .*GR_VL_API_KEY"):
        Settings(model=tiny, host="0.0.0.0")


def test_shutting_down_finishes_what_runs_and_takes_nothing_new(tiny):
    with served(tiny, max_tokens=60) as (url, server), ThreadPoolExecutor(1) as pool:
        client = client_of(url)
        running = pool.submit(client.moderations.create, input=TEXTS)
        while (
            'gr_vl_requests_total{route="/v1/moderations"' not in read(f"{url}/metrics")
            and not server.server_state.tasks
        ):
            pass
        server.should_exit = True
        assert len(running.result(60).results) == 3
        with pytest.raises(openai.APIConnectionError):
            client_of(url).moderations.create(input="a")


def completion(text, listed):
    """A chat completion as vLLM writes it, with the likeliest tokens at each place."""
    content = [
        {"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": [
            {"token": word, "logprob": value, "bytes": None} for word, value in others.items()
        ]}
        for token, others in listed
    ]  # fmt: skip
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": content}}
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return Say(raw=json.dumps(body).encode())


def test_a_guard_behind_another_server_is_asked_in_its_dialect_and_scored_by_what_that_lists(tiny, encoder):
    text = make_text(HARMFUL, UNHARMFUL)
    tokenizer = encoder.processor.tokenizer
    harmful, unharmful = (tokenizer.decode(tokenizer(f" {word}")["input_ids"][:1]) for word in ("harmful", "unharmful"))
    before, after = text.split(" harmful", 1)
    # Probabilities .6 and .2 are a score of .75; at the response's place nothing was listed.
    listed = [(before, {}), (" harmful", {harmful: -0.5108256, unharmful: -1.6094379}), (after, {})]
    with (
        serving(lambda request, nth: completion(text, listed)) as backend,
        served(tiny, backend_url=backend.url) as (url, _),
    ):
        parts = [{"type": "text", "text": "What is <|im_end|>?"}, PART]
        [result] = client_of(url).moderations.create(input=parts, extra_body={"response": "A sign."}).results
        with pytest.raises(openai.BadRequestError, match="think=false"):
            client_of(url).moderations.create(input="a", extra_body=NO_THINK)
    assert result.category_scores.prompt == pytest.approx(0.75, abs=1e-6)
    assert (result.category_scores.response, result.labels) == (0.0, {"prompt": "harmful", "response": "unharmful"})
    [request] = backend.requests
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert [part["type"] for part in request["messages"][1]["content"]] == ["text", "image_url", "text"]
    assert "What is < |im_end|>?" in request["messages"][1]["content"][2]["text"]
    assert (request["temperature"], request["top_logprobs"]) == (0, 20)


def test_a_guard_that_asks_twice_asks_the_other_server_twice(tiny, tmp_path):
    model = shutil.copytree(tiny, tmp_path / "rl" / "model", ignore=shutil.ignore_patterns(specs.EXPORTED))
    (tmp_path / "run.json").write_text(json.dumps(facts_of("rsafe")))

    def answer(request, nth):
        asked = "the answer, not the request" in request["messages"][0]["content"][0]["text"]
        return completion(f"<think>\nI look.\n</think>\n\\boxed{{{'unsafe' if asked else 'safe'}}}", [])

    with serving(answer) as backend, served(model, backend_url=backend.url) as (url, _):
        sent = {"response": "A sign.", "policy": "U1: talk of zorbals"}
        [result] = client_of(url).moderations.create(input="What is it?", extra_body=sent).results
    assert result.labels == {"prompt": "unharmful", "response": "harmful"}
    assert (result.category_scores.prompt, result.category_scores.response, result.tokens) == (0.0, 1.0, 10)
    assert len(backend.requests) == 2
    assert all("U1: talk of zorbals" in one["messages"][0]["content"][0]["text"] for one in backend.requests)


def test_a_backend_that_fails_is_a_bad_gateway(tiny):
    with serving(lambda request, nth: Say(status=500)) as backend, served(tiny, backend_url=backend.url) as (url, _):
        with pytest.raises(openai.InternalServerError) as refused:
            client_of(url).moderations.create(input="a")
        assert refused.value.status_code == 502


def test_what_the_backend_refuses_is_the_callers_mistake(tiny):
    with (
        serving(lambda request, nth: Say(status=400)) as backend,
        served(tiny, backend_url=backend.url) as (url, _),
        pytest.raises(openai.BadRequestError, match=r"the backend refused the request: .*scripted 400"),
    ):
        client_of(url).moderations.create(input="a")


@pytest.mark.parametrize(
    ("said", "calls"),
    [
        pytest.param(Say("model_not_found", status=400), 1, id="an unknown model, by code"),
        pytest.param(Say(status=404), 1, id="an unknown model, by status"),
        pytest.param(Say(status=401), 1, id="a wrong key"),
        pytest.param(Say(status=400), 4, id="four in a row, and nothing was ever answered"),
    ],
)
def test_a_backend_that_refuses_every_request_is_a_bad_gateway_in_words(tiny, said, calls):
    with serving(lambda request, nth: said) as backend, served(tiny, backend_url=backend.url) as (url, _):
        for _ in range(calls):
            with pytest.raises(openai.APIStatusError) as refused:
                client_of(url).moderations.create(input="a")
    assert refused.value.status_code == 502
    assert "refuses every request: the server answered" in refused.value.message
    assert "check --backend-url, --backend-model" in refused.value.message


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>", id="a page of HTML"),
        pytest.param(b'{"choices": [{"message": {"content": 1}}]}', id="a number for content"),
        pytest.param(b'{"choices": []}', id="no choices"),
    ],
)
def test_a_backend_without_a_readable_completion_is_a_bad_gateway(tiny, body):
    with serving(lambda request, nth: Say(raw=body)) as backend, served(tiny, backend_url=backend.url) as (url, _):
        with pytest.raises(openai.InternalServerError, match="gave no completion") as refused:
            client_of(url).moderations.create(input="a")
        assert refused.value.status_code == 502
