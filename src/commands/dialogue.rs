//! What was said to a model and by it, and the tokens that its chat template makes of that.

use std::path::Path;

use latent_model::text::{ChatTemplate, Message, RenderOptions, TextError, Tokenizer};

use super::CommandError;

/// A conversation of a user with a model.
#[derive(Debug)]
pub(crate) struct Dialogue {
    template: ChatTemplate,
    system: Option<Message>,
    /// A user's message, its answer, and so on.
    turns: Vec<Message>,
}

impl Dialogue {
    /// A conversation that has not begun, with the model in the folder `dir`. Where that has no chat template,
    /// the error says what to use `instead`.
    pub(crate) fn with(
        dir: &Path,
        system: Option<&str>,
        instead: &str,
    ) -> Result<Self, CommandError> {
        let template = ChatTemplate::from_dir(dir)?.ok_or_else(|| {
            let dir = dir.display();
            CommandError::Usage(format!("{dir} has no chat template; use {instead}"))
        })?;
        let mut dialogue = Self { template, system: None, turns: Vec::new() };
        dialogue.set_system(system);
        Ok(dialogue)
    }

    /// What the model is told before the first message.
    pub(crate) fn set_system(&mut self, text: Option<&str>) {
        self.system = text.map(|text| Message::new("system", text));
    }

    /// The prompt that asks for an answer to `message`, after all that was said.
    ///
    /// What that has in common with the last prompt and its answer is the template's choice: some leave out
    /// what a model thought before it answered, and some all but the last message.
    pub(crate) fn prompt(
        &self,
        tokenizer: &Tokenizer,
        message: &str,
    ) -> Result<Vec<u32>, TextError> {
        let said = self.system.iter().chain(&self.turns).cloned();
        let messages: Vec<Message> = said.chain([Message::new("user", message)]).collect();
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        self.template.encode(tokenizer, &messages, &options)
    }

    /// Adds what was said and answered.
    pub(crate) fn add(&mut self, message: &str, answer: String) {
        self.turns.extend([Message::new("user", message), Message::new("assistant", answer)]);
    }

    /// Whether nothing was said yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Forgets what was said, but not what the model is told before.
    pub(crate) fn clear(&mut self) {
        self.turns.clear();
    }
}
