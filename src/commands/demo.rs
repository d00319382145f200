//! `latent` alone: what the project is, shown on embedded data.

mod cases;

use std::io::{self, Write};
use std::time::Instant;

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use latent_model::config::published;
use latent_model::conformance::{Expected, Report};
use latent_model::kernels::{Reference, Scalar};
use latent_model::trace::{TraceOptions, trace};
use latent_model::{Form, LoadOptions, Model};

use self::cases::{CASES, Case};
use super::{CommandError, kv, progress};

const INTRODUCTION: &str = "\
latent: what made DeepSeek cheap, in Rust, to read, test and run.

  1. Latent attention   keys and values are compressed into one small vector per token,
                        and only that is cached.
  2. Experts            a gate sends each token to the best few of many small networks.

1. What one token costs in cache memory, all layers, 16-bit unless FP8
   (* as published):
";

const NEXT: &str = "
What to try next:
  latent kv                                     the whole ladder, and the 93.3 % claim taken apart
  latent inspect deepseek-v3                    sizes, active parameters, FLOPs per token
  latent generate --model conformance/v3 --tokens 5,17,200 --max-new-tokens 16
  latent generate --model DIR --chat \"Why?\"     any DeepSeek-family or Llama checkpoint
  latent logits --model conformance/v3 --tokens 5,17,200 --dtype f64 --out v3.safetensors
  ./check                                       every test of every claim
(from a clone: cargo run --release -- kv, and so on)
";

/// Shows the cache ladder, and holds the engine to the embedded conformance cases.
pub(crate) fn run() -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    let shown = |name: &str| matches!(name, "deepseek-v2-lite" | "deepseek-v3");
    let models: Vec<_> = published()
        .into_iter()
        .filter(|(name, _)| shown(name))
        .map(|(name, config)| (name.to_owned(), config))
        .collect();
    writeln!(out, "{INTRODUCTION}{}", kv::table(&models))?;
    writeln!(
        out,
        "\n2. Does this engine compute what the published models compute? A random checkpoint of\n   \
         each family, against values that other programs made from the papers' formulas:\n"
    )?;
    let start = Instant::now();
    let bar = progress::bar(CASES.len(), "{msg:12} {bar:40} {pos}/{len}");
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header([
        "case",
        "what is special",
        "f64",
        "f32",
        "experts",
        "tokens",
        "verdict",
    ]);
    let mut failed = Vec::new();
    for case in CASES {
        bar.set_message(case.name);
        let (exact, single) = conform(case)?;
        let holds = exact.holds(1e-9) && single.holds(1e-4);
        if !holds {
            failed.push(case.name);
        }
        let same = |yes| if yes { "same" } else { "DIFFER" };
        table.add_row([
            case.name.to_string(),
            case.what.to_string(),
            format!("{:.0e}", exact.logits),
            format!("{:.0e}", single.logits),
            same(exact.same_experts && single.same_experts).into(),
            same(exact.same_greedy && single.same_greedy).into(),
            if holds { "holds".into() } else { "FAILS".to_string() },
        ]);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    writeln!(
        out,
        "{table}\n   Largest difference of a logit in f64 and f32; the experts of every token; 16 greedy tokens.\n   {} cases in {seconds:.1} s.",
        CASES.len()
    )?;
    write!(out, "{NEXT}")?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(CommandError::Failed(format!("conformance fails: {}", failed.join(", "))))
}

/// The case in `f64`, absorbed and in chunks, and in `f32`, expanded and as a whole.
fn conform(case: &Case) -> Result<(Report, Report), CommandError> {
    let temporary = std::env::temp_dir();
    let dir = tempfile::tempdir().map_err(|error| CommandError::io(&temporary, error))?;
    case.write(dir.path()).map_err(|error| CommandError::io(dir.path(), error))?;
    let expected =
        Expected::open(dir.path()).map_err(|error| CommandError::Failed(error.to_string()))?;
    Ok((
        report::<f64>(dir.path(), &expected, Form::Absorbed, 5)?,
        report::<f32>(dir.path(), &expected, Form::Expanded, 0)?,
    ))
}

fn report<T: Scalar>(
    dir: &std::path::Path,
    expected: &Expected,
    form: Form,
    chunk: usize,
) -> Result<Report, CommandError> {
    let (model, _) = Model::load(Reference::<T>::new(), dir, &LoadOptions::default())?;
    let options = TraceOptions { form, chunk, generate: expected.greedy.len() };
    let trace = trace(&model, &expected.input_ids, options)?;
    Ok(expected.compare(&trace, model.config().model_type))
}
