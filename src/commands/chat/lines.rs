//! Where a conversation's lines come from: an editor in a terminal, else standard input as it is.

use std::io::{self, IsTerminal, StdinLock};

use rustyline::error::ReadlineError;
use rustyline::{Behavior, Config, DefaultEditor};

use crate::commands::interrupt::Interrupt;
use crate::commands::{CommandError, output};

/// What a line is asked for with.
const PROMPT: &str = ">>> ";

/// The lines that a user says.
pub(super) enum Lines {
    /// A terminal's, edited, with those before at hand.
    Terminal(Box<DefaultEditor>),
    /// Those of a file or a pipe.
    Pipe(io::Lines<StdinLock<'static>>),
}

impl Lines {
    /// Those of standard input. Where that is a terminal, Ctrl-C is caught by `interrupt`.
    pub(super) fn open(interrupt: &Interrupt) -> Result<Self, CommandError> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Pipe(io::stdin().lines()));
        }
        // Of the terminal itself, so that prompts stay out of a standard output that goes elsewhere.
        let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(true);
        let editor = DefaultEditor::with_config(config.build()).map_err(failed)?;
        if let Err(error) = interrupt.catch_during() {
            output::warn([format!("Ctrl-C will end the chat with its answer: {error}")]);
        }
        output::remark(
            "latent: Ctrl-C ends an answer, Ctrl-D the chat; /help shows what else there is",
        );
        Ok(Self::Terminal(Box::new(editor)))
    }

    /// The next line; `None` behind the last.
    pub(super) fn read(&mut self) -> Result<Option<String>, CommandError> {
        let editor = match self {
            Self::Pipe(lines) => {
                let line = lines.next().transpose();
                return line.map_err(|error| CommandError::io("standard input".as_ref(), error));
            }
            Self::Terminal(editor) => editor,
        };
        let mut interrupted = false;
        loop {
            match editor.readline(PROMPT) {
                Ok(line) => return Ok(Some(line)),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Interrupted) if interrupted => return Ok(None),
                Err(ReadlineError::Interrupted) => {
                    output::remark("latent: once more, Ctrl-D or /exit ends the chat");
                    interrupted = true;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

fn failed(error: ReadlineError) -> CommandError {
    CommandError::io("the terminal".as_ref(), io::Error::other(error))
}
