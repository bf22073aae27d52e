"""What both peer benchmarks share: the parameter sets, the clock, the table, the JSON file.

A row is one operation at one parameter set and thread count: the median and the least of its repetitions, in
microseconds. What other processes used of the machine is printed, since a median taken beside them is no measurement.
Standard library only.
"""

import argparse
import datetime
import gc
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time

SCHEMA = 1
SCALE_BITS = 50
MAX_ERROR = 1e-3  # a result farther than this from the expected slots aborts: a wrong operation has no time

# log2 N -> bits of the first prime, levels, dnum of OpenFHE, limit of log QP for 128 bits (HE standard, ternary
# secret).
# 2^13: the first prime has 54 bits, not 60: 54 + 2 * 50 + 60 (special) = 214 is the limit exactly.
PARAMETER_SETS = {
    13: {"first_bits": 54, "levels": 2, "dnum": 3, "limit": 214},
    14: {"first_bits": 60, "levels": 5, "dnum": 3, "limit": 430},
    15: {"first_bits": 60, "levels": 11, "dnum": 3, "limit": 868},
}


def parse_args(description, default_threads):
    """Reads the command line that both scripts share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--rings", default="13,14,15", help="log2 of the ring dimensions (default: %(default)s)")
    parser.add_argument("--threads", default=default_threads, help="thread counts (default: %(default)s)")
    parser.add_argument("--min-reps", type=int, default=10, help="least repetitions of a row (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=0.3, help="seconds to spend on a row once it has its least "
                        "repetitions (default: %(default)s)")
    parser.add_argument("--worker", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    try:
        args.rings = [int(x) for x in args.rings.split(",")]
        args.threads = [int(x) for x in args.threads.split(",")]
    except ValueError:
        parser.error("--rings and --threads take numbers separated by commas")
    unknown = [x for x in args.rings if x not in PARAMETER_SETS]
    if unknown:
        parser.error("no parameter set for log2 N = %s; there are %s" % (unknown, sorted(PARAMETER_SETS)))
    if min(args.threads) < 1 or args.min_reps < 1:
        parser.error("--threads and --min-reps must be at least 1")
    return args


class Clock:
    """Times one operation at a time.

    A call is repeated until it has `min_reps` repetitions and `budget` seconds, at most 500 times. Calls slower than
    half a second are repeated 5 times only. `before` runs outside the clock; the result is dropped outside it too.
    """

    def __init__(self, min_reps, budget):
        self.min_reps = min_reps
        self.budget = budget

    def measure(self, call, before=None):
        """Returns (median_us, min_us, repetitions) of `call`."""
        warm = 0.0
        for _ in range(2):
            warm = self._once(call, before)
        least = min(self.min_reps, 5) if warm > 0.5 else self.min_reps
        samples, spent = [], 0.0
        gc.collect()
        gc.disable()
        try:
            while len(samples) < least or (spent < self.budget and len(samples) < 500):
                samples.append(self._once(call, before))
                spent += samples[-1]
        finally:
            gc.enable()
        return statistics.median(samples) * 1e6, min(samples) * 1e6, len(samples)

    @staticmethod
    def _once(call, before):
        if before is not None:
            before()
        start = time.perf_counter_ns()
        result = call()
        stop = time.perf_counter_ns()
        del result
        return (stop - start) * 1e-9


class Rows:
    """Collects the rows of one parameter set."""

    def __init__(self, clock, api, params, threads):
        self.clock, self.api, self.params, self.threads = clock, api, params, threads
        self.rows = []

    def add(self, op, call, before=None, limbs=None):
        """Measures `call` as `op`; `limbs` adds the time of one limb."""
        median, least, reps = self.clock.measure(call, before)
        row = {"api": self.api, "op": op, "threads": self.threads, **self.params,
               "median_us": round(median, 2), "min_us": round(least, 2), "reps": reps}
        if limbs:
            row["median_us_per_limb"] = round(median / limbs, 2)
        self.rows.append(row)


def check(what, got, expected):
    """Aborts when the slots `got` are not `expected`; returns the largest error."""
    error = max(abs(a - b) for a, b in zip(got, expected))
    if not error <= MAX_ERROR:
        sys.exit("%s: the result is wrong by %g, more than %g; its time would mean nothing" % (what, error, MAX_ERROR))
    return error


def slots(n, seed):
    """n / 2 fixed values in [-1, 1]."""
    import random

    rng = random.Random(seed)
    return [rng.uniform(-1.0, 1.0) for _ in range(n // 2)]


def cpu_model():
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def cpu_flags():
    """The vector extensions that matter here."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("flags"):
                    have = set(line.split(":", 1)[1].split())
                    return [f for f in ("avx2", "bmi2", "avx512f", "avx512dq", "avx512ifma") if f in have]
    except OSError:
        pass
    return []


class Neighbours:
    """How many cores other processes used while this script and its workers ran, on average.

    All non-idle time of the machine (time stolen by the hypervisor included) less our own.
    """

    def __init__(self):
        self.start = self._read()

    def cores(self):
        """The average since construction, or None where the system does not tell."""
        stop = self._read()
        if self.start is None or stop is None:
            return None
        busy, own, wall = (b - a for a, b in zip(self.start, stop))
        return round(max(0.0, busy - own) / wall, 2)

    @staticmethod
    def _read():
        try:
            with open("/proc/stat", encoding="utf-8") as stat:
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
        except (OSError, ValueError):
            return None
        own = os.times()
        return ((user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"),
                own.user + own.system + own.children_user + own.children_system, time.monotonic())


def missing(package, requirements, detail):
    """Exits with what to install."""
    sys.exit("%s cannot be imported: %s\n"
             "Install it into a virtual environment of Python 3.10:\n"
             "    python3.10 -m venv VENV\n"
             "    VENV/bin/pip install -r %s\n"
             "    VENV/bin/python %s\n"
             "This is Python %s." % (package, detail, requirements, os.path.basename(sys.argv[0]),
                                     platform.python_version()))


def run_workers(args):
    """Runs this script once for every thread count and returns what the workers print, in order.

    OpenMP reads its thread count once, when it is loaded, so every count needs a fresh process.
    """
    answers = []
    for threads in args.threads:
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), OMP_DYNAMIC="FALSE")
        command = [sys.executable, os.path.abspath(sys.argv[0]), "--worker", str(threads),
                   "--rings", ",".join(map(str, args.rings)), "--min-reps", str(args.min_reps),
                   "--budget", str(args.budget)]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode < 0:
            sys.exit("the worker with %d threads was killed by signal %d" % (threads, -done.returncode))
        if done.returncode > 0:
            sys.exit(done.returncode)  # it has said why
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    return answers


def answer(library, rows, max_error):
    """What a worker hands to its parent: one line of JSON."""
    print(json.dumps({"library": library, "rows": rows, "max_error": max_error}))


def report(args, answers, neighbours):
    """Prints the tables and writes the JSON file."""
    rows = [row for a in answers for row in a["rows"]]
    others = neighbours.cores()
    document = {
        "schema": SCHEMA,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": " ".join(["python3", os.path.basename(sys.argv[0])]
                            + [shlex.quote(a) for a in _without_json(sys.argv[1:])]),
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "flags": cpu_flags(), "system": platform.system(),
                    "cores_used_by_others": others},
        "library": answers[0]["library"],
        "max_error": max(a["max_error"] for a in answers),
        "rows": rows,
    }
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(document, out, indent=1)
            out.write("\n")
    machine = document["machine"]
    print("%s, %s, %s cores (%s), %s of them used by others" % (
        document["date"], machine["cpu"], machine["cores"], " ".join(machine["flags"]),
        "unknown how many" if others is None else others))
    if others is not None and others > 0.1:
        print("WARNING: the machine was busy with something else; the times are too long")
    print(", ".join("%s %s" % item for item in document["library"].items()))
    print("largest error of the checked results: %.1e" % document["max_error"])
    for api, log_n in dict.fromkeys((r["api"], r["log_n"]) for r in rows):
        _print_table([r for r in rows if r["api"] == api and r["log_n"] == log_n])


def _without_json(argv):
    """The arguments less `--json FILE`: a path says nothing about a measurement."""
    kept, skip = [], False
    for arg in argv:
        if skip:
            skip = False
        elif arg == "--json":
            skip = True
        elif not arg.startswith("--json="):
            kept.append(arg)
    return kept


def _print_table(rows):
    first = rows[0]
    form = ("\n%s, N = 2^%d: log Q %.0f (%d limbs), log P %.0f (%d limbs), log QP %.0f of at most %d, dnum %d, "
            "scale 2^%d")
    print(form % (
        first["api"], first["log_n"], first["log_q"], first["limbs_q"], first["log_p"], first["limbs_p"],
        first["log_q"] + first["log_p"], first["log_qp_limit"], first["dnum"], SCALE_BITS))
    counts = list(dict.fromkeys(r["threads"] for r in rows))
    heads = (" %d thread%s: median | min | reps |" % (t, "s" if t > 1 else "") for t in counts)
    print("| operation, us |" + "".join(heads))
    print("|---|" + "---:|---:|---:|" * len(counts))
    by_key = {(r["op"], r["threads"]): r for r in rows}
    for op in dict.fromkeys(r["op"] for r in rows):
        line = "| %s |" % op
        for threads in counts:
            row = by_key.get((op, threads))
            if row is None:
                line += " | | |"
                continue
            limb = " (%.1f a limb)" % row["median_us_per_limb"] if "median_us_per_limb" in row else ""
            line += " %.1f%s | %.1f | %d |" % (row["median_us"], limb, row["min_us"], row["reps"])
        print(line)
