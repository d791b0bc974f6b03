//! Three processes of one sink in one consumer group, that come and go at random.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashSet;
use std::time::Duration;

use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::oracle::judge;
use openconnect_testkit::process::until;
use openconnect_testkit::receiver::Receiver;
use openconnect_testkit::sender::{Load, Sender};
use rustix::process::Signal;
use serde_json::json;

const LONG: Duration = Duration::from_secs(120);

/// Members are stopped for good, killed, and paused for less and for more than the mesh waits for an acknowledgement: nothing is
/// lost, and the target sees each event of a key for the first time after those before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_each_key_stays_in_order() {
    const TURNS: usize = 24;
    let mut kit = Kit::new("members_come_and_go").unwrap();
    let mesh = Mesh::start(&kit, json!({ "delivery": { "redeliver_after": "2s" } })).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let to_mesh = json!({ "url": mesh.url(), "topic": "orders", "reconnect_max": "200ms" });
    let address = free_address().unwrap();
    let hook = json!({ "mesh": to_mesh, "source": { "listen": address } });
    let _hook = Connector::start(&kit, "openconnect-http-source", "hook", hook).await.unwrap();
    let mut members = Vec::new();
    for name in ["one", "two", "three"] {
        let settings = json!({
            "name": "out",
            "mesh": to_mesh,
            "sink": { "url": receiver.url(), "mode": "batch" },
            "state": { "dir": kit.file(name) },
            "delivery": { "shutdown_timeout": "5s", "retry": { "initial": "20ms", "max": "200ms" } },
        });
        members.push(Connector::start(&kit, "openconnect-http-sink", name, settings).await.unwrap());
    }
    let sender = Sender::start(&Load::new(address), usize::MAX / 2);
    let mut did = [0; 3];
    for _ in 0..TURNS {
        tokio::time::sleep(Duration::from_millis(kit.pick(20..300))).await;
        let member = &mut members[kit.pick(0..3) as usize];
        let what = kit.pick(0..3) as usize;
        did[what] += 1;
        match what {
            0 => {
                let code = member.process().unwrap().terminate(LONG).await.unwrap();
                assert_eq!(code, Some(0), "{}", member.log());
                member.launch().unwrap();
            }
            1 => {
                member.kill().await.unwrap();
                tokio::time::sleep(Duration::from_millis(kit.pick(0..500))).await;
                member.launch().unwrap();
            }
            _ => {
                member.process().unwrap().signal(Signal::STOP).unwrap();
                tokio::time::sleep(Duration::from_millis(kit.pick(100..5000))).await;
                member.process().unwrap().signal(Signal::CONT).unwrap();
            }
        }
        // A signal must find a process that listens for it.
        member.ready().await.unwrap();
    }
    let sending = sender.stop().await;
    let arrived = || receiver.arrived().into_iter().map(|arrived| arrived.id).collect::<HashSet<_>>();
    let all = until("all arrived", LONG, || {
        let arrived = arrived();
        let all = sending.confirmed.iter().all(|sent| arrived.contains(&sent.id));
        async move { all.then_some(()) }
    });
    if let Err(e) = all.await {
        println!("{e}");
    }
    let verdict = judge(&sending.confirmed, &sending.open, &receiver.arrived());
    println!("stopped {}, killed {}, paused {}: {verdict}", did[0], did[1], did[2]);
    assert!(verdict.is_clean(), "{verdict}");
}
