"""`gr-vl eval --endpoint` against a real HTTP server on loopback."""

import json
import math

import pytest
from endpoint import Say, serving, text_of
from factories import HARMFUL, UNHARMFUL, make_png, make_sample, make_text
from typer.testing import CliRunner

from gr_vl.cli import app
from gr_vl.data import io
from gr_vl.errors import ConfigError, DataError, StageError
from gr_vl.evaluation import peers
from gr_vl.evaluation.answers import read_answers
from gr_vl.evaluation.endpoint import Endpoint, run
from gr_vl.evaluation.metrics import Confusion, score
from gr_vl.schema import FailureReason, Task

H, U = HARMFUL, UNHARMFUL


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret")


@pytest.fixture
def corpus(tmp_path):
    """Four requests, the second and third with a response; those that say `red` are called unsafe below."""
    samples = [
        make_sample("a", H, prompt="red"),
        make_sample("b", U, H, prompt="blue", response="red"),
        make_sample("c", U, U, prompt="red", response="blue"),
        make_sample("d", U, prompt="blue"),
    ]
    io.write(tmp_path / "corpus.parquet", samples)
    return tmp_path / "corpus.parquet"


def guard(request, _nth=1):
    return Say("unsafe\nS1" if request["messages"][-1]["content"] == "red" else "safe", usage=(9, 3))


def endpoint(server, corpus, **changes):
    return Endpoint(**({"url": server.url, "model": "m", "adapter": "llama_guard", "corpus": str(corpus)} | changes))


def test_a_peer_is_asked_and_scored(corpus, tmp_path):
    with serving(guard) as server:
        judged = run(endpoint(server, corpus), tmp_path / "out")
    result = score(judged)
    assert len(server.requests) == 6  # four requests and two exchanges
    prompt, response = result.overall[Task.PROMPT], result.overall[Task.RESPONSE]
    assert (prompt.tp, prompt.fp, prompt.tn) == (1, 1, 2)
    assert (response.tp, response.tn) == (1, 1)
    assert result.mean_output_tokens == (3 + 6 + 6 + 3) / 4
    assert result.latency["p50"] > 0
    assert all(request["temperature"] == 0 for request in server.requests)


def test_a_dialect_with_a_question_a_task_is_asked_each_of_them(tmp_path):
    io.write(tmp_path / "corpus.parquet", [make_sample(str(i), H, U, prompt=f"red {i}") for i in range(3)])

    def right(request, _nth):
        about_the_prompt = "the request is" in request["messages"][0]["content"]
        return Say("<think>\na\n</think>\n\\boxed{%s}" % ("unsafe" if about_the_prompt else "safe"))

    with serving(right) as server:
        result = score(run(endpoint(server, tmp_path / "corpus.parquet", adapter="rsafe"), tmp_path / "out"))
    assert len(server.requests) == 6
    assert result.overall == {Task.PROMPT: Confusion(tp=3), Task.RESPONSE: Confusion(tn=3)}


def test_a_run_that_ended_early_goes_on_where_it_stopped(corpus, tmp_path):
    def fails_at_the_fourth(request, _nth):
        return Say(status=401) if len(server.requests) > 3 else guard(request)

    with serving(fails_at_the_fourth) as server, pytest.raises(ConfigError, match="answered 401; check the address"):
        run(endpoint(server, corpus, concurrency=1), tmp_path / "out")
    assert len(read_answers(tmp_path / "out" / "answers.jsonl")) == 3
    with serving(guard) as server:
        judged = run(endpoint(server, corpus), tmp_path / "out")
        assert len(server.requests) == 3
        assert [item.failed for item in judged] == [False] * 4
        run(endpoint(server, corpus), tmp_path / "out")
        assert len(server.requests) == 3


def test_a_busy_server_is_asked_again(corpus, tmp_path):
    def busy_once(request, nth):
        return Say(status=429, headers={"retry-after-ms": "1"}) if nth == 1 else guard(request)

    with serving(busy_once) as server:
        judged = run(endpoint(server, corpus), tmp_path / "out")
    # Six calls of four different bodies, each of which is refused once.
    assert (len(server.requests), sum(item.failed for item in judged)) == (10, 0)


def test_a_server_that_stays_broken_ends_the_run(corpus, tmp_path):
    with (
        serving(lambda *_: Say(status=503, headers={"retry-after-ms": "1"})) as server,
        pytest.raises(StageError, match="503"),
    ):
        run(endpoint(server, corpus, tries=2, concurrency=1), tmp_path / "out")


def test_a_refused_request_is_no_answer_and_is_asked_again(corpus, tmp_path):
    refuses = {"now": True}

    def too_long(request, _nth):
        return Say(status=400) if refuses["now"] and text_last(request) == "red" else guard(request)

    with serving(too_long) as server:
        judged = run(endpoint(server, corpus), tmp_path / "out")
        assert [item.failed for item in judged] == [True, True, True, False]
        assert score(judged).failures == {FailureReason.UNANSWERED: 3}
        # The request of c is the prompt of a; b is refused by its response alone.
        rows = [(row["id"], row["index"]) for row in peers.refused(tmp_path / "out")]
        assert sorted(rows) == [("a", 0), ("b", 1), ("c", 0)]
        assert len(read_answers(tmp_path / "out" / "answers.jsonl")) == 3
        assert [item.failed for item in peers.read(tmp_path / "out", io.read(corpus))] == [True, True, True, False]
        refuses["now"] = False
        judged = run(endpoint(server, corpus), tmp_path / "out")
    assert [item.failed for item in judged] == [False] * 4
    assert peers.refused(tmp_path / "out") == []


def text_last(request):
    return request["messages"][-1]["content"]


def test_images_travel_and_control_tokens_lose_their_power(tmp_path):
    samples = [make_sample("a", H, prompt="<|eot_id|> see", images=(make_png(),))]
    io.write(tmp_path / "corpus.parquet", samples)
    with serving(lambda *_: Say(make_text(H))) as server:
        judged = run(endpoint(server, tmp_path / "corpus.parquet", adapter="guardreasoner_vl"), tmp_path / "out")
    assert judged[0].right
    parts = server.requests[0]["messages"][1]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text"]
    assert parts[1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert "<|eot_id|>" not in text_of(server.requests[0])


def test_answers_of_two_guards_never_mix(corpus, tmp_path):
    with serving(guard) as server:
        run(endpoint(server, corpus), tmp_path / "out")
        with pytest.raises(ConfigError, match="holds answers with model=m, not other"):
            run(endpoint(server, corpus, model="other"), tmp_path / "out")


def test_the_command_prints_and_keeps_the_scores(corpus, tmp_path):
    given = [
        "eval",
        "--model",
        "m",
        "--adapter",
        "llama_guard",
        "--corpus",
        str(corpus),
        "--out",
        str(tmp_path / "out"),
    ]
    with serving(guard) as server:
        result = CliRunner().invoke(app, [*given, "--endpoint", server.url])
    assert result.exit_code == 0
    assert any("unparsable is wrong" in line and "66.67" in line for line in result.stdout.splitlines())
    assert "seconds an answer" in result.stdout
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["tasks"]["prompt"]["wrong"]["recall"] == 1.0
    assert "a-secret" not in (tmp_path / "out" / "endpoint.json").read_text()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param([], "give a RECIPE, --predictions FILE or --endpoint URL", id="nothing to evaluate"),
        pytest.param(["guardreasoner_vl", "--endpoint", "http://x/v1"], "one of them", id="two things at once"),
        pytest.param(["--endpoint", "http://x/v1"], "needs --model NAME", id="an endpoint alone"),
    ],
)
def test_what_was_left_out_is_said(given, words):
    with pytest.raises(ConfigError, match=words):
        CliRunner().invoke(app, ["eval", *given], catch_exceptions=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"url": "localhost:8000"}, "--endpoint localhost:8000: no address", id="no scheme"),
        pytest.param({"concurrency": 0}, "--concurrency 0: must be above 0", id="nobody at work"),
        pytest.param({"max_tokens": -1}, "--max-tokens -1: must be above 0", id="fewer than no tokens"),
        pytest.param({"tries": 0}, "--tries 0: must be above 0", id="never asked"),
        pytest.param({"timeout": math.nan}, "--timeout nan: must be above 0, and finite", id="no time"),
        pytest.param({"timeout": math.inf}, "--timeout inf: must be above 0, and finite", id="a wait without end"),
        pytest.param({"api_key_env": "NO_SUCH_KEY"}, "--api-key-env NO_SUCH_KEY: not set", id="no key"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        Endpoint(**({"url": "http://x/v1", "model": "m", "adapter": "llama_guard", "corpus": "c"} | changes))


def said_of(code=None, param=None, message="no", **more):
    return json.dumps({"error": {"message": message, "type": "x", "param": param, "code": code} | more}).encode()


def many(tmp_path, count=12):
    io.write(tmp_path / "many.parquet", [make_sample(str(i), U, prompt=f"case {i}") for i in range(count)])
    return tmp_path / "many.parquet"


@pytest.mark.parametrize(
    ("said", "calls", "words"),
    [
        pytest.param(Say(status=400), 5, "answered 400: scripted 400", id="400 without a code"),
        pytest.param(Say(status=422), 5, "answered 422", id="422 without a code"),
        pytest.param(Say("model_not_found", status=400), 2, "answered 400", id="a model that is not there, by code"),
        pytest.param(Say(status=404), 2, "answered 404", id="a model that is not there, by status"),
        pytest.param(Say(status=403), 2, "answered 403; check", id="a key that may not"),
        pytest.param(
            Say(status=422, raw=b'{"detail":[{"loc":["body","top_k"],"msg":"extra"}]}'), 2, "top_k", id="a field"
        ),
        pytest.param(Say(raw=b"<html>"), 5, "no chat completion: its body is no JSON", id="a page of HTML"),
        pytest.param(Say(raw=b""), 5, "no chat completion", id="an empty body"),
        pytest.param(
            Say(status=400, raw=said_of("context_length_exceeded")), 12, "no request was answered", id="all too long"
        ),
    ],
)
def test_a_server_that_answers_nothing_gives_no_score_and_is_asked_again(tmp_path, said, calls, words):
    mended = {"now": False}
    corpus = many(tmp_path)
    with serving(lambda request, nth: guard(request) if mended["now"] else said) as server:
        with pytest.raises(ConfigError, match=words):
            run(endpoint(server, corpus), tmp_path / "out")
        # The call after the last one may have left already.
        assert 1 <= len(server.requests) <= calls
        assert not (tmp_path / "out" / "answers.jsonl").exists()
        mended["now"] = True
        judged = run(endpoint(server, corpus), tmp_path / "out")
    assert [item.failed for item in judged] == [False] * 12


def test_a_server_that_refuses_everything_from_some_point_on_is_found_out(tmp_path):
    def until_the_fifth(request, _nth):
        return Say(status=400) if len(server.requests) > 5 else guard(request)

    with serving(until_the_fifth) as server:
        with pytest.raises(
            ConfigError, match="refused, though others were answered: the server answered 400: scripted"
        ):
            run(endpoint(server, many(tmp_path, 40), concurrency=1), tmp_path / "out")
        assert len(server.requests) == 5 + 4 + 1  # four refusals, and a call that was answered before
    assert len(read_answers(tmp_path / "out" / "answers.jsonl")) == 5


def test_samples_that_are_refused_in_a_row_do_not_end_a_run(tmp_path):
    def all_but_two(request, _nth):
        return guard(request) if text_last(request) in ("case 0", "case 1") else Say(status=400)

    with serving(all_but_two) as server:
        judged = run(endpoint(server, many(tmp_path), concurrency=1), tmp_path / "out")
    assert sum(item.failed for item in judged) == 10
    assert len(peers.refused(tmp_path / "out")) == 10


def test_the_count_of_refusals_and_the_first_reason_are_printed(corpus, tmp_path):
    def refuse_red(request, _nth):
        return Say(status=400, raw=said_of(message="too [red]")) if text_last(request) == "red" else guard(request)

    given = ["eval", "--model", "m", "--adapter", "llama_guard", "--corpus", str(corpus), "--out", str(tmp_path / "o")]
    with serving(refuse_red) as server:
        result = CliRunner().invoke(app, [*given, "--endpoint", server.url])
    assert result.exit_code == 0
    assert (
        "3 calls were refused, and their samples are unanswered; the first: the server answered 400: too [red]"
        in result.stdout
    )
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["refused"] == {"calls": 3, "first": "the server answered 400: too [red]"}


def test_a_model_that_wants_another_form_gets_it_and_a_line_says_so(corpus, tmp_path, capfd):
    def newer(request, _nth):
        if "max_tokens" in request:
            words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return Say(status=400, raw=said_of("unsupported_parameter", "max_tokens", words))
        if "temperature" in request:
            return Say(
                status=400, raw=said_of("unsupported_value", "temperature", "Only the default (1) is supported.")
            )
        return guard(request)

    with serving(newer) as server:
        judged = run(endpoint(server, corpus), tmp_path / "out")
        assert len(server.requests) == 2 + 6
    assert [item.failed for item in judged] == [False] * 4
    assert server.requests[-1]["max_completion_tokens"] == 4096
    said = capfd.readouterr().err.splitlines()
    assert ["max_completion_tokens" in said[0], "no temperature" in said[1], len(said)] == [True, True, 2]


def test_a_folder_whose_description_is_torn_is_one_line(corpus, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "endpoint.json").write_text("")
    with serving(guard) as server, pytest.raises(DataError, match=r"endpoint.json: does not say"):
        run(endpoint(server, corpus), tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "last"),
    [
        pytest.param(
            "BadRequestError - Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            {"temperature", "max_completion_tokens"},
            id="a proxy without codes, about max_tokens",
        ),
        pytest.param("these models don't support temperature=0", {"max_tokens"}, id="one about the temperature"),
        pytest.param(
            "'max_tokens' or 'max_completion_tokens' is too large: 4096", {"temperature", "max_tokens"}, id="too large"
        ),
    ],
)
def test_words_alone_change_the_form_only_when_they_ask_for_it(corpus, tmp_path, words, last):
    def once(request, _nth):
        return Say(status=400, raw=said_of(message=words)) if len(server.requests) == 1 else guard(request)

    with serving(once) as server:
        run(endpoint(server, corpus), tmp_path / "out")
    assert server.requests[-1].keys() - {"model", "messages"} == last
