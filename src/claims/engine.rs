//! That the engine computes what the published models compute: all else stands on it.

mod cases;

use std::path::Path;

use latent_model::conformance::{Expected, Report};
use latent_model::kernels::{Reference, Scalar};
use latent_model::trace::{TraceOptions, trace};
use latent_model::{Form, LoadOptions, Model};

use self::cases::{CASES, Case};
use super::{Claim, Finding, Lab, Verdict, row};
use crate::commands::CommandError;

pub(super) const CLAIM: Claim = Claim {
    name: "conformance",
    statement: "This engine computes what the published models compute",
    published: "values that other programs made from the papers' formulas and from transformers",
    rule: "every logit to 1e-9 in f64 and 1e-4 in f32, the same experts, the same greedy tokens",
    find,
};

fn find(_: &Lab<'_>) -> Result<Finding, CommandError> {
    let mut table =
        vec![row(["case", "what is special", "f64", "f32", "experts", "tokens", "verdict"])];
    let mut held = 0;
    let same = |yes| if yes { "same" } else { "DIFFER" };
    for case in CASES {
        let (exact, single) = conform(case)?;
        let holds = exact.holds(1e-9) && single.holds(1e-4);
        held += usize::from(holds);
        table.push(row([
            case.name,
            case.what,
            &format!("{:.0e}", exact.logits),
            &format!("{:.0e}", single.logits),
            same(exact.same_experts && single.same_experts),
            same(exact.same_greedy && single.same_greedy),
            if holds { "holds" } else { "FAILS" },
        ]));
    }
    Ok(Finding {
        verdict: Verdict::by(held == CASES.len(), false),
        here: format!("{held} of {} random checkpoints, one of each family", CASES.len()),
        table,
    })
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
    dir: &Path,
    expected: &Expected,
    form: Form,
    chunk: usize,
) -> Result<Report, CommandError> {
    let (model, _) = Model::load(Reference::<T>::new(), dir, &LoadOptions::default())?;
    let options = TraceOptions { form, chunk, generate: expected.greedy.len() };
    let trace = trace(&model, &expected.input_ids, options)?;
    Ok(expected.compare(&trace, model.config().model_type))
}
