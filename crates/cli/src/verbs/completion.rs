//! `sutler completion`: scripts that complete our words in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use super::Outcome;
use crate::failure::ExitStatus;
use crate::io::Io;

const EXAMPLES: &str = "\
Examples:
  sutler completion bash > /usr/share/bash-completion/completions/sutler
  sutler completion zsh > /usr/share/zsh/vendor-completions/_sutler
  sutler completion fish > /usr/share/fish/vendor_completions.d/sutler.fish";

/// The shells we complete in.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum KnownShell {
    /// GNU bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// Options of `sutler completion`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionArgs {
    /// The shell
    pub shell: KnownShell,
}

/// Prints the script that completes these words.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &CompletionArgs, mut words: Command, io: &mut Io) -> Outcome {
    let shell = match args.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
    };
    // Into memory first: the generator panics on a writer that fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut words, "sutler", &mut script);
    io.data(&script)?;
    Ok(ExitStatus::OK)
}
