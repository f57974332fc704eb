"""Cases (benchmarks/worker.py) of layers and models of Hugging Face Transformers in PyTorch on the CPU.

Needs `sh benchmarks/peers/setup.sh torch`. Imports nothing of this project.

Settings of all cases:
  precision: "float32"; "mixed_bfloat16" (torch.autocast); or "bfloat16" (weights and optimizer in bfloat16, too).
  mode: "train", see the function, or "forward", outputs without gradients.
  compiled: whether to use torch.compile.
  keep_memory: whether the C library keeps freed memory. By default (False) large tensors are returned to the system, which clears
    new ones at the next step; that takes up to a third of a step's time.
"""

import contextlib
import ctypes
import os
import platform

import torch
import transformers
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersSparseMLP


def switch_layer(tokens, width, experts, hidden, top_k, precision, mode, compiled=False, keep_memory=False, sequence=196):
    """Switch Transformers' sparse layer, on inputs that give every expert as many rows as `top_k` experts per token would.

    In mode "train": outputs and the gradients of inputs and weights.
    """
    _start(keep_memory)
    config = transformers.SwitchTransformersConfig(
        d_model=width,
        d_ff=hidden,
        num_experts=experts,
        expert_capacity=sequence,  # room for all tokens, at no cost, since experts' batches are not padded
        dense_act_fn="gelu",
        dropout_rate=0.0,
        router_jitter_noise=0.0,
    )
    layer = SwitchTransformersSparseMLP(config)
    rows = tokens * top_k
    inputs = _balanced_inputs(rows, 1, layer.router.classifier.weight).reshape(-1, sequence, width)
    with torch.no_grad():
        kept = layer.router(inputs)[0].sum().item() / rows
    facts = {
        "kept": kept,
        "flops": 4 * rows * width * hidden,
        "differs": f"each token has one expert, and there are {rows} tokens for as many expert rows; no biases.",
    }
    return _layer_case(layer, inputs, precision, mode, compiled, facts)


def mixtral_layer(
    tokens,
    width,
    experts,
    hidden,
    top_k,
    precision,
    mode,
    compiled=False,
    keep_memory=False,
    sequence=196,
    experts_implementation=None,
):
    """Mixtral's sparse layer, whose gated experts have as many multiplications as plain ones with `hidden` features.

    In mode "train": outputs and the gradients of inputs and weights.

    Args:
      experts_implementation: "eager" (a loop over the experts) or "grouped_mm" (rows sorted by expert). None selects the fastest:
        "grouped_mm" in float32, and "eager" otherwise, since autocast leaves "grouped_mm" in float32.
    """
    _start(keep_memory)
    experts_implementation = experts_implementation or ("grouped_mm" if precision == "float32" else "eager")
    # A gated expert has three matrices instead of two. Multiples of 32 keep its rows aligned.
    intermediate = round(hidden * 2 / 3 / 32) * 32
    config = transformers.MixtralConfig(
        hidden_size=width,
        intermediate_size=intermediate,
        num_local_experts=experts,
        num_experts_per_tok=top_k,
        experts_implementation=experts_implementation,
    )
    layer = MixtralSparseMoeBlock(config)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.02)  # the layer alone does not initialize its weights
    inputs = _balanced_inputs(tokens, top_k, layer.gate.weight).reshape(-1, sequence, width)
    facts = {
        "kept": 1.0,  # it has no capacity
        "flops": 6 * tokens * top_k * width * intermediate,
        "experts_implementation": experts_implementation,
        "differs": f"gated SiLU experts of three matrices, {intermediate} features wide, instead of two of {hidden}; no biases.",
    }
    return _layer_case(layer, inputs, precision, mode, compiled, facts)


def vit_step(batch, precision, mode, compiled=False, keep_memory=False, attention="sdpa", optimizer="fused"):
    """ViT-B/16 of 224 pixels and 1000 classes. In mode "train": forward, cross entropy, backward and AdamW.

    Args:
      attention: the library's implementation, "sdpa" or "eager".
      optimizer: PyTorch's implementation of AdamW, "fused", "foreach" or "loop".
    """
    _start(keep_memory)
    config = transformers.ViTConfig(num_labels=1000, attn_implementation=attention)
    model = transformers.ViTForImageClassification(config)
    images = torch.rand(batch, 3, config.image_size, config.image_size) * 2 - 1
    patches = (config.image_size // config.patch_size) ** 2
    pixels = config.num_channels * config.patch_size**2
    facts = {
        "flops": 2 * batch * (_transformer_products(config, patches + 1) + config.hidden_size * (patches * pixels + 1000)),
        "differs": "dense, without shared weights, with a class token; AdamW instead of LAMB, no clipping.",
    }
    return _model_case(model, {"pixel_values": images}, 1000, precision, mode, compiled, optimizer, facts)


def bert_step(
    batch, length, mode, precision="float32", compiled=False, keep_memory=False, attention="sdpa", optimizer="fused", **sizes
):
    """BERT with a head for 2 classes. In mode "train": forward, cross entropy, backward, clipping and AdamW; dropouts of 0.1.

    Args:
      batch, length: texts, and tokens of each, none of them padding.
      attention, optimizer: as of vit_step.
      **sizes: settings of transformers.BertConfig.
    """
    _start(keep_memory)
    config = transformers.BertConfig(num_labels=2, attn_implementation=attention, **sizes)
    model = transformers.BertForSequenceClassification(config)
    words = torch.randint(config.vocab_size, (batch, length))
    inputs = {"input_ids": words, "attention_mask": torch.ones_like(words), "token_type_ids": torch.zeros_like(words)}
    width = config.hidden_size
    facts = {"flops": 2 * batch * (_transformer_products(config, length) + width * (width + 2))}
    return _model_case(model, inputs, 2, precision, mode, compiled, optimizer, facts, clip_norm=1.0)


def _start(keep_memory):
    if keep_memory:
        # glibc's M_TRIM_THRESHOLD (-1) and M_MMAP_THRESHOLD (-3).
        with contextlib.suppress(AttributeError, OSError, TypeError):
            keep = ctypes.CDLL(None).mallopt
            keep(-1, 2**31 - 1)
            keep(-3, 2**30)
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())


def _balanced_inputs(tokens, top_k, router_weights):
    """Random normal [tokens, width], changed just enough for the router to give every expert equally many tokens."""
    weights = router_weights.detach()
    inputs = torch.randn(tokens, weights.shape[1])
    chosen = torch.arange(tokens * top_k).reshape(tokens, top_k) % weights.shape[0]
    logits = torch.full((tokens, weights.shape[0]), -3.0).scatter_(1, chosen, 3.0)
    return inputs + (logits - inputs @ weights.T) @ torch.linalg.pinv(weights).T


def _transformer_products(config, tokens):
    """Multiply-adds of all layers for one sequence."""
    width = config.hidden_size
    layer = tokens * width * (4 * width + 2 * config.intermediate_size) + 2 * tokens**2 * width
    return config.num_hidden_layers * layer


def _layer_case(layer, inputs, precision, mode, compiled, facts):
    if precision == "bfloat16":
        layer, inputs = layer.to(torch.bfloat16), inputs.to(torch.bfloat16)
    cotangent = torch.randn_like(inputs)
    inputs.requires_grad_(mode == "train")
    layer.train(mode == "train")
    run = torch.compile(layer) if compiled else layer

    def forward():
        with torch.inference_mode(), _autocast(precision):
            run(inputs)

    def train():
        layer.zero_grad()
        inputs.grad = None
        with _autocast(precision):
            outputs = run(inputs)
        outputs.backward(cotangent.to(outputs.dtype))

    return (train if mode == "train" else forward), _all_facts(layer, facts, mode, compiled)


def _model_case(model, inputs, classes, precision, mode, compiled, optimizer, facts, clip_norm=None):
    batch = next(iter(inputs.values())).shape[0]
    labels = torch.randint(classes, (batch,))
    if precision == "bfloat16":
        model = model.to(torch.bfloat16)
        inputs = {name: values.to(torch.bfloat16) if values.is_floating_point() else values for name, values in inputs.items()}
    model.train(mode == "train")
    implementation = {"fused": optimizer == "fused", "foreach": optimizer == "foreach"}
    update = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.1, **implementation)
    run = torch.compile(model) if compiled else model

    def forward():
        with torch.inference_mode(), _autocast(precision):
            run(**inputs)

    def train():
        update.zero_grad()
        with _autocast(precision):
            logits = run(**inputs).logits
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        update.step()

    facts = {"kept": 1.0, "attention": model.config._attn_implementation, "optimizer": f"AdamW, {optimizer}", **facts}
    return (train if mode == "train" else forward), _all_facts(model, facts, mode, compiled)


def _autocast(precision):
    if precision == "mixed_bfloat16":
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def _all_facts(module, facts, mode, compiled):
    return {
        **facts,
        "flops": facts["flops"] * (3 if mode == "train" else 1),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "compiled": compiled,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
