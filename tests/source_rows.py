"""One row of a source at a time, written into a file of its shape and read again."""

import base64
import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
from source_shapes import small_picture

from gr_vl.data import sources
from gr_vl.schema import Label

H, U = Label.HARMFUL, Label.UNHARMFUL
PNG = small_picture(7)
FILES = {
    "wildguard_train": ["train/wildguard_train.parquet"],
    "aegis1_train": ["annotations_train_v1.parquet"],
    "aegis1_test": ["annotations_test_v1.parquet"],
    "aegis2_test": ["test.json"],
    "beavertails_test": ["round0/30k/test.jsonl"],
    "toxicchat_test": ["data/0124/toxic-chat_annotation_test.csv"],
    "pku_saferlhf_train": ["train.jsonl"],
    "spa_vl_train": ["train-0.parquet"],
    "unsafebench": ["train-0.parquet", "test-0.parquet"],
    "hateful_memes": ["train.json", "test.json"],
    "badnews": ["metadata.jsonl"],
    "or_bench_toxic": ["or-bench-toxic.csv"],
    "xstest_prompts": ["prompts.json"],
    "SafeRLHF": ["SafeRLHF.json"],
    "ToxicChat": ["ToxicChat.json"],
    "WildGuardTest": ["0_4_wild_guard_test.json"],
    "guardreasoner_train": ["AegisTrainR.json"],
    "guardreasoner_train_refusal": ["AegisTrainR.json"],
    "guardreasoner_vl_train_text": ["GuardReasoner-VLTrainText.json"],
    "guardreasoner_vl_train_text_image": ["GuardReasoner_VLTrainTextImage.json"],
    "openai_messages": ["mine.jsonl"],
    "sharegpt": ["mine.jsonl"],
}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))


def read(name, rows, folder):
    first, *others = FILES[name]
    write(folder / first, rows)
    for other in others:
        write(folder / other, [])
    (folder / "a.png").write_bytes(PNG)
    return list(sources.get(name).read(folder))


def transcript(prompt="ask", response="answer"):
    return f"Human user:\n{prompt}\n\nAI assistant:\n{response}\n\n"


def answers(request, response):
    return f"Answers: \nRequest: {request}\nCompletion: None\nResponse: {response}\n"


def aegis(*votes, number=None):
    cells = {f"labels_{index}": vote for index, vote in enumerate(votes)}
    return {"text": "ask", "num_annotations": len(votes) if number is None else number, **cells}


def vl_train(prompt="ask", response="answer", said=("harmful", "unharmful"), images=(), target=None):
    result = f"<think>\n# Task 1\nso\n</think>\n<result>\n{answers(*said)}</result>"
    turns = [("system", "judge"), ("user", transcript(prompt, response)), ("assistant", target or result)]
    return {"messages": [{"role": role, "content": text} for role, text in turns], "images": list(images)}


def messages(*turns, **fields):
    return {"messages": [{"role": role, "content": text} for role, text in turns], **fields}


WILD = {"prompt": "ask", "response": "answer", "prompt_harm_label": "harmful", "response_harm_label": "unharmful"}
AEGIS2 = {"id": "a", "prompt": "ask", "response": "answer", "prompt_label": "unsafe", "response_label": "safe"}
BEAVER = {"prompt": "ask", "response": "answer", "is_safe": True}
TOXIC = {"conv_id": "a", "user_input": "ask", "human_annotation": "True", "toxicity": "1"}
MEME = {"id": "07685", "image": "hatefulMemes/07685.png", "safe": False}
UNSAFE = {"image": {"bytes": PNG, "path": None}, "safety_label": "Unsafe"}
SPA = {"image": {"bytes": PNG, "path": None}, "question": "ask", "chosen": "good", "rejected": "bad"}
CHAT = messages(("user", "ask"), ("assistant", "answer"), prompt_label="harmful", response_label="unharmful")
RLHF = {"prompt": "ask", "response_0": "a", "response_1": "b", "is_response_0_safe": True, "is_response_1_safe": False}
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
