"""Writes the measured tables of docs/performance.md, results.md, runtimes.md and stacks.md: python -m benchmarks.report

The table between <!-- NAME --> and <!-- end --> is made from docs/results/benchmarks/NAME.json, which a benchmark wrote with
--json, or official.export as runtimes.json; do not edit it by hand. The table `runs` is made from the folders of docs/results
that have a run's summary.json and, as evaluation.json, the metrics.json of official.evaluate.
"""

import collections
import json
import re

from benchmarks.harness import ROOT
from benchmarks.peers.tpu_compiler import KINDS_OF_CYCLES
from benchmarks.tpu import fits, is_too_large, size, used
from official.files.layout import SUMMARY_JSON
from official.training.seeds import figures, paired_difference

DOCUMENTS = (ROOT / "docs/performance.md", ROOT / "docs/results.md", ROOT / "docs/runtimes.md", ROOT / "docs/stacks.md")
RESULTS = ROOT / "docs/results/benchmarks"
# Facts that have a column if a row has them, with their format.
FACTS = {
    "kept": ".1%",
    "share of peak": ".1%",
    "processor ms": ".0f",
    "extra MiB": ".0f",
    "MiB after 10": ".0f",
    "MiB at the end": ".0f",
    "images a second": ".1f",
    "times the step's": ".1f",
    "sequences a second": ".1f",
    "MB a second": ".1f",
}


def rewritten(text, results=RESULTS):
    """The text with every table made from its file.

    Raises:
      FileNotFoundError: a table without a file.
    """

    def table(match):
        if match[1] == "runs":
            return f"<!-- runs -->\n{runs_table(results.parent)}\n<!-- end -->"
        found = json.loads((results / f"{match[1]}.json").read_text())
        kind = next(kind for kind in TABLES if kind in found)
        return f"<!-- {match[1]} -->\n{TABLES[kind](found)}\n<!-- end -->"

    return re.sub(r"<!-- ([\w-]+) -->\n(?:(?!<!-- end -->).*\n)*<!-- end -->", table, text)


def times_table(found):
    """Markdown of the results of benchmarks.command.run."""
    rows = found["rows"]
    facts = [fact for fact in FACTS if any(fact in row["facts"] for row in rows)]
    if all(row["facts"].get("kept", 1) == 1 for row in rows):
        facts = [fact for fact in facts if fact != "kept"]
    lines = [["", "median", "ratio", "95 %", "peak memory", *facts]]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    for row in rows:
        low, high = row["ratio_interval"]
        own = [f"{row['median_seconds'] * 1e3:.0f} ms", f"{row['ratio']:.2f}", f"{low:.2f}-{high:.2f}"]
        values = [format(row["facts"][fact], FACTS[fact]) if fact in row["facts"] else "" for fact in facts]
        lines.append([row["name"], *own, f"{row['peak_bytes'] / 2**20:.0f} MiB", *values])
    named = collections.defaultdict(list)
    for row in rows:
        named[row["note"] or row["facts"].get("differs")].append(row["name"])
    notes = [f"- {'; '.join(names)}: {note}" for note, names in named.items() if note]
    numbers = [f"{name}: {value:.4g}" for name, value in found.items() if isinstance(value, float)]
    machine = found["machine"]
    origin = f"{found['rounds']} rounds on {machine['cores']} cores ({machine['cpu']}), commit {machine['git_commit'][:7]}."
    if numbers:
        origin += f" {', '.join(numbers)}."
    return "\n\n".join(filter(None, [_markdown(lines), "\n".join(notes), origin]))


def accuracy_table(found):
    """Markdown of the results of benchmarks.accuracy."""
    seeds = len(next(iter(found["accuracies"].values())))
    lines = [["", *(f"seed {seed}" for seed in range(seeds)), "mean"], ["---", *["---:"] * (seeds + 1)]]
    for precision, accuracies in found["accuracies"].items():
        lines.append([precision, *(f"{value:.2%}" for value in (*accuracies, found["means"][precision]))])
    within = "within" if found["within_spread"] else "not within"
    verdict = f"The means differ by {found['difference']:+.2%}, {within} the spread of the seeds, {found['spread']:.2%}."
    return f"{_markdown(lines)}\n\n{verdict} Commit {found['machine']['git_commit'][:7]}."


def profile_table(found):
    """Markdown of the results of benchmarks.profile."""
    lines = [["operation", "time", "of the step", "calls"], ["---", "---:", "---:", "---:"]]
    for kind, milliseconds, calls in found["operations"]:
        lines.append([kind, f"{milliseconds:.0f} ms", f"{milliseconds / found['milliseconds']:.1%}", str(calls)])
    return f"{_markdown(lines)}\n\nOne step of {found['milliseconds']:.0f} ms, commit {found['machine']['git_commit'][:7]}."


def variants_table(found):
    """Markdown of the results of benchmarks.variants."""
    seeds = max(len(row["accuracies"]) for row in found["variants"])
    together = ("median", "mean", "spread")
    lines = [["", "parameters", *(f"seed {seed}" for seed in range(seeds)), *together, "less the first", "minutes"]]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    first = found["variants"][0]["accuracies"]
    for row in found["variants"]:
        accuracies = [f"{accuracy:.2%}" for accuracy in row["accuracies"]]
        accuracies += [""] * (seeds - len(accuracies))
        of_seeds = figures(row["accuracies"])
        several = [f"{of_seeds[name]:.2%}" if len(row["accuracies"]) > 1 else "" for name in together]
        difference = ""
        if row is not found["variants"][0] and len(row["accuracies"]) == len(first) > 1:
            difference = "{:+.2%} ± {:.2%}".format(*paired_difference(row["accuracies"], first))
        lines.append([row["variant"], f"{row['parameters']:,}", *accuracies, *several, difference, f"{row['minutes']:.1f}"])
    machine = found["machine"]
    return f"{_markdown(lines)}\n\n{machine['cores']} cores ({machine['cpu']}), commit {_commits(found['runs'])}."


def paired_table(found):
    """Markdown of the results of benchmarks.pretrained."""
    seeds = len(next(iter(found["paired"].values())))
    lines = [["", *(f"seed {seed}" for seed in range(seeds)), "mean"], ["---", *["---:"] * (seeds + 1)]]
    for start, accuracies in found["paired"].items():
        lines.append([start, *(f"{value:.2%}" for value in (*accuracies, found["means"][start]))])
    lines.append(["always the most frequent class", *[""] * seeds, f"{found['majority']:.2%}"])
    difference = (
        f"The mean of the paired differences is {found['difference']:+.2%}, its standard error {found['standard_error']:.2%}."
    )
    return f"{_markdown(lines)}\n\n{difference} Commit {found['machine']['git_commit'][:7]}."


def runs_table(folder):
    """Markdown of the finished runs in a folder."""
    lines = [["run", "parameters", "steps", "minutes", "split", ""], ["---", "---:", "---:", "---:", "---", "---"]]
    for file in sorted(folder.glob("*/evaluation.json")):
        evaluated, summary = json.loads(file.read_text()), json.loads((file.parent / SUMMARY_JSON).read_text())
        minutes = f"{summary['wall_seconds'] / 60:.1f}"
        metrics = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in evaluated["metrics"].items())
        figures = [f"{summary['parameters']:,}", f"{summary['step']:,}", minutes]
        lines.append([file.parent.name, *figures, evaluated["split"], metrics])
    return _markdown(lines)


def latency_table(found):
    """Markdown of the results of benchmarks.latency: medians, in brackets the ratio to the first column and its interval."""
    kinds = [row["name"] for row in found["latencies"][0]["rows"]]
    lines = [["model", "batch", "rounds", *kinds], ["---", "---:", "---:", *["---:"] * len(kinds)]]
    for group in sorted(found["latencies"], key=lambda group: (group["model"], group["batch"])):
        first, *others = group["rows"]
        cells = [f"{first['median_seconds'] * 1e3:.1f} ms"]
        for row in others:
            low, high = row["ratio_interval"]
            cells.append(f"{row['median_seconds'] * 1e3:.1f} ms ({row['ratio']:.2f}, {low:.2f}-{high:.2f})")
        lines.append([group["model"], str(group["batch"]), str(group["rounds"]), *cells])
    machine = found["machine"]
    origin = (
        f"{machine['cores']} cores ({machine['cpu']}), texts of {found['length']} tokens, commit {machine['git_commit'][:7]}."
    )
    return f"{_markdown(lines)}\n\n{origin}"


def runtimes_table(found):
    """Markdown of the runtimes.json that official.export writes."""
    batches = list(found["models"][0]["milliseconds"])
    metrics = list(found["models"][0]["metrics"])
    lines = [["", "MiB", "difference", "near ties", *(f"batch {batch}" for batch in batches)]]
    lines[0] += [name.replace("_", " ") for name in metrics]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    for row in found["models"]:
        compared = [f"{row['largest']:.1e}", str(row["near_ties"])] if "largest" in row else ["", ""]
        latencies = [f"{row['milliseconds'][batch]:.1f} ms" for batch in batches]
        values = [f"{row['metrics'][name]:.4f}" for name in metrics]
        lines.append([row["title"], f"{row['bytes'] / 2**20:.2f}", *compared, *latencies, *values])
    how = f"Compared: {found['examples']}; metrics of the {found['split']} split; medians of {found['rounds']} calls"
    return f"{_markdown(lines)}\n\n{how} on {found['cores']} cores, commit {found['git_commit'][:7]}."


def tpu_table(found):
    """Markdown of the results of benchmarks.tpu: one table of steps, and one of the chips that the paper's batch needs."""
    kinds = [kind for kind in KINDS_OF_CYCLES if any(row.get("cycles", {}).get(kind) for row in found["tpu_steps"])]
    counted = [
        name for name in ("scatter", "sort", "gather") if any(row["counts"][name] for row in found["tpu_steps"] if fits(row))
    ]
    names = ["model", "parameters", "chip", "batch", "memory", "weights and state", "temporaries", "GFLOP", "GB"]
    lines = [[*names, "million cycles", *kinds, *(f"{name}s" for name in counted)]]
    lines.append(["---", "---:", "---", *["---:"] * (len(lines[0]) - 3)])
    for row in found["tpu_steps"]:
        changes = ", ".join(f"{name}={value}" for name, value in row["settings"].items())
        own = [
            f"{row['model']} ({changes})" if changes else row["model"],
            f"{row['parameters']:,}",
            row["chip"],
            str(row["batch"]),
        ]
        if not fits(row):
            lines.append([*own, f"too large for {size(row['limit'])}" if is_too_large(row) else "refused"])
            lines[-1] += [""] * (len(lines[0]) - len(lines[-1]))
            continue
        cycles = sum(row["cycles"].values())
        memory = row["memory"]
        own.append(f"{size(used(row))} of {size(row['limit'])}")
        own += [size(memory[kind]) for kind in ("arguments", "temporaries")]
        own += [f"{row['flops'] / 1e9:,.1f}", f"{row['bytes'] / 1e9:.1f}", f"{cycles / 1e6:.2f}"]
        own += [f"{row['cycles'].get(kind, 0) / cycles:.0%}" for kind in kinds]
        lines.append([*own, *(str(row["counts"][name]) for name in counted)])
    needed = [["recipe, 4096 examples a step", "chip", "examples a core, at most", "cores", "chips"]]
    needed.append(["---", "---", "---:", "---:", "---:"])
    for row in found["recipes"]:
        largest = f"{row['largest']} ({'tried' if row['is_tried'] else 'estimate'})" if row["largest"] else "none"
        needed.append([row["model"], row["chip"], largest, *(str(row[name] or "") for name in ("cores", "chips"))])
    commits = _commits(found["tpu_steps"])
    tables = [_markdown(lines), _markdown(needed)] if found["recipes"] else [_markdown(lines)]
    return "\n\n".join([*tables, f"Estimates of the compiler, nothing was run; commit {commits}."])


# {key that only results of one kind have: function of the results to a table}.
TABLES = {
    "rows": times_table,
    "accuracies": accuracy_table,
    "operations": profile_table,
    "variants": variants_table,
    "paired": paired_table,
    "latencies": latency_table,
    "models": runtimes_table,
    "tpu_steps": tpu_table,
}


def _commits(rows):
    """Those that the rows of a file were made at, in their order."""
    return ", ".join(dict.fromkeys(row["git_commit"][:7] for row in rows))


def _markdown(lines):
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main():
    for document in DOCUMENTS:
        document.write_text(rewritten(document.read_text()))
        print(f"written to {document.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
