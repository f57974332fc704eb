"""The base class of text tasks: vocabulary, model, exportable parts, and an endpoint that takes token ids."""

import abc
import pathlib

from bert.corpus.shards import prepared_vocabulary
from bert.models import ENCODER_KIND, build_model, encoder_of, forward_flops, settings_of
from bert.serving import encoder_endpoints, preprocessor
from bert.tokenizer import open_tokenizer
from bert.transfer import grow_model, transfer_weights
from bert.zoo import MEANINGS, load_model
from official.checkpoints.trained_models import find_model, recipe_data
from official.checkpoints.weights import locate
from official.config import meanings_of
from official.data.bad_examples import BadExamples
from official.exportable import ExportSpec, TracedModel, keras_module, model_endpoint
from official.task import Task
from widenet import Model
from widenet import zoo as encoder_zoo
from widenet.depths import layer_depths
from widenet.moe import DROPS_NOTHING


class TextTask(Task):
    """An official.task.Task on text.

    It reads `name`, `init`, `model`, and `vocabulary`, `lower_case`, `max_length` and `bad_examples` of `data`. `model` has every
    setting of bert.model_settings; vocab_size is filled in if it is None. data.vocabulary="" is filled in with the vocabulary of
    the run in `init`.

    Attributes:
      model_task: the task of the model, as in bert.create_model.
      rows_per_example: rows of the model's inputs for an example.
      output_name: of the output in the exported module, for a model whose output is not a dict.
      data_table: the settings of `data`, {name: official.config.Setting}.
      config: of the run.
      tokenizer: a bert.tokenizer.Tokenizer.

    Raises:
      ValueError: at construction, for a setting that is not allowed, or a vocabulary that is missing or does not fit.
    """

    unit = "examples"
    parts = ("model", "encoder", "preprocessor")
    class_names = ()
    evaluated_endpoint = "tokens"
    rows_per_example = 1
    output_name = "logits"
    model_task: str
    data_table: dict

    def __init__(self, config):
        data, model = config.data, config.model
        self.config = config
        self.bad_examples = BadExamples(data.bad_examples)
        if not isinstance(model.max_length, int):
            raise ValueError(f"model.max_length={model.max_length!r} is not allowed: it must be a whole number")
        if data.max_length > model.max_length:
            allowed = f"at most model.max_length={model.max_length}, the model's positions"
            raise ValueError(f"data.max_length={data.max_length} is not allowed: it must be {allowed}")
        self.tokenizer = open_vocabulary(config)

    @classmethod
    def setting_meanings(cls):
        return {"data": meanings_of(cls.data_table), "model": {**encoder_zoo.MEANINGS, **MEANINGS}}

    def create_model(self):
        return self._build_model()

    def _build_model(self, **others):
        settings = {key: self.config.model[key] for key in self.config.model}
        return build_model(name=self.config.name, task=self.model_task, **{**settings, **others})

    @abc.abstractmethod
    def _pipeline(self, split):
        """The pipeline of a split, "train" or "validation", which has `train_batches` and `evaluation_batches`."""

    def train_dataset(self, start_step):
        train, padding = self.config.train, self.config.data.padding
        return self._pipeline("train").train_batches(train.batch_size, train.seed, start_step, padding)

    def validation_dataset(self):
        return self._pipeline("validation").evaluation_batches(self.config.train.batch_size, self.needs_static)

    def layer_depths(self, model):
        return layer_depths(model)

    def forward_flops(self, model, kept):
        """Of an example's real tokens: padding does not count."""
        if self.tokens_per_example is None:
            return None
        rows, data = self.rows_per_example, self.config.data
        return rows * forward_flops(model, self.tokens_per_example / rows, data.get("predictions") or 0, kept)

    def initialize(self, model, weights):
        return transfer_weights(model, weights)

    def trained_model(self, path, setting):
        """Of any task on text, with this one's vocabulary and casing."""
        try:
            model = load_model(path, name="teacher")
        except ValueError as error:
            raise ValueError(f"{setting}: {error}") from error
        data, of_run, has = self.config.data, _data_of(path), settings_of(model)
        vocabulary = _vocabulary_in(of_run)
        casing = of_run.get("lower_case", data.lower_case)
        problem = ""
        if has["vocab_size"] != self.tokenizer.size:
            problem = f"its vocabulary has {has['vocab_size']} tokens, and data.vocabulary {self.tokenizer.size}"
        elif vocabulary and pathlib.Path(vocabulary).read_bytes() != pathlib.Path(data.vocabulary).read_bytes():
            problem = f"its vocabulary is {vocabulary}, which has other tokens than data.vocabulary={data.vocabulary!r}"
        elif casing != data.lower_case:
            problem = f"it was trained with data.lower_case={casing}, and data.lower_case is {data.lower_case}"
        elif has["max_length"] < data.max_length:
            problem = f"it has {has['max_length']} positions, and data.max_length is {data.max_length}"
        if problem:
            raise ValueError(f"{setting}={path!r} is not allowed: {problem}")
        return model

    def grow(self, model, parent, **options):
        return grow_model(model, parent, **options)

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
            endpoints = encoder_endpoints(traced, self.tokenizer, max_length, self.takes_pairs)
            return ExportSpec(ENCODER_KIND, model, endpoints, keras_module(traced), settings=DROPS_NOTHING, **more)
        more |= dict(assets=self.assets(), class_names=self.class_names, settings=DROPS_NOTHING)
        if isinstance(model.output, dict):
            traced = served = TracedModel(model)
        else:
            traced = TracedModel(Model(model.input, {self.output_name: model.output}, name=model.name))
            served = traced.select_output(self.output_name)
        return ExportSpec(self.kind, model, self.endpoints(served), keras_module(traced), **more)

    @property
    def takes_pairs(self):
        """Whether the encoder's input is a pair of texts."""
        return bool(self.config.data.get("pairs"))

    def endpoints(self, model):
        """The endpoint "tokens", which takes token ids as the model does."""
        return {"tokens": model_endpoint(model)}

    def resources(self):
        return [self.tokenizer]

    @property
    def needs_static(self):
        """Whether XLA compiles evaluation; then all batches must have one length, or each length is compiled again."""
        return self.config.train.jit_compile or self.config.train.strategy == "tpu"

    def assets(self):
        path = self.config.data.vocabulary
        return {"vocabulary.model" if path.endswith(".model") else "vocab.txt": path}


def open_vocabulary(config):
    """Opens the tokenizer of a recipe, and fills in `data.vocabulary` and `model.vocab_size` if they are open.

    Raises:
      ValueError: a file that is missing, has another size than the model's, or differs from that of the run in `init`.
    """
    data, model = config.data, config.model
    before = _vocabulary_in(_data_of(config.init))
    data.vocabulary = data.vocabulary or before
    if not data.vocabulary:
        if config.init:
            locate(config.init, "init")  # of a wrong path, that is what to say
        raise ValueError(
            "data.vocabulary='' is not allowed: it must be the path of a BERT vocab.txt or of a SentencePiece .model, unless "
            "init is a run with a vocabulary"
        )
    try:
        tokenizer = open_tokenizer(data.vocabulary, data.lower_case)
    except ValueError as error:
        raise ValueError(f"data.vocabulary={data.vocabulary!r} is not allowed: {error}") from error
    if before and pathlib.Path(before).read_bytes() != pathlib.Path(data.vocabulary).read_bytes():
        raise ValueError(
            f"data.vocabulary={data.vocabulary!r} is not allowed: it must have the tokens of {before}, which the model in "
            f"init={config.init!r} was trained with"
        )
    if model.vocab_size is None:
        model.vocab_size = tokenizer.size
    if model.vocab_size != tokenizer.size:
        raise ValueError(
            f"model.vocab_size={model.vocab_size} is not allowed: it must be {tokenizer.size}, the tokens of "
            f"data.vocabulary={data.vocabulary!r}"
        )
    return tokenizer


def _data_of(path, seen=()):
    """The `data` settings of the run that a model is of, with what it filled in; {} if they are unknown; "" for no model."""
    data = recipe_data(path) if path else {}
    if data and not data.get("vocabulary"):
        # A run that is not finished has not written down that its vocabulary is that of its own `init`.
        config = find_model(path).config
        init = config.get("init") or ""
        # A config from elsewhere may name an address, and runs may name each other in a circle.
        if init and init not in seen and "://" not in init:
            data = {**data, "vocabulary": _data_of(init, (*seen, path)).get("vocabulary", "")}
    return data


def _vocabulary_in(data):
    """Path of the vocabulary of a run's `data`, "" if it is unknown."""
    path = data.get("vocabulary") or prepared_vocabulary(data.get("dir"))  # a pretraining run may use its data's vocabulary
    return path if path and isinstance(path, str) and pathlib.Path(path).is_file() else ""
