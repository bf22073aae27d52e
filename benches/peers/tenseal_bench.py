"""Times SEAL's CKKS and TenSEAL's vectors on the CPU, for the operations that our own benches time.

The rows `SEAL` call SEAL through `tenseal.sealapi`, one operation at a time. The rows `TenSEAL` call the vector that a
user of TenSEAL has: it encodes while encrypting, and a product relinearizes and rescales by itself. SEAL works with one
thread.
"""

import math
import os
import sys
import tempfile

import peers_common as common

SPECIAL_BITS = 60
# SEAL rotates by k slots with the automorphism X -> X^(3^k): 3 is the rotation by one.
ROTATE_ONE_ELEMENT = 3


def import_tenseal():
    """Imports the binding and numpy, which it needs but does not bring."""
    try:
        import numpy
        import tenseal
        import tenseal.sealapi as seal
        return numpy, tenseal, seal
    except ImportError as error:
        common.missing("tenseal", "requirements-tenseal.txt", error)


def chain_bits(log_n):
    """Bits of the primes: the first, one for each level, the special one."""
    params_set = common.PARAMETER_SETS[log_n]
    return [params_set["first_bits"]] + [common.SCALE_BITS] * params_set["levels"] + [SPECIAL_BITS]


def seal_version(ciphertext):
    """SEAL's version: bytes 3 and 4 of everything that it saves."""
    handle, path = tempfile.mkstemp()
    os.close(handle)
    try:
        ciphertext.save(path)
        with open(path, "rb") as saved:
            head = saved.read(5)
        return "%d.%d" % (head[3], head[4])
    finally:
        os.remove(path)


def bench_seal(seal, clock, log_n):
    """The rows of SEAL at one ring dimension, the largest error, SEAL's version."""
    n = 1 << log_n
    scale = 2.0 ** common.SCALE_BITS
    literal = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    literal.set_poly_modulus_degree(n)
    literal.set_coeff_modulus(seal.CoeffModulus.Create(n, chain_bits(log_n)))
    context = seal.SEALContext(literal, True, seal.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        sys.exit("SEAL refuses the parameters of N = 2^%d: %s" % (log_n, context.parameters_error_message()))
    keygen = seal.KeyGenerator(context)
    public, relin, galois = seal.PublicKey(), seal.RelinKeys(), seal.GaloisKeys()
    keygen.create_public_key(public)
    keygen.create_relin_keys(relin)
    # Of the overloads that take a list of integers the binding picks the one for Galois elements, not for steps.
    keygen.create_galois_keys([ROTATE_ONE_ELEMENT], galois)
    encryptor, decryptor = seal.Encryptor(context, public), seal.Decryptor(context, keygen.secret_key())
    evaluator, encoder = seal.Evaluator(context), seal.CKKSEncoder(context)

    def encode(values):
        plain = seal.Plaintext()
        encoder.encode(values, scale, plain)
        return plain

    def encrypt(plain):
        out = seal.Ciphertext()
        encryptor.encrypt(plain, out)
        return out

    def decrypt(ciphertext):
        plain = seal.Plaintext()
        decryptor.decrypt(ciphertext, plain)
        return plain

    def into(method, *operands):
        out = seal.Ciphertext()
        method(*operands, out)
        return out

    def mul_relinearize():
        out = into(evaluator.multiply, cx, cy)
        evaluator.relinearize_inplace(out, relin)
        return out

    def mul_relinearize_rescale():
        out = mul_relinearize()
        evaluator.rescale_to_next_inplace(out)
        return out

    x, y = common.slots(n, 1), common.slots(n, 2)
    px, py = encode(x), encode(y)
    cx, cy = encrypt(px), encrypt(py)
    product, square = mul_relinearize(), into(evaluator.multiply, cx, cy)
    coefficients = into(evaluator.transform_from_ntt, cx)
    primes = [m.value() for m in literal.coeff_modulus()]
    limbs_q = cx.coeff_modulus_size()
    params = {"log_n": log_n, "levels": common.PARAMETER_SETS[log_n]["levels"], "dnum": limbs_q,
              "log_q": round(sum(map(math.log2, primes[:limbs_q])), 2), "limbs_q": limbs_q,
              "log_p": round(sum(map(math.log2, primes[limbs_q:])), 2), "limbs_p": len(primes) - limbs_q,
              "log_qp_limit": seal.CoeffModulus.MaxBitCount(n, seal.SEC_LEVEL_TYPE.TC128)}

    def open_slots(ciphertext):
        return encoder.decode_double(decrypt(ciphertext))

    xy = [a * b for a, b in zip(x, y)]
    error = max(
        common.check("decrypt", open_slots(cx), x),
        common.check("add", open_slots(into(evaluator.add, cx, cy)), [a + b for a, b in zip(x, y)]),
        common.check("mul_plain", open_slots(into(evaluator.multiply_plain, cx, py)), xy),
        common.check("mul", open_slots(mul_relinearize_rescale()), xy),
        common.check("rotate", open_slots(into(evaluator.rotate_vector, cx, 1, galois)), x[1:] + x[:1]),
        common.check("ntt", open_slots(into(evaluator.transform_to_ntt, coefficients)), x),
    )

    rows = common.Rows(clock, "SEAL", params, 1)
    rows.add("encode", lambda: encode(x))
    rows.add("encrypt", lambda: encrypt(px))
    rows.add("decrypt", lambda: decrypt(cx))
    rows.add("decrypt_decode", lambda: open_slots(cx))
    rows.add("add", lambda: into(evaluator.add, cx, cy))
    rows.add("mul_plain", lambda: into(evaluator.multiply_plain, cx, py))
    rows.add("mul_no_relinearize", lambda: into(evaluator.multiply, cx, cy))
    rows.add("mul_relinearize", mul_relinearize)
    rows.add("rescale", lambda: into(evaluator.rescale_to_next, product))
    rows.add("mul_relinearize_rescale", mul_relinearize_rescale)
    # On a product of three polynomials this is the key switch, one copy and two additions.
    rows.add("relinearize", lambda: into(evaluator.relinearize, square, relin))
    rows.add("rotate", lambda: into(evaluator.rotate_vector, cx, 1, galois))
    rows.add("galois_keygen", lambda: keygen.create_galois_keys([ROTATE_ONE_ELEMENT], seal.GaloisKeys()))
    # Both polynomials of a ciphertext, changed in place.
    rows.add("ntt", lambda: evaluator.transform_to_ntt_inplace(coefficients),
             before=lambda: evaluator.transform_from_ntt(cx, coefficients), limbs=2 * limbs_q)
    image = seal.Ciphertext()
    rows.add("intt", lambda: evaluator.transform_from_ntt_inplace(image),
             before=lambda: evaluator.add(cx, cy, image), limbs=2 * limbs_q)
    return rows.rows, error, seal_version(cx), params


def bench_vector(ts, clock, log_n, params):
    """The rows of TenSEAL's own vector at one ring dimension, and the largest error."""
    n = 1 << log_n
    context = ts.context(ts.SCHEME_TYPE.CKKS, poly_modulus_degree=n, coeff_mod_bit_sizes=chain_bits(log_n), n_threads=1)
    context.global_scale = 2.0 ** common.SCALE_BITS
    x, y = common.slots(n, 1), common.slots(n, 2)
    px, py = ts.plain_tensor(x), ts.plain_tensor(y)
    cx, cy = ts.ckks_vector(context, px), ts.ckks_vector(context, py)
    xy = [a * b for a, b in zip(x, y)]
    error = max(
        common.check("vector decrypt", cx.decrypt(), x),
        common.check("vector add", (cx + cy).decrypt(), [a + b for a, b in zip(x, y)]),
        common.check("vector mul", (cx * cy).decrypt(), xy),
        common.check("vector mul_plain", (cx * py).decrypt(), xy),
    )
    rows = common.Rows(clock, "TenSEAL", params, 1)
    rows.add("encode_encrypt", lambda: ts.ckks_vector(context, px))
    rows.add("decrypt_decode", lambda: cx.decrypt())
    rows.add("add", lambda: cx + cy)
    rows.add("encode_mul_plain_rescale", lambda: cx * py)
    rows.add("mul_relinearize_rescale", lambda: cx * cy)
    return rows.rows, error


def worker(args):
    """Runs in a process of its own."""
    numpy, ts, seal = import_tenseal()
    clock = common.Clock(args.min_reps, args.budget)
    rows, error, version = [], 0.0, ""
    for log_n in args.rings:
        more, worst, version, params = bench_seal(seal, clock, log_n)
        rows += more
        error = max(error, worst)
        more, worst = bench_vector(ts, clock, log_n, params)
        rows += more
        error = max(error, worst)
    library = {"tenseal": ts.__version__, "seal": version, "numpy": numpy.__version__,
               "python": sys.version.split()[0], "security": "TC128"}
    common.answer(library, rows, error)


def main():
    args = common.parse_args("Time SEAL's and TenSEAL's CKKS operations on the CPU.", "1")
    if args.threads != [1]:
        sys.exit("SEAL works with one thread; --threads can only be 1")
    if args.worker:
        worker(args)
        return
    import_tenseal()
    neighbours = common.Neighbours()
    common.report(args, common.run_workers(args), neighbours)


if __name__ == "__main__":
    main()
