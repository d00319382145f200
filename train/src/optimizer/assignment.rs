//! Which parameter is moved by what.

use std::fmt;

use latent_kernels::Scalar;

use crate::Parameters;

/// Names of matrices that are not of hidden layers: embedding, heads and routers. The second head is
/// that of a multi-token-prediction layer.
const OUTER_MATRICES: [&str; 4] =
    ["embed_tokens.weight", "lm_head.weight", "shared_head.head.weight", "mlp.gate.weight"];

/// The end of the name of what no gradient reaches.
const CORRECTION_BIAS: &str = "e_score_correction_bias";

/// Whether gradients reach a parameter: all but the correction bias of a router.
pub(crate) fn has_gradient(name: &str) -> bool {
    !name.ends_with(CORRECTION_BIAS)
}

/// What moves the matrices of hidden layers: projections of attention, feed-forward and experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HiddenMatrices {
    /// [`AdamW`](crate::AdamW), as all else: DeepSeek-V3.
    #[default]
    AdamW,
    /// [`Muon`](crate::Muon): Moonlight, Kimi K2.
    Muon,
}

/// What weight decay shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decay {
    /// Matrices, the embedding among them, and no vectors: the gain of a norm is not drawn to 0. This
    /// is what Megatron-LM and nanoGPT do; DeepSeek's reports do not say.
    #[default]
    Matrices,
    /// Every trained tensor, as `torch.optim.AdamW` does with one group of parameters.
    Everything,
}

/// What moves a parameter in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// [`AdamW`](crate::AdamW), with its weight decay or without.
    AdamW {
        /// Whether weight decay shrinks it.
        decayed: bool,
    },
    /// [`Muon`](crate::Muon), with its weight decay: it moves matrices only.
    Muon,
    /// No gradient: the correction bias of a router is moved by the
    /// [bias rule](latent_model::moe::balance::update_bias), and an optimiser leaves it alone.
    BiasRule,
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AdamW { .. } => "AdamW",
            Self::Muon => "Muon",
            Self::BiasRule => "bias rule",
        })
    }
}

/// The rule that gives each parameter its optimiser, by its published name and its shape.
///
/// | parameter | moved by |
/// | --- | --- |
/// | `*.e_score_correction_bias` | the bias rule, never by a gradient |
/// | embedding, heads, routers (`*.mlp.gate.weight`) | `AdamW` |
/// | what is not a matrix: norms, biases | `AdamW` |
/// | all other matrices | as [`hidden_matrices`](Self::hidden_matrices) says |
///
/// ```
/// use latent_train::{Assignment, Decay, HiddenMatrices, Update};
/// let rule = Assignment { hidden_matrices: HiddenMatrices::Muon, decay: Decay::Matrices };
/// assert_eq!(rule.of("model.layers.0.self_attn.o_proj.weight", &[32, 40]), Update::Muon);
/// assert_eq!(rule.of("model.norm.weight", &[32]), Update::AdamW { decayed: false });
/// assert_eq!(rule.of("lm_head.weight", &[96, 32]), Update::AdamW { decayed: true });
/// ```
///
/// # Source
/// Liu et al., *Muon is Scalable for LLM Training* (arXiv 2502.16982), section 2.2, for what Muon
/// does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Assignment {
    /// What moves the matrices of hidden layers.
    pub hidden_matrices: HiddenMatrices,
    /// What weight decay shrinks.
    pub decay: Decay,
}

impl Assignment {
    /// What moves the parameter of this name and shape.
    #[must_use]
    pub fn of(&self, name: &str, shape: &[usize]) -> Update {
        let ends_with = |part: &&str| name.rsplit_once(part).is_some_and(is_whole_end);
        if ends_with(&CORRECTION_BIAS) {
            return Update::BiasRule;
        }
        let hidden = shape.len() == 2 && !OUTER_MATRICES.iter().any(ends_with);
        if hidden && self.hidden_matrices == HiddenMatrices::Muon {
            return Update::Muon;
        }
        Update::AdamW { decayed: self.decay == Decay::Everything || shape.len() >= 2 }
    }

    /// Name, shape, optimiser and decay of every parameter, a line each.
    ///
    /// ```
    /// use latent_train::{Array, Assignment, Parameters};
    /// let mut weights = Parameters::default();
    /// weights.insert("lm_head.weight", Array::new(&[1, 2], vec![0.0_f32; 2]).unwrap());
    /// weights.insert("model.norm.weight", Array::new(&[2], vec![0.0_f32; 2]).unwrap());
    /// let want = "\
    /// name               shape   moved by   decayed
    /// lm_head.weight     [1, 2]  AdamW      yes
    /// model.norm.weight  [2]     AdamW      no
    /// ";
    /// assert_eq!(Assignment::default().table(&weights), want);
    /// ```
    #[must_use]
    pub fn table<T: Scalar>(&self, parameters: &Parameters<T>) -> String {
        let rows: Vec<_> = parameters
            .iter()
            .map(|(name, array)| {
                let update = self.of(name, array.shape());
                let decayed = matches!(update, Update::AdamW { decayed: true } | Update::Muon);
                (name, format!("{:?}", array.shape()), update, if decayed { "yes" } else { "no" })
            })
            .collect();
        let names = rows.iter().map(|row| row.0.len()).max().unwrap_or(0).max("name".len());
        let shapes = rows.iter().map(|row| row.1.len()).max().unwrap_or(0).max("shape".len());
        let head = format!("{:names$}  {:shapes$}  {:9}  decayed\n", "name", "shape", "moved by");
        let line = |(name, shape, update, decayed)| {
            format!("{name:names$}  {shape:shapes$}  {update:9}  {decayed}\n")
        };
        rows.into_iter().map(line).fold(head, |table, line| table + &line)
    }
}

/// Whether a name, split before and after its end, ends there, and the end is not half a word.
fn is_whole_end((before, after): (&str, &str)) -> bool {
    after.is_empty() && (before.is_empty() || before.ends_with('.'))
}
