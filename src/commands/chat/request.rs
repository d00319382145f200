//! What a line asks for: an answer, or one of the commands.

/// What /help says.
pub(super) const HELP: &str = "\
/clear          begin a new conversation; the system message stays
/system TEXT    what the model is told before the conversation; without TEXT, nothing
/help           this
/exit           end the chat, as Ctrl-D does
Ctrl-C ends the answer that is being written. A message that begins with / wants a space before it.";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// Nothing: an empty line.
    Nothing,
    /// An answer to this.
    Message(&'a str),
    /// A new conversation.
    Clear,
    /// To tell the model this before the conversation.
    System(Option<&'a str>),
    /// The commands.
    Help,
    /// The end.
    Exit,
}

impl<'a> Request<'a> {
    /// What `line` asks for, or why nobody knows.
    pub(super) fn of(line: &'a str) -> Result<Self, String> {
        let Some(command) = line.strip_prefix('/') else {
            let empty = line.trim().is_empty();
            return Ok(if empty { Self::Nothing } else { Self::Message(line) });
        };
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (name, rest.trim()) {
            ("clear", "") => Ok(Self::Clear),
            ("system", "") => Ok(Self::System(None)),
            ("system", text) => Ok(Self::System(Some(text))),
            ("help", "") => Ok(Self::Help),
            ("exit", "") => Ok(Self::Exit),
            ("clear" | "help" | "exit", _) => Err(format!("/{name} stands alone on its line")),
            _ => Err(format!(
                "no command {:?}; /help shows those there are, and a message that begins with / wants a \
                 space before it",
                format!("/{name}")
            )),
        }
    }
}
