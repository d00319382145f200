//! Reading, checking and writing `config.json`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `file_errors` | the file itself: absent, no JSON, keys twice or unknown |
//! | `size_errors` | sizes out of range, or that do not fit together |
//! | `setting_errors` | settings out of range, unsupported, or in contradiction |
//! | `styles` | the released and the newer style, and absent keys |
//! | `published` | the embedded configurations and their counts |
//! | `properties` | any configuration, any damage |

#![expect(clippy::unwrap_used, reason = "a failure to set a test up is a failed test")]

mod examples;
mod file_errors;
mod properties;
mod published;
mod setting_errors;
mod size_errors;
mod styles;
