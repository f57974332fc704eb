"""Policy for bad examples, such as undecodable files and unknown labels: refuse or skip."""

import re
import threading

from absl import logging

POLICIES = ("refuse", "skip")
MAX_WARNINGS = 10  # skipped examples that are logged one by one


class BadExamples:
    """Refuses bad examples, or skips and counts them.

    Args:
      policy: "refuse" or "skip".

    Attributes:
      policy: as given.
      found: {name of an example: reason}, of all examples skipped so far.
      refusal: a sentence about the first example that was refused; None if there is none.

    Raises:
      ValueError: an unknown policy.
    """

    def __init__(self, policy):
        if policy not in POLICIES:
            raise ValueError(f"data.bad_examples={policy!r} is not allowed: it must be one of {', '.join(POLICIES)}")
        self.found = {}
        self.refusal = None
        self.policy = policy
        self._lock = threading.Lock()  # input pipelines have several threads

    def add(self, name, reason):
        """Records a bad example; one that comes again, as in the next epoch, counts once.

        Args:
          name: of the example, for messages.
          reason: why it is bad, a clause.

        Raises:
          ValueError: naming the example, if the policy is to refuse.
        """
        with self._lock:
            if self.policy == "refuse":
                refusal = f"{name}: {reason} (data.bad_examples='skip' leaves such examples out and counts them)"
                self.refusal = self.refusal or refusal  # the pipeline reads ahead and may find more
                raise ValueError(refusal)
            if name not in self.found:
                self.found[name] = reason
                if len(self.found) <= MAX_WARNINGS:
                    logging.warning("skipped %s: %s", name, reason)

    def facts(self):
        """For the summary of a run: the number of skipped examples, and the first of them."""
        with self._lock:
            return {"count": len(self.found), "first": dict(list(self.found.items())[:MAX_WARNINGS])}


def op_message(error):
    """The reason in a tf.errors.OpError as one sentence, without names of operations and stack traces."""
    assertion = re.search(r"assertion failed: \[(.*)\]", error.message)
    if assertion:
        return assertion[1]
    noise = ("Graph execution error", "Detected at", "<stack traces", "[[", "(0)", "(1)")
    lines = [line.strip() for line in error.message.splitlines()]
    reason = next((line for line in lines if line and not line.startswith(noise)), error.message.strip())
    return re.sub(r"\{\{.*?\}\}|\[Op:.*", "", reason).strip()
