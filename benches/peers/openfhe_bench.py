"""Times OpenFHE's CKKS on the CPU, through its Python binding, for the operations that our own benches time.

Every operation works at the top level, on dense real slots. The scaling technique is FIXEDMANUAL, since under the
automatic techniques OpenFHE's Rescale does nothing and the rescaling hides in the next multiplication; the last row
shows that path.
"""

import importlib.util
import math
import os
import sys

import peers_common as common


def import_openfhe():
    """Imports the binding.

    Its wheel brings the OpenMP runtime under a name that the loader does not look for, so on a system without libgomp
    it is loaded by hand first.
    """
    try:
        import openfhe
        return openfhe
    except ImportError as error:
        spec = importlib.util.find_spec("openfhe")
        if spec is not None and spec.origin and "libgomp" in str(error):
            import ctypes

            shipped = os.path.join(os.path.dirname(spec.origin), "lib", "libgomp.so")
            try:
                ctypes.CDLL(shipped, mode=ctypes.RTLD_GLOBAL)
                import openfhe
                return openfhe
            except (OSError, ImportError) as second:
                common.missing("openfhe", "requirements-openfhe.txt", second)
        common.missing("openfhe", "requirements-openfhe.txt", error)


def new_context(fhe, log_n, scaling):
    """A 128-bit CKKS context with HYBRID key switching; OpenFHE itself refuses a modulus too large for the ring."""
    params_set = common.PARAMETER_SETS[log_n]
    params = fhe.CCParamsCKKSRNS()
    params.SetSecurityLevel(fhe.HEStd_128_classic)
    params.SetSecretKeyDist(fhe.UNIFORM_TERNARY)
    params.SetRingDim(1 << log_n)
    params.SetBatchSize(1 << (log_n - 1))
    params.SetMultiplicativeDepth(params_set["levels"])
    params.SetScalingModSize(common.SCALE_BITS)
    params.SetFirstModSize(params_set["first_bits"])
    params.SetScalingTechnique(scaling)
    params.SetKeySwitchTechnique(fhe.HYBRID)
    params.SetNumLargeDigits(params_set["dnum"])
    context = fhe.GenCryptoContext(params)
    for feature in (fhe.PKE, fhe.KEYSWITCH, fhe.LEVELEDSHE):
        context.Enable(feature)
    return context


def limb_counts(fhe, log_n, dnum, ciphertext):
    """(limbs of Q, limbs of P), from the sizes of a serialized ciphertext and of the one rotation key in store."""
    limb_pair_bytes = 2 * 8 << log_n
    limbs_q = round(len(fhe.Serialize(ciphertext, fhe.BINARY)) / limb_pair_bytes)
    limbs_qp = round(len(fhe.SerializeEvalAutomorphismKeyString(fhe.BINARY)) / (limb_pair_bytes * dnum))
    return limbs_q, limbs_qp - limbs_q


def bench_ring(fhe, np, clock, log_n, threads):
    """The rows of one ring dimension, and the largest error of the results."""
    n = 1 << log_n
    params_set = common.PARAMETER_SETS[log_n]
    cc = new_context(fhe, log_n, fhe.FIXEDMANUAL)
    pair = cc.KeyGen()
    cc.EvalMultKeyGen(pair.secretKey)
    cc.EvalRotateKeyGen(pair.secretKey, [1])
    other_key = cc.KeyGen().secretKey
    switch_key = cc.KeySwitchGen(pair.secretKey, other_key)

    x, y = np.array(common.slots(n, 1)), np.array(common.slots(n, 2))
    px, py = cc.MakeCKKSPackedPlaintext(x), cc.MakeCKKSPackedPlaintext(y)
    cx, cy = cc.Encrypt(pair.publicKey, px), cc.Encrypt(pair.publicKey, py)
    limbs_q, limbs_p = limb_counts(fhe, log_n, params_set["dnum"], cx)
    params = {"log_n": log_n, "levels": params_set["levels"], "dnum": params_set["dnum"],
              "log_q": round(math.log2(cc.GetModulus()), 2), "limbs_q": limbs_q,
              "log_p": 60 * limbs_p, "limbs_p": limbs_p, "log_qp_limit": params_set["limit"]}

    def decrypt(ciphertext, key=pair.secretKey):
        # Real numpy slots: the binding's fast path, without a Python object for every slot.
        return cc.Decrypt(key, ciphertext).GetRealPackedValueArray()

    product = cc.EvalMult(cx, cy)
    error = max(
        common.check("decrypt", decrypt(cx), x),
        common.check("add", decrypt(cc.EvalAdd(cx, cy)), x + y),
        common.check("mul_plain", decrypt(cc.Rescale(cc.EvalMult(cx, py))), x * y),
        common.check("mul", decrypt(cc.Rescale(product)), x * y),
        common.check("rotate", decrypt(cc.EvalRotate(cx, 1)), np.roll(x, -1)),
        common.check("key_switch", decrypt(cc.KeySwitch(cx, switch_key), other_key), x),
    )

    rows = common.Rows(clock, "OpenFHE", params, threads)
    rows.add("encode", lambda: cc.MakeCKKSPackedPlaintext(x))
    rows.add("encrypt", lambda: cc.Encrypt(pair.publicKey, px))
    rows.add("decrypt_decode", lambda: decrypt(cx))
    rows.add("add", lambda: cc.EvalAdd(cx, cy))
    rows.add("mul_plain", lambda: cc.EvalMult(cx, py))
    rows.add("mul_no_relinearize", lambda: cc.EvalMultNoRelin(cx, cy))
    rows.add("mul_relinearize", lambda: cc.EvalMult(cx, cy))
    rows.add("rescale", lambda: cc.Rescale(product))
    rows.add("mul_relinearize_rescale", lambda: cc.Rescale(cc.EvalMult(cx, cy)))
    rows.add("key_switch", lambda: cc.KeySwitch(cx, switch_key))
    rows.add("rotate", lambda: cc.EvalRotate(cx, 1))
    # A key that exists is not made again, hence the clearing before each.
    rows.add("galois_keygen", lambda: cc.EvalRotateKeyGen(pair.secretKey, [1]), before=cc.ClearEvalAutomorphismKeys)
    # The transform alone: a plaintext is one polynomial of all limbs of Q, changed in place.
    evaluation, coefficient = fhe.EVALUATION, fhe.COEFFICIENT
    rows.add("ntt", lambda: px.SetFormat(evaluation), before=lambda: px.SetFormat(coefficient), limbs=limbs_q)
    rows.add("intt", lambda: px.SetFormat(coefficient), before=lambda: px.SetFormat(evaluation), limbs=limbs_q)
    px.SetFormat(evaluation)
    error = max(error, common.check("ntt", decrypt(cc.Encrypt(pair.publicKey, px)), x))

    auto = new_context(fhe, log_n, fhe.FLEXIBLEAUTO)
    pair = auto.KeyGen()
    auto.EvalMultKeyGen(pair.secretKey)
    ax = auto.Encrypt(pair.publicKey, auto.MakeCKKSPackedPlaintext(x))
    ay = auto.Encrypt(pair.publicKey, auto.MakeCKKSPackedPlaintext(y))
    ax, ay = auto.EvalMult(ax, ax), auto.EvalMult(ay, ay)
    error = max(error, common.check("mul flexibleauto", auto.Decrypt(
        pair.secretKey, auto.EvalMult(ax, ay)).GetRealPackedValueArray(), (x * y) ** 2))
    rows.add("flexibleauto_rescale_both_mul_relinearize", lambda: auto.EvalMult(ax, ay))

    for context in (cc, auto):
        context.ClearEvalAutomorphismKeys()
    fhe.ClearEvalMultKeys()
    fhe.ReleaseAllContexts()
    return rows.rows, float(error)


def worker(args):
    """Runs in a process of its own, with OMP_NUM_THREADS already set."""
    fhe = import_openfhe()
    import numpy as np

    clock = common.Clock(args.min_reps, args.budget)
    rows, error = [], 0.0
    for log_n in args.rings:
        more, worst = bench_ring(fhe, np, clock, log_n, args.worker)
        rows += more
        error = max(error, worst)
    library = {"openfhe": fhe.__version__, "numpy": np.__version__, "python": sys.version.split()[0],
               "scaling": "FIXEDMANUAL", "key_switching": "HYBRID", "security": "HEStd_128_classic"}
    common.answer(library, rows, error)


def main():
    args = common.parse_args("Time OpenFHE's CKKS operations on the CPU.", "1,2")
    if args.worker:
        worker(args)
        return
    import_openfhe()
    neighbours = common.Neighbours()
    common.report(args, common.run_workers(args), neighbours)


if __name__ == "__main__":
    main()
