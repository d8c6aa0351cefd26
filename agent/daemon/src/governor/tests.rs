//! The task at work on a tree of files and cameras that only say how they do.

use std::io::Write as _;

use aimass_core::event::Phase;
use aimass_core::runtime::clock::SimulatedClock;
use aimass_store::StoreConfig;
use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::board::sysfs::tests::put;
use crate::pipeline::views::SourceFacts;

/// A governor, what it looks at, and what it tells.
struct Rig {
    folder: tempfile::TempDir,
    clock: SimulatedClock,
    task: Task,
    settings: watch::Sender<Settings>,
    health: watch::Receiver<Arc<GovernorHealth>>,
    sources: watch::Sender<Arc<Vec<Arc<SourceView>>>>,
    accepted: mpsc::Receiver<EventBatch>,
}

fn camera(id: &str, priority: u8, unpaced: bool) -> Arc<SourceView> {
    let facts = SourceFacts {
        fps_wanted: 4.0,
        fps_floor: 1.0,
        priority,
        unpaced,
        chain: vec!["detect".into()],
        ..SourceFacts::default()
    };
    let view = SourceView::new(id.parse().unwrap(), facts, Timestamp::UNIX_EPOCH);
    let smaller = (id == "dock").then(|| vec!["small".to_owned()]);
    view.share.set_models(ChainModels { usual: vec!["large".into()], smaller });
    view.share.end_loading(false);
    view.set_status(ConnectionState::Delivering, None, Timestamp::UNIX_EPOCH);
    Arc::new(view)
}

async fn rig(cameras: Vec<Arc<SourceView>>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let clock = SimulatedClock::at(Timestamp::from_second(1_800_000_000).unwrap());
    let shared: aimass_core::runtime::clock::SharedClock = Arc::new(clock.clone());
    let node = Node::new("s".parse().unwrap(), "n".parse().unwrap(), shared.clone());
    let config = StoreConfig { path: folder.path().join("agent.db"), ..StoreConfig::default() };
    let stamp = node.clone();
    let (store, _) = Store::open(&config, shared, move |what| stamp.event(what)).unwrap();
    let (sources, seen) = watch::channel(Arc::new(cameras));
    let (accept, accepted) = mpsc::channel(64);
    let needs = Deps { node, store, sources: seen, accept, tree: Sysfs::at(folder.path()) };
    let settings = Settings { governor: GovernorConfig::default(), parallel: 3 };
    let (task, settings, health) = new(needs, settings).await;
    Rig { folder, clock, task, settings, health, sources, accepted }
}

impl Rig {
    /// Lets so many periods pass at this temperature.
    async fn looks(&mut self, count: usize, celsius: u32) {
        let zone = "class/thermal/thermal_zone0";
        let temp = format!("{celsius}000\n");
        put(
            self.folder.path(),
            &[(&format!("{zone}/type"), "cpu-thermal\n"), (&format!("{zone}/temp"), &temp)],
        );
        for _ in 0..count {
            self.clock.advance(Duration::from_secs(5));
            self.task.look().await;
        }
    }

    fn told(&mut self) -> Vec<(Phase, Value)> {
        let mut all = Vec::new();
        while let Ok(told) = self.accepted.try_recv() {
            for what in told.happenings {
                assert_eq!((&*what.label, what.source.as_str()), ("degraded", "node"));
                all.push((what.phase, serde_json::to_value(what.attributes).unwrap()));
            }
        }
        all
    }

    fn fps(&self, id: &str) -> f32 {
        self.health.borrow().camera(id).unwrap().fps_allowed
    }
}

#[tokio::test]
async fn a_hot_tree_takes_and_a_cool_one_gives_back_and_files_that_wait_for_nobody_are_left_alone() {
    let cameras = vec![camera("dock", 9, false), camera("yard", 1, false), camera("clip", 1, true)];
    let dock = cameras[0].clone();
    let mut rig = rig(cameras).await;
    rig.looks(2, 50).await;
    assert_eq!(rig.health.borrow().state, GovernorState::Normal);
    assert!(rig.told().is_empty());
    assert!(rig.health.borrow().camera("clip").is_none());
    rig.looks(4, 90).await;
    assert_eq!((rig.fps("dock"), rig.fps("yard")), (4.0, 2.0));
    let told = rig.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0, &told[0].1["reason"]), (Phase::Began, &"overheating".into()));
    let held = told[0].1["cameras"].as_array().unwrap();
    assert_eq!((held.len(), &held[0]["id"]), (1, &"yard".into()), "only what is not watched");
    rig.looks(20, 90).await;
    assert!(dock.share.wants_smaller());
    assert_eq!(rig.health.borrow().camera("dock").unwrap().models, ["small"]);
    assert!(rig.told().iter().all(|(phase, _)| *phase == Phase::Updated));
    rig.looks(600, 40).await;
    assert!(!dock.share.wants_smaller());
    assert_eq!((rig.fps("dock"), rig.health.borrow().since), (4.0, None));
    let last = rig.told().pop().unwrap();
    assert_eq!((last.0, &last.1["end_reason"]), (Phase::Ended, &"recovered".into()));
}

#[tokio::test]
async fn a_governor_that_is_switched_off_gives_everything_back_at_once() {
    let mut rig = rig(vec![camera("dock", 5, false)]).await;
    rig.looks(30, 90).await;
    assert!(rig.task.needs.sources.borrow()[0].share.wants_smaller());
    let off = GovernorConfig { enabled: false, ..GovernorConfig::default() };
    rig.settings.send_modify(|settings| settings.governor = off);
    rig.task.follow_settings().await;
    assert!(!rig.task.needs.sources.borrow()[0].share.wants_smaller());
    let last = rig.told().pop().unwrap();
    assert_eq!((last.0, &last.1["end_reason"]), (Phase::Ended, &"switched_off".into()));
    assert_eq!((rig.health.borrow().state, rig.task.wait()), (GovernorState::Off, None));
}

#[tokio::test]
async fn a_sensor_that_never_answers_takes_its_signs_away_and_not_the_governor() {
    let mut rig = rig(vec![camera("dock", 5, false)]).await;
    rig.task.patience = Duration::from_millis(200);
    rig.looks(1, 50).await;
    assert!(rig.health.borrow().hottest_zone.is_some());
    // A pipe without a writer: whoever opens it waits.
    let hanging = rig.folder.path().join("class/thermal/thermal_zone1");
    put(rig.folder.path(), &[("class/thermal/thermal_zone1/type", "cpu-thermal\n")]);
    rustix::fs::mkfifoat(rustix::fs::CWD, hanging.join("temp"), rustix::fs::Mode::RUSR).unwrap();
    rig.looks(2, 50).await;
    assert_eq!(
        (rig.health.borrow().state, rig.health.borrow().hottest_zone.is_none()),
        (GovernorState::Normal, true)
    );
    // It answers at last.
    let temp = hanging.join("temp");
    let answer = tokio::task::spawn_blocking(move || {
        std::fs::File::options().write(true).open(temp).and_then(|mut pipe| pipe.write_all(b"51000\n"))
    });
    rig.task.patience = Duration::from_secs(60);
    rig.looks(1, 50).await;
    answer.await.unwrap().unwrap();
    std::fs::remove_file(hanging.join("temp")).unwrap();
    rig.looks(1, 50).await;
    assert!(rig.health.borrow().hottest_zone.is_some());
}

#[tokio::test]
async fn what_the_board_showed_is_not_told_while_nobody_looks_at_it() {
    let mut rig = rig(vec![camera("dock", 5, false)]).await;
    rig.looks(1, 50).await;
    assert!(rig.health.borrow().hottest_zone.is_some());
    rig.sources.send_replace(Arc::new(vec![camera("clip", 5, true)]));
    rig.looks(1, 50).await;
    assert_eq!(
        (rig.health.borrow().state, rig.health.borrow().hottest_zone.is_none()),
        (GovernorState::Idle, true)
    );
}

#[tokio::test]
async fn nobody_is_woken_where_there_is_nothing_to_govern_and_seldom_while_all_cameras_are_away() {
    let rig = rig(vec![camera("dock", 5, false)]).await;
    assert_eq!(rig.task.wait(), Some(Duration::from_secs(5)));
    let away = camera("dock", 5, false);
    away.set_status(ConnectionState::Failed, None, Timestamp::UNIX_EPOCH);
    rig.sources.send_replace(Arc::new(vec![away]));
    assert_eq!(rig.task.wait(), Some(Duration::from_secs(30)));
    rig.sources.send_replace(Arc::new(vec![camera("clip", 5, true)]));
    assert_eq!(rig.task.wait(), None);
}
