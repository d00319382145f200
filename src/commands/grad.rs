//! `latent grad`: the loss of a batch of token rows, and its gradient by every weight.

use std::path::{Path, PathBuf};

use clap::Args;
use latent_model::Model;
use latent_model::kernels::Scalar;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::moe::balance::BalanceLosses;
use latent_train::{LossConfig, Losses, Parameters, Sequence, gradients};

use super::dump::Dump;
use super::model_args::{BackwardTask, ModelArgs, TokenIds};
use super::{CommandError, output};

/// Write the loss of a batch and its gradient by every weight to a safetensors file.
///
/// The loss is the mean cross-entropy of each row's tokens from the second on, plus, where asked for,
/// the balance loss of each gate. Keys: `loss.ce` and `loss.aux`, one number each; `grad.NAME` in the shape of the
/// tensor NAME of the checkpoint, for all but the biases of routers, which have none. A tensor that took
/// no part has a gradient of zeros.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent grad --model conformance/v3_grad --tokens '5,17,20;8,9' --dtype f64 --out v3.safetensors
  latent grad --model DIR --tokens 1,2,3 --aux-loss-alpha 0.001 --form absorbed --out x.safetensors")]
pub(crate) struct GradArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Rows of token ids, as in '1,2,3;4,5,6'; attention stays inside of a row
    #[arg(long, short, value_name = "ROWS")]
    tokens: TokenRows,
    /// The coefficient of V2's sequence-wise balance loss
    #[arg(long, value_name = "ALPHA", default_value_t = 0.0, value_parser = coefficient)]
    aux_loss_alpha: f64,
    /// Keep what goes into layers alone and compute the rest again: less memory, more time
    #[arg(long)]
    recompute: bool,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

/// Rows of token ids as users write them: `1,2,3;4,5,6`.
#[derive(Debug, Clone)]
struct TokenRows(Vec<Sequence>);

impl std::str::FromStr for TokenRows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rows = text.split(';').map(|row| row.parse().map(|TokenIds(ids)| Sequence::of(&ids)));
        let rows: Vec<Sequence> = rows.collect::<Result<_, _>>()?;
        if rows.iter().flat_map(|row| &row.targets).flatten().next().is_none() {
            return Err("want a row of at least two tokens: one predicts the next".into());
        }
        Ok(Self(rows))
    }
}

fn coefficient(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(alpha) if alpha >= 0.0 && f64::is_finite(alpha) => Ok(alpha),
        Ok(_) => Err("want a finite number of at least 0".into()),
        Err(error) => Err(format!("{error}")),
    }
}

impl GradArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        if self.model.chunk.is_some() {
            return Err(CommandError::Usage(
                "--chunk: gradients take each row as a whole; --recompute needs less memory".into(),
            ));
        }
        output::check_writable(&self.out)?;
        let balance = BalanceLosses { seq_aux: self.aux_loss_alpha, ..BalanceLosses::default() };
        let keep =
            if self.recompute { latent_model::Keep::Inputs } else { latent_model::Keep::Products };
        let form = self.model.fixed_form();
        let config = LossConfig { balance, form, keep, ..LossConfig::default() };
        self.model.run_backward(Differentiating { batch: &self.tokens.0, config, out: &self.out })
    }
}

/// A batch, how its loss is put together, and the file that takes the gradients.
struct Differentiating<'a> {
    batch: &'a [Sequence],
    config: LossConfig,
    out: &'a Path,
}

impl BackwardTask for Differentiating<'_> {
    fn run<B: AttendBackward + ExpertsBackward>(
        self,
        model: &Model<B>,
    ) -> Result<(), CommandError> {
        let (losses, all) = gradients(model, self.batch, &self.config, &mut ())?;
        to_dump(&losses, &all).write(self.out)
    }
}

fn to_dump<T: Scalar>(losses: &Losses, gradients: &Parameters<T>) -> Dump {
    let mut dump = Dump::default();
    dump.array("loss.ce", &[losses.cross_entropy], &[1]);
    dump.array("loss.aux", &[losses.balance], &[1]);
    for (name, gradient) in gradients.iter() {
        dump.array(&format!("grad.{name}"), gradient.values(), gradient.shape());
    }
    dump
}
