//! What a base model reads before it is rewarded: problems that are worked through, guessed, or answered in
//! a broken form.

mod config;
mod form;

use rand_chacha::ChaCha8Rng;

use super::{Part, Problem, Task, TaskError};
use crate::random::{Use, below, stream, unit};
use crate::rewards::Template;

pub use config::{ExamplesConfig, ExamplesSection};
pub use form::Defect;

/// Examples of the problems of a task: what a base model is to learn from, so that reinforcement learning
/// then has something to select.
///
/// An example is the prompt of a problem to train on, followed by a completion. Its problem is that of its
/// index; all else is drawn from a stream of its own, so an example is the same however many there are.
///
/// | [`ExampleKind`] | thoughts | answer | right |
/// | --- | --- | --- | --- |
/// | `worked` | the worked solution | the right one | always |
/// | `partial` | its first `k` of `n` steps, `k` from 1 to `n - 1`; where `n` is 1 it is a guess. Then a guess | the guess | by chance |
/// | `guess` | `it is`, and a guess | the guess | by chance |
///
/// A **guess** of a whole number `n` is one from `n - w` (at least 1) to `n + w`, each as probable as the
/// others, with `w = max(5, n / 4)`. Of `countdown` it is an expression of the given numbers that is drawn
/// as the solution was, whatever it comes to.
///
/// A share of all, of each kind alike, is **malformed**: see [`Defect`].
///
/// ```
/// use latent_train::tasks::{Examples, ExamplesConfig};
/// let config = ExamplesConfig::from_toml(
///     "task.kind.sum = { terms = 3 }\nexamples = { worked = 1, partial = 0, guess = 0, malformed = 0 }",
///     &[],
/// )?;
/// let example = Examples::new(&config)?.example(0);
/// let (question, answer) = (&example.problem.question, &example.problem.answer);
/// assert_eq!(example.prompt, format!("Q: {question}\nA: "));
/// assert!(example.completion.ends_with(&format!("={answer}</think> <answer>{answer}</answer>")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Examples {
    task: Task,
    template: Template,
    section: ExamplesSection,
    shares: Shares,
}

/// A problem with a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What is asked.
    pub problem: Problem,
    /// The question in its template.
    pub prompt: String,
    /// What follows, without the token that ends it.
    pub completion: String,
    /// How the answer was found.
    pub kind: ExampleKind,
    /// What is wrong with the form, if anything is.
    pub defect: Option<Defect>,
}

/// How the answer of an example was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExampleKind {
    /// By the whole worked solution.
    Worked,
    /// By a guess after some steps.
    Partial,
    /// By a guess.
    Guess,
}

impl Example {
    /// Prompt and completion. A document ends behind it: training puts the model's end token there.
    #[must_use]
    pub fn text(&self) -> String {
        [self.prompt.as_str(), &self.completion].concat()
    }

    /// The kind of text that it is for training: `malformed`, or else `worked`, `partial` or `guess`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match (self.defect, self.kind) {
            (Some(_), _) => "malformed",
            (None, ExampleKind::Worked) => "worked",
            (None, ExampleKind::Partial) => "partial",
            (None, ExampleKind::Guess) => "guess",
        }
    }
}

impl Examples {
    /// Draws the problems.
    ///
    /// # Errors
    /// [`TaskError::Setting`] as [`ExamplesConfig::validate`], and those of [`Task::new`].
    pub fn new(config: &ExamplesConfig) -> Result<Self, TaskError> {
        config.validate()?;
        let template = config.examples.template()?;
        let shares = config.examples.shares()?;
        let task = Task::new(&config.task)?;
        Ok(Self { task, template, section: config.examples.clone(), shares })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.section.count
    }

    /// The example at an index, which is the same whenever it is asked for.
    ///
    /// Its problem is that of the index in [`Part::Train`]. Where these begin again, completions do not.
    #[must_use]
    pub fn example(&self, index: u64) -> Example {
        let problem = self.task.problem(index, Part::Train);
        let mut stream = stream(self.section.seed, Use::Example, index);
        let kind = self.shares.draw(unit(&mut stream));
        // Drawn before what is drawn for some alone: so the share moves nothing else.
        let malformed = unit(&mut stream) < self.section.malformed;
        let (kind, thoughts, answer) = attempt(&problem, kind, &mut stream);
        let defect = malformed.then(|| Defect::ALL[below(&mut stream, Defect::ALL.len())]);
        let completion = form::write(defect, self.template.begins_inside(), &thoughts, &answer);
        let prompt = self.template.prompt(&problem.question);
        Example { problem, prompt, completion, kind, defect }
    }
}

/// Thoughts and an answer; a problem of one step cannot be left halfway.
fn attempt(
    problem: &Problem,
    kind: ExampleKind,
    stream: &mut ChaCha8Rng,
) -> (ExampleKind, String, String) {
    let worked =
        problem.worked().expect("settings of examples want a task that makes its problems");
    let steps: Vec<&str> = worked.lines().collect();
    let taken = match kind {
        ExampleKind::Worked => return (kind, worked.into(), problem.answer.clone()),
        ExampleKind::Partial if steps.len() > 1 => 1 + below(stream, steps.len() - 1),
        ExampleKind::Partial | ExampleKind::Guess => 0,
    };
    let guess = problem.guess(stream).expect("answers of such a task are numbers or expressions");
    let said = format!("it is {guess}");
    let kind = if taken > 0 { ExampleKind::Partial } else { ExampleKind::Guess };
    let lines: Vec<&str> = steps[..taken].iter().copied().chain([said.as_str()]).collect();
    (kind, lines.join("\n"), guess)
}

/// The shares of the kinds, summed up.
#[derive(Debug, Clone, Copy)]
struct Shares {
    worked: f64,
    worked_or_partial: f64,
}

impl Shares {
    /// The kind of a number below 1.
    fn draw(self, number: f64) -> ExampleKind {
        if number < self.worked {
            ExampleKind::Worked
        } else if number < self.worked_or_partial {
            ExampleKind::Partial
        } else {
            ExampleKind::Guess
        }
    }
}
