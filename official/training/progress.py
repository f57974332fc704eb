"""What a run shows while it goes on, and at its end."""

from official.cli.status_line import StatusLine
from official.files import workdir as names
from official.training.callbacks import StepCallback


class Progress(StepCallback):
    """A bar that fits the terminal while an epoch runs, and a line when it ends; where output is no terminal, only the lines.

    Keras's own bar waits for the device at every step, and repeats itself line after line where it is wider than the terminal.

    Args:
      epochs: how many the whole run has.
      refresh: seconds between two looks at the loss.
    """

    def __init__(self, epochs, refresh=0.25):
        super().__init__()
        self._epochs = epochs
        self._line = StatusLine(refresh)

    def on_epoch_begin(self, epoch, logs=None):
        self._label = f"epoch {epoch + 1:>{len(str(self._epochs))}}/{self._epochs}"
        self._show_bar(0, {})

    def on_train_batch_end(self, batch, logs=None):
        if self._line.is_due():
            self._show_bar(batch + 1, logs)

    def on_test_begin(self, logs=None):
        self._line.show(f"{self._label}  evaluating")

    def on_epoch_end(self, epoch, logs=None):
        training = {key: value for key, value in logs.items() if f"val_{key}" in logs}
        validation = {key.removeprefix("val_"): value for key, value in logs.items() if key.startswith("val_")}
        line = f"{self._label}  {_as_text(training or logs)}"
        self._line.leave(line + (f" | validation: {_as_text(validation)}" if validation else ""))

    def _show_bar(self, done, logs):
        if self._line.is_terminal:
            steps = self.params["steps"]
            bar = "=" * (20 * done // steps)
            self._line.show(f"{self._label} [{bar:<20}] {done:>{len(str(steps))}}/{steps}  {_as_text(logs)}")


def _as_text(logs):
    return ", ".join(f"{key} {float(value):.4g}" for key, value in logs.items())


def report(summary, workdir):
    """Prints what was reached and where things are."""
    metrics = summary["metrics"]
    reached = ", ".join(f"{key.removeprefix('val_')} {metrics[key]:.4f}" for key in metrics if key.startswith("val_"))
    best = summary["config"]["train"].get("best")
    step = f"{summary['exported_step']} of {summary['step']} steps, best by {best}" if best else f"{summary['step']} steps"
    print(f"\n{summary['model']} after {step}, on the validation split: {reached}")
    unit = summary["unit"]
    rates = {unit: summary[f"{unit}_per_second"], "tokens": summary.get("tokens_per_second")}
    told = " and ".join(f"{rate:,.0f} {what}" for what, rate in rates.items() if rate)
    print(f"{told} a second in training, {summary['wall_seconds']:.0f} seconds in all.")
    skipped = summary["bad_examples"]["count"]
    if skipped:
        print(f"{skipped} {unit} were skipped as bad, such as {next(iter(summary['bad_examples']['first']))}")
    for name, what in (
        (names.SAVED_MODEL, "the exported model"),
        (names.CURVES_PNG, "loss, metrics and expert load"),
        (names.SUMMARY_JSON, "metrics, versions and the full config"),
        (names.METRICS_CSV, "all metrics, an epoch a row"),
        (names.TENSORBOARD, f"the same for `tensorboard --logdir {workdir}`"),
        (names.CHECKPOINTS, "what a longer run would resume from"),
        *([(names.BEST_CHECKPOINT, "the best checkpoint, which is the exported one")] if best else []),
    ):
        print(f"  {workdir / name}: {what}")
