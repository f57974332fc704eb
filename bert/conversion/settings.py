"""Their config.json and the settings of our models, in both directions, and what of theirs has no counterpart here."""

import dataclasses
import re

from bert.conversion.names import BLOCKS
from official.conversion.hugging_face import check_config, our_activation, their_activation
from widenet.checks import check_not_negative, check_positive, check_rate
from widenet.deployment import Deployment

# Our names, and theirs.
SIZES = {
    "vocab_size": "vocab_size",
    "max_length": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "width": "hidden_size",
    "ffn_dim": "intermediate_size",
    "embedding_dim": "embedding_size",  # of ALBERT; in BERT it is hidden_size
}
OTHERS = {
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "norm_epsilon": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
CHECKS = {
    "layer_norm_eps": check_positive,
    "initializer_range": check_not_negative,
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), check_rate),
}
# What a config.json that leaves a setting out means.
DEFAULTS = {
    "bert": dict(num_attention_heads=12, hidden_act="gelu", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1),
    "albert": dict(num_attention_heads=64, hidden_act="gelu_new", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
}
COMMON = dict(
    layer_norm_eps=1e-12, initializer_range=0.02, num_hidden_groups=1, inner_group_num=1, position_embedding_type="absolute"
)
# What shapes cannot tell. Dropout rates, which only training uses, are those of DEFAULTS where nothing tells them.
UNSEEN = ("depth", "heads", "norm_epsilon", "activation")

# Why models of other types are refused.
OTHER_TYPES = {
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"),
        "its positions begin behind the id of padding, and its heads differ",
    ),
    **dict.fromkeys(("deberta", "deberta-v2"), "its positions are relative"),
    "distilbert": "it has neither types of segments nor a pooler, and its classifier has a ReLU layer before it",
    "electra": "its classifier has a layer of its own before it, with another activation than tanh",
    "mpnet": "its positions are relative",
    **dict.fromkeys(("vit", "deit", "dinov2"), "models of images are for the command vision.convert"),
    "nomic_bert": "its positions are rotary",
    "modernbert": "its positions are rotary, and its feed-forward layers are gated",
}


def family_of(config, names):
    """ "bert" or "albert", as the config says, which has passed `check_type`, or else the names of the tensors.

    Raises:
      ValueError: names of another type of model, in words that complete "... is not allowed: ".
    """
    found = (kind for kind in BLOCKS if any(name.startswith(BLOCKS[kind]) for name in names))
    kind = config.get("model_type") or next(found, None)
    if kind is None:
        raise ValueError(f"it must be a BERT or an ALBERT, and none of its tensors is called {' or '.join(BLOCKS.values())}...")
    return kind


def check_type(config):
    """Refuses a config of another type of model; one that does not tell its type passes.

    Raises:
      ValueError: names the type, in words that complete "... is not allowed: ".
    """
    kind = config.get("model_type")
    if kind and (not isinstance(kind, str) or kind not in BLOCKS):
        why = f": {OTHER_TYPES[kind]}" if str(kind) in OTHER_TYPES else ""
        raise ValueError(f"config.json has model_type={kind!r}, which must be bert or albert{why}")


def _check_represented(config):
    """Refuses what no model of ours can represent.

    Raises:
      ValueError: names the setting and its value, in words that complete "... is not allowed: ".
    """
    allowed = {
        "position_embedding_type": ("absolute", "relative positions have no counterpart here"),
        "inner_group_num": (1, "blocks within a group have no counterpart here"),
        "is_decoder": (False, "attention to earlier tokens alone has no counterpart here"),
        "add_cross_attention": (False, "attention to another sequence has no counterpart here"),
        "ln_type": ("postln", "norms before attention and feed-forward layer are not ALBERT's"),
        "problem_type": (("single_label_classification", "regression", None), "several labels at once have no counterpart here"),
    }
    for setting, (values, why) in allowed.items():
        values = values if isinstance(values, tuple) else (values,)
        if setting in config and config[setting] not in values:
            raise ValueError(f"config.json has {setting}={config[setting]!r}, which must be {values[0]!r}: {why}")
    if config.get("quantization_config"):
        raise ValueError("config.json has a quantization_config, and its tensors are not plain floats")


def read_settings(config, family, shapes, given):
    """The settings of the encoder and its embedding.

    Args:
      config: a dict, theirs; {} where there is none.
      family: "bert" or "albert".
      shapes: a Shapes, for what the config does not say.
      given: dict of settings that the user gives, of which those in UNSEEN count.

    Returns:
      A dict of settings as of bert.model_settings, without `classes`, and the number of instances of blocks.

    Raises:
      ValueError: as `_check_represented`, or what nothing tells, in words that complete "... is not allowed: ".
    """
    _check_represented(config)
    theirs = {**COMMON, **DEFAULTS[family], **config} if config else {}
    known = {ours: config[key] for ours, key in SIZES.items() if key in config}
    if family == "bert":
        known.pop("embedding_dim", None)
    known = {**shapes.sizes(), **known}
    if not config and known["type_vocab_size"] == 1:
        raise ValueError(
            "it has no config.json and one type of segments, as RoBERTa has, whose positions begin behind the id of padding: for "
            'a BERT a config.json with "model_type": "bert" is needed'
        )
    known["embedding_dim"] = known["embedding_dim"] if family == "albert" else known["width"]
    groups = theirs.get("num_hidden_groups", shapes.instances) if family == "albert" else None
    known |= {ours: theirs[key] for ours, key in OTHERS.items() if key in theirs}
    if family == "bert":
        known.setdefault("depth", shapes.instances)
    if theirs:
        check_config(theirs, CHECKS)
        known["activation"] = our_activation(theirs["hidden_act"])
        known["kernel_initializer"] = {"class_name": "TruncatedNormal", "config": {"stddev": theirs["initializer_range"]}}
    known = {name: given[name] for name in UNSEEN if given.get(name) is not None} | known
    missing = [name for name in UNSEEN if name not in known]
    if missing:
        raise ValueError(
            f"it has no config.json, and its tensors do not tell {', '.join(missing)}: they must be given, as "
            f"{missing[0]}=... to load_model and --{missing[0]}=... to the command bert.convert"
        )
    instances = known["depth"] if groups is None else groups
    _check_numbers(known, instances, shapes, called=their_name if config else str)
    if family == "albert":
        known |= dict(attention_groups=groups, ffn_groups=groups, norm_groups=groups)
        known["embedding_projection"] = True if known["embedding_dim"] == known["width"] else None
    return known, instances


def _check_numbers(known, instances, shapes, called):
    """Raises ValueError for sizes that cannot be; `called` is a function of a setting that returns what the user calls it."""
    check_positive("norm_epsilon", known["norm_epsilon"])
    for name in (*SIZES, "depth", "heads"):
        if not isinstance(known[name], int) or isinstance(known[name], bool) or known[name] < 1:
            raise ValueError(f"{called(name)}={known[name]!r} must be a whole number, at least 1")
    if known["width"] % known["heads"]:
        raise ValueError(f"{called('heads')}={known['heads']} must divide {called('width')}={known['width']}")
    if not isinstance(instances, int) or not 1 <= instances <= known["depth"]:
        raise ValueError(f"num_hidden_groups={instances!r} must be from 1 to {called('depth')}={known['depth']}")
    if instances != shapes.instances:
        setting = "num_hidden_layers" if shapes.blocks == BLOCKS["bert"] else "num_hidden_groups"
        raise ValueError(f"config.json has {setting}={instances}, and there are tensors {shapes.blocks}N of {shapes.instances}")


def their_name(setting, family="bert"):
    """What they call a setting of ours in the config of a family."""
    if family == "bert" and setting == "embedding_dim":
        setting = "width"
    return {**SIZES, **OTHERS}[setting]


class Shapes:
    """What the shapes of a source's tensors tell.

    Args:
      source: an official.conversion.source.Source whose names are those of `bert.conversion.names`.
      family: "bert" or "albert".

    Attributes:
      blocks: what the names of the blocks' tensors begin with.
      instances: number of blocks of a BERT, or groups of an ALBERT.
    """

    def __init__(self, source, family):
        self.blocks = BLOCKS[family]
        self._source, self._family = source, family
        numbers = {name[len(self.blocks) :].partition(".")[0] for name in source.names() if name.startswith(self.blocks)}
        last = max((int(number) for number in numbers if re.fullmatch("[0-9]{1,9}", number)), default=-1)
        self.instances = 1 + min(last, len(source.names()))  # a number alone must not make a model of a billion blocks

    def sizes(self):
        """{name of SIZES: number}.

        Raises:
          ValueError: a tensor that is missing or has not two axes.
        """
        first = "encoder.layer.0.intermediate.dense.weight"
        if self._family == "albert":
            first = "encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
        vocab_size, embedding_dim = self._matrix("embeddings.word_embeddings.weight")
        ffn_dim, width = self._matrix(first)
        return dict(
            vocab_size=vocab_size,
            embedding_dim=embedding_dim,
            max_length=self._matrix("embeddings.position_embeddings.weight")[0],
            type_vocab_size=self._matrix("embeddings.token_type_embeddings.weight")[0],
            width=width,
            ffn_dim=ffn_dim,
        )

    def _matrix(self, name):
        shape = self._source.shape(name)
        if len(shape) != 2:
            raise ValueError(f"its tensor {name!r} has the shape {list(shape)}, which must have two axes")
        return shape


def config_of(settings):
    """The config.json of a model of ours, without its head.

    Args:
      settings: dict, all settings of the model.

    Returns:
      (a dict; "bert" or "albert"; the number of instances of its blocks).

    Raises:
      ValueError: what they cannot represent; names the setting, in words that complete "... is not allowed: ".
    """
    depth = settings["depth"]
    deployment = Deployment(**{field.name: settings[field.name] for field in dataclasses.fields(Deployment)})
    if any(block.is_moe for block in deployment.blocks(depth)):
        raise ValueError(f"it has experts (moe_blocks={settings['moe_blocks']!r}), and a BERT or ALBERT of Hugging Face none")
    if deployment.norm_position != "post":
        raise ValueError(f"it has norm_position={deployment.norm_position!r}, and a BERT or ALBERT of Hugging Face 'post'")
    if settings.get("pool") == "mean" and settings.get("task") not in ("embedding", "span"):
        raise ValueError("it has pool='mean', and the pooler of a BERT or ALBERT of Hugging Face reads the first token")
    activation = their_activation(settings["activation"])
    groups = {name: settings[name] or depth for name in ("attention_groups", "ffn_groups", "norm_groups")}
    instances = groups["norm_groups"]
    if len(set(groups.values())) > 1:
        listed = ", ".join(f"{name}={settings[name]}" for name in groups)
        raise ValueError(f"it has {listed}, and a BERT or ALBERT of Hugging Face shares all three alike")
    is_projected = settings["embedding_projection"] or settings["embedding_dim"] != settings["width"]
    if not is_projected and instances != depth:
        raise ValueError("it has embedding_projection=None, and an ALBERT of Hugging Face a projection of the embeddings always")
    family = "albert" if is_projected else "bert"
    # Their blocks are counted in floats.
    if family == "albert" and [int(i / (depth / instances)) for i in range(depth)] != [
        i * instances // depth for i in range(depth)
    ]:
        raise ValueError(f"it has {instances} groups of {depth} blocks, which Hugging Face's ALBERT rounds to others")
    sizes = {theirs: settings[ours] for ours, theirs in SIZES.items() if family == "albert" or ours != "embedding_dim"}
    config = dict(model_type=family, **sizes, **{theirs: settings[ours] for ours, theirs in OTHERS.items()})
    config |= dict(hidden_act=activation, position_embedding_type="absolute", torch_dtype="float32")
    initializer = settings["kernel_initializer"]
    if isinstance(initializer, dict) and "stddev" in initializer.get("config", {}):
        config["initializer_range"] = initializer["config"]["stddev"]
    if family == "albert":
        config |= dict(num_hidden_groups=instances, inner_group_num=1, classifier_dropout_prob=settings["dropout"])
    return config, family, instances
