//! Cell: kill -9 at any moment of a replay.

use std::time::Duration;

use harness::by_depth;
use harness::random::SeededRandom;

use crate::rig::Rig;

#[tokio::test]
async fn kills_at_random_moments_of_a_replay_lose_nothing() {
    let mut rig = Rig::new().await;
    let mut random = SeededRandom::new("kills in a replay");
    let accepted = rig.fill(by_depth(1500, 4000)).await;
    let kills = by_depth(10, 100);
    for _ in 0..kills {
        let before = rig.subscriber.count();
        let mut agent = rig.agent();
        // Before it is connected, or after some of what it sends has arrived and a bit.
        let some = random.range(0, 200) as usize;
        if some > 20 {
            rig.subscriber
                .expect_all("some of the replay", harness::TIMEOUT, |all| all.len() >= before + some)
                .await;
        }
        tokio::time::sleep(Duration::from_micros(random.range(0, 80_000))).await;
        agent.kill().await;
    }
    // One more start to deliver the rest.
    let agent = rig.agent();
    rig.settle(agent, &accepted).await;
    assert!(rig.delivery.doubles() > 0, "what was in flight at a kill comes again");
}
