//! HTTP at both ends: a client that posts to the HTTP source, an endpoint that the HTTP sink posts to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;
use crate::connector::merge;
use crate::kit::{Kit, free_address};
use crate::oracle::Arrived;
use crate::prove::fault::Trouble;
use crate::prove::subject::{Input, Later, Output, Produced};
use crate::prove::{KEYS, PADDING, PAUSE, SINK_TIMEOUT, poisoned};
use crate::receiver::{Fault, Receiver};
use crate::sender::{Load, Sender};

/// A client of the HTTP source.
struct Client {
    address: SocketAddr,
    sender: Option<Sender>,
}

/// A client that posts numbered events to the HTTP source.
pub fn input(_: &Kit) -> Later<'_, Box<dyn Input>> {
    Box::pin(async {
        Ok(Box::new(Client {
            address: free_address()?,
            sender: None,
        }) as Box<dyn Input>)
    })
}

impl Input for Client {
    fn binary(&self) -> &'static str {
        "openconnect-http-source"
    }

    fn section(&self) -> Value {
        json!({ "listen": self.address })
    }

    fn start(&mut self) -> Later<'_, ()> {
        let load = Load {
            keys: KEYS,
            padding: PADDING,
            within: Duration::from_secs(2),
            pause: PAUSE,
            ..Load::new(self.address)
        };
        self.sender = Some(Sender::start(&load, usize::MAX / 2));
        Box::pin(async { Ok(()) })
    }

    fn confirmed(&self) -> usize {
        self.sender.as_ref().map_or(0, Sender::confirmed)
    }

    fn stop(&mut self) -> Later<'_, Produced> {
        Box::pin(async {
            let sender = self.sender.take().ok_or("it was never started")?;
            let sending = sender.stop().await;
            Ok(Produced {
                confirmed: sending.confirmed,
                open: sending.open,
                refused: Vec::new(),
            })
        })
    }
}

/// An endpoint that takes CloudEvents' batch format.
struct Endpoint {
    receiver: Receiver,
    binary: &'static str,
    /// What its sink needs beside `url` and `timeout`.
    section: Value,
}

/// For the HTTP sink.
pub fn output(_: &Kit) -> Later<'_, Arc<dyn Output>> {
    endpoint("openconnect-http-sink", json!({ "mode": "batch" }))
}

/// For another sink that posts batches to its `url`.
pub fn endpoint(binary: &'static str, section: Value) -> Later<'static, Arc<dyn Output>> {
    Box::pin(async move {
        Ok(Arc::new(Endpoint {
            receiver: Receiver::start().await?,
            binary,
            section,
        }) as Arc<dyn Output>)
    })
}

impl Output for Endpoint {
    fn binary(&self) -> &'static str {
        self.binary
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(self.receiver.address())
    }

    fn section(&self, via: Option<SocketAddr>) -> Value {
        let address = via.unwrap_or_else(|| self.receiver.address());
        let mut section = json!({ "url": format!("http://{address}/"), "timeout": millis(SINK_TIMEOUT) });
        merge(&mut section, self.section.clone());
        section
    }

    fn arrived(&self) -> Later<'_, Vec<Arrived>> {
        Box::pin(async { Ok(self.receiver.arrived()) })
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Later<'_, ()> {
        self.receiver.set(match trouble {
            None => Fault::None,
            Some(Trouble::Down) => Fault::Refuse,
            Some(Trouble::Busy) => Fault::Status(503),
            Some(Trouble::Throttled) => Fault::Status(429),
            Some(Trouble::Poison) => Fault::PoisonNumbers(poisoned),
            Some(Trouble::Silent) => Fault::Stall,
            Some(Trouble::Late) => Fault::Slow(SINK_TIMEOUT / 4),
            Some(Trouble::TooLate) => Fault::Deaf,
        });
        Box::pin(async { Ok::<(), crate::Error>(()) as Result<()> })
    }
}

fn millis(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}
