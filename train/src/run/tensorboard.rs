//! TensorBoard's event files: records of a length, an event and two checksums.
//!
//! An event is a protocol buffer of a few fields: `wall_time` (1, double), `step` (2, int64),
//! `file_version` (3, string), `summary` (5), `session_log` (7). A summary has values (1) with a `tag`
//! (1, string) and a `simple_value` (2, float) or a `histo` (5): `min` (1), `max` (2), `num` (3), `sum`
//! (4) and `sum_squares` (5), the right edges of its buckets (6) and what is in them (7), all doubles.
//!
//! # Source
//! TensorFlow, `core/util/event.proto`, `core/framework/summary.proto` and
//! `core/framework/histogram.proto`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::folder::RunFolder;
use crate::{Evaluation, Loads, StepReport, TrainError};

mod message;

use self::message::{Message, record};

/// Numbers by step, for TensorBoard.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file for the steps after `done`: what other files say of those is forgotten.
    pub(crate) fn create(folder: &RunFolder, done: u64) -> Result<Self, TrainError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Files are read in the order of their names.
        let name = format!("events.out.tfevents.{:010}.{:09}", now.as_secs(), now.subsec_nanos());
        let path = folder.path().join(name);
        let file = File::create(&path).map_err(|e| TrainError::io(&path, e))?;
        let mut this = Self { path, file };
        let version = Message::default().bytes(3, b"brain.Event:2");
        this.write(0, version)?;
        // A session that starts (status 1) at a step takes away what is at it and behind it.
        let start = Message::default().varint(1, 1);
        this.write(done + 1, Message::default().bytes(7, &start.0))?;
        Ok(this)
    }

    /// Writes the numbers of a step.
    pub(super) fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let mut scalars = vec![
            ("loss/total".to_owned(), report.loss),
            ("loss/cross_entropy".to_owned(), report.losses.cross_entropy),
            ("loss/mtp".to_owned(), report.losses.mtp),
            ("loss/balance".to_owned(), report.losses.balance),
            ("learning_rate".to_owned(), report.learning_rate),
            ("grad_norm".to_owned(), report.grad_norm),
            (
                "tokens_per_second".to_owned(),
                report.tokens as f64 / report.time.as_secs_f64().max(1e-9),
            ),
        ];
        let max_vio = report.loads.max_vio();
        scalars.extend(max_vio.map(|(layer, v)| (format!("max_vio/layer_{layer}"), v)));
        self.scalars(report.step, &scalars)
    }

    /// Writes the numbers of an evaluation.
    pub(super) fn evaluation(&mut self, step: u64, found: &Evaluation) -> Result<(), TrainError> {
        let mut scalars = vec![("validation/loss".to_owned(), found.loss)];
        let bits = found.bits_per_byte();
        scalars.extend(bits.map(|bits| ("validation/bits_per_byte".to_owned(), bits)));
        let kinds = found.kinds.iter();
        scalars.extend(kinds.map(|(kind, (loss, _))| (format!("validation/{kind}"), *loss)));
        self.scalars(step, &scalars)
    }

    /// Writes how many tokens each expert got in a step, for each layer.
    pub(crate) fn loads(&mut self, step: u64, loads: &Loads) -> Result<(), TrainError> {
        let values = loads.iter().map(|(layer, load)| {
            let tag = format!("load/layer_{layer}");
            Message::default().bytes(1, tag.as_bytes()).bytes(5, &histogram(load).0)
        });
        self.summary(step, values)
    }

    /// Writes numbers of a step, each under its tag.
    pub(crate) fn scalars(
        &mut self,
        step: u64,
        scalars: &[(String, f64)],
    ) -> Result<(), TrainError> {
        let value = |(tag, value): &(String, f64)| {
            Message::default().bytes(1, tag.as_bytes()).float(2, *value)
        };
        self.summary(step, scalars.iter().map(value))
    }

    fn summary(
        &mut self,
        step: u64,
        values: impl Iterator<Item = Message>,
    ) -> Result<(), TrainError> {
        let summary = values.fold(Message::default(), |summary, value| summary.bytes(1, &value.0));
        self.write(step, Message::default().bytes(5, &summary.0))
    }

    /// Writes an event with the time of now.
    fn write(&mut self, step: u64, what: Message) -> Result<(), TrainError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut event = Message::default().double(1, now.as_secs_f64()).varint(2, step);
        event.0.extend(what.0);
        self.file.write_all(&record(&event.0)).map_err(|e| TrainError::io(&self.path, e))
    }
}

/// The histogram of the experts that were chosen: bucket `e`, from `e` to `e + 1`, holds the tokens of
/// expert `e`.
fn histogram(load: &[usize]) -> Message {
    let each = || load.iter().enumerate().map(|(expert, &tokens)| (expert as f64, tokens as f64));
    Message::default()
        .double(1, 0.0)
        .double(2, load.len() as f64)
        .double(3, each().map(|(_, tokens)| tokens).sum())
        .double(4, each().map(|(expert, tokens)| expert * tokens).sum())
        .double(5, each().map(|(expert, tokens)| expert * expert * tokens).sum())
        .doubles(6, each().map(|(expert, _)| expert + 1.0))
        .doubles(7, each().map(|(_, tokens)| tokens))
}

#[cfg(test)]
mod tests {
    use super::message::masked_crc32c;
    use super::*;

    /// A field's number and what it holds: a number, or bytes.
    #[derive(Debug, Clone, PartialEq)]
    enum Field {
        Number(u64),
        Bytes(Vec<u8>),
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let length = bytes.iter().position(|b| b & 0x80 == 0).unwrap() + 1;
        let (digits, rest) = bytes.split_at(length);
        *bytes = rest;
        digits.iter().rev().fold(0, |value, b| value << 7 | u64::from(b & 0x7f))
    }

    fn message(mut bytes: &[u8]) -> Vec<(u64, Field)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    fields.push((key >> 3, Field::Number(varint(&mut bytes))));
                    continue;
                }
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)).unwrap(),
                5 => 4,
                other => panic!("wire type {other}"),
            };
            let (value, rest) = bytes.split_at(length);
            fields.push((key >> 3, Field::Bytes(value.to_vec())));
            bytes = rest;
        }
        fields
    }

    /// The only field of a number.
    fn bytes(fields: &[(u64, Field)], number: u64) -> &[u8] {
        match fields.iter().find(|(n, _)| *n == number) {
            Some((_, Field::Bytes(bytes))) => bytes,
            other => panic!("field {number}: {other:?}"),
        }
    }

    /// The events of a file, every checksum proved.
    fn events(mut file: &[u8]) -> Vec<Vec<(u64, Field)>> {
        let mut take = |n: usize| {
            let (taken, rest) = file.split_at_checked(n)?;
            file = rest;
            Some(taken)
        };
        let mut events = Vec::new();
        while let Some(length) = take(8) {
            let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
            assert_eq!(number(take(4).unwrap()), masked_crc32c(length));
            let length = u64::from_le_bytes(length.try_into().unwrap());
            let data = take(usize::try_from(length).unwrap()).unwrap();
            assert_eq!(number(take(4).unwrap()), masked_crc32c(data));
            events.push(message(data));
        }
        events
    }

    #[test]
    fn what_is_written_is_decoded_to_the_same_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(&RunFolder::open(folder.path()).unwrap(), 300).unwrap();
        let found = Evaluation {
            loss: 3.0 * std::f64::consts::LN_2,
            targets: 4,
            bytes: 6,
            kinds: [("prose".into(), (2.5, 4))].into(),
        };
        file.evaluation(301, &found).unwrap();
        file.scalars(70_000, &[("a".into(), 1.0), ("b".repeat(200), -3.0)]).unwrap();
        let events = events(&std::fs::read(&file.path).unwrap());
        assert_eq!(events.len(), 4);
        assert_eq!(bytes(&events[0], 3), b"brain.Event:2");
        let step = |event: &[(u64, Field)]| event.iter().find(|(n, _)| *n == 2).cloned().unwrap().1;
        assert_eq!(step(&events[1]), Field::Number(301));
        assert_eq!(message(bytes(&events[1], 7)), [(1, Field::Number(1))]);
        let scalars = |event: &[(u64, Field)]| -> Vec<(String, f32)> {
            let summary = message(bytes(event, 5));
            let values = summary.iter().map(|(number, value)| {
                let (1, Field::Bytes(value)) = (number, value) else { panic!("{value:?}") };
                let value = message(value);
                let tag = String::from_utf8(bytes(&value, 1).to_vec()).unwrap();
                (tag, f32::from_le_bytes(bytes(&value, 2).try_into().unwrap()))
            });
            values.collect()
        };
        let loss = 3.0 * std::f32::consts::LN_2;
        let wanted = [("loss", loss), ("bits_per_byte", 2.0), ("prose", 2.5)];
        let wanted = wanted.map(|(tag, value)| (format!("validation/{tag}"), value));
        assert_eq!(scalars(&events[2]), wanted);
        assert_eq!(step(&events[3]), Field::Number(70_000));
        assert_eq!(scalars(&events[3]), [("a".into(), 1.0), ("b".repeat(200), -3.0)]);
        let time = f64::from_le_bytes(bytes(&events[3], 1).try_into().unwrap());
        assert!(time > 1.7e9, "{time}");
    }

    #[test]
    fn the_load_of_each_expert_is_a_bucket_of_its_layer() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(&RunFolder::open(folder.path()).unwrap(), 0).unwrap();
        let mut loads = Loads::default();
        loads.add(1, &[3, 0, 5]);
        loads.add(4, &[1, 7]);
        file.loads(9, &loads).unwrap();
        let events = events(&std::fs::read(&file.path).unwrap());
        let summary = message(bytes(&events[2], 5));
        let values: Vec<_> =
            summary.iter().map(|value| message(bytes(std::slice::from_ref(value), 1))).collect();
        let tags: Vec<&[u8]> = values.iter().map(|value| bytes(value, 1)).collect();
        assert_eq!(tags, [b"load/layer_1", b"load/layer_4"]);
        let histo = message(bytes(&values[0], 5));
        let doubles = |number| -> Vec<f64> {
            let (each, rest) = bytes(&histo, number).as_chunks::<8>();
            assert!(rest.is_empty());
            each.iter().map(|b| f64::from_le_bytes(*b)).collect()
        };
        // From 0 to 3, 8 tokens; ids add up to 10, their squares to 20.
        let numbers: Vec<f64> = (1..=5).flat_map(doubles).collect();
        assert_eq!(numbers, vec![0.0, 3.0, 8.0, 10.0, 20.0]);
        assert_eq!((doubles(6), doubles(7)), (vec![1.0, 2.0, 3.0], vec![3.0, 0.0, 5.0]));
    }
}
