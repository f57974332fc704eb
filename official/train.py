"""The training driver: python -m official.train --config=vision/configs/digits.py --workdir=runs/digits

Trains what the recipe describes and writes to the workdir: config.json, metrics.csv and other tables, tensorboard/, checkpoints/,
and at the end saved_model/, curves.png and summary.json. The same command resumes a stopped run. Any setting of the recipe can be
changed on the command line: --config.train.lr=0.1
"""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import statistics
import sys
import time

from official.cli import quiet, stopping

if __name__ == "__main__":
    stopping.listen("Stopped before training; the same command starts it, or resumes it from the newest checkpoint.")

with quiet.startup():
    import tensorflow as tf

from absl import app, flags, logging

from official import config as configs
from official.checkpoints.files import was_saved
from official.checkpoints.manager import BestCheckpoint, Checkpoints, NoSuchMetric, kept_checkpoint, resumes_from, step_of
from official.checkpoints.weights import locate, read_weights
from official.cli import recipe_flag
from official.cli.recipe_flag import CONFIG, check_given, given_recipe, parse_flags
from official.data.batches import part_of_batches
from official.evaluation.curves import draw_curves
from official.files.atomic import atomic_write, sole
from official.files.layout import (
    BEST_CHECKPOINT,
    CHECKPOINTS,
    CONFIG_JSON,
    LOCK,
    METRICS_CSV,
    PRECISION_TXT,
    SAVED_MODEL,
    SUMMARY_JSON,
    TENSORBOARD,
    WORKER,
)
from official.files.summary import metrics_of_step, read_summary, report, run_facts, write_summary
from official.files.tables import Table, read_table, text_table
from official.serving.saved_models import write_saved_model
from official.task import create_task, data_text, task_class
from official.training.callbacks import (
    EpochTables,
    NonFiniteGuard,
    Progress,
    ResumeMetrics,
    SaveCheckpoints,
    StepCounter,
    Stopped,
    epoch_start,
)
from official.training.devices import (
    Agreement,
    WorkerLost,
    among,
    create_strategy,
    fastest_precision,
    peak_flops,
    peak_memory,
    workers_of,
)
from official.training.optimizers import create_optimizer, create_state
from official.training.tensorboard import TensorBoard

# What TensorFlow raises where a file cannot be written: a full disk, too large a file, a folder that somebody else owns.
CANNOT_WRITE = (tf.errors.ResourceExhaustedError, tf.errors.OutOfRangeError, tf.errors.PermissionDeniedError)

flags.adopt_module_key_flags(recipe_flag)  # --help lists --config and --data_dir

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
MODEL = flags.DEFINE_string("model", None, "Trained model whose weights the run starts from: the same as --config.init.")


def run(config, workdir):
    """Trains a recipe, resuming where an earlier call stopped, and returns the summary.

    A finished run is trained further if the recipe is longer than it; otherwise only its summary is returned.

    Args:
      config: a recipe's ConfigDict with `task`, `train`, `init` ("" for fresh weights, or a model as
        official.checkpoints.weights.locate takes it) and whatever the task reads.
      workdir: folder of the run; made if it does not exist.

    Raises:
      ValueError: a setting that is not allowed, or a workdir that holds a run with other settings.
      FloatingPointError: a loss or weight that is not finite, with the step and the last good checkpoint.
      tf.errors.OpError: an example that the task's `bad_examples` refused; `bad_examples.refusal` says why.
      Stopped: after a checkpoint, if the process was asked to stop.
      BlockingIOError: another process trains in the workdir.
      OSError: a file cannot be written, as on a full disk.
      WorkerLost: another worker ended. Where all of them call this again, in new processes, the run continues.
    """
    workers = workers_of(config.train.strategy)
    with alone(workdir, workers), among(workers):
        return finished_summary(config, workdir) or Run(config, workdir).train()


@contextlib.contextmanager
def alone(workdir, workers):
    """A context in which no other process trains in a workdir, apart from the other ones of the run's `workers`.

    Raises:
      BlockingIOError: another process is in such a context.
    """
    name = f"{LOCK}-worker-{workers.index}" if workers.index else LOCK
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(sole(pathlib.Path(workdir) / name, print))
        except BlockingIOError as error:
            message = f"{error} trains in {workdir}: wait until it has finished, stop it, or choose another --workdir"
            raise BlockingIOError(message) from None
        yield


class Run:
    """A run, ready to train: its model and optimizer, with the state of its newest checkpoint, in the strategy's scope.

    Raises:
      ValueError: as `run`.
    """

    def __init__(self, config, workdir):
        self._started = time.perf_counter()
        configs.check_train_settings(config.train)
        recipe = configs.to_plain(config)
        # The task may fill in what the recipe leaves open; config.json keeps the recipe as it was given.
        config = config.copy_and_resolve_references()
        workdir = pathlib.Path(workdir)
        self.config = config
        if config.init and not (workdir / CHECKPOINTS).exists():
            locate(config.init, setting="init")  # refused at once where there is none, and not after the wait for other workers
        self.workers = workers_of(config.train.strategy)
        self.strategy = create_strategy(config.train.strategy, config.train.tpu)
        quiet.first_compilation()
        self.agreement = Agreement(self.strategy, self.workers)
        checkpoint = self._checkpoint_of_all(workdir / CHECKPOINTS)
        weights = read_weights(config.init, setting="init") if config.init and checkpoint is None else None
        replicas = self.strategy.num_replicas_in_sync
        size, parts = config.train.batch_size, config.train.accumulate
        if size % (replicas * parts):
            of_parts = f" with {parts} parts each (train.accumulate)" if parts > 1 else ""
            raise ValueError(f"train.batch_size={size} is not allowed: it must be a multiple of {replicas} replicas{of_parts}")
        tf.keras.utils.set_random_seed(config.train.seed)
        self.precision = chosen_precision(config.train, workdir)
        tf.keras.mixed_precision.set_global_policy(self.precision)
        self.task = create_task(config, is_recipe=True)
        self.servers = self._data_servers()
        self.splits = self.task.describe_data()
        self._train = configs.in_steps(config.train, self._training_examples())
        configs.check_train_settings(self._train)  # with what is known only now, the number of steps
        if self.servers or self.agreement.is_needed:
            self._train_dataset(0)  # what cannot be divided is refused now, and not when training begins
        # All workers do the same up to the export, but only the files of the chief are kept for the user.
        self.workdir = workdir / f"{WORKER}{self.workers.index}" if self.workers.index else workdir
        with self.strategy.scope():
            self.model = self.task.initial_model()
            self.transferred = self._initialize(weights)
            self._freeze(self.model)
            if parts > 1:
                self._accumulate(self.model, parts)
            if config.train.recompute:
                self._recompute(self.model)
            optimizer = create_optimizer(self._train, self._update_scales())
            create_state(optimizer, self.model.trainable_weights)
            self.model.compile(
                optimizer,
                self.task.loss(),
                self.task.metrics(),
                jit_compile=config.train.jit_compile,
                steps_per_execution=config.train.steps_per_execution,
            )
            self.norms = self._log_norms()
            self.checkpoints = Checkpoints(
                self.workdir / CHECKPOINTS, self.model, config.train.keep_checkpoints, workdir / CHECKPOINTS
            )
            self.first_step = self.checkpoints.restore(checkpoint) if checkpoint else 0
        self._extends = (workdir / SUMMARY_JSON).exists() and self.first_step < self._train.steps
        # Only now, so that refused settings leave no folder.
        self._is_new = not self.workdir.exists() or all(path.name.startswith(LOCK) for path in self.workdir.iterdir())
        self.workdir.mkdir(parents=True, exist_ok=True)
        if config.train.precision == "auto":
            atomic_write(self.workdir / PRECISION_TXT, f"{self.precision}\n".encode())
        atomic_write(self.workdir / CONFIG_JSON, (json.dumps(recipe, indent=2) + "\n").encode())

    def _checkpoint_of_all(self, folder):
        """As `resumes_from`. Several workers take what the chief finds: it may still have written while another looked."""
        found = resumes_from(folder, self.config.train.restart)
        if not self.agreement.is_needed:
            return found
        step = self.agreement.of_chief(-1 if found is None else step_of(found))
        return None if step < 0 else str(folder / f"step-{step}")

    def _data_servers(self):
        """The addresses in `train.data_service`; raises ServiceError, or ValueError where bad examples are to be skipped."""
        given = self.config.train.data_service
        if not given:
            return []
        if self.task.bad_examples.policy == "skip":
            why = "with data.bad_examples='skip', since servers do not say what they skip"
            raise ValueError(f"train.data_service={given!r} is not allowed: it must be '' {why}")
        from official.data.service import check_servers

        check_servers(given.split(","))
        return given.split(",")

    def _training_examples(self):
        return self.splits["train"].examples if "train" in self.splits else None

    def _freeze(self, model):
        if self.config.train.frozen:
            from official.training.fine_tuning import freeze

            freeze(model, self.config.train.frozen)

    def _accumulate(self, model, parts):
        if not hasattr(model, "accumulate_steps"):
            raise ValueError(f"train.accumulate={parts} is not allowed: it must be 1 for models other than widenet.Model")
        model.accumulate_steps(parts)

    def _recompute(self, model):
        if not hasattr(model, "recompute_blocks"):
            raise ValueError("train.recompute=True is not allowed: it must be False for models other than widenet.Model")
        model.recompute_blocks()

    def _update_scales(self):
        if self.config.train.layer_decay == 1:
            return None
        from official.training.fine_tuning import update_scales

        depths, last = self.task.layer_depths(self.model)
        return update_scales(self.config.train.layer_decay, depths, last, self.model.trainable_weights)

    def _initialize(self, weights):
        """Starts the model from other weights, before the optimizer is created; returns the rows of the task's table."""
        if weights is None:
            return []
        try:
            return self.task.initialize(self.model, weights)
        except ValueError as error:
            raise ValueError(f"init={self.config.init!r} is not allowed: {error}") from error

    def train(self):
        """Trains to the last step, exports, draws, and returns the summary. Raises as `run`."""
        self._announce()
        if self._extends:
            (self.workdir / SUMMARY_JSON).unlink(missing_ok=True)  # which says that the run is finished
        if hasattr(self.model, "seed_steps"):
            self.model.seed_steps(self.config.train.seed)
        elif self.first_step:
            # Otherwise dropouts would repeat the numbers of step 0.
            tf.keras.utils.set_random_seed(self.config.train.seed + self.first_step)
        earlier = float(self.checkpoints.seconds.numpy())

        def clock():
            return earlier + time.perf_counter() - self._started

        stopping.expect("Stopped at once; the same command resumes from the newest checkpoint, or starts again without one.")
        with self._writing():
            self.tensorboard = TensorBoard(self.workdir / TENSORBOARD, self.first_step)
            self.tensorboard.write_config(configs.to_plain(self.config))
        try:
            self._fit(clock)
        except NoSuchMetric:  # which is known only after the first step
            if self._is_new and not self.checkpoints.latest:
                for path in self.workdir.iterdir():  # the folder itself may have been there
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
            raise
        stopping.expect("Stopped before the export was finished; the same command finishes it.")
        summary, workdir = None, self.workdir
        if self.workers.index == 0:
            with self._writing():
                summary = self._finish(clock)
        self.agreement.of_chief(0)  # which has finished now, or is lost, so that all begin anew
        stopping.expect("Stopped after the run was finished.")
        if summary is None:
            workdir = self.workdir.parent
            summary = read_summary(workdir / SUMMARY_JSON)
        report(summary, workdir)
        return summary

    def _finish(self, clock):
        """Exports, draws, and writes and returns the summary."""
        exported_step = self._use_best()
        exported = metrics_of_step(self.workdir, exported_step)
        part = self._export(exported_step, exported)
        metrics = read_table(self.workdir / METRICS_CSV)
        last_step = int(metrics[-1]["step"])
        self._draw(part, last_step)
        rates = [rate for rate in (f"{self.task.unit}_per_second", "tokens_per_second") if rate in metrics[-1]]
        return write_summary(
            self.workdir / SUMMARY_JSON,
            model=self.model.name,
            parameters=self.model.count_params(),
            step=last_step,
            exported_step=exported_step,
            metrics=exported,
            unit=self.task.unit,
            **{rate: statistics.median(float(row[rate]) for row in metrics) for rate in rates},
            wall_seconds=round(clock(), 1),
            peak_memory_bytes=peak_memory(),
            training_examples=self._training_examples(),
            precision=self.precision,
            strategy=self.config.train.strategy,
            replicas=self.strategy.num_replicas_in_sync,
            bad_examples=self.task.bad_examples.facts(),
            config=configs.to_plain(self.config),
        )

    @contextlib.contextmanager
    def _writing(self):
        """A context in which files are written: where that fails, as on a full disk, the error says what is saved.

        Raises:
          OSError: a file cannot be written.
        """
        try:
            yield
        except (OSError, *CANNOT_WRITE) as error:
            what = error.message if isinstance(error, tf.errors.OpError) else error
            raise OSError(f"{what}; {self.checkpoints.last_good()}") from error

    def _use_best(self):
        """Restores the best checkpoint, if one is kept; returns the step of the model."""
        best = kept_checkpoint(self.workdir / BEST_CHECKPOINT)
        if best is not None:
            with self.strategy.scope():
                self.checkpoints.restore(best)
        return int(self.checkpoints.step.numpy())

    def _best_checkpoint(self):
        folder = self.workdir / BEST_CHECKPOINT
        if not self.config.train.best:
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier session that had the setting
            return None
        table = self.workdir / METRICS_CSV
        rows = read_table(table) if table.exists() else []
        return BestCheckpoint(self.config.train.best, folder, self.checkpoints.copy_newest, rows, self.first_step)

    def _averages(self):
        """A context in which the model's weights are those to evaluate and to export."""
        if not self.config.train.ema_decay:
            return contextlib.nullcontext()
        from official.training.averaging import averaged_weights

        return averaged_weights(self.model.optimizer, self.model)

    def _log_norms(self):
        """The callback of `train.log_norms`, or None; called in the strategy's scope."""
        if not self.config.train.log_norms:
            return None
        from official.training.measuring import LogNorms

        return LogNorms(self.model)

    def _utilisation(self):
        """The callback that logs the share of the peak; of a machine without GPUs the logical devices are the same cores."""
        from official.training.measuring import LogUtilisation

        are_devices = tf.config.list_logical_devices("GPU") or self.config.train.strategy == "multi_worker"
        devices = self.strategy.num_replicas_in_sync if are_devices else 1
        flops = functools.partial(self.task.forward_flops, self.model)
        return LogUtilisation(flops, f"{self.task.unit}_per_second", devices * peak_flops(self.precision))

    def _export(self, step, metrics):
        config = configs.to_plain(self.config)
        config["train"]["precision"] = self.precision  # and not "auto", since an export lies apart from precision.txt
        print(f"Exporting the model to {self.workdir / SAVED_MODEL}", flush=True)
        part = self.task.part("model")
        self._freeze(part.model)  # which decides about the order of its weights
        with self._averages():
            part.model.set_weights(self.model.get_weights())
        facts = run_facts(self.model.name, self.task.unit, step, metrics)
        write_saved_model(part, self.workdir / SAVED_MODEL, config, facts)
        return part

    def _draw(self, part, step):
        """Draws curves.png, and adds it and the task's pictures of the exported model to TensorBoard."""
        pictures = {"curves": draw_curves(self.workdir).read_bytes()}
        if self.config.train.strategy != "tpu":  # outside the strategy the model would run on the host, which may take hours
            pictures |= self.task.pictures(part)
        for tag, content in pictures.items():
            self.tensorboard.write_picture(tag, content, step)

    def _announce(self):
        train, replicas = self._train, self.strategy.num_replicas_in_sync
        where = f"{replicas} replicas" if replicas > 1 else "one device"
        trained = sum(weight.shape.num_elements() for weight in self.model.trainable_weights)
        some = f" ({trained:,} of them trained)" if train.frozen else ""
        print(f"{self.model.name}: {self.model.count_params():,} parameters{some}, {self.precision}, on {where}")
        if self.transferred:
            print(f"Starting from {self.config.init}:\n{text_table(self.transferred)}")
        if self.first_step:
            print(f"Resuming from the checkpoint of step {self.first_step}.")
        if self._extends:
            lr = float(self.model.optimizer.learning_rate(self.first_step))
            of_length = f"the learning rate follows the schedule of the new length, at {lr:.3g} here."
            print(f"The finished run is extended to step {train.steps}: {of_length}")
        if self.splits:
            print(f"Data:\n{data_text(self.splits, self.task.unit, train)}")
        skipped = self.task.bad_examples.facts()
        if skipped["count"]:
            print(f"Skipped as bad so far: {skipped['count']:,} {self.task.unit}, such as {next(iter(skipped['first']))}")
        print(f"Training to step {train.steps} in batches of {train.batch_size}.", flush=True)

    def _train_dataset(self, start):
        """The training batches from a step on, as `fit` takes them; of several workers each makes only its part of a batch."""
        index, count = self.workers.index, len(self.workers.addresses)
        if self.servers:
            from official.data.service import batches_of_servers

            dataset = batches_of_servers(functools.partial(self.task.train_dataset, start), self.servers, index, count)
        else:
            with part_of_batches(index, count) as part:
                dataset = self.task.train_dataset(start)
            if not part.is_made:  # Keras divides whole batches
                return dataset
        if count == 1:
            return dataset
        replicas = self.strategy.num_replicas_in_sync // count
        size = tf.nest.flatten(dataset.element_spec)[0].shape[0] // replicas
        return self.strategy.distribute_datasets_from_function(lambda _: dataset.rebatch(size) if replicas > 1 else dataset)

    def _fit(self, clock):
        """Trains to the last step, unless the checkpoint is of that step already."""
        train = self._train
        self.checkpoints.complete()
        counter = StepCounter(self.first_step, train.batch_size, self.task.unit, self.task.tokens_per_example)
        guard = NonFiniteGuard(counter, self.checkpoints)
        tables = EpochTables(counter, lambda name: Table(self.workdir / name, self.first_step), self.tensorboard, self._writing)
        best, every = self._best_checkpoint(), train.checkpoint_every
        agreement = self.agreement if self.agreement.is_needed else None
        saver = SaveCheckpoints(counter, guard, self.checkpoints, every, clock, best, train.eval_every, agreement)
        metrics = ResumeMetrics(self.checkpoints, epoch_start(self.first_step, train.eval_every))
        # The order matters: Progress shows the logs before the counter adds to them, the tables write them after that, and the
        # guard comes before whatever saves.
        progress = Progress(self.first_step, train.steps, train.batch_size, self.task.unit, clock)
        callbacks = [progress, counter, tables, guard, saver, metrics]
        if train.ema_decay:
            from official.training.averaging import EvaluateAverages

            callbacks.append(EvaluateAverages())
        if self.norms:
            callbacks.insert(0, self.norms)
            if train.strategy != "tpu":  # outside the strategy the peak would be that of the host
                callbacks.insert(callbacks.index(tables), self._utilisation())
        session = contextlib.nullcontext()
        if train.profile_steps:
            from official.training.measuring import ProfileSteps

            steps, folder = configs.profiled_steps(train), self.workdir / TENSORBOARD
            profile = ProfileSteps(steps, counter, train.steps_per_execution, folder, self._writing)
            callbacks.append(profile)
            session = profile.session()
        validation = self.task.validation_dataset()
        writing = self.checkpoints.in_background() if train.background_checkpoints else contextlib.nullcontext()
        serving = contextlib.nullcontext()
        if self.servers:
            from official.data.service import served_by

            serving = served_by(self.servers, _give_up)
        with writing, saver.listening(), session, serving, among(self.workers):
            for start, first_epoch, last_epoch, steps in fit_calls(self.first_step, train.steps, train.eval_every):
                self.model.fit(
                    self._train_dataset(start),
                    initial_epoch=first_epoch,
                    epochs=last_epoch,
                    steps_per_epoch=steps,
                    validation_data=validation,
                    callbacks=callbacks,
                    verbose=0,
                )
            self.checkpoints.wait()
        saver.stop_if_asked()


def chosen_precision(train, workdir):
    """`train.precision`, or the choice of "auto" when this run began: a resumed run keeps its precision on any machine.

    Raises:
      ValueError: "auto" with several workers, which might choose differently.
    """
    if train.precision != "auto":
        return train.precision
    if train.strategy == "multi_worker":
        raise ValueError("train.precision='auto' is not allowed: it must be named where train.strategy='multi_worker'")
    chosen = workdir / PRECISION_TXT
    return chosen.read_text().strip() if chosen.exists() else fastest_precision()


def finished_summary(config, workdir):
    """The summary of a finished run in this workdir, which is also printed; None if there is none, or if the recipe is longer.

    Raises:
      ValueError: the workdir holds a run, finished or not, of another model, data set or seed, or a finished one without
        checkpoints that the recipe would extend.
    """
    workdir = pathlib.Path(workdir)
    if (workdir / CONFIG_JSON).exists():
        before = configs.read_config(workdir / CONFIG_JSON)
        changes = configs.changes(before, configs.to_plain(config))
        later = {key: changes.pop(key)[1] for key in [*changes] if configs.came_later(key, before)}
        listed = "; ".join(f"{key}: {old!r} -> {new!r}" for key, (old, new) in changes.items())
        if any(map(configs.is_fixed, changes)):
            raise ValueError(f"{workdir} holds a run with other settings ({listed}); choose another --workdir or delete it")
        if changes:
            print(f"Settings changed since this run began: {listed}")
        if later:
            print(f"Settings that did not exist when this run began: {', '.join(f'{k}={v!r}' for k, v in later.items())}")
    if not (workdir / SUMMARY_JSON).exists():
        return None
    summary = read_summary(workdir / SUMMARY_JSON)
    if is_longer(config.train, summary):
        if not was_saved(workdir / CHECKPOINTS):
            raise ValueError(
                f"{workdir} holds a finished run of {summary['step']} steps, which cannot be extended without {CHECKPOINTS}/; "
                "choose another --workdir or delete it"
            )
        return None
    print(
        f"{workdir} holds a finished run of {summary['step']} steps; to extend it, set --config.train.steps or "
        f"--config.train.epochs to more; to start afresh, delete it: rm -r {workdir}"
    )
    report(summary, workdir)
    return summary


def is_longer(train, summary):
    """Whether a recipe's `train` settings are of more steps than a finished run's summary.

    Epochs of a summary without the number of examples, as of version 0.1.0, count as more steps.

    Raises:
      ValueError: a setting out of range.
    """
    configs.check_train_settings(train)
    examples = summary.get("training_examples")
    if train.epochs and examples is None:
        return True
    return configs.in_steps(train, examples).steps > summary["step"]


def fit_calls(first_step, steps, every):
    """The calls of Keras's fit that cover the steps [first_step, steps), with epochs that end at the multiples of `every`.

    Returns:
      List of (step to start from, first epoch, epoch to stop before, steps per epoch).
    """
    calls = []
    step = first_step
    while step < steps:
        epoch, inside = divmod(step, every)
        length = min(every - inside, steps - step)
        epochs = (steps - step) // every if length == every else 1
        calls.append((step, epoch, epoch + epochs, length))
        step += epochs * length
    return calls


def setting_meanings(config):
    """{section: {setting: one line}} of a recipe: what --help prints. Raises ValueError, as official.task.task_class."""
    return {"train": configs.meanings_of(configs.TRAIN), **task_class(config, is_recipe=True).setting_meanings()}


def main(argv):
    check_given(CONFIG, WORKDIR)
    try:
        _run_given_recipe()
    except WorkerLost as lost:
        print(f"Another worker is lost ({lost}). This one begins anew from the newest checkpoint, with all of them.", flush=True)
        time.sleep(1)  # where another one ends again and again, this does not take all of the processor
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # TensorFlow connects to workers once a process


def _run_given_recipe():
    with contextlib.ExitStack() as stack:
        try:
            config = given_recipe(MODEL.value, WORKDIR.value)
            workers = workers_of(config.train.strategy)
            stack.enter_context(among(workers))
            stack.enter_context(alone(WORKDIR.value, workers))
            finished = finished_summary(config, WORKDIR.value)
            training = None if finished else Run(config, WORKDIR.value)
        except (ValueError, OSError) as error:
            sys.exit(f"error: {error}")
        if training:
            _train(training)


def _give_up(sentence):
    """Ends the process at once, as if it were killed, while TensorFlow waits for something that does not come."""
    stopping.say(f"error: {sentence}; then the same command resumes from the newest checkpoint")
    os._exit(1)


def _train(training):
    try:
        training.train()
    except (FloatingPointError, OSError, NoSuchMetric) as error:
        sys.exit(f"error: {error}")
    except tf.errors.OpError:
        if training.task.bad_examples.refusal is None:
            raise
        sys.exit(f"error: {training.task.bad_examples.refusal}")
    except Stopped as stopped:
        stopping.say(f"Stopped at step {stopped.step}, which is saved. The same command resumes from there.")
        sys.exit(128 + stopped.signum)


if __name__ == "__main__":
    # Progress and results are printed. Libraries only log warnings, unless --verbosity asks for more.
    logging.set_verbosity(logging.WARNING)
    tf.get_logger().setLevel("WARNING")
    app.run(main, flags_parser=functools.partial(parse_flags, meanings=setting_meanings))
