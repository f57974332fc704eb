"""What happens to examples that cannot be trained on: a file that cannot be decoded, a label that there is not."""

import threading

from absl import logging

POLICIES = ("refuse", "skip")
MAX_WARNINGS = 10  # skipped examples that are logged one by one


class BadExamples:
    """Refuses bad examples, or skips and counts them.

    Args:
      policy: "refuse" or "skip".

    Attributes:
      found: {the example's name: what is wrong with it}, of all skipped so far.
      refusal: about the first example that was refused, a sentence; or None.

    Raises:
      ValueError: another policy.
    """

    def __init__(self, policy):
        if policy not in POLICIES:
            raise ValueError(f"data.bad_examples={policy!r} is not allowed: it must be one of {', '.join(POLICIES)}")
        self.found = {}
        self.refusal = None
        self._policy = policy
        self._lock = threading.Lock()  # input pipelines call from threads of their own

    def add(self, name, reason):
        """Takes note of one bad example; one that comes again, as in the next epoch, counts once.

        Raises:
          ValueError: where the policy is to refuse; names the example.
        """
        with self._lock:
            if self._policy == "refuse":
                refusal = f"{name}: {reason} (data.bad_examples='skip' leaves such examples out and counts them)"
                self.refusal = self.refusal or refusal  # the pipeline runs ahead, and may find more
                raise ValueError(refusal)
            if name not in self.found:
                self.found[name] = reason
                if len(self.found) <= MAX_WARNINGS:
                    logging.warning("skipped %s: %s", name, reason)

    def facts(self):
        """For a run's summary: how many were skipped, and the first of them."""
        with self._lock:
            return {"count": len(self.found), "first": dict(list(self.found.items())[:MAX_WARNINGS])}
