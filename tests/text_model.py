"""A Llama that reads text alone and knows nothing: two layers of random weights, a tokenizer like Llama's."""

from pathlib import Path

from omegaconf import OmegaConf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONTROL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
RECIPE = Path(__file__).parent.parent / "recipes" / "guardreasoner" / "sft.yaml"


def build(folder):
    """Write the model's folder; returns it."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer, learner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner.train_from_iterator(
        ["You judge what a user asks."],
        trainers.BpeTrainer(vocab_size=320, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learner, bos_token=CONTROL[0], eos_token=CONTROL[-1])
    # Of the published sizes. It knows no parts, and there is no token for padding.
    tokenizer.chat_template = OmegaConf.load(RECIPE).model.custom_chat_template
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8192,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
