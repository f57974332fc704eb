"""What every task on text shares: its vocabulary, its model of the zoo, and an endpoint that takes ids of tokens."""

import pathlib

from bert.corpus.shards import prepared_vocabulary
from bert.models import build_model, encoder_of
from bert.serving import encoder_endpoints, preprocessor
from bert.tokenizer import open_tokenizer
from bert.transfer import transfer_weights
from official.checkpoints.trained_models import find_model
from official.data.bad_examples import BadExamples
from official.exportable import ExportSpec, TracedModel, keras_module, model_endpoint
from official.task import Task
from widenet import Model
from widenet.depths import layer_depths
from widenet.moe import DROPS_NOTHING


class TextTask(Task):
    """Reads `name`, `init`, `model` and, of `data`, `vocabulary`, `lower_case`, `max_length` and `bad_examples`.

    `model` holds every setting of bert.model_settings; vocab_size is filled in where it is None. A vocabulary that the recipe
    leaves open ("") is that of the run that `init` names.

    Attributes:
      model_task: which of bert.zoo.TASKS the model is made for.
      config: of the run.
      tokenizer: a bert.tokenizer.Tokenizer.

    Raises:
      ValueError: at construction, for a setting that is not allowed, or a vocabulary that is not there or does not fit.
    """

    unit = "examples"
    parts = ("model", "encoder", "preprocessor")
    class_names = ()
    evaluated_endpoint = "tokens"
    model_task: str

    def __init__(self, config):
        data, model = config.data, config.model
        self.config = config
        self.bad_examples = BadExamples(data.bad_examples)
        if data.max_length > model.max_length:
            allowed = f"at most model.max_length={model.max_length}, the model's positions"
            raise ValueError(f"data.max_length={data.max_length} is not allowed: it must be {allowed}")
        self.tokenizer = open_vocabulary(config)

    def create_model(self):
        return self._build_model()

    def _build_model(self, **others):
        settings = {key: self.config.model[key] for key in self.config.model}
        return build_model(name=self.config.name, task=self.model_task, **{**settings, **others})

    def layer_depths(self, model):
        return layer_depths(model)

    def initialize(self, model, weights):
        return transfer_weights(model, weights)

    def part(self, name):
        """ "model" answers as the task does, "encoder" gives encodings, and "preprocessor" makes an encoder's inputs of texts."""
        self.check_part(name)
        more = dict(resources=self.resources(), assets=TextTask.assets(self))
        max_length = self.config.data.max_length
        if name == "preprocessor":
            return ExportSpec("text preprocessor", None, *preprocessor(self.tokenizer, max_length), **more)
        model = self._build_model(**DROPS_NOTHING)
        if name == "encoder":
            traced = TracedModel(encoder_of(model))
            endpoints = encoder_endpoints(traced, self.tokenizer, max_length, bool(self.config.data.get("pairs")))
            return ExportSpec("text encoder", model, endpoints, keras_module(traced), settings=DROPS_NOTHING, **more)
        more |= dict(assets=self.assets(), class_names=self.class_names, settings=DROPS_NOTHING)
        if isinstance(model.output, dict):
            traced = served = TracedModel(model)
        else:
            traced = TracedModel(Model(model.input, {"logits": model.output}, name=model.name))
            served = traced.select_output("logits")
        return ExportSpec(self.kind, model, self.endpoints(served), keras_module(traced), **more)

    def endpoints(self, model):
        """The ids of tokens, as the model takes them: the endpoint "tokens"."""
        return {"tokens": model_endpoint(model)}

    def resources(self):
        return [self.tokenizer]

    @property
    def needs_static(self):
        """Whether XLA compiles evaluation, which would do so anew for every length of a batch."""
        return self.config.train.jit_compile or self.config.train.strategy == "tpu"

    def assets(self):
        path = self.config.data.vocabulary
        return {"vocabulary.model" if path.endswith(".model") else "vocab.txt": path}


def open_vocabulary(config):
    """The tokenizer of a recipe; fills in `data.vocabulary` and `model.vocab_size` where they are left open.

    Raises:
      ValueError: no such file, one of another size than the model's, or other words than those of the run in `init`.
    """
    data, model = config.data, config.model
    before = _initial_vocabulary(config.init)
    data.vocabulary = data.vocabulary or before
    if not data.vocabulary:
        raise ValueError(
            "data.vocabulary='' is not allowed: it must be the path of a BERT vocab.txt or of a SentencePiece .model, unless "
            "init names a run that has one"
        )
    try:
        tokenizer = open_tokenizer(data.vocabulary, data.lower_case)
    except ValueError as error:
        raise ValueError(f"data.vocabulary={data.vocabulary!r} is not allowed: {error}") from error
    if before and pathlib.Path(before).read_bytes() != pathlib.Path(data.vocabulary).read_bytes():
        raise ValueError(
            f"data.vocabulary={data.vocabulary!r} is not allowed: its tokens are not those of {before}, which the model in "
            f"init={config.init!r} was trained with"
        )
    if model.vocab_size is None:
        model.vocab_size = tokenizer.size
    if model.vocab_size != tokenizer.size:
        raise ValueError(
            f"model.vocab_size={model.vocab_size} is not allowed: data.vocabulary={data.vocabulary!r} has {tokenizer.size} tokens"
        )
    return tokenizer


def _initial_vocabulary(init):
    """Path of the vocabulary of the run that a model starts from, "" where there is none or nothing is known of it."""
    try:
        data = find_model(init).config.get("data", {}) if init else {}
    except ValueError:  # weights alone, or none: reading them tells
        return ""
    path = data.get("vocabulary") or prepared_vocabulary(data.get("dir"))  # a run of pretraining may leave it to its data
    return path if path and pathlib.Path(path).is_file() else ""
