"""The task of sentence embeddings: texts to vectors of length 1, whose dot products are their similarities."""

from bert.sentences.datasets import load_sentences, open_sentences
from bert.sentences.evaluation import SentenceEvaluation
from bert.sentences.loss import InBatchNegatives, PartnerAccuracy
from bert.sentences.pipeline import SentencePipeline
from bert.sentences.settings import DATA, check_data_settings
from bert.serving import of_any_batch, text_inputs, text_specs
from bert.task import TextTask
from bert.texts.pipeline import TextPipeline
from official.task import Split, evaluation_title


class SentenceEmbedding(TextTask):
    """A bert.task.TextTask whose model embeds texts (task "embedding" of bert.create_model).

    An example is a pair of texts that mean the same, or of which one follows from the other; or a single text, of which dropout
    makes two views (SimCSE, arXiv:2104.08821). Training brings both rows of an example together and those of other examples in
    the batch apart (bert.sentences.loss).

    `data` has the settings of bert.sentences.settings.DATA; data.pairs is filled in if None. With data.views=1 a single text is
    one row of a batch, for tasks that have a loss of their own: this one refuses it.

    Raises:
      ValueError: at construction, for a setting that is not allowed or does not fit the data set, a missing data set, or an
        unusable example.
    """

    kind = "sentence embedding"
    model_task = "embedding"
    data_table = DATA
    output_name = "embeddings"
    takes_pairs = False  # the texts of a pair are embedded one by one

    def __init__(self, config):
        data = config.data
        check_data_settings(data)
        super().__init__(config)
        self._opened = None
        self._sentences, self._pipelines = {}, {}
        if data.pairs is None:
            # Now, so that an unknown split or an unusable example is reported before anything is built. The config of an exported
            # model has passed this already.
            found = self._load("train", None)
            data.pairs = found.rows.shape[1] == 2 and found.scores is None
            if found.scores is None:
                self._sentences["train", data.pairs] = found  # the same, which need not be read again
            for role in ("train", "validation"):
                self._pipeline(role)
        if data.pairs and data.views == 1:
            raise ValueError("data.views=1 is not allowed: it must be 2 for pairs; data.pairs=False takes their texts singly")

    @property
    def tokens_per_example(self):
        return self._pipeline("train").tokens_per_example

    @property
    def rows_per_example(self):
        return self._pipeline("train").rows.shape[1]

    def loss(self):
        data, model = self.config.data, self.config.model
        if data.views == 1:
            raise ValueError("data.views=1 is not allowed: it must be 2, since the loss compares two rows of an example")
        if not data.pairs and not (model.dropout or model.attention_dropout or model.drop_path):
            raise ValueError(
                "model.dropout=0.0 is not allowed: it must be above 0 for single texts, whose two views differ by dropout alone"
            )
        return InBatchNegatives(data.scale)

    def metrics(self):
        # In validation the negatives are those of the batch, too: a smaller last batch has fewer.
        return [PartnerAccuracy()] if self.config.data.views == 2 else []

    def describe_data(self):
        return {role: Split(len(self._pipeline(role).rows)) for role in ("train", "validation")}

    def evaluation_dataset(self, split):
        """All different texts of a split once, in batches of (tokens, {"place"}).

        Args:
          split: "train", "validation" or "test" for the splits of `data`, or any split in TensorFlow Datasets' syntax; for
            data.name="file" or "lines" also the path of another file.

        Raises:
          ValueError: an unknown split, or one of pairs without labels.
        """
        data = self.config.data
        texts = self._evaluated(split).texts
        pipeline = TextPipeline(texts, self.tokenizer, data.max_length, data.cache_mib)
        return pipeline.evaluation_batches(self.config.train.batch_size, self.needs_static, places=True)

    def evaluation(self, split):
        return SentenceEvaluation(self._evaluated(split), evaluation_title(self.config.name, split))

    def part(self, name):
        """As of TextTask. Called as a module, "model" also takes raw strings [batch]."""
        part = super().part(name)
        return part._replace(module=self._module_of_texts(part.module)) if name == "model" else part

    def endpoints(self, model):
        """Adds "serve": raw strings to embeddings."""

        def serve(text):
            return {"embeddings": model(text_inputs(self.tokenizer, [text], self.config.data.max_length), training=False)}

        return {"serve": (of_any_batch(serve), text_specs(False)), **super().endpoints(model)}

    def _module_of_texts(self, module):
        def call(inputs, training=False):
            if not isinstance(inputs, dict):
                inputs = text_inputs(self.tokenizer, [inputs], self.config.data.max_length)
            return module.call(inputs, training)

        return module._replace(call=call, inputs=[*module.inputs, *text_specs(False)])

    def _split(self, role):
        """The split of a role, or any other split unchanged, in TensorFlow Datasets' syntax."""
        return self.config.data.get(f"{role}_split") or self._data.splits.get(role, role)

    @property
    def _data(self):
        if self._opened is None:
            self._opened = open_sentences(self.config.data, self.tokenizer, self.bad_examples)
        return self._opened

    def _load(self, role, pairs):
        """The Sentences of a role or of any other split; `pairs` as of load_sentences."""
        key = role, pairs
        if key not in self._sentences:
            setting = self.config.data.get(f"{role}_split")
            try:
                self._sentences[key] = load_sentences(self._data, self._split(role), self.bad_examples, pairs)
            except ValueError as error:
                raise ValueError(f"data.{role}_split={setting!r} is not allowed: {error}" if setting else str(error)) from error
        return self._sentences[key]

    def _evaluated(self, split):
        """The Sentences of a split with pairs and scores where the data have them, however a model is trained."""
        return self._load(split, None)

    def _pipeline(self, role):
        if role not in self._pipelines:
            data = self.config.data
            sentences = self._load(role, data.pairs)
            self._pipelines[role] = SentencePipeline(sentences, self.tokenizer, data.max_length, data.cache_mib, data.views)
        return self._pipelines[role]
