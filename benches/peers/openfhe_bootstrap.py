"""Times one bootstrapping of OpenFHE's CKKS on the CPU, through its Python binding, and prints one JSON object.

Scaling and secret are those of OpenFHE's own example of bootstrapping (FLEXIBLEAUTO, scale 2^59, a first prime one bit
above it, uniform ternary secret, all slots), in a ring that has 128 bits of security; for that, key switching takes
more digits than the three that OpenFHE would choose. The level budget is [4, 3], one less than in the example, since at
[4, 4] the same levels left cost half as many digits again. Below N = 2^16 there is no room for bootstrapping with
security, so a smaller ring is a quick look without any, at three digits unless told.

Errors are log2 of the modulus of a slot's error and times exclude keys, as in our example `bootstrap`. Every round
bootstraps a new ciphertext that has one level left, the one that OpenFHE's correction of the scale takes.
"""

import argparse
import datetime
import json
import math
import os
import resource
import statistics
import sys
import time

import openfhe_bench
import peers_common as common

SECURE_LOG_N = 16
LEAST_DIGITS = 3  # what OpenFHE chooses for this many levels
SPECIAL_PRIME_BITS = 60
LOG_QP_LIMIT = 1747  # OpenFHE's table, N = 2^16, ternary secret, 128 bits
MIN_BITS = 2.0  # of the worst slot; a result worse than that is no bootstrapping, and has no time


def parse_args():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Time one bootstrapping of OpenFHE's CKKS on the CPU.")
    parser.add_argument("--log-n", type=int, default=16, help="log2 of the ring dimension; below 16 without security "
                        "(default: %(default)s)")
    parser.add_argument("--levels", type=int, default=2, help="levels left afterwards, of which the next bootstrapping "
                        "takes one (default: %(default)s)")
    parser.add_argument("--budget", default="4,3", help="levels of CoeffsToSlots and of SlotsToCoeffs (default: "
                        "%(default)s)")
    parser.add_argument("--secret", choices=("uniform", "encapsulated"), default="uniform", help="ternary, or "
                        "OpenFHE's SPARSE_ENCAPSULATED, of weight 32 while the modulus is raised (default: "
                        "%(default)s)")
    parser.add_argument("--scale-bits", type=int, default=59, help="log2 of the scale (default: %(default)s)")
    parser.add_argument("--digits", type=int, help="digits of key switching (default: the fewest that are secure)")
    parser.add_argument("--complex", action="store_true", help="complex slots, uniform in the square from -1 to 1, "
                        "instead of real ones in [-1, 1]")
    parser.add_argument("--threads", type=int, default=2, help="threads of OpenMP (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="bootstrappings to time (default: %(default)s)")
    parser.add_argument("--memory-gib", type=float, help="memory to use at most (default: what is free)")
    parser.add_argument("--json", metavar="FILE", help="also write the object to FILE")
    args = parser.parse_args()
    try:
        args.budget = [int(x) for x in args.budget.split(",")]
    except ValueError:
        parser.error("--budget takes two numbers separated by a comma")
    if len(args.budget) != 2 or min(args.budget) < 2:
        parser.error("--budget takes two numbers from 2 on; OpenFHE would multiply by whole matrices below")
    if not 10 <= args.log_n <= 16:
        parser.error("--log-n is from 10 to 16")
    if not 30 <= args.scale_bits <= 59:
        parser.error("--scale-bits is from 30 to 59")
    if min(args.threads, args.rounds, args.levels) < 1 or (args.digits is not None and args.digits < 1):
        parser.error("--threads, --rounds, --levels and --digits are at least 1")
    return args


def say(line):
    """Progress, beside the object on the standard output."""
    print(line, file=sys.stderr, flush=True)


def limit_memory(gib):
    """Makes an allocation beyond `gib` (or beyond what is free) fail, before the system has to end some process."""
    if gib is None:
        try:
            with open("/proc/meminfo", encoding="utf-8") as info:
                free_kib = next(int(line.split()[1]) for line in info if line.startswith("MemAvailable"))
        except (OSError, StopIteration, ValueError):
            return
        gib = free_kib / 2**20
    say("at most %.1f GiB of memory; std::bad_alloc says that this is too little" % gib)
    resource.setrlimit(resource.RLIMIT_AS, (int(gib * 2**30), resource.getrlimit(resource.RLIMIT_AS)[1]))


def new_context(fhe, args):
    """(context, depth, digits): the first count of digits for which OpenFHE finds the ring large enough.

    log P shrinks as the digits grow in number, and log QP with it, while time and keys grow.
    """
    secret = {"uniform": fhe.UNIFORM_TERNARY, "encapsulated": fhe.SPARSE_ENCAPSULATED}[args.secret]
    depth = args.levels + fhe.CryptoContext.GetBootstrapDepth(args.budget, secret)
    refused = None
    for digits in [args.digits] if args.digits else range(LEAST_DIGITS, depth + 2):
        params = fhe.CCParamsCKKSRNS()
        params.SetSecurityLevel(fhe.HEStd_128_classic if args.log_n >= SECURE_LOG_N else fhe.HEStd_NotSet)
        params.SetSecretKeyDist(secret)
        params.SetRingDim(1 << args.log_n)
        params.SetBatchSize(1 << (args.log_n - 1))
        params.SetMultiplicativeDepth(depth)
        params.SetScalingModSize(args.scale_bits)
        params.SetFirstModSize(args.scale_bits + 1)
        params.SetScalingTechnique(fhe.FLEXIBLEAUTO)
        params.SetKeySwitchTechnique(fhe.HYBRID)
        params.SetNumLargeDigits(digits)
        params.SetCKKSDataType(fhe.COMPLEX if args.complex else fhe.REAL)
        try:
            context = fhe.GenCryptoContext(params)
        except RuntimeError as error:
            # Insecure, or so many digits that the last would be empty.
            if "ring dimension" not in str(error) and "distribute" not in str(error):
                raise
            refused = error
            continue
        for feature in (fhe.PKE, fhe.KEYSWITCH, fhe.LEVELEDSHE, fhe.ADVANCEDSHE, fhe.FHE):
            context.Enable(feature)
        return context, depth, digits
    sys.exit("OpenFHE takes no parameters with N = 2^%d, depth %d, scale 2^%d and %s: %s\nTake fewer --levels, less "
             "--scale-bits, --secret encapsulated or other --digits." % (
                 args.log_n, depth, args.scale_bits,
                 "%d digits" % args.digits if args.digits else "any number of digits", reason(refused)))


def reason(error):
    """What OpenFHE says, less the place in its source."""
    return str(error).rpartition("(): ")[2]


def special_limbs(fhe, log_n, limbs_q, digits):
    """Limbs of P, from the size of the one relinearization key in store."""
    limb_pair_bytes = 2 * 8 << log_n
    return round(len(fhe.SerializeEvalMultKeyString(fhe.BINARY)) / (limb_pair_bytes * digits)) - limbs_q


def message(np, rng, n_slots, is_complex):
    """Slots uniform in [-1, 1], or in the square."""
    real = rng.uniform(-1.0, 1.0, n_slots)
    return real + 1j * rng.uniform(-1.0, 1.0, n_slots) if is_complex else real


def timed(call):
    """(result, seconds)."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def bootstrap(fhe, np, args):
    """Bootstraps `args.rounds` times; the object to print, less the machine."""
    n_slots = 1 << (args.log_n - 1)
    cc, depth, digits = new_context(fhe, args)
    say("depth %d, %d digits; matrices and keys..." % (depth, digits))
    _, setup_seconds = timed(lambda: cc.EvalBootstrapSetup(args.budget, [0, 0], n_slots))
    pair = cc.KeyGen()
    cc.EvalMultKeyGen(pair.secretKey)
    limbs_q = depth + 1
    limbs_p = special_limbs(fhe, args.log_n, limbs_q, digits)
    log_q = math.log2(cc.GetElementParams().GetModulus())  # the context's own GetModulus is a float, here infinite
    _, keys_seconds = timed(lambda: cc.EvalBootstrapKeyGen(pair.secretKey, n_slots))
    n_keys = len(cc.GetExistingEvalAutomorphismKeyIndices(pair.secretKey.GetKeyTag()))
    say("matrices in %.1f s, %d keys in %.1f s; bootstrapping..." % (setup_seconds, n_keys, keys_seconds))

    rng = np.random.default_rng(1)
    seconds, errors, left = [], [], None
    for _ in range(args.rounds):
        x = message(np, rng, n_slots, args.complex)
        exhausted = cc.Encrypt(pair.publicKey, cc.MakeCKKSPackedPlaintext(x, 1, depth - 1))
        fresh, elapsed = timed(lambda: cc.EvalBootstrap(exhausted))
        plain = cc.Decrypt(pair.secretKey, fresh)
        found = plain.GetCKKSPackedValueArray() if args.complex else plain.GetRealPackedValueArray()
        errors.append(np.abs(found - x))
        seconds.append(elapsed)
        # A product that waits for its rescaling has spent that level already.
        left = depth - fresh.GetLevel() - (fresh.GetNoiseScaleDeg() - 1)
        bits = float(-np.log2(errors[-1].max()))
        say("%.2f s, %d levels left, %.1f bits in the worst slot" % (elapsed, left, bits))
        if not bits >= MIN_BITS:
            sys.exit("the result is wrong by 2^%.1f; its time would mean nothing" % -bits)
    errors = np.concatenate(errors)
    secure = args.log_n >= SECURE_LOG_N
    return {
        "library": {"openfhe": fhe.__version__, "numpy": np.__version__, "python": sys.version.split()[0],
                    "scaling": "FLEXIBLEAUTO", "key_switching": "HYBRID",
                    "security": "HEStd_128_classic" if secure else "HEStd_NotSet"},
        "log_n": args.log_n, "slots": n_slots, "complex": args.complex, "secret": args.secret,
        "security_bits": 128 if secure else 0,
        "log_qp": round(log_q + SPECIAL_PRIME_BITS * limbs_p, 2), "log_qp_limit": LOG_QP_LIMIT if secure else None,
        "log_q": round(log_q, 2), "limbs_q": limbs_q, "log_p": SPECIAL_PRIME_BITS * limbs_p, "limbs_p": limbs_p,
        "dnum": digits, "scale_bits": args.scale_bits, "level_budget": args.budget, "depth": depth,
        "correction_factor": cc.GetCKKSBootCorrectionFactor(), "rotation_keys": n_keys,
        "threads": args.threads, "rounds": args.rounds,
        "seconds": round(statistics.median(seconds), 4), "seconds_min": round(min(seconds), 4),
        "setup_seconds": round(setup_seconds, 2), "keys_seconds": round(keys_seconds, 2),
        "mean_bits": round(float(np.mean(-np.log2(errors))), 2), "min_bits": round(float(-np.log2(errors.max())), 2),
        "mean_log2_error": round(float(np.log2(errors.mean())), 2),
        "max_log2_error": round(float(np.log2(errors.max())), 2),
        "levels_left": left, "levels_usable": left - 1,
        "max_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main():
    args = parse_args()
    # Both are read when the OpenMP runtime is loaded.
    os.environ.update(OMP_NUM_THREADS=str(args.threads), OMP_DYNAMIC="FALSE")
    limit_memory(args.memory_gib)
    fhe = openfhe_bench.import_openfhe()
    import numpy as np

    neighbours = common.Neighbours()
    try:
        result = bootstrap(fhe, np, args)
    except (MemoryError, RuntimeError) as error:
        sys.exit("OpenFHE: %s\nIf memory is short: --budget 3,3, fewer --levels (hence digits), or more --memory-gib."
                 % reason(error))
    others = neighbours.cores()
    if others is not None and others > 0.1:
        say("WARNING: others used %.2f cores; the time is too long" % others)
    document = {
        "schema": common.SCHEMA,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": {"cpu": common.cpu_model(), "cores": os.cpu_count(), "flags": common.cpu_flags(),
                    "cores_used_by_others": others},
        **result,
    }
    line = json.dumps(document)
    print(line)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            out.write(line + "\n")


if __name__ == "__main__":
    main()
