//! Boards and cameras by example, and the laws of what is proposed.

use proptest::prelude::*;

use super::*;

const BOARD: Room = Room { cores: 4, parallel: 3, memory_bytes: 1000 << 20 };

fn load(id: &str, fps: f64, priority: u8, chain_ms: f64) -> Load {
    Load {
        id: id.into(),
        fps,
        floor_fps: 1.0f64.min(fps),
        priority,
        chain_ms,
        source_cores: 0.1,
        memory_bytes: 20 << 20,
    }
}

#[test]
fn what_fits_is_left_as_it_is() {
    let verdict = judge(&BOARD, 50 << 20, &[load("a", 5.0, 5, 100.0), load("b", 5.0, 5, 100.0)]);
    assert!(verdict.fits && verdict.proposal.is_none() && verdict.reasons.is_empty(), "{verdict:?}");
    assert_eq!(verdict.chain_cores.0, 1.0);
    assert!((verdict.all_cores.0 - 1.2).abs() < 1e-9);
}

#[test]
fn too_much_is_refused_with_its_reason_and_the_least_important_gives() {
    let loads = [load("door", 5.0, 9, 100.0), load("yard", 5.0, 2, 100.0), load("lot", 10.0, 2, 200.0)];
    let verdict = judge(&BOARD, 50 << 20, &loads);
    assert!(!verdict.fits);
    assert!(
        verdict.reasons.iter().any(|r| r.contains("camera lot") && r.contains("at most 3.5")),
        "{verdict:?}"
    );
    assert!(verdict.reasons.iter().any(|r| r.contains("3.00 cores")), "{verdict:?}");
    let proposal = verdict.proposal.unwrap();
    assert_eq!(proposal.leave_out, Vec::<String>::new());
    assert_eq!(proposal.fps[0], ("door".into(), 5.0));
    assert_eq!(proposal.fps[2], ("lot".into(), 3.5));
}

#[test]
fn cameras_go_when_even_their_floors_are_too_much() {
    let slow = |id: &str, priority| load(id, 5.0, priority, 600.0);
    let verdict = judge(&BOARD, 0, &[slow("a", 5), slow("b", 1), slow("c", 5), slow("d", 9)]);
    let proposal = verdict.proposal.unwrap();
    assert_eq!(proposal.leave_out, ["b"]);
    let fat = |id: &str| Load { memory_bytes: 400 << 20, ..load(id, 1.0, 5, 1.0) };
    let verdict = judge(&BOARD, 0, &[fat("a"), fat("b")]);
    assert!(verdict.reasons[0].contains("800 MiB"), "{verdict:?}");
    assert_eq!(verdict.proposal.unwrap().leave_out, ["b"]);
}

#[test]
fn how_many_fit_falls_with_their_rate() {
    let like = Load { source_cores: 0.09, ..load("a", 5.0, 5, 100.0) };
    assert_eq!(how_many(&BOARD, 0, &like, 5.0), 4, "permits: 2.1 cores by half a core");
    assert_eq!(how_many(&BOARD, 0, &like, 1.0), 14, "cores: 2.8 by 0.19");
    assert_eq!(how_many(&BOARD, 0, &like, 10.0), 0, "one thread");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_proposed_fits_and_keeps_to_floors_and_priorities(
        wants in prop::collection::vec((0.2f64..30.0, 0.1f64..1.0, 1u8..=9, 1.0f64..900.0, 0.0f64..0.5), 1..8),
        cores in 1usize..8,
    ) {
        let room = Room { cores, parallel: (cores - 1).max(1), memory_bytes: 1000 << 20 };
        let loads: Vec<Load> = wants.into_iter().enumerate().map(|(n, (fps, floor, priority, chain_ms, source_cores))| {
            Load { floor_fps: floor.min(fps), source_cores, ..load(&format!("c{n}"), fps, priority, chain_ms) }
        }).collect();
        let verdict = judge(&room, 50 << 20, &loads);
        prop_assert_eq!(verdict.fits, verdict.proposal.is_none());
        let Some(proposal) = verdict.proposal else { return Ok(()) };
        let of = |id: &str| loads.iter().find(|l| l.id == id).unwrap();
        let kept: Vec<Load> =
            proposal.fps.iter().map(|(id, fps)| Load { fps: *fps, ..of(id).clone() }).collect();
        prop_assert!(judge(&room, 50 << 20, &kept).fits);
        prop_assert_eq!(kept.len() + proposal.leave_out.len(), loads.len());
        for load in &kept {
            let wanted = of(&load.id);
            prop_assert!(load.fps >= wanted.floor_fps && load.fps <= wanted.fps);
            // Rounding takes less than a tenth; beyond that only what the less important cannot give.
            if load.fps + 0.1 < wanted.fps.min(wanted.most_fps()) {
                for lesser in kept.iter().filter(|l| l.priority < load.priority) {
                    prop_assert!(lesser.fps <= of(&lesser.id).floor_fps + 0.11, "{lesser:?} before {load:?}");
                }
            }
        }
    }
}
