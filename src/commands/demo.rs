//! `latent` alone: what the project is, shown by its claims.

use super::{CommandError, claims, output};

const INTRODUCTION: &str = "\
latent: what made DeepSeek cheap, in Rust, to read, test and run.

  1. Latent attention   keys and values are compressed into one small vector per token,
                        and only that is cached.
  2. Experts            a gate sends each token to the best few of many small networks.
  3. Reasoning          grows from rewards for form and match alone (not here yet).

The claims, one by one, in some minutes; latent --help shows what else there is.
";

const NEXT: &str = "
What to try next:
  latent kv                                     the whole ladder, and the 93.3 % claim taken apart
  latent inspect deepseek-v3                    sizes, active parameters, FLOPs per token
  latent generate --model conformance/v3 --tokens 5,17,200 --max-new-tokens 16
  latent chat --model DIR                       any DeepSeek-family or Llama checkpoint
  latent train train/tiny.toml                  a small DeepSeek-V3, in half a minute
  latent ablate train/ablation.toml             variants beside each other, as a page with plots
  latent claims --full                          the claims with three seeds of 20 M tokens
  ./check                                       every test of every claim
(from a clone: cargo run --release -- kv, and so on)
";

/// Holds every claim to its quick experiment.
pub(crate) fn run() -> Result<(), CommandError> {
    output::print(INTRODUCTION)?;
    claims::quick()?;
    output::print(NEXT)
}
