//! The gitward program.

use std::process::ExitCode;

fn main() -> ExitCode {
    gitward::cli::run()
}
