//! Devices, memory, executor and session: what obeys a plan.
