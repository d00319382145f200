//! Questions, the answers that a model draws to them, and what these earn.

use latent_model::Model;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;

use super::RlPrepared;
use crate::TrainStepError;
use crate::rewards::{Completion, Finish, FormVerdict, Parts};
use crate::rollout::{Continuation, RolloutConfig, rollout};
use crate::tasks::Problem;

/// A question and the answers to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The question.
    pub problem: Problem,
    /// The tokens before each answer.
    pub prompt: Vec<u32>,
    /// The answers.
    pub answers: Vec<Answer>,
}

/// An answer, and what was found of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its tokens, the one that ended it included, and their probabilities.
    pub drawn: Continuation,
    /// What it says, without the token that ended it.
    pub text: String,
    /// Whether its form is right, or what is wrong with it.
    pub form: FormVerdict,
    /// Whether what it gives for an answer is right, in whatever form.
    pub matched: bool,
    /// The characters of its thoughts.
    pub thinking: usize,
    /// The sum of the parts.
    pub reward: f64,
    /// What the reward is made of.
    pub parts: Parts,
}

impl Answer {
    /// Whether it is right, and in the right form.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.matched && self.form == FormVerdict::Correct
    }
}

/// What answers earn: those to one question side by side.
pub(super) fn rewards(groups: &[Group]) -> Vec<f64> {
    groups.iter().flat_map(|group| &group.answers).map(|answer| answer.reward).collect()
}

/// Lets a model answer questions; `models` are as of [`rollout`].
pub(super) fn answer<B: AttendBackward + ExpertsBackward>(
    models: &[Model<B>],
    run: &RlPrepared,
    problems: Vec<Problem>,
    config: &RolloutConfig,
) -> Result<Vec<Group>, TrainStepError> {
    let prompts = problems.iter().map(|problem| prompt(run, problem));
    let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_, _>>()?;
    let mut drawn = rollout(models, &prompts, config)?.into_iter().peekable();
    let groups = problems.into_iter().zip(prompts).enumerate();
    let groups = groups.map(|(index, (problem, prompt))| {
        let own = std::iter::from_fn(|| drawn.next_if(|drawn| drawn.prompt == index));
        let answers = own.map(|drawn| judge(run, &problem, drawn)).collect();
        Group { problem, prompt, answers }
    });
    Ok(groups.collect())
}

/// The tokens of a question, with room behind them for an answer.
fn prompt(run: &RlPrepared, problem: &Problem) -> Result<Vec<u32>, TrainStepError> {
    let tokens = run.codec.encode(&run.rules.prompt(&problem.question))?;
    let longest = run.config.grpo.max_completion_length;
    let room = run.model.max_position_embeddings.saturating_sub(longest);
    if tokens.len() <= room {
        return Ok(tokens);
    }
    let question = problem.question.clone();
    Err(TrainStepError::Question { question, tokens: tokens.len(), room })
}

fn judge(run: &RlPrepared, problem: &Problem, drawn: Continuation) -> Answer {
    let said = &drawn.tokens[..drawn.tokens.len() - usize::from(drawn.ended)];
    let text = run.codec.decode_any(said);
    let finish = if drawn.ended { Finish::Stop } else { Finish::Length };
    let tokens = drawn.tokens.len() as u64;
    let judged = run.rules.judge(&Completion { text: &text, tokens, finish }, problem);
    Answer {
        form: judged.form,
        matched: judged.matched,
        thinking: judged.thinking.chars().count(),
        reward: judged.reward,
        parts: judged.parts,
        drawn,
        text,
    }
}
