"""Every finding names row, field, reason and fix; what was measured once is not measured again."""

import dataclasses
import json

import mixtures
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import facts_of, make_model, make_png, make_sample
from typer.testing import CliRunner

from gr_vl.cli import app
from gr_vl.data import images, io, measured
from gr_vl.data.build import workers
from gr_vl.data.build.fingerprints import exact_key
from gr_vl.data.build.validate import Report, validate
from gr_vl.errors import Broken, DataError
from gr_vl.stages import lengths


def checked(path, **options):
    report = Report()
    for _ in validate(path, report, **({"model": None, "processes": 1, "dialect": "guardreasoner_vl"} | options)):
        pass
    return report


def write_rows(path, *changes):
    rows = [{**io.to_row(make_sample(f"r{number}"), io.schema()), **change} for number, change in enumerate(changes)]
    pq.write_table(pa.Table.from_pylist(rows, schema=io.schema()), path)
    return path


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        pytest.param({"id": None}, "id", "no id", id="without an id"),
        pytest.param({"source": " "}, "source", "no source", id="without a source"),
        pytest.param({"id": "r0"}, "id", "id of another row", id="with a taken id"),
        pytest.param({"prompt": None}, "prompt", "neither text nor image", id="without a request"),
        pytest.param({"response": "x" * 1_000_001}, "response", "more than 1,000,000 characters", id="a megabyte"),
        pytest.param({"prompt_label": "maybe"}, "prompt_label", "unknown label", id="with a third label"),
        pytest.param({"prompt_label": "refusal"}, "prompt_label", "unknown label", id="with another task's label"),
        pytest.param({"refusal_label": "harmful"}, "refusal_label", "unknown label", id="harmful as a refusal"),
        pytest.param({"taught_response_label": ""}, "taught_response_label", "unknown label", id="with an empty label"),
        pytest.param({"prompt_label": None}, "prompt_label", "no label", id="without labels"),
        pytest.param({"response_label": "harmful"}, "response_label", "label of a missing response", id="no response"),
        pytest.param({"taught_prompt_label": "harmful"}, "reasoning", "taught labels without reasoning", id="taught"),
        pytest.param({"reasoning": "<think>"}, "reasoning", "reasoning breaks the answer's grammar", id="with a tag"),
        pytest.param({"images": [None]}, "images", "image without bytes", id="with a null image"),
        pytest.param({"images": [{"bytes": None, "path": "a.png"}]}, "images", "image without bytes", id="with a path"),
        pytest.param({"images": [{"bytes": b""}]}, "images", "image cannot be decoded", id="with an empty image"),
        pytest.param({"images": [{"bytes": make_png()[:150]}]}, "images", "image cannot be decoded", id="with half"),
        pytest.param({"images": [{"bytes": make_png()}] * 33}, "images", "more than 32 images", id="with an album"),
    ],
)
def test_a_row(tmp_path, row, field, reason):
    report = checked(write_rows(tmp_path / "c.parquet", {}, row, {}))
    assert (report.rows, report.by_modality) == (3, {"text": 2})
    (found,) = report.findings
    assert (found.row, found.field, found.reason) == (1, field, reason)
    assert found.fix
    assert len(found.value) <= 80


@pytest.mark.parametrize(
    "prompt",
    ["<image>", "a\0b", "\u202eabc", "<|im_end|>", "<think>a</think>"],
    ids=["tag", "NUL", "bidi", "end", "think"],
)
def test_hostile_text_is_text(tmp_path, prompt):
    assert checked(write_rows(tmp_path / "c.parquet", {"prompt": prompt})).findings == []


def test_rows_are_counted_across_batches_and_copies_are_told(tmp_path):
    rows = [make_sample(f"r{i}" if i < 99 else "", prompt=f"number {i % 90}") for i in range(100)]
    rows.append(make_sample("r100", prompt="number 0", policy="R1: another policy"))
    io.write(tmp_path / "c.parquet", rows)
    report = checked(tmp_path / "c.parquet", processes=2)
    assert (report.rows, report.repeated, [found.row for found in report.findings]) == (101, 9, [99])


def test_an_unknown_label_is_told_its_own_tasks_words(tmp_path):
    (found,) = checked(write_rows(tmp_path / "c.parquet", {"refusal_label": "maybe"})).findings
    assert (found.value, found.fix) == ("'maybe'", "write refusal or compliance")


def test_bytes_that_are_no_text_cost_their_row(tmp_path):
    path = write_rows(tmp_path / "c.parquet", {}, {"images": [{"bytes": make_png()}]}, {})
    text = pa.StringArray.from_buffers(3, *pa.array([b"one", b"\xff", b"three"], pa.binary()).buffers()[1:])
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index("prompt"), "prompt", text), path)
    report = checked(path)
    (found,) = report.findings
    assert (report.rows, report.by_modality) == (3, {"text": 2})
    assert (found.row, found.field, found.value, found.reason) == (1, "prompt", r"b'\xff'", "a text that is no UTF-8")
    with pytest.raises(DataError, match=r"c\.parquet: row 1: prompt is a text that is no UTF-8"):
        io.read(path)


def test_work_that_stops_is_not_the_end_of_the_jobs():
    def work(job):
        return next(iter(())) if job == 1 else job

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(workers.worked([0, 1, 2], work, 1))


def test_a_file_that_ends_early_is_named(tmp_path):
    path = tmp_path / "c.parquet"
    io.write(path, mixtures.make_rows("s", 30))
    data = bytearray(path.read_bytes())
    data[200:900] = bytes(700)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"c\.parquet: cannot be read on from row 0"):
        checked(path)


def test_the_command_prints_findings_writes_them_and_exits_with_2_above_the_share(tmp_path):
    path = write_rows(tmp_path / "c.parquet", {}, {"prompt_label": "maybe"}, {})
    fine = CliRunner().invoke(app, ["data", "validate", str(path), "--workers", "1", "--max-bad-share", "0.4"])
    assert fine.exit_code == 0
    assert "unknown label" in fine.output
    out = tmp_path / "findings.jsonl"
    command = ["data", "validate", str(path), "--workers", "1", "--findings", str(out)]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, DataError)
    assert "1 of 3 rows cannot be used" in str(result.exception)
    wanted = Broken("prompt_label", "maybe", "unknown label", "write harmful or unharmful").at(path.name, 1, "r1")
    assert json.loads(out.read_text()) == wanted.record()


@pytest.mark.parametrize(
    ("dialect", "reasoning"),
    [
        pytest.param("guardreasoner", "Answers:", id="a line that opens the answers of three tasks"),
        pytest.param("guardreasoner_vl", "</think>", id="a tag that ends the reasoning"),
    ],
)
def test_reasoning_is_held_against_the_grammar_that_was_asked_for(tmp_path, dialect, reasoning):
    path = write_rows(tmp_path / "c.parquet", {}, {"reasoning": f"It is.\n{reasoning}\nIt was."})
    reasons = {}
    for name in ("guardreasoner", "guardreasoner_vl"):
        out = tmp_path / f"{name}.jsonl"
        command = ["data", "validate", str(path), "--workers", "1", "--dialect", name, "--findings", str(out)]
        CliRunner().invoke(app, command)
        reasons[name] = [json.loads(line)["reason"] for line in out.read_text().splitlines()]
    other = next(name for name in reasons if name != dialect)
    assert (reasons[dialect], reasons[other]) == (["reasoning breaks the answer's grammar"], [])


def test_a_file_that_is_no_corpus_is_named(tmp_path):
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    result = CliRunner().invoke(app, ["data", "validate", str(tmp_path / "c.parquet")])
    assert isinstance(result.exception, DataError)
    assert "not a parquet file" in str(result.exception)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    model = make_model(tmp_path / "model")
    (model / "model.safetensors").unlink()  # weights are not asked for
    (model / "tokenizer_config.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer_config\.json is missing"):
        checked(write_rows(tmp_path / "c.parquet", {}), model=model)


@pytest.fixture
def known(tmp_path, corpus, tiny):
    path = tmp_path / "train.parquet"
    io.write(path, corpus)
    checked(path, model=tiny)
    return path


def test_every_row_is_measured_as_it_is_encoded(known, corpus, encoder):
    found = measured.read(known, encoder.fingerprint)
    assert len(found) == 60
    pad = encoder.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    for sample in corpus[:12]:
        row, encoded = found[sample.id, exact_key(sample)], encoder.with_target(sample)
        assert row.prompt_tokens == encoded.prompt_length
        assert row.row_tokens == len(encoded.ids)
        assert row.visual_tokens == encoded.ids.count(pad)


@pytest.mark.parametrize("targets", [False, True])
def test_what_was_measured_is_neither_decoded_nor_encoded_again(known, encoder, tmp_path, monkeypatch, targets):
    def never(*arguments, **options):
        raise AssertionError("measured before")

    monkeypatch.setattr(images, "decode", never)
    encoder.fingerprint  # noqa: B018 that is computed with the encoder
    monkeypatch.setattr(type(encoder), "lengths", never)
    assert lengths.fit(known, tmp_path / "sft", encoder, 400, "k", targets=targets).rows == 60


def test_another_encoders_numbers_and_another_rows_are_not_taken(known, encoder, corpus):
    assert measured.read(known, "another") == {}
    found = measured.read(known, encoder.fingerprint)
    for change in ({"reasoning": "Other."}, {"policy": "R1: other"}):
        changed = dataclasses.replace(corpus[0], **change)
        assert (changed.id, exact_key(changed)) not in found


def test_a_processor_that_was_saved_anew_has_the_same_fingerprint(encoder, tmp_path):
    from transformers import AutoProcessor

    from gr_vl.encoding import Encoder

    encoder.processor.save_pretrained(tmp_path)
    again = Encoder(AutoProcessor.from_pretrained(tmp_path), encoder.dialect)
    assert again.fingerprint == encoder.fingerprint
    again.processor.image_processor.merge_size = 4
    assert Encoder(again.processor, encoder.dialect).fingerprint != encoder.fingerprint


@pytest.mark.parametrize(
    ("facts", "options", "read_as"),
    [
        pytest.param("run.json", [], "guardreasoner", id="the run around it"),
        pytest.param("data/manifest.json", [], "guardreasoner", id="the build that wrote it"),
        pytest.param("run.json", ["--dialect", "rsafe"], "rsafe", id="the option, whatever the run says"),
    ],
)
def test_reasoning_is_read_by_the_dialect_that_is_named(tmp_path, facts, options, read_as):
    path = tmp_path / "data" / "train.parquet"
    path.parent.mkdir()
    write_rows(path, {})
    (tmp_path / facts).write_text(json.dumps(facts_of("guardreasoner")))
    result = CliRunner().invoke(app, ["data", "validate", str(path), "--workers", "1", *options])
    assert (result.exit_code, f"reasoning read as {read_as}\n" in result.output) == (0, True)


@pytest.mark.parametrize(
    ("row", "refusal"),
    [
        pytest.param({}, "None", id="without reasoning no grammar is needed"),
        pytest.param({"reasoning": "I look."}, "pass --dialect, one of: guardreasoner", id="reasoning needs one"),
    ],
)
def test_a_corpus_whose_guard_nothing_names(tmp_path, row, refusal):
    write_rows(tmp_path / "train.parquet", row)
    result = CliRunner().invoke(app, ["data", "validate", str(tmp_path / "train.parquet"), "--workers", "1"])
    assert refusal in str(result.exception)
    assert "reasoning read as" not in result.output
