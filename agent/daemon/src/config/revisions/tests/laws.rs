//! Random lives of a keeper against a model of a few lines.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A good push; the number is added to the highest version, so that 0 is an old one.
    Push(u64),
    /// A signed push whose body is wrong.
    BadPush,
    /// The last push again.
    Again,
    /// The node's own file changes and is offered.
    Edit,
    /// … or is found at the next start.
    EditUnseen,
    Begin,
    Commit,
    RollBack,
    /// The power goes and comes back.
    Crash,
    /// `config rollback`.
    Back,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..3).prop_map(Step::Push),
        1 => Just(Step::BadPush),
        1 => Just(Step::Again),
        1 => Just(Step::Edit),
        1 => Just(Step::EditUnseen),
        4 => Just(Step::Begin),
        3 => Just(Step::Commit),
        2 => Just(Step::RollBack),
        2 => Just(Step::Crash),
        1 => Just(Step::Back),
    ]
}

/// Version and mark.
type Which = (u64, u16);

#[derive(Debug)]
struct Model {
    highest: u64,
    committed: Vec<Which>,
    /// What is tried, and whether it has begun.
    trial: Option<(Which, bool)>,
    edited: bool,
}

impl Model {
    fn good(&self) -> Which {
        self.committed[self.committed.len() - 1]
    }

    fn runs(&self) -> Which {
        match self.trial {
            Some((which, true)) => which,
            _ => self.good(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_runs_was_committed_or_is_tried_and_versions_never_fall(steps in proptest::collection::vec(step(), 1..40)) {
        let rig = Rig::new(1);
        let (mut keeper, _) = rig.open();
        let mut model = Model { highest: 0, committed: vec![(0, 1)], trial: None, edited: false };
        let mut marks = 1;
        let mut last = rig.push(1, 1);
        for step in steps {
            let before = keeper.running().version;
            match step {
                Step::Push(above) => {
                    marks += 1;
                    let version = (model.highest + above).max(1);
                    last = rig.push(version, marks);
                    let verdict = keeper.offer_push(&last);
                    if version > model.highest {
                        let which = candidate(verdict);
                        prop_assert_eq!((which.version, mark(&which)), (version, marks));
                        model.highest = version;
                        model.trial = Some(((version, marks), false));
                    } else {
                        prop_assert_eq!(verdict, Decision::Rejected);
                    }
                }
                Step::BadPush => {
                    marks += 1;
                    let bad = rig.sign(&rig.statement(model.highest + 1, json!({ "camera": marks })));
                    prop_assert_eq!(keeper.offer_push(&bad), Decision::Rejected);
                    prop_assert_eq!(keeper.report().state, ReportState::Rejected);
                    last = bad;
                }
                Step::Again => {
                    let first = keeper.offer_push(&last);
                    if let Decision::Candidate(which) = &first {
                        // It had never been offered.
                        model.highest = which.version;
                        model.trial = Some(((which.version, mark(which)), false));
                    }
                    prop_assert_eq!(keeper.offer_push(&last), Decision::Same);
                }
                Step::Edit => {
                    marks += 1;
                    rig.write(marks, &rig.trust());
                    let which = candidate(keeper.offer_local());
                    prop_assert_eq!((which.version, mark(&which)), (0, marks));
                    model.trial = Some(((0, marks), false));
                    model.edited = false;
                }
                Step::EditUnseen => {
                    marks += 1;
                    rig.write(marks, &rig.trust());
                    model.edited = true;
                }
                Step::Begin => {
                    prop_assert_eq!(keeper.begun().is_ok(), model.trial.is_some());
                    model.trial = model.trial.map(|(which, _)| (which, true));
                }
                Step::Commit => {
                    prop_assert_eq!(keeper.commit(&[]).is_ok(), model.trial.is_some());
                    if let Some((which, _)) = model.trial.take() {
                        model.committed.push(which);
                        prop_assert_eq!(keeper.report().state, ReportState::Applied);
                    }
                }
                Step::RollBack => {
                    let back = keeper.roll_back(because("it is dark"));
                    prop_assert_eq!((back.version, mark(&back)), model.good());
                    if model.trial.take().is_some() {
                        prop_assert_eq!(keeper.report().state, ReportState::RolledBack);
                    }
                }
                Step::Crash => {
                    drop(keeper);
                    let (next, start) = rig.open();
                    keeper = next;
                    if let Some((_, true)) = model.trial {
                        model.trial = None;
                        if !model.edited {
                            prop_assert_eq!(keeper.report().state, ReportState::RolledBack);
                        }
                    }
                    if std::mem::take(&mut model.edited) {
                        model.trial = Some(((0, marks_of(&rig)), false));
                    }
                    let expected = model.trial.map_or(model.good(), |(which, _)| which);
                    prop_assert_eq!((start.choice.version, mark(&start.choice)), expected);
                    prop_assert_eq!(start.trial, model.trial.is_some());
                }
                Step::Back => {
                    if let Decision::Candidate(which) = keeper.offer_rollback(None) {
                        let which = (which.version, mark(&which));
                        prop_assert!(model.committed.contains(&which), "{which:?} was never committed");
                        model.trial = Some((which, false));
                    } else {
                        prop_assert!(model.committed.len() == 1);
                    }
                }
            }
            prop_assert_eq!(keeper.highest_version(), model.highest);
            prop_assert_eq!((keeper.running().version, mark(keeper.running())), model.runs());
            prop_assert_eq!((keeper.last_known_good().version, mark(keeper.last_known_good())), model.good());
            prop_assert_eq!(keeper.report().running_version, keeper.running().version);
            if keeper.running().version < before {
                // Never back without a word: it is a roll back, or something that is tried or was asked for.
                let report = keeper.report();
                prop_assert!(report.state != ReportState::Rejected || keeper.is_trying(), "{report:?}");
            }
        }
    }
}

/// The mark of the node's own file.
fn marks_of(rig: &Rig) -> u16 {
    let text = std::fs::read_to_string(rig.file()).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("stall_after_s = ")).unwrap();
    line.parse().unwrap()
}
