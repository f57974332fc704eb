"""One contestant of a benchmark in a process of its own: python benchmarks/serve.py FILE FUNCTION JSON

FUNCTION of FILE, called with the settings of JSON, makes the contestant ready and returns (step, facts): a callable that does the
work once and returns when it is done, and a dict of plain facts about it, which may grow with the steps. Every line "step" on
standard input runs it once; every answer is one line of JSON. This file imports nothing but the standard library, so that it
runs in any environment.
"""

import json
import os
import runpy
import sys
import time


def main(file, function, settings):
    # Libraries print to standard output as they like; the answers go where it was, and all else to standard error.
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
    """The most memory that this process has held at a time.

    Not ru_maxrss where Linux tells better: that outlives fork and exec, so a large parent's memory would be the child's.
    """
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
