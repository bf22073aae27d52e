//! Ferrocerium: encrypted inference on several GPUs.
