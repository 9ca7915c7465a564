//! The gitward program.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    gitward::cli::run()
}
