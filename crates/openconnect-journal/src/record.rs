//! One entry on disk: length, CRC-32 (of time and payload), time in ms since the epoch, payload. Little-endian.

pub(crate) const HEADER: usize = 16;

/// An entry's header.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) len: u32,
    pub(crate) crc: u32,
    pub(crate) time: [u8; 8],
}

impl Head {
    /// `None` when there are not enough bytes for a header.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            len: u32::from_le_bytes(*bytes.first_chunk()?),
            crc: u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?),
            time: *bytes.get(8..)?.first_chunk()?,
        })
    }

    pub(crate) fn time_ms(&self) -> u64 {
        u64::from_le_bytes(self.time)
    }

    pub(crate) fn matches(&self, payload: &[u8]) -> bool {
        checksum(self.time, payload) == self.crc
    }
}

pub(crate) fn encode(payload: &[u8], len: u32, time_ms: u64, out: &mut Vec<u8>) {
    let time = time_ms.to_le_bytes();
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&checksum(time, payload).to_le_bytes());
    out.extend_from_slice(&time);
    out.extend_from_slice(payload);
}

fn checksum(time: [u8; 8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&time);
    hasher.update(payload);
    hasher.finalize()
}
