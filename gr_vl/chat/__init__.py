"""Chat models behind OpenAI-compatible endpoints, as the teacher, evaluation and the server ask them.

`parts` writes the content of a message, `completion` reads a body, `refusal` says what a refusal is about, `client`
sends a request, `retrying` sends it again, and `doubt` tells a server that refuses every request from one that refuses
some.
"""
