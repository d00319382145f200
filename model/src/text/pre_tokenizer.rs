//! Splitting a text into the pieces that merges stay inside of.

use fancy_regex::Regex;
use tokenizers::pattern::Invert;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior};

/// The steps of `pre_tokenizer`, in order.
///
/// The library ends a search without a word when a pattern backtracks over the engine's limit, and
/// then tokenises the rest of the text wrongly. Steps with a pattern therefore run here, where that
/// is an error.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Pattern { regex: Box<Regex>, behavior: SplitDelimiterBehavior, invert: bool },
    Library(PreTokenizerWrapper),
}

impl PreTokenizer {
    /// The steps of the library's own pre-tokenizer; without one a text is one piece.
    pub(crate) fn new(whole: Option<&PreTokenizerWrapper>) -> Result<Self, fancy_regex::Error> {
        let mut steps = Vec::new();
        if let Some(whole) = whole {
            flatten(whole, &mut steps)?;
        }
        Ok(Self { steps })
    }

    /// Splits what is not a token yet.
    pub(crate) fn split(&self, pieces: &mut PreTokenizedString) -> tokenizers::Result<()> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Library(step) => step.pre_tokenize(pieces),
            Step::Pattern { regex, behavior, invert: false } => {
                pieces.split(|_, piece| piece.split(&**regex, *behavior))
            }
            Step::Pattern { regex, behavior, invert: true } => {
                pieces.split(|_, piece| piece.split(Invert(&**regex), *behavior))
            }
        })
    }
}

fn flatten(step: &PreTokenizerWrapper, steps: &mut Vec<Step>) -> Result<(), fancy_regex::Error> {
    match step {
        PreTokenizerWrapper::Sequence(inner) => {
            inner.as_ref().iter().try_for_each(|step| flatten(step, steps))
        }
        PreTokenizerWrapper::Split(split) => {
            let pattern = match &split.pattern {
                SplitPattern::String(text) => fancy_regex::escape(text).into_owned(),
                SplitPattern::Regex(pattern) => pattern.clone(),
            };
            let regex = Box::new(Regex::new(&pattern)?);
            let (behavior, invert) = (split.behavior, split.invert);
            steps.push(Step::Pattern { regex, behavior, invert });
            Ok(())
        }
        other => {
            steps.push(Step::Library(other.clone()));
            Ok(())
        }
    }
}
