//! The TCP frame codec, fed in pieces: it keeps no more than a frame, and what it took comes out again as it was.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use openconnect_protocol::frame::{Frame, FrameCodec, encode};
use tokio_util::codec::Decoder as _;

const MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((chunk, bytes)) = input.split_first() else { return };
    let chunk = usize::from(*chunk) + 1;
    let (mut codec, mut buffer) = (FrameCodec::new(MAX), BytesMut::new());
    for part in bytes.chunks(chunk) {
        buffer.extend_from_slice(part);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => again(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(buffer.len() < MAX + chunk);
    }
});

fn again(frame: &Frame) {
    let mut bytes = BytesMut::new();
    encode(&frame.header, &frame.body, &mut bytes).expect("it was a frame");
    // Numbers in properties may be written in another way, and longer.
    let copy = FrameCodec::new(64 * MAX).decode(&mut bytes).expect("own frame").expect("whole frame");
    assert_eq!((&copy.header.cmd, &copy.header.seq), (&frame.header.cmd, &frame.header.seq));
    assert_eq!(copy.body, frame.body);
}
