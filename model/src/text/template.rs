//! Chat templates: messages to the text that a model was trained on.

mod charged;
mod environment;
mod formats;
mod namespaces;
mod syntax;

use std::path::Path;

use minijinja::Environment;
use serde_json::{Map, Value};

use crate::text::guard::Sentinel;
use crate::text::{TextError, Tokenizer, TokenizerConfig, file};

/// The file that newer models keep their template in.
const FILE: &str = "chat_template.jinja";
/// What a template gets from [`ChatTemplate`] itself, and a caller's arguments may not replace.
const RESERVED: [&str; 8] = [
    "messages",
    "add_generation_prompt",
    "bos_token",
    "eos_token",
    "pad_token",
    "raise_exception",
    "strftime_now",
    "namespace",
];

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks, as in `system`, `user` or `assistant`: 1 to 32 of `a-z`, `0-9`, `_` and `-`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role` that says `content`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// What a template gets besides the messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RenderOptions {
    /// Whether the text ends with the opening of the model's answer.
    pub add_generation_prompt: bool,
    /// What the template's `strftime_now` returns, whatever the format that it asks for; without
    /// it the function does not exist, since a library has no clock.
    pub date: Option<String>,
    /// Further arguments by name. The names of the template's own are refused.
    pub arguments: Map<String, Value>,
}

/// A chat template of a model, in the dialect of transformers: blocks trimmed, Python's methods of
/// strings, lists and maps, `raise_exception`, `tojson`.
///
/// A rendering stops with [`TextError::TemplateLimit`] after 2,000,000 instructions, items visited
/// or pieces of 64 bytes made, at 200 nested calls and at 64 lists and maps in one another. Joining,
/// repeating and nesting lists costs what the result holds, so that doubling does not evade it; to
/// compare, format and search costs what is looked at. A tag has at most 500 words and signs, a
/// template at most 500 `elif`. A namespace cannot be set to hold another one, a macro or a loop.
/// The filters `batch`, `chain`, `groupby`, `slice` and `zip`, and other templates, do not exist.
///
/// ```
/// use latent_model::text::{ChatTemplate, Message, RenderOptions, TokenizerConfig};
/// let source = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}";
/// let template = ChatTemplate::new(source, &TokenizerConfig::default())?;
/// let text = template.render(&[Message::new("user", "Hi")], &RenderOptions::default())?;
/// assert_eq!(text, "[user] Hi\n");
/// # Ok::<(), latent_model::text::TextError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    control: Map<String, Value>,
}

impl ChatTemplate {
    /// The template of a model's folder: `chat_template.jinja`, else the `default` one of
    /// `tokenizer_config.json`, else `None`.
    ///
    /// # Errors
    /// [`TextError`] that names the file, and the line of a template that does not parse.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, TextError> {
        let config = TokenizerConfig::from_dir(dir)?;
        let source = match file::read(&dir.join(FILE))? {
            Some(source) => Some(source),
            None => {
                let default = config.chat_templates.iter().find(|(name, _)| name == "default");
                default.map(|(_, source)| source.clone())
            }
        };
        source.map(|source| Self::new(&source, &config)).transpose()
    }

    /// A template from its source; `config` gives its `bos_token`, `eos_token` and `pad_token`.
    ///
    /// # Errors
    /// [`TextError::Template`] with the line that does not parse.
    pub fn new(source: &str, config: &TokenizerConfig) -> Result<Self, TextError> {
        let environment = environment::new(source)?;
        let tokens = [
            ("bos_token", &config.bos_token),
            ("eos_token", &config.eos_token),
            ("pad_token", &config.pad_token),
        ];
        let token = |(name, token): (&str, &Option<String>)| {
            token.as_ref().map(|t| (name.to_owned(), Value::from(t.as_str())))
        };
        let control = tokens.into_iter().filter_map(token).collect();
        Ok(Self { environment, source: source.into(), control })
    }

    /// The text of `messages`. It does not tell a user's control tokens from the template's: for
    /// ids use [`Self::encode`].
    ///
    /// # Errors
    /// [`TextError::Argument`] for a role or an argument that is not usable,
    /// [`TextError::Raised`] when the template refuses the messages, [`TextError::TemplateLimit`]
    /// when it takes too long or writes too much, [`TextError::Template`] for other failures.
    pub fn render(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<String, TextError> {
        check(messages, options)?;
        let messages = messages.iter().map(|m| message(&m.role, &m.content)).collect();
        self.fill(messages, options.arguments.clone(), options)
    }

    /// The ids of `messages`: control tokens of the template are control tokens, what looks like
    /// one in a message's content or in an argument is plain text. Without such text the ids are
    /// those of the rendered text as a whole.
    ///
    /// # Errors
    /// As [`Self::render`] and [`Tokenizer::encode`]; and [`TextError::Argument`] when a template
    /// rewrites a content so that it cannot be known whose control tokens are in it.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Vec<u32>, TextError> {
        let text = self.render(messages, options)?;
        let sentinel = self.sentinel(tokenizer, messages, options, &text)?;
        let marked = messages
            .iter()
            .map(|m| message(&m.role, &sentinel.wrap(tokenizer, &m.content)))
            .collect();
        let arguments = options.arguments.iter();
        let arguments = arguments.map(|(k, v)| (k.clone(), sentinel.split_json(tokenizer, v)));
        let guarded = self.fill(marked, arguments.collect(), options)?;
        if sentinel.strip(&guarded) == text {
            return tokenizer.encode_guarded(&guarded, sentinel.char());
        }
        if tokenizer.control_ids(&guarded) == tokenizer.control_ids(&text) {
            return tokenizer.encode_with_special(&text);
        }
        let found = "control tokens in a content that the template rewrites";
        Err(TextError::argument("messages", found, "contents without control tokens"))
    }

    /// A sentinel that occurs nowhere in what a rendering reads or, without it, writes.
    fn sentinel(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        options: &RenderOptions,
        text: &str,
    ) -> Result<Sentinel, TextError> {
        let arguments = Value::Object(options.arguments.clone()).to_string();
        let mut inputs = vec![self.source.as_str(), text, &arguments];
        inputs.extend(options.date.as_deref());
        inputs.extend(messages.iter().map(|m| m.content.as_str()));
        Sentinel::choose(tokenizer, &inputs)
    }

    fn fill(
        &self,
        messages: Vec<Value>,
        mut context: Map<String, Value>,
        options: &RenderOptions,
    ) -> Result<String, TextError> {
        context.extend(self.control.clone());
        context.insert("messages".into(), Value::Array(messages));
        context.insert("add_generation_prompt".into(), options.add_generation_prompt.into());
        environment::render(&self.environment, &self.source, context, options.date.as_deref())
    }
}

fn message(role: &str, content: &str) -> Value {
    serde_json::json!({ "role": role, "content": content })
}

fn check(messages: &[Message], options: &RenderOptions) -> Result<(), TextError> {
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
    for (i, Message { role, .. }) in messages.iter().enumerate() {
        if !(1..=32).contains(&role.len()) || !role.chars().all(plain) {
            let wanted = "1 to 32 of a-z, 0-9, _ and -";
            return Err(TextError::argument(
                format!("messages[{i}].role"),
                format!("{role:?}"),
                wanted,
            ));
        }
    }
    match options.arguments.keys().find(|k| RESERVED.contains(&k.as_str())) {
        Some(name) => {
            let wanted = "another name: the template gets this one from its renderer";
            Err(TextError::argument("arguments", format!("{name:?}"), wanted))
        }
        None => Ok(()),
    }
}
