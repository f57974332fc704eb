"""WideNet-B/16 against a dense model with the same matrix products in plain Keras: python -m benchmarks.step

The dense baseline (benchmarks/dense_baseline.py) is float32. "share of peak" is FLOP/s relative to the fastest large matrix
product of this machine, measured in the same rounds. FLOPs are counted from the model's shapes, without dropped assignments.

With --recompute=widenet_l16, a step of that model, and one that computes its blocks again in the backward pass
(`train.recompute`): time, and the peak memory of each process.

With --other_stack=.venv-modern/bin/python, a Python of the other stack (docs/stacks.md), WideNet without drops runs on both.
"""

from benchmarks import command
from benchmarks.harness import Case

MODELS = "benchmarks/image_models.py"


def cases(precision, mode, batch):
    """The dense baseline, WideNet without drops and at the default capacity, our dense model, and the peak."""
    common = dict(mode=mode, batch=batch)
    wide = dict(common, name="widenet_b16", precision=precision)
    rows = [
        Case("dense baseline", MODELS, "dense_baseline", dict(common, precision="float32"), "plain Keras, FFN 8192, float32"),
        Case("widenet_b16, none dropped", MODELS, "zoo", dict(wide, capacity_factor=None), precision),
    ]
    if mode == "train":
        note = f"{precision}; dropped assignments are not computed"
        rows.append(Case("widenet_b16, capacity 1.2", MODELS, "zoo", wide, note))
    dense = dict(wide, moe_blocks=0, ffn_dim=8192)
    rows.append(Case("our dense, FFN 8192", MODELS, "zoo", dense, precision))
    rows.append(Case("peak", "benchmarks/peak.py", "products", dict(precision=precision), f"matrix products, {precision}"))
    return rows


def cases_of_stacks(precision, mode, batch, python):
    """WideNet without drops on the stack that runs this, on that of another Python, and the peak."""
    *_, peak = cases(precision, mode, batch)
    wide = dict(mode=mode, batch=batch, name="widenet_b16", precision=precision, capacity_factor=None)
    other = Case("the other stack", MODELS, "zoo", wide, precision, python=python, isolated=False)
    return [Case("this stack", MODELS, "zoo", wide, precision), other, peak]


def cases_of_recomputation(precision, batch, name):
    """A model of the zoo with everything kept for the backward pass, and with its blocks computed again."""
    settings = dict(mode="train", batch=batch, name=name, precision=precision)
    again = Case(
        "blocks computed again", MODELS, "zoo", dict(settings, recompute=True), "the backward pass has a forward pass more"
    )
    return [Case("everything kept", MODELS, "zoo", settings, precision), again]


def ratio_of_memory(rows):
    kept, again = (row["peak_bytes"] for row in rows)
    return {"ratio of peak memory": again / kept}


def shares_of_peak(rows):
    """Adds facts["share of peak"] to the rows with known FLOPs; the last row is the peak."""
    peak = rows[-1]["facts"]["flops"] / rows[-1]["median_seconds"]
    for row in rows:
        if "flops" in row["facts"]:
            dropped = (1 - row["facts"]["kept"]) * row["facts"].get("expert flops", 0)
            row["facts"]["share of peak"] = (row["facts"]["flops"] - dropped) / row["median_seconds"] / peak
    return {"peak GFLOP/s": peak / 1e9}


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32")
    parser.add_argument("--mode", choices=["train", "forward"], default="train")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--other_stack", metavar="PYTHON")
    parser.add_argument("--recompute", metavar="MODEL")
    given = parser.parse_args()
    if given.recompute and given.mode == "forward":
        parser.error("--mode=forward is not allowed with --recompute: it must be train")
    title = f"{given.mode} step, 224 pixels, batch {given.batch}, {given.precision}"
    settings = (given.precision, given.mode, given.batch)
    if given.recompute:
        rows = cases_of_recomputation(given.precision, given.batch, given.recompute)
        command.run(f"{given.recompute}, {title}", rows, given, finish=ratio_of_memory)
        return
    rows = cases_of_stacks(*settings, given.other_stack) if given.other_stack else cases(*settings)
    command.run(title, rows, given, ("kept", "share of peak"), shares_of_peak)


if __name__ == "__main__":
    main()
