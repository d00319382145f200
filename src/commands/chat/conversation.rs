//! A conversation as it goes on: a message in, an answer out, both kept for the next.

use latent_model::mla::Attend;
use latent_model::moe::Experts;
use latent_model::{Finish, Model};

use super::Chat;
use super::memory::Memory;
use crate::commands::answer::{Answer, End, Voice};
use crate::commands::{CommandError, output};

/// A conversation with a model that is there.
pub(super) struct Conversation<'a, B: Attend + Experts> {
    model: &'a Model<B>,
    memory: Memory<B>,
    chat: Chat<'a>,
}

impl<'a, B: Attend + Experts> Conversation<'a, B> {
    pub(super) fn new(model: &'a Model<B>, chat: Chat<'a>) -> Result<Self, CommandError> {
        let cache = model.cache_in(chat.format, chat.settings.max_model_len)?;
        Ok(Self { model, memory: Memory::new(cache), chat })
    }

    /// Answers `message` to standard output, until the answer ends or is `asked` to. Returns why the message
    /// was refused, if it was: the conversation is then as it was before.
    ///
    /// # Errors
    /// What ends the whole conversation: an answer that cannot be computed or written.
    pub(super) fn say(
        &mut self,
        message: &str,
        asked: &dyn Fn() -> bool,
    ) -> Result<Option<String>, CommandError> {
        let prompt = match self.chat.dialogue.prompt(self.chat.tokenizer, message) {
            Ok(prompt) => prompt,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let Some(options) = self.chat.settings.after(prompt.len(), self.chat.args) else {
            return Ok(Some(self.no_room(prompt.len())));
        };
        let reused = self.memory.go_back_to(&prompt)?;
        let generation = self.memory.generation(self.model, &prompt, options)?;
        let stop = self.chat.settings.stop.clone();
        let answer =
            Voice::Text { tokenizer: self.chat.tokenizer, stop }.answer(generation, asked)?;
        output::remark(answer.account(Some(reused), self.memory.bytes()));
        if self.is_full(&answer) {
            let most = self.chat.settings.max_model_len;
            output::remark(format_args!(
                "latent: the context of {most} tokens is full; /clear begins a new conversation"
            ));
        }
        let Answer { text, end, tokens, .. } = answer;
        self.memory.note(tokens)?;
        // Who ends an answer before its first word asks anew.
        if end != End::Interrupted || !text.is_empty() {
            self.chat.dialogue.add(message, text);
        }
        Ok(None)
    }

    /// Whether the context, and no other limit, ended an answer.
    fn is_full(&self, answer: &Answer) -> bool {
        answer.end == End::Finish(Finish::Length)
            && answer.tokens.len() >= self.chat.settings.max_model_len
    }

    fn no_room(&self, tokens: usize) -> String {
        let most = self.chat.settings.max_model_len;
        if self.chat.dialogue.is_empty() {
            return format!("a message of {tokens} tokens leaves no room for an answer in {most}");
        }
        format!(
            "the conversation, {tokens} tokens with this message, leaves no room for an answer in {most}; \
             /clear begins a new one"
        )
    }

    /// Begins a new conversation, of which the model is told the same.
    pub(super) fn clear(&mut self) {
        self.chat.dialogue.clear();
        output::remark("latent: a new conversation");
    }

    /// What the model is told before the conversation, as of its next message.
    pub(super) fn set_system(&mut self, text: Option<&str>) {
        self.chat.dialogue.set_system(text);
        let set = if text.is_some() { "set" } else { "taken away" };
        output::remark(format_args!("latent: the system message is {set}, as of the next answer"));
    }
}
