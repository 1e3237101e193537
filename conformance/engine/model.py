"""
Two tiny models for a real engine: one that chats, one that makes embeddings.

Their weights are random and their vocabulary comes from this project's own documents. Their answers
mean nothing, but they pass through every stage of a large model: vocabulary, template, context,
grammar and sampling. Other modules serve them.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).parents[2]
CONTEXT = 8192
"""Tokens that the chat model has room for: enough that filling it takes a while."""
EMBEDDING_CONTEXT = 512
VOCABULARY = 640
UNKNOWN, START, END = "<unk>", "<|start|>", "<|end|>"
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
WIDTH, HEADS, LAYERS, HIDDEN = 64, 4, 2, 128
SEED = 20
STEADY = 4.0
"""What the first dimension always is: the end's weight for it makes the end improbable."""
NEVER = -20.0


def train_words() -> Tokenizer:
    """Train a byte-level vocabulary on the documents of the project."""
    paths = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
    texts = [path.read_text("utf-8") for path in paths]
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[UNKNOWN, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    return words


def write_chat_model(path: Path) -> None:
    """
    Write a model of the llama architecture with a chat template.

    It never ends by itself, since nothing but a limit, a stop text or a grammar's end makes its
    end probable: so a test knows why an answer ends.
    """
    words = train_words()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    add_words(writer, words)
    writer.add_chat_template(TEMPLATE)
    make = Weights(writer)
    size = words.get_vocab_size()
    start = make.draw(size, WIDTH)
    start[:, 0] = STEADY
    make.add("token_embd.weight", start)
    make.ones("output_norm.weight", WIDTH)
    output = make.draw(size, WIDTH)
    output[:, 0] = 0
    output[words.token_to_id(END), 0] = NEVER
    make.add("output.weight", output)
    for n in range(LAYERS):
        block = f"blk.{n}"
        make.ones(f"{block}.attn_norm.weight", WIDTH)
        for name in ("attn_q", "attn_k", "attn_v"):
            make.matrix(f"{block}.{name}.weight", WIDTH, WIDTH)
        make.onward(f"{block}.attn_output.weight", WIDTH)
        make.ones(f"{block}.ffn_norm.weight", WIDTH)
        make.matrix(f"{block}.ffn_gate.weight", HIDDEN, WIDTH)
        make.matrix(f"{block}.ffn_up.weight", HIDDEN, WIDTH)
        make.onward(f"{block}.ffn_down.weight", HIDDEN)
    finish(writer)


def write_embedding_model(path: Path) -> None:
    """Write a model of the bert architecture that gives the mean of its last layer."""
    words = train_words()
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("tiny-embedding")
    writer.add_context_length(EMBEDDING_CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    add_words(writer, words)
    writer.add_token_type_count(2)
    make = Weights(writer)
    make.matrix("token_embd.weight", words.get_vocab_size(), WIDTH)
    make.matrix("position_embd.weight", EMBEDDING_CONTEXT, WIDTH)
    make.matrix("token_types.weight", 2, WIDTH)
    make.norm("token_embd_norm", WIDTH)
    for n in range(LAYERS):
        block = f"blk.{n}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            make.matrix(f"{block}.{name}.weight", WIDTH, WIDTH)
            make.zeros(f"{block}.{name}.bias", WIDTH)
        make.norm(f"{block}.attn_output_norm", WIDTH)
        make.matrix(f"{block}.ffn_up.weight", HIDDEN, WIDTH)
        make.zeros(f"{block}.ffn_up.bias", HIDDEN)
        make.matrix(f"{block}.ffn_down.weight", WIDTH, HIDDEN)
        make.zeros(f"{block}.ffn_down.bias", WIDTH)
        make.norm(f"{block}.layer_output_norm", WIDTH)
    finish(writer)


class Weights:
    """Adds tensors of a model, the random ones always the same."""

    def __init__(self, writer: gguf.GGUFWriter) -> None:
        self._writer = writer
        self._random = np.random.default_rng(SEED)

    def draw(self, rows: int, columns: int) -> npt.NDArray[np.float32]:
        """Return random weights, small enough that layers neither vanish nor overflow."""
        return self._random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    def add(self, name: str, values: npt.NDArray[np.float32]) -> None:
        """Add a tensor."""
        self._writer.add_tensor(name, values)

    def matrix(self, name: str, rows: int, columns: int) -> None:
        """Add random weights."""
        self.add(name, self.draw(rows, columns))

    def onward(self, name: str, columns: int) -> None:
        """Add random weights of what a layer adds, which leave the first dimension alone."""
        values = self.draw(WIDTH, columns)
        values[0] = 0
        self.add(name, values)

    def ones(self, name: str, size: int) -> None:
        """Add a scale that changes nothing."""
        self.add(name, np.ones(size, np.float32))

    def zeros(self, name: str, size: int) -> None:
        """Add a shift that changes nothing."""
        self.add(name, np.zeros(size, np.float32))

    def norm(self, name: str, size: int) -> None:
        """Add a norm's scale and shift."""
        self.ones(f"{name}.weight", size)
        self.zeros(f"{name}.bias", size)


def add_words(writer: gguf.GGUFWriter, words: Tokenizer) -> None:
    """Add the vocabulary, with its merges in the order in which they were learnt."""
    by_number = sorted(words.get_vocab().items(), key=lambda item: item[1])
    special = {UNKNOWN, START, END}
    kinds = [
        gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL
        for word, _ in by_number
    ]
    merges = json.loads(words.to_str())["model"]["merges"]
    writer.add_vocab_size(len(by_number))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([word for word, _ in by_number])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    number = dict(by_number)
    writer.add_bos_token_id(number[START])
    writer.add_eos_token_id(number[END])
    writer.add_unk_token_id(number[UNKNOWN])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def finish(writer: gguf.GGUFWriter) -> None:
    """Write the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
