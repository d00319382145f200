//! Whether thoughts stay in one script.

use serde::{Deserialize, Serialize};

/// A script that thoughts are to be written in: `reward.language`.
///
/// A script is not a language: English and French share one. What it finds is the mix that DeepSeek-R1
/// was trained against, of Chinese and English.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// Latin letters, those with marks included.
    Latin,
    /// Cyrillic letters.
    Cyrillic,
    /// Greek letters.
    Greek,
    /// Chinese characters.
    Han,
}

impl Script {
    /// The share of the letters of a text that are of this script, from 0 to 1; 0 where there are none,
    /// so that nothing earns nothing.
    ///
    /// ```
    /// use latent_train::rewards::Script;
    /// assert_eq!(Script::Latin.share("two 二, two"), 6.0 / 7.0);
    /// assert_eq!(Script::Latin.share("2 + 2"), 0.0);
    /// ```
    ///
    /// # Source
    /// DeepSeek-R1 (arXiv 2501.12948v1), section 2.3.2, which counts words: a Chinese text has no
    /// spaces to count them by.
    #[must_use]
    pub fn share(self, text: &str) -> f64 {
        let letters = text.chars().filter(|c| c.is_alphabetic());
        let (own, all) = letters
            .fold((0_u64, 0_u64), |(own, all), c| (own + u64::from(self.contains(c)), all + 1));
        if all == 0 { 0.0 } else { own as f64 / all as f64 }
    }

    /// Whether a letter is of this script, by the blocks of Unicode that hold it.
    fn contains(self, letter: char) -> bool {
        let point = u32::from(letter);
        let blocks: &[(u32, u32)] = match self {
            Self::Latin => &[(0x41, 0x24f), (0x1e00, 0x1eff)],
            Self::Cyrillic => &[(0x400, 0x52f)],
            Self::Greek => &[(0x370, 0x3ff), (0x1f00, 0x1fff)],
            Self::Han => {
                &[(0x3007, 0x3007), (0x3400, 0x9fff), (0xf900, 0xfaff), (0x20000, 0x323af)]
            }
        };
        blocks.iter().any(|&(first, last)| (first..=last).contains(&point))
    }
}
