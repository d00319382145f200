//! What stands around a question.

use crate::config::{TrainConfigError, want};

/// The template of DeepSeek-R1-Zero.
///
/// # Source
/// DeepSeek-R1 (arXiv 2501.12948), table 1.
pub const R1_TEMPLATE: &str = "A conversation between User and Assistant. The user asks a question, \
     and the Assistant solves it. The assistant first thinks about the reasoning process in the mind \
     and then provides the user with the answer. The reasoning process and answer are enclosed within \
     <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here \
     </think> <answer> answer here </answer>. User: {question}. Assistant:";

/// A template for models that are too small to be told anything.
pub const TINY_TEMPLATE: &str = "Q: {question}\nA: ";

/// The place of the question.
const PLACE: &str = "{question}";

/// A prompt with a place for the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    before: String,
    behind: String,
}

impl Template {
    /// The template that is meant by `r1` or `tiny`, or a text of one's own with `{question}` in it.
    ///
    /// ```
    /// use latent_train::rewards::Template;
    /// let template = Template::new("{question} <think>")?;
    /// assert_eq!(template.prompt("1+1=?"), "1+1=? <think>");
    /// assert!(template.begins_inside());
    /// # Ok::<(), latent_train::config::TrainConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`TrainConfigError::Setting`] when `{question}` is not in it exactly once.
    pub fn new(text: &str) -> Result<Self, TrainConfigError> {
        let text = match text {
            "r1" => R1_TEMPLATE,
            "tiny" => TINY_TEMPLATE,
            own => own,
        };
        let wanted = "r1, tiny, or a text with {question} in it once";
        let parts = text.split_once(PLACE).filter(|(_, behind)| !behind.contains(PLACE));
        want(parts.is_some(), "reward.template", format!("{text:?}"), wanted)?;
        let (before, behind) = parts.unwrap_or_default();
        Ok(Self { before: before.into(), behind: behind.into() })
    }

    /// The prompt of a question, which is put in as it is.
    #[must_use]
    pub fn prompt(&self, question: &str) -> String {
        [&self.before, question, &self.behind].concat()
    }

    /// A chat template, in the language of Jinja, that asks the last message of a conversation alone: for models
    /// that know nothing of conversations.
    ///
    /// ```
    /// use latent_train::rewards::Template;
    /// let template = Template::new("tiny")?;
    /// assert_eq!(template.jinja(), r#"{{ "Q: " ~ messages[-1]["content"] ~ "\nA: " }}"#);
    /// # Ok::<(), latent_train::config::TrainConfigError>(())
    /// ```
    #[must_use]
    pub fn jinja(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let (before, behind) = (text(&self.before), text(&self.behind));
        format!(r#"{{{{ {before} ~ messages[-1]["content"] ~ {behind} }}}}"#)
    }

    /// Whether prompts end with `<think>`, so that completions begin with thoughts.
    #[must_use]
    pub fn begins_inside(&self) -> bool {
        self.behind.trim_end().ends_with("<think>")
    }
}
