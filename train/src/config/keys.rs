//! Keys that nothing reads, and what may have been meant by them.

use std::cell::Cell;

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

use super::{
    DataSection, ExpertsSection, Late, LossSection, ModelSection, OptimizerSection, RunSection,
    ScheduleSection, TrainConfig, TrainConfigError,
};

/// A section, with the keys that it has.
pub(crate) type Section = (&'static str, &'static [&'static str]);

/// The sections of a run.
pub(super) fn of_training() -> [Section; 10] {
    [
        ("", keys_of::<TrainConfig>()),
        ("model", keys_of::<ModelSection>()),
        ("model.experts", keys_of::<ExpertsSection>()),
        ("data", keys_of::<DataSection>()),
        ("optimizer", keys_of::<OptimizerSection>()),
        ("schedule", keys_of::<ScheduleSection>()),
        ("loss", keys_of::<LossSection>()),
        ("loss.mtp_weight_late", keys_of::<Late>()),
        ("loss.bias_update_speed_late", keys_of::<Late>()),
        ("run", keys_of::<RunSection>()),
    ]
}

/// Proves that every key of a file is one of its section's.
pub(crate) fn check(table: &Table, sections: &[Section]) -> Result<(), TrainConfigError> {
    for &(section, keys) in sections {
        let Some(found) = at(table, section) else { continue };
        if let Some(key) = found.keys().find(|key| !keys.contains(&key.as_str())) {
            let suggestion = nearest(section, key, sections);
            return Err(TrainConfigError::UnknownKey { field: join(section, key), suggestion });
        }
    }
    Ok(())
}

/// Proves that every key of a section is one that `T` has.
pub(crate) fn check_section<'de, T: Deserialize<'de>>(
    section: &str,
    value: &Value,
) -> Result<(), TrainConfigError> {
    let keys = keys_of::<T>();
    let unknown = |key: &&String| !keys.contains(&key.as_str());
    match value.as_table().and_then(|found| found.keys().find(unknown)) {
        None => Ok(()),
        Some(key) => {
            let suggestion = nearest(section, key, &[(section, keys)]);
            Err(TrainConfigError::UnknownKey { field: join(section, key), suggestion })
        }
    }
}

/// The table of a section, `None` where there is none.
fn at<'a>(table: &'a Table, section: &str) -> Option<&'a Table> {
    let names = section.split('.').filter(|name| !name.is_empty());
    names.into_iter().try_fold(table, |table, name| table.get(name).and_then(Value::as_table))
}

/// The key that is spelt most like one, first of its own section, with no more than one letter in
/// three another.
fn nearest(section: &str, key: &str, sections: &[(&str, &[&str])]) -> Option<String> {
    let near = |&(other, keys): &(&str, &[&str])| {
        let elsewhere = other != section;
        let each = keys.iter().map(|known| (strsim::osa_distance(key, known), elsewhere, *known));
        each.map(|(distance, elsewhere, known)| (distance, elsewhere, join(other, known)))
            .collect::<Vec<_>>()
    };
    let best = sections.iter().flat_map(near).min()?;
    (best.0 <= (key.chars().count() / 3).max(1)).then_some(best.2)
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.into() } else { format!("{section}.{key}") }
}

/// The keys that a struct reads: it says so when it is read.
pub(crate) fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let asked = Asked(Cell::new(&[]));
    // It fails, once it has asked.
    let _ = T::deserialize(&asked);
    asked.0.get()
}

/// Holds nothing, and notes what is asked for.
struct Asked(Cell<&'static [&'static str]>);

impl<'de> Deserializer<'de> for &Asked {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("nothing is here"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.set(fields);
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
