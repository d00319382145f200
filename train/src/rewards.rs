//! Rewards by rule: what a completion earns for its form and its answer.
//!
//! | you want | look at |
//! | --- | --- |
//! | what a completion earns | [`Rules`], [`Judgement`] |
//! | the settings, `[reward]` | [`RewardConfig`] |
//! | what is wrong with a form | [`FormVerdict`] |
//! | when an answer is right | [`Match`], [`Scorer`] |
//! | the prompt of a question | [`Template`], [`R1_TEMPLATE`] |
//! | punishment of length, and of other scripts | [`soft_overlong`], [`Script`] |
//!
//! Everything is a pure function of the text and the known answer. Truth tables of every rule are in
//! the book, in the page on rewards; the tests read them there.
//!
//! ```
//! use latent_train::rewards::{Completion, Finish, RewardConfig};
//! use latent_train::tasks::{Part, Task, TaskConfig};
//! let task: TaskConfig = toml::from_str("kind.addition = {}")?;
//! let problem = Task::new(&task)?.problem(0, Part::Train);
//! let rules = RewardConfig::default().rules()?;
//! let text = format!("<think>I add.</think><answer>{}</answer>", problem.answer);
//! let completion = Completion { text: &text, tokens: 9, finish: Finish::Stop };
//! assert_eq!(rules.judge(&completion, &problem).reward, 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Source
//! DeepSeek-R1 (arXiv 2501.12948), sections 2.2.2 and 2.3.2.

mod config;
mod form;
mod judge;
mod language;
mod length;
mod matching;
mod number;
mod tags;
mod template;

pub use config::{ModeKind, RewardConfig};
pub use form::FormVerdict;
pub use judge::{Completion, Finish, Judgement, Parts, Rules};
pub use language::Script;
pub use length::{OverlongKind, soft_overlong};
pub use matching::{Known, Match, Scorer};
pub use tags::Tag;
pub use template::{R1_TEMPLATE, TINY_TEMPLATE, Template};
