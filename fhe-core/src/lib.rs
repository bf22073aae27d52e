//! CKKS: RNS rings, parameters, keys, encoding, encryption and the exact reference evaluator.
