//! The problems of a task, in two parts.

use std::ops::Range;

use super::config::Source;
use super::generator::Generator;
use super::shuffle::Shuffle;
use super::{JsonlConfig, Part, Problem, TaskConfig, TaskError};
use crate::config::TrainConfigError;
use crate::hash::Hash;
use crate::random::{Use, stream, unit};

/// How many problems a task makes to train on where none are asked for.
const TRAIN: u64 = 10_000;

/// How many it holds out.
const HELD_OUT: u64 = 500;

/// How many numbers are tried for each problem that is asked for, before too few of them make one.
const TRIES: u128 = 1000;

/// How many numbers that make no problem are passed over at most.
const MAX_TRIES: u128 = 10_000_000;

/// The problems of a task, each in one part.
#[derive(Debug)]
pub struct Task {
    problems: Problems,
}

#[derive(Debug)]
enum Problems {
    /// By their ranks among all numbers.
    Made(Maker, Parts<u128>),
    Read(Parts<Problem>),
}

#[derive(Debug)]
struct Parts<T> {
    train: Vec<T>,
    held_out: Vec<T>,
}

impl<T> Parts<T> {
    fn of(&self, part: Part) -> &[T] {
        match part {
            Part::Train => &self.train,
            Part::HeldOut => &self.held_out,
        }
    }
}

#[derive(Debug)]
struct Maker {
    generator: Box<dyn Generator>,
    seed: u64,
}

impl Maker {
    fn problem(&self, rank: u128) -> Option<Problem> {
        let numbers = self.generator.space().of_rank(rank);
        self.generator.problem(numbers, &mut stream(self.seed, Use::Problem, rank))
    }
}

impl Task {
    /// Draws or reads the problems.
    ///
    /// Problems that are made are kept as 16 bytes each, and made again where they are asked for.
    ///
    /// ```
    /// use latent_train::tasks::{Part, Task, TaskConfig};
    /// let config: TaskConfig = toml::from_str("kind.addition = { max_digits = 2 }")?;
    /// let task = Task::new(&config)?;
    /// let problem = task.problem(0, Part::Train);
    /// assert!(problem.matches(&problem.answer) && !problem.matches("no number"));
    /// assert!(problem.worked().unwrap().ends_with(&problem.answer));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TaskError::Setting`] when a setting is out of its range, or its problems are fewer than are
    /// asked for, or fewer than one in a thousand of its numbers makes one; [`TaskError::Data`] and [`TaskError::Contradiction`] with file and line for
    /// problems that are read.
    pub fn new(config: &TaskConfig) -> Result<Self, TaskError> {
        let problems = match config.source()? {
            Source::Made(generator) => made(config, generator)?,
            Source::Read(jsonl) => read(config, &jsonl)?,
        };
        Ok(Self { problems })
    }

    /// How many different problems there are in a part: at least 1.
    #[must_use]
    pub fn count(&self, part: Part) -> usize {
        match &self.problems {
            Problems::Made(_, ranks) => ranks.of(part).len(),
            Problems::Read(problems) => problems.of(part).len(),
        }
    }

    /// The problem at an index, which is the same whenever it is asked for.
    ///
    /// The indices below [`Task::count`] are different problems. Behind them they begin again.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "ranks are kept only where they make a problem")]
    pub fn problem(&self, index: u64, part: Part) -> Problem {
        let index = usize::try_from(index % self.count(part) as u64).expect("it is below a usize");
        match &self.problems {
            Problems::Read(problems) => problems.of(part)[index].clone(),
            Problems::Made(maker, ranks) => {
                maker.problem(ranks.of(part)[index]).expect("it did when the rank was kept")
            }
        }
    }
}

fn made(config: &TaskConfig, generator: Box<dyn Generator>) -> Result<Problems, TrainConfigError> {
    let size = generator.space().size();
    let maker = Maker { generator, seed: config.seed };
    let shuffle = Shuffle::new(size, config.seed);
    let cut = cut(size, config.held_out);
    let ranks = |part, places: Range<u128>, default| {
        let asked = asked(config, part);
        let most = asked.unwrap_or(default);
        let tries = (TRIES * u128::from(most)).min(MAX_TRIES + u128::from(most));
        let places = places.start..places.end.min(places.start.saturating_add(tries));
        let ranks = places.map(|place| shuffle.at(place));
        let fitting = ranks.filter(|&rank| maker.problem(rank).is_some());
        let found: Vec<u128> = fitting.take(usize::try_from(most).unwrap_or(usize::MAX)).collect();
        enough(part, asked, found.len(), maker.generator.settings())?;
        Ok::<_, TrainConfigError>(found)
    };
    let held_out = ranks(Part::HeldOut, 0..cut, HELD_OUT)?;
    let train = ranks(Part::Train, cut..size, TRAIN)?;
    Ok(Problems::Made(maker, Parts { train, held_out }))
}

fn read(config: &TaskConfig, jsonl: &JsonlConfig) -> Result<Problems, TaskError> {
    let mut parts = Parts { train: Vec::new(), held_out: Vec::new() };
    for (canonical, problem) in jsonl.read()? {
        let held_out = is_held_out(config, &canonical);
        if held_out { &mut parts.held_out } else { &mut parts.train }.push(problem);
    }
    for (part, problems) in [(Part::Train, &mut parts.train), (Part::HeldOut, &mut parts.held_out)]
    {
        let asked = asked(config, part);
        enough(part, asked, problems.len(), "task.kind.jsonl.files")?;
        // There are as many as are asked for, so their number fits.
        problems.truncate(asked.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX));
    }
    Ok(Problems::Read(parts))
}

fn asked(config: &TaskConfig, part: Part) -> Option<u64> {
    match part {
        Part::Train => config.train_problems,
        Part::HeldOut => config.held_out_problems,
    }
}

/// Where the places of the problems to train on begin: at least one place is on either side.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and 2^120"
)]
fn cut(size: u128, held_out: f64) -> u128 {
    let cut = (size as f64 * held_out).round() as u128;
    cut.min(size.saturating_sub(1)).max(1).min(size)
}

/// Whether a problem that was read is held out: its text and the seed decide, whatever else there is.
fn is_held_out(config: &TaskConfig, canonical: &str) -> bool {
    let mut hash = Hash::new();
    hash.add(canonical.as_bytes());
    unit(&mut stream(config.seed, Use::Part, hash.value())) < config.held_out
}

/// Proves that there are as many problems as are asked for, and any at all.
fn enough(
    part: Part,
    asked: Option<u64>,
    found: usize,
    settings: &str,
) -> Result<(), TrainConfigError> {
    let (field, what) = match part {
        Part::Train => ("task.train_problems", "to train on"),
        Part::HeldOut => ("task.held_out_problems", "to hold out"),
    };
    if found > 0 && asked.is_none_or(|asked| found as u64 >= asked) {
        return Ok(());
    }
    let asked = asked.map_or_else(|| "no number".into(), |asked| asked.to_string());
    let wanted = match found {
        0 => format!("at least one problem {what}: {settings} give none"),
        _ => format!("at most {found}: {settings} give no more different problems {what}"),
    };
    Err(TrainConfigError::setting(field, asked, wanted))
}
