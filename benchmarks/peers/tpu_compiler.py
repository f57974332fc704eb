"""XLA's compiler for TPUs, which needs no TPU, and the same programs on a CPU, of JAX:

    tpu_compiler.py compile PROGRAM CHIP RESULT   compiles for one core; writes RESULT, JSON (`compiled`), and PROGRAM.CHIP.txt
    tpu_compiler.py run PROGRAM INPUTS OUTPUTS    runs on this machine's CPU; arrays by number of argument and output, .npz

PROGRAM is a file of benchmarks/train_hlo.py, beside which PROGRAM.json says which outputs replace which arguments. This file runs
in an environment of its own (sh benchmarks/peers/setup.sh tpu) and uses parts of jaxlib that have no public name: only the
versions in tpu-requirements.txt are known to work.
"""

import json
import os
import pathlib
import re
import sys
import time

# Several processes may compile at the same time, and no address of a cloud is asked for a TPU.
ENVIRONMENT = dict(ALLOW_MULTIPLE_LIBTPU_LOAD="1", TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu")
# {chip: the smallest slice of them that the compiler knows}, of four chips.
CHIPS = {"v2": "v2:2x2", "v3": "v3:2x2", "v4": "v4:2x2x1", "v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}


def read_program(path, for_tpu):
    """The program of a file as a module of StableHLO, whose replaced arguments lend their memory to the outputs.

    The program is one for CPUs, whose random bits are Philox's. For a TPU TensorFlow has the device's own generator draw them.
    """
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax
    from jaxlib.mlir import ir

    path = pathlib.Path(path)
    replaced = json.loads(path.with_name(f"{path.name}.json").read_text())["replaced"]
    context = mlir.make_ir_context()
    context.allow_unregistered_dialects = True
    with context:
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(path.read_bytes()))
        copies, draws = [], []

        def visit(operation):
            if operation.name == "mhlo.copy":  # StableHLO has no copies, and the compiler adds what it needs
                copies.append(operation)
            elif operation.name == "stablehlo.rng_bit_generator" and for_tpu:
                draws.append(operation)
            return ir.WalkResult.ADVANCE

        module.operation.walk(visit)
        for operation in copies:
            operation.result.replace_all_uses_with(operation.operands[0])
            operation.erase()
        for operation in draws:
            _draw_by_device(operation)
        (main,) = (f for f in module.body.operations if ir.StringAttr(f.attributes["sym_name"]).value == "main")
        attributes = list(main.arg_attrs) if "arg_attrs" in main.attributes else [ir.DictAttr.get({})] * len(main.arguments)
        for output, argument in replaced:
            number = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), output)
            attributes[argument] = ir.DictAttr.get({"tf.aliasing_output": number})
        main.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)
    return module


def _draw_by_device(operation):
    """Replaces a draw by Philox, whose state is a key and a counter of two numbers, by one of a TPU's generator: one number."""
    from jaxlib.mlir import ir

    state, bits = operation.results
    two = ir.Type.parse("tensor<2xui64>")
    with ir.InsertionPoint(operation), operation.location:
        bounds = {name: ir.DenseI64ArrayAttr.get([i]) for name, i in (("start_indices", 0), ("limit_indices", 2), ("strides", 1))}
        part = ir.Operation.create("stablehlo.slice", [two], [operation.operands[0]], bounds)
        algorithm = {"rng_algorithm": ir.Attribute.parse("#stablehlo<rng_algorithm DEFAULT>")}
        draw = ir.Operation.create("stablehlo.rng_bit_generator", [two, bits.type], [part.result], algorithm)
    bits.replace_all_uses_with(draw.results[1])
    state.replace_all_uses_with(operation.operands[0])  # whose next value a stateless draw does not need
    operation.erase()


def compile_for(module, device, load=False):
    """The executable of a module for one device, loaded where it is to run."""
    import numpy as np
    from jax._src.lib import _jax
    from jaxlib import xla_client

    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[device.id]], np.int32))
    compiler = device.client.compile_and_load if load else device.client.compile
    return compiler(module, executable_devices=_jax.DeviceList((device,)), compile_options=options)


def memory_limit(device):
    """Bytes that a program may take: the compiler names them where it refuses one that takes a TiB."""
    import jax
    from jax._src.interpreters import mlir
    from jaxlib.mlir import ir

    array = f"tensor<{2**38}xf32>"
    text = f"func.func @main(%x: {array}) -> {array} {{ %y = stablehlo.add %x, %x : {array} func.return %y : {array} }}"
    with mlir.make_ir_context():
        module = ir.Module.parse(f"module @huge {{ {text} }}")
    try:
        compile_for(module, device)
    except jax.errors.JaxRuntimeError as error:
        number, unit = re.search(r"exceeds available HBM \(([\d.]+)([MGT])\)", str(error)).groups()
        return int(float(number) * 2 ** {"M": 20, "G": 30, "T": 40}[unit])
    raise AssertionError("a program that takes a TiB was not refused")


def compiled(path, chip):
    """What the compiler says of a program.

    Returns:
      Dict of `limit`, bytes that a program may take, `seconds` of compilation, and `error`, its message, or else of:
        memory: {kind: bytes}; `replaced` is in both arguments and outputs.
        flops, bytes: of the whole program; bytes are read or written, also to memory on the chip.
        cycles: {kind of operation: estimated cycles} (`cycles_by_kind`).
        counts: {opcode: number of instructions}, of COUNTED.
    """
    import jax
    from jax.experimental import topologies

    device = topologies.get_topology_desc(CHIPS[chip], platform="tpu").devices[0]
    module = read_program(path, for_tpu=True)
    limit, start = memory_limit(device), time.perf_counter()
    try:
        executable = compile_for(module, device)
    except jax.errors.JaxRuntimeError as error:
        return {"limit": limit, "seconds": round(time.perf_counter() - start, 1), "error": str(error)}
    seconds, sizes, costs = time.perf_counter() - start, executable.get_compiled_memory_stats(), executable.cost_analysis()
    text = executable.hlo_modules()[0].to_string()
    pathlib.Path(f"{path}.{chip}.txt").write_text(text)
    kinds = {
        "arguments": sizes.argument_size_in_bytes,
        "outputs": sizes.output_size_in_bytes,
        "replaced": sizes.alias_size_in_bytes,
        "temporaries": sizes.temp_size_in_bytes,
        "code": sizes.generated_code_size_in_bytes,
    }
    computations = parse(text)
    return {
        "limit": limit,
        "seconds": round(seconds, 1),
        "memory": kinds,
        "flops": costs.get("flops"),
        "bytes": costs.get("bytes accessed"),
        "cycles": cycles_by_kind(computations),
        "counts": counts(computations),
    }


# Kinds of operations by opcode: a fusion is of the first kind of this table that it holds an operation of.
KINDS = {
    "products": ("convolution", "dot"),
    "scatters": ("scatter",),
    "sorts": ("sort", "topk"),
    "random draws": ("rng-bit-generator", "rng"),
    "gathers": ("gather",),
    "reductions": ("reduce", "reduce-window", "select-and-scatter"),
    "copies": ("copy", "copy-start", "copy-done", "transpose", "reshape", "bitcast", "slice", "concatenate", "pad"),
}
ELEMENTWISE = "elementwise"
KINDS_OF_CYCLES = (*KINDS, ELEMENTWISE)
COUNTED = ("scatter", "sort", "gather", "rng-bit-generator", "reduce", "convolution", "while", "custom-call")


def parse(text):
    """The instructions of an optimized program.

    Returns:
      {computation: [(opcode, estimated cycles, {how it is called: [computation]}, number of times a loop runs, whether it is part
      of a random draw)]}; the main computation is called "ENTRY".
    """
    computations, current = {}, None
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith((" ", "HloModule")):
            name = line.split()[0].lstrip("%")
            current = computations.setdefault(name, [])
        elif current is not None and " = " in line:
            current.append(_instruction(line.split(" = ", 1)[1]))
    return computations


def _instruction(text):
    opcode = re.match(r"([\w-]+)\(", text[_end_of_type(text) :].lstrip())
    cycles = re.search(r'"estimated_cycles":"(\d+)"', text)
    trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', text)
    called = re.findall(r"\b(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.-]+)", text)
    calls = {}
    for how, name in called:
        calls.setdefault(how, []).append(name)
    for names in re.findall(r"\bbranch_computations=\{([^}]*)\}", text):
        calls["branches"] = [name.strip().lstrip("%") for name in names.split(",")]
    is_random = re.search(r'op_name="[^"]*random', text) is not None  # most of a draw is arithmetic with bits
    return opcode and opcode[1], int(cycles[1]) if cycles else 0, calls, int(trips[1]) if trips else 1, is_random


def _end_of_type(text):
    """Where the type ends that an instruction begins with: a word, or a tuple in brackets."""
    if not text.startswith("("):
        return text.index(" ")
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return place + 1
    raise ValueError(f"not an instruction: {text[:100]}")


def counts(computations):
    """{opcode: number of instructions} of COUNTED, those inside fusions and loops included, once each."""
    found = [opcode for instructions in computations.values() for opcode, *_ in instructions]
    return {opcode: found.count(opcode) for opcode in COUNTED}


def cycles_by_kind(computations):
    """{kind: estimated cycles}, one of KINDS_OF_CYCLES; what is in a loop as often as it runs, if the compiler knows."""
    totals = dict.fromkeys(KINDS_OF_CYCLES, 0)

    def add(name, times):
        for opcode, cycles, calls, trips, is_random in computations[name]:
            if opcode in ("while", "call", "conditional"):
                for called in (called for names in calls.values() for called in names):
                    add(called, times * trips)
            else:
                opcodes = {opcode, *_opcodes(computations, calls), *(["rng"] if is_random else [])}
                totals[_kind(opcodes)] += times * cycles

    add("ENTRY", 1)
    return totals


def _opcodes(computations, calls):
    """Opcodes of everything that a fusion calls; not the function that a reduction or a sort applies."""
    for name in calls.get("calls", []):
        for opcode, _, inner, *_ in computations[name]:
            yield opcode
            yield from _opcodes(computations, inner)


def _kind(opcodes):
    return next((kind for kind, members in KINDS.items() if opcodes & set(members)), ELEMENTWISE)


def run(path, inputs, outputs):
    """Runs a program on the CPU, with the inputs of a file; writes its outputs to another."""
    import jax
    import numpy as np

    jax.config.update("jax_enable_x64", True)
    device = jax.devices("cpu")[0]
    executable = compile_for(read_program(path, for_tpu=False), device, load=True)
    with np.load(inputs) as arrays:
        arguments = [jax.device_put(arrays[str(i)], device) for i in range(len(arrays.files))]
    results = executable.execute_sharded(arguments).disassemble_into_single_device_arrays()
    np.savez(outputs, **{str(i): np.asarray(result[0]) for i, result in enumerate(results)})


def main(command, *arguments):
    os.environ.update(ENVIRONMENT)
    if command == "run":
        run(*arguments)
    else:
        path, chip, result = arguments
        pathlib.Path(result).write_text(json.dumps(compiled(path, chip)))


if __name__ == "__main__":
    main(*sys.argv[1:])
