//! Single steps of every event's way: frames, and events to and from their forms. Allocations are counted.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::BytesMut;
use cloudevents::{Event, EventBuilder, EventBuilderV10};
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use openconnect_protocol::frame::{Command, FrameCodec, Header, encode};
use openconnect_protocol::{grpc, http, json, wire};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const SIZES: [usize; 3] = [100, 512, 10_240];

fn main() {
    divan::main();
}

fn event(bytes: usize) -> Event {
    EventBuilderV10::new()
        .id("0190c3c2-7a4e-7cc0-a1f5-2b8f4b6b1f0e")
        .source("/orders/berlin")
        .ty("com.example.order.created")
        .subject("4711")
        .extension("partitionkey", "customer-17")
        .data("application/json", format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes)))
        .build()
        .unwrap()
}

#[divan::bench(args = SIZES)]
fn frame_encode(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = vec![b'x'; bytes];
    let header = Header::new(Command::AsyncMessageToServer, "12345").with_property("topic", "orders");
    let mut out = BytesMut::with_capacity(bytes + 1024);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        out.clear();
        encode(&header, black_box(&body), &mut out).unwrap();
    });
}

#[divan::bench(args = SIZES)]
fn frame_decode(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut frame = BytesMut::new();
    let header = Header::new(Command::AsyncMessageToClient, "12345").with_property("topic", "orders");
    encode(&header, &vec![b'x'; bytes], &mut frame).unwrap();
    let decoder = FrameCodec::new(8 << 20);
    bencher
        .counter(BytesCount::new(bytes))
        .with_inputs(|| frame.clone())
        .bench_local_refs(|frame| decoder.decode_raw(frame).unwrap().unwrap());
}

#[divan::bench(args = SIZES)]
fn wire_encode(bencher: Bencher<'_, '_>, bytes: usize) {
    let (event, mut out) = (event(bytes), Vec::with_capacity(bytes + 1024));
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        out.clear();
        wire::encode_into(black_box(&event), "orders", &[], &mut out);
    });
}

#[divan::bench(args = SIZES)]
fn wire_decode(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = wire::encode(&event(bytes), "orders");
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| wire::decode(black_box(&text)).unwrap());
}

#[divan::bench(args = SIZES)]
fn wire_peek(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = wire::encode(&event(bytes), "orders");
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| wire::peek(black_box(&text)).map(drop).unwrap());
}

#[divan::bench(args = SIZES)]
fn structured_encode(bencher: Bencher<'_, '_>, bytes: usize) {
    let (event, mut out) = (event(bytes), Vec::with_capacity(bytes + 1024));
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        out.clear();
        json::encode_into(black_box(&event), &mut out);
    });
}

#[divan::bench(args = SIZES)]
fn structured_decode(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = json::encode(&event(bytes));
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| json::decode(black_box(&text)).unwrap());
}

#[divan::bench(args = SIZES)]
fn grpc_from_event(bencher: Bencher<'_, '_>, bytes: usize) {
    let event = event(bytes);
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| grpc::from_event(black_box(&event), "orders"));
}

#[divan::bench(args = SIZES)]
fn grpc_to_event(bencher: Bencher<'_, '_>, bytes: usize) {
    let message = grpc::from_event(&event(bytes), "orders");
    bencher
        .counter(BytesCount::new(bytes))
        .with_inputs(|| message.clone())
        .bench_local_values(|message| grpc::to_event(message).unwrap());
}

#[divan::bench]
fn http_binary_headers(bencher: Bencher<'_, '_>) {
    let event = event(512);
    bencher.bench_local(|| http::binary_headers(black_box(&event)));
}
