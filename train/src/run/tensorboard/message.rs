//! Protocol buffers, and the records that they are written in.
//!
//! # Source
//! TensorFlow, `core/lib/io/record_writer.cc`; the checksum: RFC 3720, appendix B.4.

/// A protocol buffer, field by field.
#[derive(Debug, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn varint(mut self, field: u8, mut value: u64) -> Self {
        self.0.push(field << 3);
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
        self
    }

    pub(super) fn double(mut self, field: u8, value: f64) -> Self {
        self.0.push(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Numbers in one field, packed.
    pub(super) fn doubles(self, field: u8, values: impl Iterator<Item = f64>) -> Self {
        self.bytes(field, &values.flat_map(f64::to_le_bytes).collect::<Vec<u8>>())
    }

    pub(super) fn bytes(mut self, field: u8, bytes: &[u8]) -> Self {
        self.0.push(field << 3 | 2);
        // The length is a varint like a field's value, without a field's number.
        self.0.extend(&Self::default().varint(0, bytes.len() as u64).0[1..]);
        self.0.extend(bytes);
        self
    }

    pub(super) fn float(mut self, field: u8, value: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a plot needs no more digits")]
        let value = value as f32;
        self.0.push(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }
}

/// `length, checksum of it, data, checksum of them`.
pub(super) fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc32c(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc32c(data).to_le_bytes());
    record
}

/// A checksum that may stand in data whose checksum is taken.
pub(super) fn masked_crc32c(data: &[u8]) -> u32 {
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
}
