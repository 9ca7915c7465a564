//! What a command printed.

use std::process::{Command, Stdio};

/// The result of a command that ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, as somebody would type it.
    pub command: String,
    /// Its exit status; -1 where a signal ended it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end, with `input` on its standard input.
    ///
    /// # Panics
    /// Where the command cannot be started.
    pub fn of(command: &mut Command, input: Option<&str>) -> Output {
        let name = command.get_program().to_string_lossy().into_owned();
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let text = format!("{} {}", name.rsplit('/').next().unwrap_or(&name), args.join(" "));
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{text}: {error}"));
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // A command that ends without reading everything says why by itself.
            let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        }
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("{text}: {error}"));
        Output {
            command: text,
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed.
    ///
    /// # Panics
    /// Where it failed.
    pub fn ok(&self) -> &str {
        assert!(self.status == 0, "{} failed ({}):\n{}{}", self.command, self.status, self.stdout, self.stderr);
        &self.stdout
    }

    /// What it complained about.
    ///
    /// # Panics
    /// Where it succeeded.
    pub fn refused(&self) -> &str {
        assert!(self.status != 0, "{} succeeded:\n{}", self.command, self.stdout);
        &self.stderr
    }
}
