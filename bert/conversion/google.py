"""The names in Google's TensorFlow checkpoints of BERT and ALBERT as those of Hugging Face, by one table of replacements."""

import re

BOTH = {
    r"^module/": "",  # of a module of TensorFlow Hub
    r"^output_(weights|bias)$": r"classifier/output_\1",
    r"^cls/squad/": "qa_outputs/",
}
BERT = {
    r"/layer_(\d+)/": r"/layer/\1/",
}
ALBERT = {
    r"/transformer/group_(\d+)/inner_group_(\d+)/": r"/albert_layer_groups/\1/albert_layers/\2/",
    r"/attention_1/self/": "/attention/",
    r"/attention_1/output/": "/attention/",
    r"/ffn_1/intermediate/output/dense/": "/ffn_output/",
    r"/ffn_1/intermediate/dense/": "/ffn/",
    r"(/albert_layers/\d+)/LayerNorm_1/": r"\1/full_layer_layer_norm/",
    r"(/albert_layers/\d+)/LayerNorm/": r"\1/attention/LayerNorm/",
    r"/pooler/dense/": "/pooler/",
    r"^cls/predictions/transform/": "predictions/",
    r"^cls/predictions/": "predictions/",
    r"^cls/seq_relationship/": "sop_classifier/classifier/",
}
ENDS = {
    r"/(gamma|output_weights|kernel)$": "/weight",
    r"/(beta|output_bias)$": "/bias",
    r"(_embeddings)$": r"\1/weight",
}


def hugging_face_names(names):
    """The function of a name for official.conversion.source.Source.rename.

    Args:
      names: of all tensors of the checkpoint, which tell a BERT from an ALBERT.
    """
    table = {**BOTH, **(ALBERT if any("/inner_group_" in name for name in names) else BERT), **ENDS}

    def rename(name):
        new = name
        for pattern, replacement in table.items():
            new = re.sub(pattern, replacement, new)
        new = new.replace("/", ".")
        return (new, (1, 0)) if name.endswith("/kernel") else new

    return rename
