//! Conversations that were recorded with EventMesh 1.x: every frame and message of them is understood.
//!
//! `OPENCONNECT_CAPTURES` names a folder of `*.jsonl`; without it there is nothing to do, and the test says so.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::BytesMut;
use openconnect_protocol::frame::FrameCodec;
use openconnect_protocol::grpc::pb::{CloudEvent, CloudEventBatch};
use prost::Message;
use tokio_util::codec::{Decoder as _, Encoder as _};

#[test]
fn every_recorded_frame_and_message_decodes_and_is_the_same_when_encoded_again() {
    let Some(folder) = std::env::var_os("OPENCONNECT_CAPTURES") else {
        println!("skipped: OPENCONNECT_CAPTURES is not set");
        return;
    };
    let (mut frames, mut messages, mut refused) = (0, 0, 0);
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for (line, text) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let entry: serde_json::Value = serde_json::from_str(text).unwrap();
            let Some(bytes) = entry["hex"].as_str().and_then(|text| hex::decode(text).ok()) else {
                continue;
            };
            // Cut off by the recorder, or by the peer.
            if !entry["hex_cut_at"].is_null() || !entry["event"].is_null() {
                continue;
            }
            let place = format!("{name}:{}", line + 1);
            if let Some(method) = entry["method"].as_str() {
                if method.ends_with("/batchPublish") && entry["dir"] == "c>s" {
                    same::<CloudEventBatch>(&bytes, &place);
                } else {
                    same::<CloudEvent>(&bytes, &place);
                }
                messages += 1;
                continue;
            }
            match frame(&bytes) {
                Ok(()) => frames += 1,
                // Some clients were made to send what is no frame.
                Err(_) if name.contains("quirks") && entry["dir"] == "c>s" => refused += 1,
                Err(e) => panic!("{place}: {e}"),
            }
        }
    }
    println!("{frames} frames, {messages} messages; {refused} deliberately broken frames of clients refused");
    assert!(frames + messages > 0, "the folder has no captures");
}

fn same<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8], place: &str) {
    let message = M::decode(bytes).unwrap_or_else(|e| panic!("{place}: {e}"));
    assert_eq!(M::decode(message.encode_to_vec().as_slice()).unwrap(), message, "{place}");
}

fn frame(bytes: &[u8]) -> Result<(), String> {
    let mut codec = FrameCodec::new(8 << 20);
    let frame = codec
        .decode(&mut BytesMut::from(bytes))
        .map_err(|e| e.to_string())?
        .ok_or("incomplete")?;
    let mut again = BytesMut::new();
    codec.encode(&frame, &mut again).map_err(|e| e.to_string())?;
    let same = codec.decode(&mut again).map_err(|e| e.to_string())? == Some(frame);
    same.then_some(()).ok_or_else(|| "another frame when encoded again".to_owned())
}
