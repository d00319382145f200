//! TensorBoard's event files: records of a length, an event and two checksums.
//!
//! An event is a protocol buffer of a few fields: `wall_time` (1, double), `step` (2, int64),
//! `file_version` (3, string), `summary` (5), `session_log` (7). A summary has values (1) with a `tag`
//! (1, string) and a `simple_value` (2, float).
//!
//! # Source
//! TensorFlow, `core/util/event.proto`, `core/framework/summary.proto` and
//! `core/lib/io/record_writer.cc`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::folder::RunFolder;
use crate::{Evaluation, StepReport, TrainError};

/// Numbers by step, for TensorBoard.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file for the steps after `done`: what other files say of those is forgotten.
    pub(super) fn create(folder: &RunFolder, done: u64) -> Result<Self, TrainError> {
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

    fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<(), TrainError> {
        let summary = scalars.iter().fold(Message::default(), |summary, (tag, value)| {
            let value = Message::default().bytes(1, tag.as_bytes()).float(2, *value);
            summary.bytes(1, &value.0)
        });
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

/// A protocol buffer, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, field: u8, mut value: u64) -> Self {
        self.0.push(field << 3);
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
        self
    }

    fn double(mut self, field: u8, value: f64) -> Self {
        self.0.push(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u8, bytes: &[u8]) -> Self {
        self.0.push(field << 3 | 2);
        // The length is a varint like a field's value, without a field's number.
        self.0.extend(&Self::default().varint(0, bytes.len() as u64).0[1..]);
        self.0.extend(bytes);
        self
    }

    fn float(mut self, field: u8, value: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a plot needs no more digits")]
        let value = value as f32;
        self.0.push(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }
}

/// `length, checksum of it, data, checksum of them`.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc32c(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc32c(data).to_le_bytes());
    record
}

/// A checksum that may stand in data whose checksum is taken.
fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The cyclic redundancy check with Castagnoli's polynomial, reflected.
fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !data.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn numbers_are_cut_into_groups_of_seven_bits() {
        assert_eq!(Message::default().varint(2, 300).0, [0x10, 0xac, 0x02]);
        assert_eq!(Message::default().varint(1, 0).0, [0x08, 0x00]);
        assert_eq!(Message::default().bytes(3, b"ab").0, [0x1a, 2, b'a', b'b']);
    }

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
}
