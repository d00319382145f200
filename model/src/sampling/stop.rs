//! Stop strings over streamed text.

use crate::sampling::SamplingError;

/// The most stop strings that a run takes.
pub const MAX_STOPS: usize = 16;
/// The most bytes of one stop string.
pub const MAX_STOP_BYTES: usize = 1024;

/// Finds stop strings in text that comes in pieces, wherever the pieces are cut.
///
/// Text that may be the beginning of a stop string is held back until it is known not to be. The
/// stop string that is complete first ends the text; of several that end at the same character the
/// longest does. The result does not depend on how the text was cut into pieces.
///
/// ```
/// use latent_model::sampling::StopStrings;
/// let mut stop = StopStrings::new(vec!["END".into()])?;
/// assert_eq!(stop.push("some E"), "some ");
/// assert_eq!(stop.push("ND and more"), "");
/// assert_eq!(stop.stopped_by(), Some("END"));
/// # Ok::<(), latent_model::sampling::SamplingError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    stopped: Option<usize>,
}

impl StopStrings {
    /// A search for `stops`; with none, text passes through.
    ///
    /// # Errors
    /// [`SamplingError::Setting`] when there are more than [`MAX_STOPS`], or one is empty or longer
    /// than [`MAX_STOP_BYTES`].
    pub fn new(stops: Vec<String>) -> Result<Self, SamplingError> {
        if stops.len() > MAX_STOPS {
            let wanted = format!("at most {MAX_STOPS} strings");
            return Err(SamplingError::setting("stop", stops.len(), wanted));
        }
        for (i, stop) in stops.iter().enumerate() {
            if stop.is_empty() || stop.len() > MAX_STOP_BYTES {
                let found = format!("{} bytes", stop.len());
                let wanted = format!("1 to {MAX_STOP_BYTES} bytes long");
                return Err(SamplingError::setting(format!("stop[{i}]"), found, wanted));
            }
        }
        Ok(Self { stops, held: String::new(), stopped: None })
    }

    /// Takes the next piece and returns the text that is now known to belong to the answer. After a
    /// stop string was found it returns nothing more.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped.is_some() {
            return String::new();
        }
        for c in piece.chars() {
            self.held.push(c);
            let found = (0..self.stops.len())
                .filter(|&i| self.held.ends_with(&self.stops[i]))
                .max_by_key(|&i| self.stops[i].len());
            if let Some(i) = found {
                self.held.truncate(self.held.len() - self.stops[i].len());
                self.stopped = Some(i);
                return std::mem::take(&mut self.held);
            }
        }
        let kept = self.held.split_off(self.held.len() - self.open_bytes());
        std::mem::replace(&mut self.held, kept)
    }

    /// The text that was held back, when no more will come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The stop string that was found.
    #[must_use]
    pub fn stopped_by(&self) -> Option<&str> {
        self.stopped.map(|i| self.stops[i].as_str())
    }

    /// The bytes at the end of the held text that may still become a stop string.
    fn open_bytes(&self) -> usize {
        let longest = self.stops.iter().map(|s| s.len() - 1).max().unwrap_or(0);
        let start = self.held.len().saturating_sub(longest);
        let open = |&at: &usize| {
            let tail = &self.held.as_bytes()[at..];
            self.stops.iter().any(|s| s.as_bytes().starts_with(tail))
        };
        (start..self.held.len()).find(open).map_or(0, |at| self.held.len() - at)
    }
}
