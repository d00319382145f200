//! Tasks: questions whose answers a rule can check.
//!
//! | you want | look at |
//! | --- | --- |
//! | problems to train on, and others that are held out | [`Task`], [`Part`] |
//! | one problem: its question, its answer, who is right, a worked solution | [`Problem`] |
//! | the settings, `[task]` | [`TaskConfig`], [`KindConfig`] |
//! | what a base model reads before it is rewarded: worked, guessed and broken answers | [`Examples`], [`ExamplesConfig`] |
//!
//! # No problem is in both parts
//!
//! **What a problem is.** `3+4` and `4+3` ask the same. So a problem that is made is the multiset of its
//! numbers, in `countdown` of the numbers that are given; its question and target follow from the
//! multiset and the seed.
//!
//! **Proof**, for one seed:
//!
//! 1. Ranks `0..N` and multisets correspond one to one (the combinatorial number system).
//! 2. Places `0..N` and ranks correspond one to one: a Feistel network can be undone round by round,
//!    and following it on until it is back in the range keeps two places apart.
//! 3. Held out are problems of places below `H = round(N · held_out)`, trained on those of places from
//!    `H` on. No place is on both sides, so by 2 no rank, and by 1 no multiset.
//!
//! An index is a place, so different indices below [`Task::count`] are different problems.
//! Numbers that make no problem are passed over, which adds none to either side.
//!
//! **Problems that are read** are their question, without surplus white space. A function of this text
//! and the seed alone says the part, so it is one part, whatever other lines there are. What differs
//! in words but means the same is not found.
//!
//! Two seeds have other parts: problems of one are not held out from a training by another.
//!
//! ```
//! use latent_train::tasks::{Part, Task, TaskConfig};
//! let config: TaskConfig = toml::from_str("kind.countdown = { numbers = 3 }\nseed = 5")?;
//! let task = Task::new(&config)?;
//! let problem = task.problem(0, Part::HeldOut);
//! println!("{}: {}", problem.question, problem.answer);
//! assert!(problem.matches(&problem.answer));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod addition;
mod config;
mod countdown;
mod digits;
mod error;
mod examples;
mod expression;
mod gcd;
mod generator;
mod jsonl;
mod multiplication;
mod multisets;
mod problem;
mod shuffle;
mod sum;
mod task;

pub use addition::AdditionConfig;
pub use config::{KindConfig, TaskConfig};
pub use countdown::CountdownConfig;
pub use error::TaskError;
pub use examples::{Defect, Example, ExampleKind, Examples, ExamplesConfig, ExamplesSection};
pub use gcd::GcdConfig;
pub use jsonl::JsonlConfig;
pub use multiplication::MultiplicationConfig;
pub use problem::Problem;
pub use sum::SumConfig;
pub use task::Task;

/// The two parts of the problems of a task. Nothing is in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// What a model learns from.
    Train,
    /// What it is tried on.
    HeldOut,
}
