"""Runs one benchmark case in a process of its own: python benchmarks/worker.py FILE FUNCTION JSON

FUNCTION of FILE, called with the settings in JSON, sets up the case and returns (step, facts): a function that does the work once
and returns when it is finished, and a dict of plain facts, which steps may update. Every line "step" on standard input runs one
step; every answer is one line of JSON. This file imports only the standard library, so that it runs in any environment.
"""

import json
import os
import runpy
import sys
import time


def main(file, function, settings):
    # Answers go to standard output; whatever libraries print there goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values):
        print(json.dumps(values), file=answers, flush=True)

    step, facts = runpy.run_path(file)[function](**json.loads(settings))
    answer(facts=facts)
    for line in sys.stdin:
        if line.strip() != "step":
            break
        start = time.perf_counter()
        step()
        answer(seconds=time.perf_counter() - start)
    answer(peak_bytes=_peak_bytes(), facts=facts)


def _peak_bytes():
    """Peak memory of this process, in bytes.

    On Linux from /proc: ru_maxrss survives fork and exec, so it may be that of a large parent.
    """
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
