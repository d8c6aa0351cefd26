//! Cell: memory, descriptors and threads stay constant over a hundred reconnects.

use harness::random::SeededRandom;
use harness::{TIMEOUT, by_depth, eventually};

use crate::rig::Rig;

/// What an allocator may keep over a run without anything being held.
const SLACK_KIB: u64 = 3 * 1024;

#[tokio::test]
async fn reconnects_leave_memory_and_file_descriptors_flat() {
    let mut rig = Rig::new().await;
    let mut random = SeededRandom::new("reconnects");
    let (warm_up, reconnects) = by_depth((5, 20), (20, 100));
    let accepted = rig.fill(by_depth(4_000, 9_000)).await;
    let agent = rig.agent();
    let mut before = None;
    for n in 0..warm_up + reconnects {
        let connections = rig.way.connections();
        // Some in the middle of traffic, some at once.
        let more = rig.subscriber.count() + random.range(0, 60) as usize;
        eventually("some traffic", TIMEOUT, async || {
            (rig.subscriber.count() >= more.min(accepted.len())).then_some(())
        })
        .await;
        rig.way.cut();
        eventually("a new connection", TIMEOUT, async || (rig.way.connections() > connections).then_some(()))
            .await;
        if n == warm_up {
            before = Some(agent.footprint());
        }
    }
    let before = before.unwrap();
    rig.delivery.settle(&rig.subscriber, &accepted, 2 * TIMEOUT).await;
    // A connection that is just being left may still hold a descriptor.
    eventually("the descriptors of before", TIMEOUT, async || {
        (agent.footprint().descriptors <= before.descriptors).then_some(())
    })
    .await;
    let after = agent.footprint();
    assert!(
        after.memory_kib <= before.memory_kib + SLACK_KIB && after.threads <= before.threads + 1,
        "{reconnects} reconnects: {before:?} became {after:?}"
    );
    rig.settle(agent, &accepted).await;
}
