"""A tiny model, built once a session for all tests that need one."""

import pytest
from factories import facts_of, write_json

from gr_vl import dialects, specs
from gr_vl.data import demo


def pytest_ignore_collect(collection_path, config):
    """The fast tier does not even import the other: its modules cost seconds in every worker."""
    return True if collection_path.name == "verl" and "not verl" in config.option.markexpr else None


@pytest.fixture(scope="session")
def corpus():
    """60 samples of the demo: texts, pictures and both."""
    return demo.build(0, {"train": 60})["train"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, corpus):
    """The folder of an untrained model."""
    pytest.importorskip("transformers")
    from gr_vl import tiny_model

    dialect = dialects.get("guardreasoner_vl")
    messages = [message for sample in corpus for message in dialect.messages(sample)]
    texts = [part["text"] for message in messages for part in message["content"] if "text" in part]
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model.build([*texts, *map(dialect.target, corpus)], folder, seed=0)
    write_json(folder / specs.EXPORTED, facts_of("guardreasoner_vl"))
    return folder


@pytest.fixture(scope="session")
def encoder(tiny):
    """The dialect and the processor of the tiny model."""
    from transformers import AutoProcessor

    from gr_vl.encoding import Encoder

    return Encoder(AutoProcessor.from_pretrained(tiny), dialects.get("guardreasoner_vl"))
