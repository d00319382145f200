//! `latent` alone: what the project is, shown by its claims.

mod thinker;

use super::{CommandError, claims, output};

const INTRODUCTION: &str = "\
latent: what made DeepSeek cheap, in Rust, to read, test and run.

  1. Latent attention   keys and values are compressed into one small vector per token,
                        and only that is cached.
  2. Experts            a gate sends each token to the best few of many small networks.
  3. Reasoning          grows from rewards for form and match alone.

All three in a model of 1.7 M parameters that travels with this program. It began by guessing, and never saw
these sums:

";

const CLAIMS: &str = "
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
  latent chat                                   ask the small model a sum, as 3+8+1+5+9+2=?
  latent rl train/rl/zero.toml                  watch thinking grow from rewards, in minutes
  latent claims --full                          the claims with three seeds of 20 M tokens
  ./check                                       every test of every claim
(from a clone: cargo run --release -- kv, and so on)
";

/// Holds every claim to its quick experiment.
pub(crate) fn run() -> Result<(), CommandError> {
    output::print(INTRODUCTION)?;
    output::print(&thinker::text()?)?;
    output::print(CLAIMS)?;
    claims::quick()?;
    output::print(NEXT)
}
