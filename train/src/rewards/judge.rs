//! What a completion earns.

use serde::{Deserialize, Serialize};

use super::form::{Form, Reading};
use super::{FormVerdict, Scorer, Script, Template, soft_overlong};

/// The rules of a reward, with all settings proved: see [`RewardConfig::rules`](super::RewardConfig::rules).
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub(super) template: Template,
    pub(super) form: Form,
    pub(super) payment: Payment,
    pub(super) match_weight: f64,
    pub(super) overlong: Overlong,
    pub(super) language: Option<(Script, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Payment {
    Gated,
    Added { form_weight: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlong {
    Judged,
    Soft { max: u64, cache: u64 },
    Hard,
}

/// What a model wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion<'a> {
    /// Its text, without the prompt and without the token that ends it.
    pub text: &'a str,
    /// Its tokens, the last one included.
    pub tokens: u64,
    /// Why it ends.
    pub finish: Finish,
}

/// Why a completion ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// It was cut off.
    Length,
}

/// What a completion was found to be, and what it earns.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement<'a> {
    /// Whether the form is right, or what is wrong with it.
    pub form: FormVerdict,
    /// What stands between `<answer>` and `</answer>`, trimmed, where each is there once and in this
    /// order, whatever else is wrong.
    pub answer: Option<&'a str>,
    /// Whether that answer is right, in whatever form.
    pub matched: bool,
    /// What stands between the first `<think>` and the first `</think>`, trimmed.
    pub thinking: &'a str,
    /// The sum of the parts: a finite number.
    pub reward: f64,
    /// What the reward is made of.
    pub parts: Parts,
    /// Whether the completion is to take no part in the loss.
    pub masked: bool,
}

/// What a reward is made of.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Parts {
    /// For the form.
    pub form: f64,
    /// For the answer.
    #[serde(rename = "match")]
    pub matched: f64,
    /// For thoughts in one script.
    pub language: f64,
    /// For the length, from -1 to 0.
    pub length: f64,
}

impl Rules {
    /// The prompt of a question.
    #[must_use]
    pub fn prompt(&self, question: &str) -> String {
        self.template.prompt(question)
    }

    /// Judges a completion, in a time linear in its length. Weights are finite and shares are from 0 to
    /// 1, so the reward is a finite number.
    ///
    /// | | gated | added |
    /// | --- | --- | --- |
    /// | right form | 0 | `form_weight` |
    /// | right answer | `match_weight` in the right form, else 0 | `match_weight` |
    /// | share of letters of the script | times `language_weight` where the answer counts, else 0 | times `language_weight` |
    /// | `overlong = "soft"` | [`soft_overlong`] | the same |
    /// | `overlong = "hard"`, cut off | all is 0, and it is masked | the same |
    ///
    /// ```
    /// use latent_train::rewards::{Completion, Finish, Known, Match, RewardConfig};
    /// let rules = RewardConfig::default().rules()?;
    /// let known = Known { answer: "4", rule: Match::Numeric };
    /// let text = "<think>2+2=4</think> <answer>4.0</answer>";
    /// let completion = Completion { text, tokens: 20, finish: Finish::Stop };
    /// assert_eq!(rules.judge(&completion, &known).reward, 1.0);
    /// # Ok::<(), latent_train::config::TrainConfigError>(())
    /// ```
    #[must_use]
    pub fn judge<'a>(&self, completion: &Completion<'a>, scorer: &impl Scorer) -> Judgement<'a> {
        let Reading { verdict, thinking, answer } = self.form.read(completion.text);
        let matched = answer.is_some_and(|answer| scorer.matches(answer));
        let masked = self.overlong == Overlong::Hard && completion.finish == Finish::Length;
        let parts = if masked {
            Parts::default()
        } else {
            self.parts(completion.tokens, verdict == FormVerdict::Correct, thinking, matched)
        };
        let reward = parts.form + parts.matched + parts.language + parts.length;
        Judgement { form: verdict, answer, matched, thinking, reward, parts, masked }
    }

    fn parts(&self, tokens: u64, formed: bool, thinking: &str, matched: bool) -> Parts {
        let pay = |earned, weight| if earned { weight } else { 0.0 };
        let language =
            self.language.map_or(0.0, |(script, weight)| weight * script.share(thinking));
        let length = match self.overlong {
            Overlong::Soft { max, cache } => soft_overlong(tokens, max, cache),
            Overlong::Judged | Overlong::Hard => 0.0,
        };
        match self.payment {
            Payment::Gated => Parts {
                form: 0.0,
                matched: pay(formed && matched, self.match_weight),
                language: pay(formed && matched, language),
                length,
            },
            Payment::Added { form_weight } => Parts {
                form: pay(formed, form_weight),
                matched: pay(matched, self.match_weight),
                language,
                length,
            },
        }
    }
}
