"""What the rollout server over `transformers` refuses before it answers."""

import asyncio

import pytest

pytestmark = pytest.mark.verl


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param({"video_data": [object()]}, "video_data: this server reads text and images alone", id="a video"),
        pytest.param({"audio_data": [b"a"], "depth_data": [1]}, "audio_data, depth_data: this server", id="two others"),
    ],
)
def test_a_kind_of_media_that_it_does_not_know_is_refused_and_not_overlooked(content, words):
    from gr_vl.verl_ext.server import TransformersServer

    server = object.__new__(TransformersServer)
    with pytest.raises(ValueError, match=words):
        asyncio.run(server.generate([1, 2], {}, "a", **content))
