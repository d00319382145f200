//! Comparing variants of a model fairly: the same data, the same size, several seeds.
//!
//! ```toml
#![doc = include_str!("../ablation.toml")]
//! ```
//!
//! An axis is varied on its own or together with others ([`AblationConfig`]); variants have as many
//! parameters as the settings, all or those that a token uses ([`Equal`]); a run leaves all that a report
//! says of it ([`RunResult`]).

mod choice;
mod config;
mod equal;
mod history;
mod point;
mod result;
mod results;
mod routing;
mod run;

pub use choice::{AttentionChoice, ExpertsChoice, FeedForward, RoutingChoice};
pub use config::{AblationConfig, Variant};
pub use equal::Equal;
pub use point::Point;
pub use result::{BalanceResult, RoutingResult, RunResult};
pub use results::{RESULTS_FILE, read_results};
pub use routing::RoutingByKind;
pub use run::{Ablation, AblationWatch, Failure, Jobs, ablate};
