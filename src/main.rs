//! What made DeepSeek cheap, on the command line.
//!
//! Exits with 0, with 1 when the data is wrong, and with 2 when the command is.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "gpu")]
use commands::DevicesArgs;
use commands::{
    BenchArgs, GenerateArgs, InspectArgs, KvArgs, LogitsArgs, PerplexityArgs, demo, output,
};

/// Latent attention, mixture of experts: read them, test them, run them.
///
/// Without a subcommand: the cache ladder of the published models, a conformance run of a tiny
/// checkpoint of each family, and what to try next.
#[derive(Debug, Parser)]
#[command(name = "latent", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(BenchArgs),
    #[cfg(feature = "gpu")]
    Devices(DevicesArgs),
    Generate(GenerateArgs),
    Inspect(InspectArgs),
    Kv(KvArgs),
    Logits(LogitsArgs),
    Perplexity(PerplexityArgs),
}

/// Mesa's layer that chooses a GPU for a desktop complains on standard error where there is no
/// desktop. The device is chosen here, so the layer is not needed.
#[cfg(all(feature = "gpu", target_os = "linux"))]
fn quieten_mesa() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        #[expect(unsafe_code, reason = "the only way to tell a layer of the driver")]
        // SAFETY: called first in `main`, when no other thread runs that could read the environment.
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}

fn main() -> ExitCode {
    #[cfg(all(feature = "gpu", target_os = "linux"))]
    quieten_mesa();
    let result = match Cli::parse().command {
        None => demo(),
        Some(Command::Bench(args)) => args.run(),
        #[cfg(feature = "gpu")]
        Some(Command::Devices(args)) => args.run(),
        Some(Command::Generate(args)) => args.run(),
        Some(Command::Inspect(args)) => args.run(),
        Some(Command::Kv(args)) => args.run(),
        Some(Command::Logits(args)) => args.run(),
        Some(Command::Perplexity(args)) => args.run(),
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
