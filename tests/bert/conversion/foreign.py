"""Tiny BERTs and ALBERTs as Hugging Face stores them, with random weights, and their outputs by NumPy in float64.

Names, layouts and equations are those of transformers' BertModel and AlbertModel, written down apart from the code under test.
"""

import json
import math

import numpy as np

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop", *(f"##{letter}" for letter in "abcdefghi")]
COMMON = dict(
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
    type_vocab_size=2,
    vocab_size=len(TOKENS),
    layer_norm_eps=1e-5,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.0,
    position_embedding_type="absolute",
)
BERT = dict(COMMON, model_type="bert", hidden_act="gelu", architectures=["BertModel"])
ALBERT = dict(
    COMMON,
    model_type="albert",
    hidden_act="gelu_new",
    architectures=["AlbertModel"],
    embedding_size=6,
    num_hidden_groups=1,
    inner_group_num=1,
)


def shapes(config):
    """{name: shape} of all tensors of a BertModel or an AlbertModel."""
    width, hidden = config["hidden_size"], config["intermediate_size"]
    is_albert = config["model_type"] == "albert"
    narrow = config["embedding_size"] if is_albert else width
    found = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], narrow),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], narrow),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], narrow),
        **norm("embeddings.LayerNorm", narrow),
    }
    if is_albert:
        found |= linear("encoder.embedding_hidden_mapping_in", narrow, width)
        for i in range(config["num_hidden_groups"]):
            block = f"encoder.albert_layer_groups.{i}.albert_layers.0"
            for name in ("query", "key", "value", "dense"):
                found |= linear(f"{block}.attention.{name}", width, width)
            found |= norm(f"{block}.attention.LayerNorm", width)
            found |= linear(f"{block}.ffn", width, hidden) | linear(f"{block}.ffn_output", hidden, width)
            found |= norm(f"{block}.full_layer_layer_norm", width)
        return found | linear("pooler", width, width)
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            found |= linear(f"{block}.attention.{name}", width, width)
        found |= norm(f"{block}.attention.output.LayerNorm", width)
        found |= linear(f"{block}.intermediate.dense", width, hidden) | linear(f"{block}.output.dense", hidden, width)
        found |= norm(f"{block}.output.LayerNorm", width)
    return found | linear("pooler.dense", width, width)


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def random_tensors(found, seed=0):
    """{name: float32 array} of {name: shape}."""
    random = np.random.default_rng(seed)
    ones = {name for name in found if "LayerNorm.weight" in name or "layer_norm.weight" in name}
    return {name: (random.normal(scale=0.3, size=shape) + (name in ones)).astype(np.float32) for name, shape in found.items()}


def write(folder, config, tensors, vocabulary=TOKENS, **files):
    """A folder as `save_pretrained` writes it; returns its path. `files` are further JSON files by the stem of their names."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    files |= {} if config is None else {"config": config}
    for stem, content in files.items():
        (folder / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")
    if vocabulary:
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    return folder


def outputs(config, tensors, batch):
    """(list of the blocks' outputs, pooled output) for the inputs of ours, in float64."""
    weights = {name: value.astype(np.float64) for name, value in tensors.items()}
    epsilon = config["layer_norm_eps"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt(np.mean(centred**2, -1, keepdims=True) + epsilon)
        return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(x, names):
        query, key, value = (
            linear(x, name).reshape(*x.shape[:2], config["num_attention_heads"], -1).transpose(0, 2, 1, 3) for name in names
        )
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1])
        scores = np.where(batch["input_mask"][:, None, None] > 0, scores, -1e30)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        return (shares / shares.sum(-1, keepdims=True) @ value).transpose(0, 2, 1, 3).reshape(x.shape)

    activation = {"gelu": gelu, "gelu_new": gelu_tanh, "relu": lambda x: np.maximum(x, 0)}[config["hidden_act"]]
    ids, types = batch["input_word_ids"], batch["input_type_ids"]
    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][types]
    x = norm(x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]], "embeddings.LayerNorm")
    is_albert = config["model_type"] == "albert"
    if is_albert:
        x = linear(x, "encoder.embedding_hidden_mapping_in")
    blocks = []
    for i in range(config["num_hidden_layers"]):
        if is_albert:
            group = i * config["num_hidden_groups"] // config["num_hidden_layers"]
            block = f"encoder.albert_layer_groups.{group}.albert_layers.0"
            inside, output, first_norm = f"{block}.attention", f"{block}.attention.dense", f"{block}.attention.LayerNorm"
            first, second, second_norm = f"{block}.ffn", f"{block}.ffn_output", f"{block}.full_layer_layer_norm"
        else:
            block = f"encoder.layer.{i}"
            inside, output = f"{block}.attention.self", f"{block}.attention.output.dense"
            first_norm, second_norm = f"{block}.attention.output.LayerNorm", f"{block}.output.LayerNorm"
            first, second = f"{block}.intermediate.dense", f"{block}.output.dense"
        names = [f"{inside}.{part}" for part in ("query", "key", "value")]
        x = norm(x + linear(attention(x, names), output), first_norm)
        x = norm(x + linear(activation(linear(x, first)), second), second_norm)
        blocks.append(x)
    return blocks, np.tanh(linear(x[:, 0], "pooler" if is_albert else "pooler.dense"))


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
