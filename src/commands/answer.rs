//! An answer in the making: its prompt computed, its tokens written as they come, its account given.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use latent_model::mla::Attend;
use latent_model::moe::Experts;
use latent_model::sampling::StopStrings;
use latent_model::text::Tokenizer;
use latent_model::{Finish, Generation};

use super::{CommandError, progress};

/// What an answer is written in.
#[derive(Debug)]
pub(crate) enum Voice<'a> {
    /// Token ids, with commas between them.
    Ids,
    /// Text, up to a stop text.
    Text {
        /// What makes text of tokens.
        tokenizer: &'a Tokenizer,
        /// What ends it.
        stop: StopStrings,
    },
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What was written, as text.
    pub(crate) text: String,
    /// Why it ended.
    pub(crate) end: End,
    /// The prompt and the answer.
    pub(crate) tokens: Vec<u32>,
    prompt_len: usize,
    prefill: Duration,
    decode: Duration,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A stop text came.
    StopText,
    /// The model ended it, or its length did.
    Finish(Finish),
    /// It was asked to end.
    Interrupted,
}

impl Voice<'_> {
    /// Writes `generation` to standard output as it comes, up to its end or until it is `asked` to end.
    pub(crate) fn answer<B: Attend + Experts>(
        self,
        mut generation: Generation<'_, B>,
        asked: &dyn Fn() -> bool,
    ) -> Result<Answer, CommandError> {
        let prompt_len = generation.tokens().len();
        let start = Instant::now();
        let bar = progress::bar(prompt_len, "prompt {bar:40} {pos}/{len} tokens, {eta} left");
        generation.prefill(&mut |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let prefill = start.elapsed();

        let start = Instant::now();
        let (text, stopped) = match self {
            Voice::Ids => {
                write_ids(&mut generation, asked)?;
                (String::new(), false)
            }
            Voice::Text { tokenizer, stop } => write_text(&mut generation, tokenizer, stop, asked)?,
        };
        let decode = start.elapsed();
        let end = match generation.finish() {
            _ if stopped => End::StopText,
            Some(finish) => End::Finish(finish),
            None => End::Interrupted,
        };
        let tokens = generation.tokens().to_vec();
        Ok(Answer { text, end, tokens, prompt_len, prefill, decode })
    }
}

/// Writes tokens as they come.
fn write_ids<B: Attend + Experts>(
    generation: &mut Generation<'_, B>,
    asked: &dyn Fn() -> bool,
) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    let mut comma = "";
    while !asked()
        && let Some(token) = generation.next()
    {
        write!(out, "{comma}{}", token?)?;
        out.flush()?;
        comma = ",";
    }
    Ok(writeln!(out)?)
}

/// Writes text as it comes. Returns it, and whether a stop text ended it.
fn write_text<B: Attend + Experts>(
    generation: &mut Generation<'_, B>,
    tokenizer: &Tokenizer,
    mut stop: StopStrings,
    asked: &dyn Fn() -> bool,
) -> Result<(String, bool), CommandError> {
    let mut out = io::stdout().lock();
    let mut decode = tokenizer.stream();
    let mut text = String::new();
    let mut write = |piece: &str| {
        text.push_str(piece);
        write!(out, "{piece}").and_then(|()| out.flush())
    };
    let mut stopped = false;
    while !stopped
        && !asked()
        && let Some(token) = generation.next()
    {
        write(&stop.push(&decode.push(token?)?))?;
        stopped = stop.stopped_by().is_some();
    }
    if !stopped {
        write(&stop.push(&decode.finish()))?;
        write(&stop.finish())?;
    }
    writeln!(out)?;
    Ok((text, stopped))
}

impl Answer {
    /// The line that says what it took; `reused` is how many tokens of the prompt were in the cache before.
    pub(crate) fn account(&self, reused: Option<usize>, cache_bytes: usize) -> String {
        let reused = reused.map_or_else(String::new, |n| format!(" ({n} reused)"));
        let new = self.tokens.len() - self.prompt_len;
        let seconds = self.decode.as_secs_f64();
        let speed = new as f64 / seconds.max(1e-9);
        let why = match self.end {
            End::StopText => "stop text".into(),
            End::Finish(Finish::Eos(id)) => format!("end token {id}"),
            End::Finish(Finish::Length) => format!("limit of {new} tokens"),
            End::Interrupted => "interrupted".into(),
        };
        format!(
            "latent: prompt {} tokens{reused} in {:.2} s; {new} new in {seconds:.2} s ({speed:.1} tok/s); cache {cache_bytes} B; {why}",
            self.prompt_len,
            self.prefill.as_secs_f64(),
        )
    }
}
