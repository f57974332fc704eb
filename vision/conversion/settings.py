"""Their config.json and the settings of our models, in both directions, and what of theirs has no counterpart here."""

import math
import re

from official.conversion.hugging_face import check_config, our_activation, their_activation
from vision.conversion.names import BLOCK_PARTS
from vision.sizes import check_size, patch_grid, plain_size, sides
from vision.zoo import SIZES, model_settings
from widenet.checks import check_count, check_positive, check_rate

# Our names, and theirs.
NUMBERS = {
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "channels": "num_channels",
}
CHECKS = {
    **dict.fromkeys((*NUMBERS.values(), "intermediate_size"), check_count),
    **dict.fromkeys(("layer_norm_eps", "mlp_ratio"), check_positive),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), check_rate),
    **dict.fromkeys(("image_size", "patch_size"), check_size),
}
# What a config.json that leaves a setting out means.
COMMON = dict(
    num_channels=3,
    image_size=224,
    hidden_act="gelu",
    qkv_bias=True,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    patch_size=16,
    layer_norm_eps=1e-12,
)
DEFAULTS = {"vit": COMMON, "deit": COMMON, "dinov2": {**COMMON, "patch_size": 14, "layer_norm_eps": 1e-6, "mlp_ratio": 4}}
# What shapes cannot tell.
UNSEEN = ("heads", "norm_epsilon", "activation")
# Why models of other types are refused.
OTHER_TYPES = {
    "dinov2_with_registers": "registers have no counterpart here",
    **dict.fromkeys(("clip", "clip_vision_model"), "the norm before its first block (ln_pre) has no counterpart here"),
    **dict.fromkeys(("siglip", "siglip_vision_model"), "its head, which attends to the patches, has no counterpart here"),
    **dict.fromkeys(("beit", "data2vec-vision"), "its positions are relative"),
    **dict.fromkeys(("swin", "swinv2"), "its attention to windows has no counterpart here"),
    **dict.fromkeys(("bert", "albert"), "models of texts are for the command bert.convert"),
    "vit_mae": "its positions are fixed, and its encoder sees a part of the patches",
}
# Tensors that have no counterpart, by the end of their names, and what they are.
REFUSED = {
    "distillation_token": "a distillation token, which has no counterpart here; the same model without it can be converted",
    "register_tokens": "registers, which have no counterpart here",
    "pre_layrnorm.weight": "a norm before the first block (ln_pre, as in CLIP), which has no counterpart here",
    "ln_pre.weight": "a norm before the first block (ln_pre, as in CLIP), which has no counterpart here",
    "mlp.weights_in.weight": "gated feed-forward layers (SwiGLU), which have no counterpart here",
    "relative_position_bias_table": "relative positions, which have no counterpart here",
    "attn.qkv.weight": "the names of timm; a folder in Hugging Face's layout is needed",
    "conv_root/kernel": "a ResNet before the patches (a hybrid), which has no counterpart here",
}


def check_source(source):
    """Refuses what no model of ours can represent.

    Raises:
      ValueError: names the setting or the tensor, in words that complete "... is not allowed: ".
    """
    config = source.config
    kind = config.get("model_type")
    if kind is not None and kind not in list(DEFAULTS):
        why = f": {OTHER_TYPES[kind]}" if kind in list(OTHER_TYPES) else ""
        raise ValueError(f"config.json has model_type={kind!r}, which must be one of {', '.join(DEFAULTS)}{why}")
    for name in source.names():
        for end, what in REFUSED.items():
            if name.endswith(end):
                raise ValueError(f"{name!r} is of {what}")
    if config.get("use_swiglu_ffn"):
        raise ValueError("config.json has use_swiglu_ffn=True: gated feed-forward layers (SwiGLU) have no counterpart here")
    if config.get("quantization_config"):
        raise ValueError("config.json has a quantization_config, and its tensors are not plain floats")


def layout_of(source):
    """The key of BLOCK_PARTS whose names the tensors have.

    Raises:
      ValueError: none, in words that complete "... is not allowed: ".
    """
    for layout, parts in BLOCK_PARTS.items():
        if f"encoder.layer.0.{parts[0]}.weight" in source:
            return layout
    tried = " or ".join(f"'encoder.layer.0.{parts[0]}.weight'" for parts in BLOCK_PARTS.values())
    raise ValueError(f"it must be a ViT, DeiT or DINOv2, and it has no tensor {tried}")


def count_blocks(source, start):
    """How many blocks there are, by the names of tensors `start` + number + anything."""
    found = (re.match(r"\d{1,5}", name[len(start) :]) for name in source.names() if name.startswith(start))
    return 1 + max((int(number[0]) for number in found if number), default=-1)


def hugging_face_settings(source, layout, tokens, given):
    """The settings of a model in Hugging Face's layout.

    Args:
      source: an official.conversion.source.Source whose names begin at the encoder.
      layout: as of layout_of.
      tokens: number of positions, with that of the class token.
      given: dict of settings that the user gives, for what neither config nor shapes tell (UNSEEN, and image_size).

    Returns:
      A dict of settings as of vision.model_settings, without classes and representation.

    Raises:
      ValueError: what nothing tells, or a config that does not agree with the shapes, in words that complete "... is not
        allowed: ".
    """
    kernel = source.shape("embeddings.patch_embeddings.projection.weight")
    ffn_in = source.shape(f"encoder.layer.0.{BLOCK_PARTS[layout][2]}.weight")
    if len(kernel) != 4 or len(ffn_in) != 2:
        raise ValueError(f"its patch projection has the shape {list(kernel)} and its first FFN {list(ffn_in)}: it must be a ViT")
    shapes = dict(
        width=kernel[0],
        channels=kernel[1],
        patch_size=plain_size(kernel[2:]),
        ffn_dim=ffn_in[0],
        depth=count_blocks(source, "encoder.layer."),
    )
    known = {}
    if source.config:
        known = _from_config(source.config, layout)
        for name, value in shapes.items():
            if name in known and known[name] != value:
                theirs = {**NUMBERS, "ffn_dim": "intermediate_size"}.get(name, name)
                raise ValueError(f"config.json has {theirs}={known[name]!r}, and the tensors {value!r}")
    settings = {**shapes, **known, "pool": "token", "position_cubic": -0.75}
    return complete(settings, tokens - 1, given)


def complete(settings, patches, given):
    """All settings of a model; adds those that the user gives for what nothing else tells.

    Args:
      settings: dict of what is known.
      patches: number of positions of patches.
      given: as of hugging_face_settings.

    Raises:
      ValueError: what nothing tells, or patches that do not form a grid.
    """
    given = {name: value for name, value in given.items() if value is not None}
    settings = {**{name: given[name] for name in UNSEEN if name in given}, **settings}
    missing = [name for name in UNSEEN if name not in settings]
    if missing:
        raise ValueError(
            f"it has no config.json, and its tensors do not tell {', '.join(missing)}: they must be given, as "
            f"{missing[0]}=... to load_model and --{missing[0]}=... to the command vision.convert"
        )
    for name in ("width", "heads", "ffn_dim", "depth", "channels"):
        check_count(name, settings[name])
    check_positive("norm_epsilon", settings["norm_epsilon"])
    check_size("patch_size", settings["patch_size"])
    if "image_size" not in settings:
        settings["image_size"] = _image_size(patches, settings["patch_size"], given.get("image_size"))
    if math.prod(patch_grid(settings["image_size"], settings["patch_size"])) != patches:
        sizes = f"image_size={settings['image_size']} and patch_size={settings['patch_size']}"
        raise ValueError(f"it has {patches} positions of patches, which {sizes} do not have")
    if settings["width"] % settings["heads"]:
        raise ValueError(f"heads={settings['heads']} must divide the width {settings['width']}")
    return model_settings("vit_b16", **settings, expert_dim=settings["ffn_dim"])


def model_name(settings):
    """Such as "vit_s14", of the zoo's size and the patch's side; "vit" for another size."""
    patch = settings["patch_size"]
    for size, row in SIZES.items():
        if isinstance(patch, int) and all(settings[name] == row[name] for name in ("width", "heads", "ffn_dim", "depth")):
            return f"vit_{size.rstrip('0123456789')}{patch}"
    return "vit"


def class_names(source, classes):
    """The names of the classes, a list of strings; their numbers where nothing tells the names.

    Raises:
      ValueError: names of another number of classes, in words that complete "... is not allowed: ".
    """
    names = source.config.get("id2label")
    if not classes or not isinstance(names, dict) or not names:
        return [str(number) for number in range(classes)]
    if sorted(names) != sorted(map(str, range(classes))):
        raise ValueError(f"config.json has id2label of {len(names)} classes, and the classifier {classes} outputs")
    return [str(names[str(number)]) for number in range(classes)]


def _from_config(config, layout):
    """What a config.json says: settings of ours, without image sizes that are none."""
    kind = config.get("model_type") or layout
    theirs = {**DEFAULTS[kind], **config}
    check_config(theirs, CHECKS)
    known = {ours: theirs[key] for ours, key in NUMBERS.items() if key in theirs}
    if layout == "dinov2":
        known["ffn_dim"] = int(known["width"] * theirs["mlp_ratio"]) if "width" in known else None
    else:
        known["ffn_dim"] = theirs.get("intermediate_size")
    known = {name: value for name, value in known.items() if value is not None}
    return {
        **known,
        **{name: plain_size(theirs[name]) for name in ("image_size", "patch_size")},
        "activation": our_activation(theirs["hidden_act"]),
        "norm_epsilon": theirs["layer_norm_eps"],
        "dropout": theirs["hidden_dropout_prob"],
        "attention_dropout": theirs["attention_probs_dropout_prob"],
    }


def _image_size(patches, patch_size, given):
    """The size of images of square grids of patches, or the given one if it has so many."""
    side = math.isqrt(patches)
    if side * side == patches:
        return plain_size(tuple(side * length for length in sides(patch_size)))
    if given is None:
        hint = "as --image_size=HEIGHT,WIDTH to the command vision.convert"
        raise ValueError(
            f"it has {patches} positions of patches, which are no square: image_size=(height, width) must be given, {hint}"
        )
    return check_size("image_size", given)


def config_of(settings, classes=None):
    """The config.json of a model of this zoo.

    Args:
      settings: all settings of the model.
      classes: names of the classes; None for their numbers.

    Returns:
      A dict, that of a transformers.ViTConfig.

    Raises:
      ValueError: what a ViTConfig cannot say, in words that complete "... is not allowed: ".
    """
    depth = settings["depth"]
    needed = {
        "norm_position": ("pre",),
        "pool": ("token",),
        "moe_blocks": (0, (), []),
        **dict.fromkeys(("attention_groups", "ffn_groups", "norm_groups"), (None, depth)),
    }
    for name, allowed in needed.items():
        if settings[name] not in allowed:
            raise ValueError(f"it has {name}={settings[name]!r}, and Hugging Face's ViT {allowed[0]!r}")
    if settings["representation"] and settings["classes"]:
        raise ValueError("it has representation=True, and Hugging Face's classifier reads the class token itself")
    activation = their_activation(settings["activation"])
    classifier = {}
    if settings["classes"]:
        names = [str(name) for name in classes or range(settings["classes"])]
        classifier = dict(id2label=dict(enumerate(names)), label2id={name: number for number, name in enumerate(names)})
    return dict(
        model_type="vit",
        architectures=["ViTForImageClassification" if classifier else "ViTModel"],
        **{theirs: settings[ours] for ours, theirs in NUMBERS.items()},
        intermediate_size=settings["ffn_dim"],
        image_size=settings["image_size"],
        patch_size=settings["patch_size"],
        hidden_act=activation,
        layer_norm_eps=settings["norm_epsilon"],
        hidden_dropout_prob=settings["dropout"],
        attention_probs_dropout_prob=settings["attention_dropout"],
        qkv_bias=True,
        **classifier,
        torch_dtype="float32",
    )
