//! Group relative policy optimisation: a model answers each question some times, and answers that are
//! better than the others to the same question become more probable.
//!
//! | you want | look at |
//! | --- | --- |
//! | the settings, by their published names | [`GrpoConfig`] |
//! | how much better an answer is than the others | [`advantages`] |
//! | log-probabilities of answers that are there | [`logprobs`] |
//! | the loss of a batch and its gradient by every weight | [`gradients`], [`GrpoLoss`] |
//! | the loss alone, by log-probabilities from anywhere | [`Objective`] |
//! | what to watch | [`Metrics`] |
//!
//! ```
//! use latent_model::config::ModelConfig;
//! use latent_model::kernels::{Dtype, Reference};
//! use latent_model::Form;
//! use latent_train::Parameters;
//! use latent_train::grpo::{
//!     Completion, GrpoConfig, GrpoLoss, Sampled, Span, advantages, gradients, logprobs,
//! };
//! # let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/v3");
//! let (sizes, _) = ModelConfig::from_dir(&dir)?;
//! let weights = Parameters::<f64>::from_dir(&dir, &sizes)?;
//! let model = weights.model(Reference::<f64>::new(), &sizes, Dtype::F64)?;
//!
//! // Two answers to the question [5, 17], of which the second is right.
//! let answers = [vec![5, 17, 3], vec![5, 17, 20, 8]];
//! let config = GrpoConfig { num_generations: 2, ..GrpoConfig::default() };
//! let advantages = advantages(&[0.0, 1.0], &config)?.values;
//! let spans: Vec<Span> =
//!     answers.iter().map(|tokens| Span { tokens, completion: 2..tokens.len() }).collect();
//! let logps = logprobs(&model, &spans, config.temperature, Form::Expanded, 1024)?;
//! let batch: Vec<Completion> = std::iter::zip(spans, std::iter::zip(logps, advantages))
//!     .map(|(span, (logps, advantage))| Completion {
//!         tokens: span.tokens.to_vec(),
//!         completion: span.completion,
//!         sampled: Sampled {
//!             ref_logps: Some(logps.clone()), // the model is its own reference yet
//!             old_logps: logps,
//!             advantage,
//!             truncated: false,
//!         },
//!     })
//!     .collect();
//! let loss = GrpoLoss { grpo: config, ..GrpoLoss::default() };
//! let (report, gradient) = gradients(&model, &batch, &loss, &mut ())?;
//! assert_eq!((report.metrics.max_ratio_deviation, report.metrics.kl), (0.0, Some(0.0)));
//! assert!(gradient.get("lm_head.weight").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod advantage;
mod config;
mod entropy;
mod error;
mod gradients;
mod logprobs;
mod metrics;
mod objective;
mod sampled;
mod span;
mod term;

pub use advantage::{Advantages, STD_EPS, advantages};
pub use config::{GrpoConfig, LossType, ScaleRewards};
pub use error::GrpoError;
pub use gradients::{Completion, GrpoLoss, GrpoReport, gradients};
pub use logprobs::logprobs;
pub use metrics::Metrics;
pub use objective::Objective;
pub use sampled::{Sampled, Whole};
pub use span::Span;
pub use term::MAX_LOG_RATIO;
