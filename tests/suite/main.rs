//! Whole programs as a client and a server run them.

#[cfg(test)]
mod client_server;
#[cfg(test)]
mod deep_functions;
