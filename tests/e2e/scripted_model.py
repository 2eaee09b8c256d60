"""A model folder whose answers are known: it says what a script says, through the real tokenizer, forward
pass and sampler.

The model is a Llama of one layer that does nothing: embeddings are one-hot, so the output layer is a
table of which token follows which. A chain begins with the last token of the prompt, which the
template chooses by what it is given. Standard library only.
"""

import array
import json
import struct

# The marks of calls are special tokens and those of reasoning are not, as in some folders.
SPECIAL = ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<|reason|>", "<|call|>"]
SPECIAL += ["<|result|>"]
ADDED = ["<think>", "</think>"]

# What follows the token in front; every piece is one token and stands once.
CHAINS = [
    ["<|reason|>", "<think>", "\nWell", ", let me see.\n", "</think>", "\n\nIt is", " twelve.", "<|im_end|>"],
    [
        "<|call|>",
        "I look.\n",
        "<tool_call>",
        '\n{"name": "get_',
        'weather", "argu',
        'ments": {"ci',
        'ty": "Zür',
        'ich"}}\n',
        "</tool_call>",
        "\n<tool_",
        'call>{"name": "now"}',
        "</tool",
        "_call>\n",
        "<|im_end|>",
    ],
    ["<|result|>", "It is cold", " in Zürich.", "<|im_end|>"],
]

TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if messages[-1].role == 'tool' %}<|result|>
{%- elif tools %}<|call|>
{%- elif enable_thinking is defined and not enable_thinking %}<think></think>
{%- elif enable_thinking is defined %}<think>
{%- else %}<|reason|>{% endif %}{% endif %}"""


def byte_letters():
    """GPT-2's letters for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    letters = {b: chr(b) for b in plain}
    letters.update({b: chr(256 + i) for i, b in enumerate(others)})
    return letters


def write_tokenizer(folder):
    """Returns the ids of the chains' tokens by their text."""
    letters = byte_letters()
    vocabulary = {letters[b]: i for i, b in enumerate(sorted(letters))}
    ids = {}
    for token in SPECIAL + ADDED:
        ids[token] = len(vocabulary) + len(ids)
    added = [
        {"id": ids[token], "content": token, "special": token in SPECIAL, "normalized": False}
        for token in SPECIAL + ADDED
    ]
    for chain in CHAINS:
        for piece in chain:
            if piece not in ids:
                ids[piece] = 256 + len(ids)
                vocabulary["".join(letters[b] for b in piece.encode())] = ids[piece]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return ids


def write_weights(folder, size, follows):
    """`follows`: pairs of token ids. `size`: of vocabulary and hidden state."""

    def square(ones, value):
        numbers = array.array("f", bytes(4 * size * size))
        for row, column in ones:
            numbers[row * size + column] = value
        return [size, size], numbers

    def filled(shape, value):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        return shape, array.array("f", [value]) * count

    layer = "model.layers.0."
    tensors = {
        "model.embed_tokens.weight": square([(i, i) for i in range(size)], 1.0),
        "lm_head.weight": square([(after, before) for before, after in follows], 10.0),
        "model.norm.weight": filled([size], 1.0),
        layer + "input_layernorm.weight": filled([size], 1.0),
        layer + "post_attention_layernorm.weight": filled([size], 1.0),
        layer + "self_attn.q_proj.weight": square([], 0.0),
        layer + "self_attn.k_proj.weight": filled([size // 4, size], 0.0),
        layer + "self_attn.v_proj.weight": filled([size // 4, size], 0.0),
        layer + "self_attn.o_proj.weight": square([], 0.0),
        layer + "mlp.gate_proj.weight": filled([32, size], 0.0),
        layer + "mlp.up_proj.weight": filled([32, size], 0.0),
        layer + "mlp.down_proj.weight": filled([size, 32], 0.0),
    }
    header, offset = {}, 0
    for name, (shape, numbers) in tensors.items():
        end = offset + 4 * len(numbers)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, numbers in tensors.values():
            out.write(numbers.tobytes())


def write_folder(folder):
    """Writes the model into `folder`, which is there and empty."""
    size = 320
    ids = write_tokenizer(folder)
    assert 256 + len(ids) <= size, len(ids)
    follows = [(ids[a], ids[b]) for chain in CHAINS for a, b in zip(chain, chain[1:])]
    assert len({before for before, _ in follows}) == len(follows), "a token stands twice"
    write_weights(folder, size, follows)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": size,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "vocab_size": size,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "eos_token_id": ids["<|im_end|>"],
        "bos_token_id": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
