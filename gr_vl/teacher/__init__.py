"""The teacher: a chat model behind an OpenAI-compatible endpoint that writes the reasoning of labelled samples.

`settings` checks what was asked for, `prompt` writes a request, `client` sends it, `judge` reads the reply, `budget`
and `ledger` keep account of it, and `run` does all samples. `worker` is the process that runs, `process` watches it.

Method: GuardReasoner (arXiv 2501.18492, section 3.1), which GuardReasoner-VL (arXiv 2505.11049) reuses with images. The
prompt is in our own words; the papers describe no check of the replies, ours is `judge`.
"""
