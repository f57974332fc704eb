"""Tiny vision transformers as Hugging Face and Google store them, with random weights, and their outputs by NumPy in float64.

Names, layouts and equations are those of transformers' ViTModel and Dinov2Model and of Google's vision_transformer, written down
here apart from the code under test.
"""

import json
import math

import numpy as np
from safetensors.numpy import save_file

SIZES = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4, num_channels=3)
VIT = dict(SIZES, model_type="vit", intermediate_size=12, hidden_act="gelu", layer_norm_eps=1e-3, qkv_bias=True)
DINOV2 = dict(
    SIZES, model_type="dinov2", mlp_ratio=2, hidden_act="gelu", layer_norm_eps=1e-3, qkv_bias=True, use_swiglu_ffn=False
)
PIXELS = dict(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.25])
PARTS = {
    "vit": ("layernorm_before", "layernorm_after", "intermediate.dense", "output.dense"),
    "dinov2": ("norm1", "norm2", "mlp.fc1", "mlp.fc2"),
}


def hidden(config):
    return config.get("intermediate_size") or config["hidden_size"] * config["mlp_ratio"]


def shapes(config, prefix="", pooler=False, classes=0):
    """{name: shape} of all tensors of a ViTModel or a Dinov2Model, or of one with a classifier."""
    width, patch = config["hidden_size"], config["patch_size"]
    before, after, ffn_in, ffn_out = PARTS["dinov2" if config["model_type"] == "dinov2" else "vit"]
    found = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embeddings": (1, 1 + (config["image_size"] // patch) ** 2, width),
        "embeddings.patch_embeddings.projection.weight": (width, config["num_channels"], patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
    }
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        for name in ("attention.query", "attention.key", "attention.value", "output.dense"):
            found |= linear(f"{block}.attention.{name}", width, width)
        for name in (before, after):
            found |= {f"{block}.{name}.weight": (width,), f"{block}.{name}.bias": (width,)}
        found |= linear(f"{block}.{ffn_in}", width, hidden(config)) | linear(f"{block}.{ffn_out}", hidden(config), width)
        if config["model_type"] == "dinov2":
            found |= {f"{block}.layer_scale{n}.lambda1": (width,) for n in (1, 2)}
    if config["model_type"] == "dinov2":
        found["embeddings.mask_token"] = (1, width)
    found |= {"layernorm.weight": (width,), "layernorm.bias": (width,)}
    if pooler:
        found |= linear("pooler.dense", width, width)
    found = {prefix + name: shape for name, shape in found.items()}
    if classes:
        found |= linear("classifier", width, classes)
    return found


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def random_tensors(found, seed=0):
    """{name: float32 array} of {name: shape}."""
    random = np.random.default_rng(seed)
    return {name: random.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in found.items()}


def write(folder, config, tensors, **files):
    """A folder as `save_pretrained` writes it; returns its path. `files` are further JSON files by the stem of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    files |= {} if config is None else {"config": config}
    for stem, content in files.items():
        (folder / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def outputs(config, tensors, images):
    """(list of the blocks' outputs [batch, tokens, width], output of the final norm), in float64.

    Args:
      config, tensors: a model without prefix.
      images: float [batch, channels, height, width], of the model's size, normalized.
    """
    weights = {name: value.astype(np.float64) for name, value in tensors.items()}
    patch, width, heads = config["patch_size"], config["hidden_size"], config["num_attention_heads"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt(np.mean(centred**2, -1, keepdims=True) + config["layer_norm_eps"])
        return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(x, block):
        query, key, value = (
            linear(x, f"{block}.attention.{part}").reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        shares = np.exp(query @ key.transpose(0, 1, 3, 2) / math.sqrt(width // heads))
        mixed = (shares / shares.sum(-1, keepdims=True) @ value).transpose(0, 2, 1, 3).reshape(x.shape)
        return linear(mixed, f"{block}.output.dense")

    before, after, ffn_in, ffn_out = PARTS["dinov2" if config["model_type"] == "dinov2" else "vit"]
    activation = {"gelu": gelu, "gelu_new": gelu_tanh}[config["hidden_act"]]
    kernel = weights["embeddings.patch_embeddings.projection.weight"]
    corners = range(0, config["image_size"], patch)
    x = [np.einsum("bcpq,wcpq->bw", images[:, :, r : r + patch, c : c + patch], kernel) for r in corners for c in corners]
    x = np.stack(x, axis=1) + weights["embeddings.patch_embeddings.projection.bias"]
    first = np.broadcast_to(weights["embeddings.cls_token"], (len(images), 1, width))
    x = np.concatenate([first, x], axis=1) + weights["embeddings.position_embeddings"]
    blocks = []
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        added = attention(norm(x, f"{block}.{before}"), f"{block}.attention")
        x = x + added * weights.get(f"{block}.layer_scale1.lambda1", 1)
        added = linear(activation(linear(norm(x, f"{block}.{after}"), f"{block}.{ffn_in}")), f"{block}.{ffn_out}")
        x = x + added * weights.get(f"{block}.layer_scale2.lambda1", 1)
        blocks.append(x)
    return blocks, norm(x, "layernorm")


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def google_tensors(config, tensors):
    """The same weights as Google's .npz files have them; a pooler is their pre_logits."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    found = {
        "cls": tensors["embeddings.cls_token"],
        "Transformer/posembed_input/pos_embedding": tensors["embeddings.position_embeddings"],
        "embedding/kernel": tensors["embeddings.patch_embeddings.projection.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": tensors["embeddings.patch_embeddings.projection.bias"],
        "Transformer/encoder_norm/scale": tensors["layernorm.weight"],
        "Transformer/encoder_norm/bias": tensors["layernorm.bias"],
    }
    for i in range(config["num_hidden_layers"]):
        block, theirs = f"encoder.layer.{i}", f"Transformer/encoderblock_{i}"
        for number, name in ((0, "layernorm_before"), (2, "layernorm_after")):
            found[f"{theirs}/LayerNorm_{number}/scale"] = tensors[f"{block}.{name}.weight"]
            found[f"{theirs}/LayerNorm_{number}/bias"] = tensors[f"{block}.{name}.bias"]
        for number, name in ((0, "intermediate.dense"), (1, "output.dense")):
            found[f"{theirs}/MlpBlock_3/Dense_{number}/kernel"] = tensors[f"{block}.{name}.weight"].T
            found[f"{theirs}/MlpBlock_3/Dense_{number}/bias"] = tensors[f"{block}.{name}.bias"]
        attention = f"{theirs}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            name = f"{block}.attention.attention.{part}"
            found[f"{attention}/{part}/kernel"] = tensors[f"{name}.weight"].T.reshape(width, heads, -1)
            found[f"{attention}/{part}/bias"] = tensors[f"{name}.bias"].reshape(heads, -1)
        found[f"{attention}/out/kernel"] = tensors[f"{block}.attention.output.dense.weight"].T.reshape(heads, -1, width)
        found[f"{attention}/out/bias"] = tensors[f"{block}.attention.output.dense.bias"]
    for theirs, name in (("pre_logits", "pooler.dense"), ("head", "classifier")):
        if f"{name}.weight" in tensors:
            found |= {f"{theirs}/kernel": tensors[f"{name}.weight"].T, f"{theirs}/bias": tensors[f"{name}.bias"]}
    return found
