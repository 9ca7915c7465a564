//! The gitward program.
fn main() {}
