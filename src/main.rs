//! What made DeepSeek cheap, on the command line.
//!
//! Exits with 0, with 1 when the data is wrong, and with 2 when the command is.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod commands;

use commands::{CommandError, InspectArgs, KvArgs};

/// What made DeepSeek cheap: latent attention and mixture of experts, to read, test and run.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(InspectArgs),
    Kv(KvArgs),
}

impl Command {
    fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Inspect(args) => args.run(),
            Self::Kv(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}
