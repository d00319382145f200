//! What made DeepSeek cheap, on the command line.
//!
//! Exits with 0, with 1 when the data is wrong, with 2 when the command is, and with 130 when a run was
//! interrupted.

mod claims;
mod commands;
mod process;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "gpu")]
use commands::DevicesArgs;
use commands::{
    AblateArgs, BenchArgs, ChatArgs, ClaimsArgs, GenerateArgs, GradArgs, InspectArgs, KvArgs,
    LogitsArgs, PerplexityArgs, ReportArgs, TrainArgs, demo, output,
};

/// Latent attention, mixture of experts: read them, test them, run them.
///
/// Without a subcommand: the claims of DeepSeek's papers as experiments of some minutes, and what to try
/// next.
#[derive(Debug, Parser)]
#[command(name = "latent", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ablate(AblateArgs),
    Bench(BenchArgs),
    Chat(ChatArgs),
    Claims(ClaimsArgs),
    #[cfg(feature = "gpu")]
    Devices(DevicesArgs),
    Generate(GenerateArgs),
    Grad(GradArgs),
    Inspect(InspectArgs),
    Kv(KvArgs),
    Logits(LogitsArgs),
    Perplexity(PerplexityArgs),
    Report(ReportArgs),
    Train(TrainArgs),
}

fn main() -> ExitCode {
    process::set_up();
    let result = match Cli::parse().command {
        None => demo(),
        Some(Command::Ablate(args)) => args.run(),
        Some(Command::Bench(args)) => args.run(),
        Some(Command::Chat(args)) => args.run(),
        Some(Command::Claims(args)) => args.run(),
        #[cfg(feature = "gpu")]
        Some(Command::Devices(args)) => args.run(),
        Some(Command::Generate(args)) => args.run(),
        Some(Command::Grad(args)) => args.run(),
        Some(Command::Inspect(args)) => args.run(),
        Some(Command::Kv(args)) => args.run(),
        Some(Command::Logits(args)) => args.run(),
        Some(Command::Perplexity(args)) => args.run(),
        Some(Command::Report(args)) => args.run(),
        Some(Command::Train(args)) => args.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            output::remark(format_args!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
