//! Steps by example, and the laws on boards made of a thermal model.

use proptest::prelude::*;

use super::*;

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(5);

fn terms(wanted_fps: f32, priority: u8) -> CameraLimits {
    CameraLimits { wanted_fps, floor_fps: 1.0, priority, has_smaller: false }
}

/// Cameras that work and are never late.
fn at_work(cameras: &[(&str, CameraLimits)]) -> BTreeMap<Name, CameraLoad> {
    let doing = |terms: &CameraLimits| CameraLoad {
        terms: *terms,
        at_work: true,
        smaller: false,
        analysed: 10,
        late: 0,
        busy: Duration::from_millis(100),
    };
    cameras.iter().map(|(id, terms)| (id.parse().unwrap(), doing(terms))).collect()
}

fn hot(celsius: f32) -> BoardReadings {
    let zone = Zone { name: "cpu-thermal".into(), celsius, passive_c: vec![] };
    BoardReadings { zones: vec![zone], ..BoardReadings::default() }
}

/// A governor with its clock.
struct Simulation(Governor, Duration);

impl Simulation {
    fn new(config: GovernorConfig) -> Self {
        Simulation(Governor::new(config), Duration::ZERO)
    }

    fn look(&mut self, signs: &BoardReadings, cameras: &BTreeMap<Name, CameraLoad>) -> bool {
        self.1 += LOOK;
        self.0.look(self.1, signs, cameras, 3)
    }

    /// Looks for so long; how often something changed.
    fn look_for(
        &mut self,
        minutes: u32,
        signs: &BoardReadings,
        cameras: &BTreeMap<Name, CameraLoad>,
    ) -> usize {
        (0..minutes * 12).filter(|_| self.look(signs, cameras)).count()
    }

    fn fps(&self, id: &str) -> f32 {
        self.0.given(&id.parse().unwrap()).unwrap().fps
    }
}

#[test]
fn a_hot_board_takes_frames_from_the_least_important_camera_first_and_stops_at_the_floors() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let cameras = at_work(&[("door", terms(4.0, 9)), ("yard", terms(4.0, 1))]);
    let mut seen = vec![];
    for _ in 0..24 {
        if watch.look(&hot(77.0), &cameras) {
            seen.push((watch.fps("door"), watch.fps("yard")));
        }
    }
    assert_eq!(seen, [(4.0, 2.0), (4.0, 1.0), (2.0, 1.0), (1.0, 1.0)]);
    assert_eq!((watch.0.level(), watch.0.reason()), ((4, 4), Some(Reason::Overheating)));
}

#[test]
fn smaller_models_are_the_last_resort_and_the_first_to_go() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let with_smaller = CameraLimits { has_smaller: true, ..terms(2.0, 5) };
    let cameras = at_work(&[("door", with_smaller), ("yard", terms(4.0, 7))]);
    let door = |watch: &Simulation| watch.0.given(&"door".parse().unwrap()).unwrap();
    watch.look_for(2, &hot(80.0), &cameras);
    assert_eq!(door(&watch), Allocation { fps: 1.0, smaller: true });
    assert_eq!(watch.fps("yard"), 1.0);
    while !watch.look(&hot(50.0), &cameras) {}
    assert_eq!(door(&watch), Allocation { fps: 1.0, smaller: false });
    assert_eq!(watch.fps("yard"), 1.0, "one step at a time");
    watch.look_for(10, &hot(50.0), &cameras);
    assert_eq!((watch.0.level().0, watch.0.reason()), (0, None));
    assert_eq!(door(&watch), Allocation { fps: 2.0, smaller: false });
}

#[test]
fn cameras_of_the_same_priority_step_together_and_those_that_do_not_work_are_left_alone() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let mut cameras = at_work(&[("a", terms(8.0, 5)), ("b", terms(4.0, 5)), ("c", terms(4.0, 1))]);
    cameras.get_mut(&"c".parse().unwrap()).unwrap().at_work = false;
    while !watch.look(&hot(77.0), &cameras) {}
    assert_eq!((watch.fps("a"), watch.fps("b"), watch.fps("c")), (4.0, 2.0, 4.0));
}

#[test]
fn between_warm_and_cool_nothing_moves() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let cameras = at_work(&[("a", terms(8.0, 5))]);
    while !watch.look(&hot(76.0), &cameras) {}
    assert_eq!(watch.look_for(60, &hot(70.0), &cameras), 0, "hysteresis is 7 °C below 75");
    assert_eq!(watch.look_for(3, &hot(67.0), &cameras), 1);
}

#[test]
fn a_board_that_cools_down_already_is_given_its_time_unless_it_is_at_its_trip_point() {
    let cameras = at_work(&[("a", terms(8.0, 5))]);
    let mut watch = Simulation::new(GovernorConfig::default());
    while !watch.look(&hot(79.0), &cameras) {}
    for tenths in (760..=785).rev().step_by(3) {
        assert!(!watch.look(&hot(tenths as f32 / 10.0), &cameras), "{tenths}");
    }
    let mut watch = Simulation::new(GovernorConfig::default());
    let steps = (0..12).filter(|n| watch.look(&hot(95.0 - *n as f32), &cameras)).count();
    assert_eq!(steps, 3, "still beyond the margin: the floor");
}

#[test]
fn a_trip_point_of_the_board_and_a_processor_that_regulates_itself_move_the_limit() {
    let config = GovernorConfig::default();
    let limit = |name: &str, passive_c: &[f32]| {
        let zone = Zone { name: name.into(), celsius: 50.0, passive_c: passive_c.to_vec() };
        config.hottest(&BoardReadings { zones: vec![zone], ..BoardReadings::default() }).map(|h| h.limit_c)
    };
    assert_eq!(limit("cpu-thermal", &[]), Some(75.0));
    assert_eq!(limit("soc-thermal", &[70.0, 85.0]), Some(65.0));
    assert_eq!(limit("soc-thermal", &[-274.0, 0.0]), Some(75.0), "no trip points");
    assert_eq!(limit("x86_pkg_temp", &[]), Some(95.0));
    assert_eq!(limit("iwlwifi_1", &[]), None);
    let own = GovernorConfig { zones: vec!["iwlwifi_1".into()], ..config.clone() };
    let zone = Zone { name: "iwlwifi_1".into(), celsius: 50.0, passive_c: vec![] };
    assert!(own.hottest(&BoardReadings { zones: vec![zone], ..BoardReadings::default() }).is_some());
    for nonsense in [f32::NAN, f32::INFINITY, -273.0, 1000.0] {
        assert_eq!(config.hottest(&hot(nonsense)), None, "{nonsense}");
    }
}

#[test]
fn throttling_and_a_weak_supply_count_at_any_temperature_and_a_cap_only_on_a_warm_board() {
    let cameras = at_work(&[("a", terms(8.0, 5))]);
    let reason = |signs: BoardReadings| {
        let mut watch = Simulation::new(GovernorConfig::default());
        watch.look_for(1, &signs, &cameras);
        watch.0.reason()
    };
    assert_eq!(reason(BoardReadings { throttled: true, ..hot(40.0) }), Some(Reason::Throttled));
    assert_eq!(reason(BoardReadings { under_voltage: true, ..hot(40.0) }), Some(Reason::UnderVoltage));
    assert_eq!(reason(BoardReadings { capped: true, ..hot(40.0) }), None);
    assert_eq!(reason(BoardReadings { capped: true, ..hot(70.0) }), Some(Reason::Throttled));
    assert_eq!(reason(BoardReadings::default()), None, "a board without sensors is not in trouble");
}

/// One chain that takes `cost_s` a frame, seen through a slot one deep.
fn loaded(terms: CameraLimits, given: Allocation, cost_s: f64, seconds: f64) -> CameraLoad {
    let came = f64::from(given.fps) * seconds;
    let analysed = came.min(seconds / cost_s).floor();
    CameraLoad {
        terms,
        at_work: true,
        smaller: given.smaller,
        analysed: analysed as u64,
        late: (came - analysed).max(0.0) as u64,
        busy: Duration::from_secs_f64(analysed * cost_s),
    }
}

#[test]
fn a_camera_that_is_too_slow_for_itself_steps_down_alone_and_stays_there() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let (fast, slow) = (terms(5.0, 1), terms(16.0, 9));
    let mut steps = 0;
    for _ in 0..12 * 180 {
        let given = |watch: &Simulation, id: &str, terms: CameraLimits| {
            watch.0.given(&id.parse().unwrap()).unwrap_or(terms.given(0))
        };
        let cameras = BTreeMap::from([
            ("fast".parse().unwrap(), loaded(fast, given(&watch, "fast", fast), 0.01, 5.0)),
            ("slow".parse().unwrap(), loaded(slow, given(&watch, "slow", slow), 0.2, 5.0)),
        ]);
        steps += usize::from(watch.look(&BoardReadings::default(), &cameras));
    }
    assert_eq!((watch.fps("fast"), watch.fps("slow")), (5.0, 4.0));
    assert_eq!(steps, 2, "16 → 8 → 4 and no attempt that must fail");
    assert_eq!(watch.0.reason(), Some(Reason::Overloaded));
}

#[test]
fn a_camera_that_was_slow_once_is_tried_with_its_usual_models_again() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let wanted = CameraLimits { floor_fps: 3.0, has_smaller: true, ..terms(3.0, 5) };
    let mut slow = true;
    let mut smaller_seen = false;
    for _ in 0..12 * 40 {
        let given = watch.0.given(&"door".parse().unwrap()).unwrap_or(wanted.given(0));
        smaller_seen |= given.smaller;
        slow &= !smaller_seen;
        let cost_s = if given.smaller {
            0.02
        } else if slow {
            0.5
        } else {
            0.1
        };
        let doing = loaded(wanted, given, cost_s, LOOK.as_secs_f64());
        watch.look(&BoardReadings::default(), &BTreeMap::from([("door".parse().unwrap(), doing)]));
    }
    let given = watch.0.given(&"door".parse().unwrap()).unwrap();
    assert!(smaller_seen && !given.smaller, "{smaller_seen} {given:?}");
}

#[test]
fn a_node_whose_cameras_are_late_together_slows_the_least_important() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let mut cameras = at_work(&[("a", terms(4.0, 8)), ("b", terms(4.0, 2))]);
    cameras.get_mut(&"a".parse().unwrap()).unwrap().late = 8;
    while !watch.look(&BoardReadings::default(), &cameras) {}
    assert_eq!((watch.fps("a"), watch.fps("b")), (4.0, 2.0));
}

#[test]
fn a_slow_camera_is_late_between_its_frames_too_and_an_idle_one_is_not() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let slow = CameraLimits { wanted_fps: 0.4, floor_fps: 0.1, priority: 5, has_smaller: false };
    let mut cameras = at_work(&[("a", slow)]);
    for n in 0..12 {
        let a = cameras.get_mut(&"a".parse().unwrap()).unwrap();
        (a.analysed, a.late) = if n % 2 == 0 { (3, 3) } else { (0, 0) };
        watch.look(&BoardReadings::default(), &cameras);
    }
    assert_eq!(watch.fps("a"), 0.1);
    let a = cameras.get_mut(&"a".parse().unwrap()).unwrap();
    (a.analysed, a.late) = (0, 0);
    watch.look_for(10, &BoardReadings::default(), &cameras);
    assert_eq!(watch.fps("a"), 0.4, "nothing moves: nothing speaks against the usual rate");
}

#[test]
fn a_few_late_frames_while_a_model_is_loaded_are_nobodys_fault() {
    let mut watch = Simulation::new(GovernorConfig::default());
    let mut cameras = at_work(&[("a", terms(4.0, 5))]);
    let a = cameras.get_mut(&"a".parse().unwrap()).unwrap();
    (a.at_work, a.analysed, a.late) = (false, 0, 100);
    assert_eq!(watch.look_for(5, &BoardReadings::default(), &cameras), 0);
}

/// A board whose temperature follows its load.
#[derive(Debug, Clone)]
struct Board {
    ambient_c: f32,
    /// By how much full load heats it in the end.
    rise_c: f32,
    /// Seconds to two thirds of that.
    tau_s: f32,
    now_c: f32,
}

impl Board {
    fn pass(&mut self, load: f32) {
        let end = self.ambient_c + self.rise_c * (0.15 + 0.85 * load);
        self.now_c += (end - self.now_c) * (LOOK.as_secs_f32() / self.tau_s).min(1.0);
    }

    fn signs(&self) -> BoardReadings {
        // As kernels round it.
        let celsius = (self.now_c * 2.0).round() / 2.0;
        let zone = Zone { name: "soc-thermal".into(), celsius, passive_c: vec![85.0] };
        BoardReadings { zones: vec![zone], throttled: self.now_c >= 85.0, ..BoardReadings::default() }
    }
}

/// What is given of what is wanted; half a frame's work with a smaller model.
fn load(watch: &Simulation, cameras: &BTreeMap<Name, CameraLoad>) -> f32 {
    let given = |id: &Name, doing: &CameraLoad| {
        let given = watch.0.given(id).unwrap_or(doing.terms.given(0));
        given.fps * if given.smaller { 0.5 } else { 1.0 }
    };
    let sum: f32 = cameras.iter().map(|(id, doing)| given(id, doing)).sum();
    sum / cameras.values().map(|d| d.terms.wanted_fps).sum::<f32>()
}

fn some_cameras() -> impl Strategy<Value = Vec<CameraLimits>> {
    let one = (1.0f32..15.0, 0.2f32..2.0, 1u8..=9, any::<bool>()).prop_map(
        |(wanted_fps, floor_fps, priority, has_smaller)| CameraLimits {
            wanted_fps,
            floor_fps: floor_fps.min(wanted_fps),
            priority,
            has_smaller,
        },
    );
    prop::collection::vec(one, 1..5)
}

fn named(list: &[CameraLimits]) -> BTreeMap<Name, CameraLoad> {
    let names = ["a", "b", "c", "d", "e"];
    at_work(&names.iter().copied().zip(list.iter().copied()).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_board_stays_below_its_trip_point_does_not_swing_and_recovers(
        list in some_cameras(), ambient_c in 10.0f32..45.0, rise_c in 10.0f32..70.0, tau_s in 120.0f32..900.0,
    ) {
        let cameras = named(&list);
        let mut watch = Simulation::new(GovernorConfig::default());
        let mut board = Board { ambient_c, rise_c, tau_s, now_c: ambient_c };
        let (mut changes, mut over, mut levels) = (vec![], 0u32, vec![]);
        let hours = 8u64;
        for _ in 0..hours * 720 {
            board.pass(load(&watch, &cameras));
            if watch.look(&board.signs(), &cameras) {
                changes.push(watch.1);
            }
            levels.push(watch.0.level().0);
            over += u32::from(board.now_c > 85.0);
        }
        // The floors are what the person wants in any case: more cannot be taken away.
        let (level, most) = watch.0.level();
        if level < most {
            prop_assert_eq!(over, 0, "above the trip point");
        }
        if ambient_c + rise_c < 74.0 {
            prop_assert!(levels.iter().all(|l| *l == 0), "a board that stays cool is left alone");
        }
        prop_assert!(changes.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(10)));
        // What was taken back rung by rung may go at once: so a sum, and not a law for each hour. Once the first two have
        // shown what does not work, there is an attempt in a quarter of an hour, and each has its way back.
        let late = changes.iter().filter(|c| c.as_secs() > 2 * 3600).count() as u64;
        prop_assert!(late <= 2 * 4 * (hours - 2) + u64::from(most), "{late} changes: {changes:?}");
        board.ambient_c = 55.0 - rise_c.max(30.0);
        watch.look_for(60 * 10, &hot(board.ambient_c), &cameras);
        prop_assert_eq!(watch.0.level().0, 0, "all is watched again in the cool");
    }

    #[test]
    fn whatever_a_board_shows_floors_hold_and_nobody_is_given_more_than_is_wanted(
        list in some_cameras(),
        looks in prop::collection::vec((any::<f32>(), any::<[bool; 3]>(), 0u64..30, 0u64..30), 1..200),
    ) {
        let mut cameras = named(&list);
        let mut watch = Simulation::new(GovernorConfig { step_up_after_s: 5.0, ..GovernorConfig::default() });
        for (celsius, [throttled, under_voltage, capped], analysed, late) in looks {
            for doing in cameras.values_mut() {
                (doing.analysed, doing.late) = (analysed, late);
            }
            watch.look(&BoardReadings { throttled, under_voltage, capped, ..hot(celsius) }, &cameras);
            for (id, doing) in &cameras {
                let given = watch.0.given(id).unwrap();
                prop_assert!(given.fps >= doing.terms.floor_fps && given.fps <= doing.terms.wanted_fps);
                prop_assert!(!given.smaller || doing.terms.has_smaller);
            }
            let (level, most) = watch.0.level();
            prop_assert!(level <= most);
            prop_assert_eq!(level > 0, watch.0.reason().is_some());
        }
    }

    #[test]
    fn heat_never_takes_from_a_camera_while_a_less_important_one_has_frames_to_give(
        list in some_cameras(), temperatures in prop::collection::vec(60.0f32..90.0, 1..300),
    ) {
        let cameras = named(&list);
        let mut watch = Simulation::new(GovernorConfig::default());
        for celsius in temperatures {
            watch.look(&hot(celsius), &cameras);
            for (id, doing) in &cameras {
                if watch.fps(id.as_str()) >= doing.terms.wanted_fps {
                    continue;
                }
                for (other, lesser) in cameras.iter().filter(|(_, d)| d.terms.priority < doing.terms.priority) {
                    prop_assert_eq!(watch.fps(other.as_str()), lesser.terms.floor_fps);
                }
            }
        }
    }
}
